//! Lines of a history as people read them.

use super::super::format;
use crate::chaos::history::{Act, At, Change, Item, Line, Listed, Operation, Outcome, Position, Step, Verb};

/// A line of a history in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// When: seconds since the strike, `+1.234 s`; none of what has no time.
    pub(super) when: Option<String>,
    /// Who.
    pub(super) who: String,
    /// What.
    pub(super) what: String,
}

/// A line in words; times count from `zero`.
pub(super) fn said(line: &Line, zero: At) -> Said {
    let some =
        |at: At, who: &str, what: String| Said { when: Some(since(at, zero)), who: who.to_owned(), what };
    match line {
        Line::Operation(op) => some(op.invoked, &format!("client {}", op.client), asked(op)),
        Line::Told(told) => some(told.at, &format!("watcher {}", told.watcher), item(&told.item)),
        Line::Viewed(viewed) => {
            let live = if viewed.live { "shows, as current," } else { "shows, marked as stale," };
            let listed = viewed.listed.as_deref().map_or("nothing yet".to_owned(), list);
            some(viewed.at, &format!("view {}", viewed.view), format!("{live} {listed}"))
        }
        Line::Owner(owner) => {
            some(owner.at, &format!("owner {}", owner.owner), format!("of {} {}", owner.id, step(owner.step)))
        }
        Line::Nemesis(nemesis) => {
            let what = match &nemesis.act {
                Act::Strikes => "begins to strike".to_owned(),
                Act::Struck { what } => format!("is in place: {what}"),
                Act::Heals => "begins to be healed".to_owned(),
                Act::Healed { proof, .. } => format!("is healed; {proof}"),
            };
            some(nemesis.at, nemesis.fault.id(), what)
        }
        Line::Truth(truth) => Said {
            when: None,
            who: "the store".to_owned(),
            what: format!("says that at {} {}", position(truth.position), change(&truth.change)),
        },
        Line::Final(read) => {
            let at = read.position.map_or(String::new(), |at| format!(" at {}", position(at)));
            some(read.invoked, "last read", format!("lists{at} {}", list(&read.listed)))
        }
        Line::Note(note) => {
            let figure = note.figure.map_or(String::new(), |figure| format!(" {}", format::count(figure)));
            some(note.at, "note", format!("{}{figure}", note.what))
        }
        Line::Run(run) => Said {
            when: None,
            who: "the run".to_owned(),
            what: format!("{} with a TTL of {} ms", run.backend, run.ttl_ms),
        },
    }
}

/// Seconds since `zero`, with a sign.
pub(super) fn since(at: At, zero: At) -> String {
    let (sign, micros) = if at >= zero { ("+", at.0 - zero.0) } else { ("−", zero.0 - at.0) };
    format!("{sign}{}.{:03} s", micros / 1_000_000, micros / 1_000 % 1_000)
}

/// A text with the times that are told in it, `at 15.031 s`, counted from `zero`.
pub(super) fn counted_from(text: &str, zero: At) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text.split(' ').peekable();
    while let Some(word) = rest.next() {
        let is_after =
            words.last().is_some_and(|before| ["at", "by", "from", "to", "until"].contains(&before.as_str()));
        let is_second = rest.peek().is_some_and(|next| next.trim_end_matches([',', '.', ';', ':']) == "s");
        match time(word).filter(|_| is_after && is_second) {
            Some(at) => words.push(since(at, zero).trim_end_matches(" s").to_owned()),
            None => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

/// The time that `At` writes as `15.031`.
fn time(word: &str) -> Option<At> {
    let (seconds, thousandths) = word.split_once('.').filter(|(_, digits)| digits.len() == 3)?;
    let (seconds, thousandths): (u64, u64) = (seconds.parse().ok()?, thousandths.parse().ok()?);
    Some(At(seconds.checked_mul(1_000_000)?.checked_add(thousandths * 1_000)?))
}

fn asked(op: &Operation) -> String {
    let verb = match op.verb {
        Verb::Register => "registers",
        Verb::Keepalive => "renews",
        Verb::Update => "updates",
        Verb::Deregister => "deregisters",
        Verb::Lookup => "looks up",
    };
    let mut text = verb.to_owned();
    if let Some(id) = &op.id {
        text.push_str(&format!(" {id}"));
    }
    if let Some(value) = op.value {
        text.push_str(&format!(" with value {value}"));
    }
    if let Some(incarnation) = op.incarnation {
        text.push_str(&format!(" as incarnation {incarnation}"));
    }
    let after = format::micros(op.returned.0.saturating_sub(op.invoked.0) as f64);
    let outcome = match &op.outcome {
        Outcome::Ok { revision, incarnation, position: at, listed } => {
            let mut parts = vec![format!("done after {after}")];
            parts.extend(revision.map(|revision| format!("at revision {revision}")));
            parts.extend(incarnation.map(|incarnation| format!("incarnation {incarnation}")));
            parts.extend(at.map(|at| format!("at {}", position(at))));
            parts.extend(listed.as_deref().map(list));
            parts.join(", ")
        }
        Outcome::Failed { kind } => format!("refused after {after}: {kind}"),
        Outcome::Unknown { kind } => format!("nobody knows, after {after}: {kind}"),
    };
    format!("{text}: {outcome}")
}

fn item(item: &Item) -> String {
    let at = |at: &Option<Position>| at.map_or(String::new(), |at| format!(" at {}", position(at)));
    match item {
        Item::Started { from: Some(from) } => format!("starts to watch from {}", position(*from)),
        Item::Started { from: None } => "starts to watch".to_owned(),
        Item::Reset { position, gap, listed } => {
            let why = gap.as_ref().map_or("no gap told".to_owned(), |gap| format!("a gap is told: {gap}"));
            format!("is told all instances anew{} ({why}): {}", at(position), list(listed))
        }
        Item::Changes { position, changes } => {
            let changes: Vec<String> = changes.iter().map(change).collect();
            format!("is told{}: {}", at(position), changes.join("; "))
        }
        Item::Progress { position: at } => format!("is told that nothing changed up to {}", position(*at)),
        Item::Live { position } => format!("is told that it is current{}", at(position)),
        Item::Stale { error } => format!("is told that it is stale: {error}"),
        Item::StopsReading => "stops reading".to_owned(),
        Item::ReadsAgain => "reads again".to_owned(),
        Item::Dropped => "drops its watch".to_owned(),
        Item::Ended => "is told the end of the stream".to_owned(),
    }
}

fn change(change: &Change) -> String {
    match change {
        Change::Put(listed) => format!("{} is there", one(listed)),
        Change::Delete { id, cause } => {
            let cause = cause.as_ref().map_or(String::new(), |cause| format!(", {cause}"));
            format!("{id} is gone{cause}")
        }
    }
}

fn list(listed: &[Listed]) -> String {
    match listed {
        [] => "nobody".to_owned(),
        some => some.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

fn one(listed: &Listed) -> String {
    let incarnation = listed.incarnation.map_or(String::new(), |number| format!(", incarnation {number}"));
    let modified = listed.modified.map_or(String::new(), |revision| format!(", of revision {revision}"));
    format!("{} (value {}{incarnation}{modified})", listed.id, listed.value)
}

/// Epochs are long and mean nothing to people; their end tells them apart.
fn position(position: Position) -> String {
    format!("revision {} of epoch …{:04x}", position.revision, position.epoch & 0xffff)
}

fn step(step: Step) -> &'static str {
    match step {
        Step::Starts => "starts: from now on it means to be listed",
        Step::Registered => "is registered",
        Step::Recovering => "has lost its place, and tries to come back",
        Step::Fenced => "is told that somebody newer has the id",
        Step::Leaves => "asks to leave",
        Step::Left => "was told that it has left",
        Step::Crashes => "dies without a word",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::history::Told;

    #[test]
    fn times_count_from_the_strike() {
        assert_eq!(since(At(5_250_000), At(4_000_000)), "+1.250 s");
        assert_eq!(since(At(3_999_000), At(4_000_000)), "−0.001 s");
    }

    #[test]
    fn times_within_a_text_count_from_the_strike_too() {
        let text = "2.26 lists writer-2 at 15.031 s, although it was due by 3.000 s";
        let told = counted_from(text, At(4_000_000));
        assert_eq!(told, "2.26 lists writer-2 at +11.031 s, although it was due by −1.000 s");
        assert_eq!(counted_from("lost by 1.26 at 12", At(0)), "lost by 1.26 at 12");
    }

    #[test]
    fn a_line_says_who_did_what_and_what_came_of_it() {
        let update = Line::Operation(Operation {
            client: "0.21".to_owned(),
            verb: Verb::Update,
            id: Some("writer-4".to_owned()),
            incarnation: Some(3),
            value: Some(7),
            invoked: At(4_500_000),
            returned: At(4_502_000),
            outcome: Outcome::Ok { revision: Some(12), incarnation: None, position: None, listed: None },
        });
        let said = said(&update, At(4_000_000));
        assert_eq!((said.when.as_deref(), said.who.as_str()), (Some("+0.500 s"), "client 0.21"));
        assert_eq!(
            said.what,
            "updates writer-4 with value 7 as incarnation 3: done after 2 ms, at revision 12"
        );
    }

    #[test]
    fn a_gap_is_told_as_one_and_a_list_without_one_says_so() {
        let reset = |gap: Option<&str>| {
            let item = Item::Reset { position: None, gap: gap.map(str::to_owned), listed: Vec::new() };
            said(&Line::Told(Told { watcher: "0.24".to_owned(), at: At(0), item }), At(0)).what
        };
        assert_eq!(reset(None), "is told all instances anew (no gap told): nobody");
        assert_eq!(reset(Some("compacted")), "is told all instances anew (a gap is told: compacted): nobody");
    }
}
