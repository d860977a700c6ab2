//! What an experiment saw, as it is kept: one JSON object a line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One run of one arm of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The experiment, such as `3a`.
    pub experiment: String,
    /// The step that this belongs to: what is done as a whole or not at all, and taken up again after an interruption.
    pub step: String,
    /// What was tried, such as `redis-naive hash`.
    pub arm: String,
    /// Which repetition, from 0.
    pub run: u32,
    /// What its random choices came from.
    pub seed: u64,
    /// Whether it counts.
    pub outcome: Outcome,
    /// What else is to be known of it, such as why a change was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What was measured. The unit is part of the name: `lag_s`, `lost`, `p50_us`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
    /// What was measured over something else, or as a distribution: pairs of x and y.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub series: BTreeMap<String, Vec<[f64; 2]>>,
}

/// Whether a run counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Outcome {
    /// It does. Where there is a fault, `proof` says by what it is known to have bitten.
    Valid {
        /// Such as `the proxy cut 1 connection and swallowed 5,120 bytes`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<String>,
    },
    /// It does not: the fault did not bite, sends slipped, the machine was too busy.
    Invalid {
        /// What was wrong.
        why: String,
    },
    /// It could not be run here.
    NotRun {
        /// What the machine lacks.
        why: String,
    },
    /// It broke off, which it should not.
    Failed {
        /// The error.
        why: String,
    },
}

impl Record {
    /// A run that counts, with nothing measured yet. The experiment, the step and the seed are set by who keeps it.
    #[must_use]
    pub fn new(arm: impl Into<String>, run: u32) -> Self {
        Self {
            experiment: String::new(),
            step: String::new(),
            arm: arm.into(),
            run,
            seed: 0,
            outcome: Outcome::Valid { proof: None },
            note: None,
            figures: BTreeMap::new(),
            series: BTreeMap::new(),
        }
    }

    /// With a figure. One that is no number is left out, since JSON cannot hold it.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        if value.is_finite() {
            self.figures.insert(name.to_owned(), value);
        }
        self
    }

    /// With a series of pairs.
    #[must_use]
    pub fn with_series(mut self, name: &str, pairs: impl IntoIterator<Item = [f64; 2]>) -> Self {
        self.series.insert(name.to_owned(), pairs.into_iter().collect());
        self
    }

    /// With what else is to be known.
    #[must_use]
    pub fn noted(self, note: Option<String>) -> Self {
        Self { note, ..self }
    }

    /// With what shows that the fault bit.
    #[must_use]
    pub fn proven(self, proof: impl Into<String>) -> Self {
        Self { outcome: Outcome::Valid { proof: Some(proof.into()) }, ..self }
    }

    /// As one that does not count.
    #[must_use]
    pub fn invalid(self, why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Invalid { why: why.into() }, ..self }
    }

    /// As one that counts only if the fault bit: `proof` is what shows it.
    #[must_use]
    pub fn if_bitten(self, bitten: bool, proof: impl Into<String>) -> Self {
        let proof = proof.into();
        if bitten { self.proven(proof) } else { self.invalid(format!("the fault did not bite: {proof}")) }
    }

    /// A figure; none if it was not measured.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// Whether it says why a step was not done.
    #[must_use]
    pub fn is_broken_off(&self) -> bool {
        matches!(self.outcome, Outcome::NotRun { .. } | Outcome::Failed { .. })
    }

    /// Whether it is a run, and not only a distribution over several.
    #[must_use]
    pub fn is_run(&self) -> bool {
        !self.is_valid() || !self.figures.is_empty() || self.series.is_empty()
    }

    /// Whether it counts.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        matches!(self.outcome, Outcome::Valid { .. })
    }
}

/// The records of one experiment, to ask questions of.
#[derive(Clone, Debug, Default)]
pub struct Records {
    records: Vec<Record>,
}

impl FromIterator<Record> for Records {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        Self { records: records.into_iter().collect() }
    }
}

impl Records {
    /// All, also those that do not count.
    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// The names of the arms, in the order of their first record.
    #[must_use]
    pub fn arms(&self) -> Vec<&str> {
        let mut arms = Vec::new();
        for record in &self.records {
            if !arms.contains(&record.arm.as_str()) {
                arms.push(record.arm.as_str());
            }
        }
        arms
    }

    /// What counts of one arm.
    pub fn of<'a>(&'a self, arm: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.arm == arm && record.is_valid())
    }

    /// How many runs of an arm count.
    #[must_use]
    pub fn count(&self, arm: &str) -> usize {
        self.of(arm).filter(|record| record.is_run()).count()
    }

    /// A figure of every run of an arm that counts and has it.
    #[must_use]
    pub fn values(&self, arm: &str, figure: &str) -> Vec<f64> {
        self.of(arm).filter_map(|record| record.figure(figure)).collect()
    }

    /// Their sum; none if there is no such figure.
    #[must_use]
    pub fn sum(&self, arm: &str, figure: &str) -> Option<f64> {
        let values = self.values(arm, figure);
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The middle one, or the mean of the two in the middle.
    #[must_use]
    pub fn median(&self, arm: &str, figure: &str) -> Option<f64> {
        crate::measure::median(&self.values(arm, figure))
    }

    /// The largest.
    #[must_use]
    pub fn max(&self, arm: &str, figure: &str) -> Option<f64> {
        self.values(arm, figure).into_iter().reduce(f64::max)
    }

    /// The smallest.
    #[must_use]
    pub fn min(&self, arm: &str, figure: &str) -> Option<f64> {
        self.values(arm, figure).into_iter().reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, Records};

    #[test]
    fn what_does_not_count_is_in_no_figure() {
        let bitten = |lost: f64| Record::new("a", 0).with("lost", lost).if_bitten(true, "cut");
        let records = [bitten(1.0), bitten(3.0), Record::new("a", 2).with("lost", 100.0).invalid("slipped")];
        let records = Records::from_iter(records);
        assert_eq!((records.count("a"), records.sum("a", "lost")), (2, Some(4.0)));
        assert_eq!((records.median("a", "lost"), records.max("a", "lost")), (Some(2.0), Some(3.0)));
        assert_eq!(records.sum("a", "something else"), None);
        assert_eq!(records.sum("b", "lost"), None);
    }

    #[test]
    fn a_record_survives_being_written() {
        let record = Record::new("a", 3).with("lag_s", 1.5).with("nothing", f64::NAN);
        let record = record.with_series("ecdf", [[1.0, 0.5]]).if_bitten(false, "0 bytes swallowed");
        let text = serde_json::to_string(&record).unwrap();
        assert!(!text.contains("nothing"), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
