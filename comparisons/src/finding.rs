//! What records say about a claim: pure functions of them.

use serde::Serialize;

/// What an experiment says about its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The drawback is Redis's own: our backend has it too, and etcd has not.
    Confirmed,
    /// It is there for one way of using Redis, or one way of asking, and not for another.
    Depends,
    /// It is not there, or etcd has it as well.
    Refuted,
    /// There are no records to decide by.
    Undecided,
}

impl Verdict {
    /// The word for tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Depends => "depends",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
        }
    }
}

/// Who showed the drawback in an experiment; nothing where there are no records to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The registry on Redis that people write.
    pub naive: Option<bool>,
    /// `registry-redis`.
    pub ours: Option<bool>,
    /// etcd.
    pub etcd: Option<bool>,
}

impl Shown {
    /// The verdict that follows.
    ///
    /// | etcd | ours | naive | verdict |
    /// | --- | --- | --- | --- |
    /// | shown | | | refuted: no reason to prefer etcd |
    /// | not | shown | | confirmed: Redis's own |
    /// | not | not | shown | depends: it belongs to the naive way |
    /// | not | not | not | refuted |
    ///
    /// Undecided if what a line needs is not known.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match (self.etcd, self.ours, self.naive) {
            (Some(true), _, _) => Verdict::Refuted,
            (Some(false), Some(true), _) => Verdict::Confirmed,
            (Some(false), Some(false), Some(true)) => Verdict::Depends,
            (Some(false), Some(false), Some(false)) => Verdict::Refuted,
            _ => Verdict::Undecided,
        }
    }
}

/// What one experiment found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What it says about the claim.
    pub verdict: Verdict,
    /// The figure that decides, in a few words: `56,153 of 60,000 lost, nobody told`.
    pub figure: String,
    /// Two sentences in plain words, made of the figures.
    pub sentences: [String; 2],
}

impl Finding {
    /// One for which records are missing.
    #[must_use]
    pub fn undecided(why: impl Into<String>) -> Self {
        let why = why.into();
        let sentences = [format!("This could not be decided: {why}."), "No conclusion is drawn.".to_owned()];
        Self { verdict: Verdict::Undecided, figure: why, sentences }
    }
}

/// The verdict of a claim, of those of its experiments: what they agree on, otherwise that it depends. Undecided ones do not count, unless all are.
#[must_use]
pub fn claim_verdict(of_experiments: impl IntoIterator<Item = Verdict>) -> Verdict {
    let decided = of_experiments.into_iter().filter(|verdict| *verdict != Verdict::Undecided);
    decided
        .reduce(|one, other| if one == other { one } else { Verdict::Depends })
        .unwrap_or(Verdict::Undecided)
}

#[cfg(test)]
mod tests {
    use super::{Shown, Verdict, claim_verdict};

    #[test]
    fn a_drawback_that_etcd_has_too_is_no_reason_to_prefer_etcd() {
        for (naive, ours) in [(Some(true), Some(true)), (Some(true), Some(false)), (None, None)] {
            assert_eq!(Shown { naive, ours, etcd: Some(true) }.verdict(), Verdict::Refuted);
        }
    }

    #[test]
    fn a_drawback_is_rediss_own_only_if_our_backend_has_it_too() {
        let shown = |naive, ours| Shown { naive, ours, etcd: Some(false) }.verdict();
        assert_eq!(shown(Some(true), Some(true)), Verdict::Confirmed);
        assert_eq!(shown(None, Some(true)), Verdict::Confirmed);
        assert_eq!(shown(Some(true), Some(false)), Verdict::Depends);
        assert_eq!(shown(Some(false), Some(false)), Verdict::Refuted);
    }

    #[test]
    fn what_was_not_seen_decides_nothing() {
        let some = Some(false);
        assert_eq!(Shown::default().verdict(), Verdict::Undecided);
        assert_eq!(Shown { naive: some, ours: None, etcd: some }.verdict(), Verdict::Undecided);
        assert_eq!(Shown { naive: None, ours: some, etcd: some }.verdict(), Verdict::Undecided);
        assert_eq!(Shown { naive: some, ours: some, etcd: None }.verdict(), Verdict::Undecided);
    }

    #[test]
    fn a_claim_depends_where_its_experiments_differ() {
        use Verdict::{Confirmed, Depends, Refuted, Undecided};
        assert_eq!(claim_verdict([Confirmed, Confirmed]), Confirmed);
        assert_eq!(claim_verdict([Refuted, Undecided, Refuted]), Refuted);
        assert_eq!(claim_verdict([Confirmed, Refuted]), Depends);
        assert_eq!(claim_verdict([Depends, Confirmed]), Depends);
        assert_eq!(claim_verdict([Undecided]), Undecided);
        assert_eq!(claim_verdict([]), Undecided);
    }
}
