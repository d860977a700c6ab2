//! What the suite has found that was the checkers' own, each as a history.

use super::rules::branched;
use super::{broken, checked, model};
use crate::chaos::check::{Invariant, Standing};
use crate::chaos::history::{At, Change, Item, Line, Operation, Outcome, Told, Verb};

/// Found by the first matrix of all cells: an epoch that begins with a list is known from there on, and not what came before.
#[test]
fn between_a_list_and_what_is_read_after_it_the_log_has_a_gap() {
    let gap_in_the_log = |listed: bool| {
        let mut history = (0..)
            .map(model::play)
            .find(|history| history.iter().filter(|line| matches!(line, Line::Truth(_))).count() > 20);
        let history = history.as_mut().unwrap();
        let truths: Vec<usize> =
            (0..history.len()).filter(|index| matches!(history[*index], Line::Truth(_))).collect();
        let is_put = |index: usize| matches!(&history[index], Line::Truth(truth) if matches!(truth.change, Change::Put(_)));
        let missing = *truths[10..].iter().find(|index| is_put(**index)).unwrap();
        let next = *truths.iter().find(|index| **index > missing).unwrap();
        if let Line::Truth(truth) = &mut history[next] {
            truth.listed = listed;
        }
        history.remove(missing);
        broken(history).contains(&Invariant::I4)
    };
    assert!(gap_in_the_log(false), "what a log lacks did not happen");
    assert!(!gap_in_the_log(true));
}

/// Found by the same: what a primary acknowledged that was about to go is not of the epoch of its successor, where nobody is told of it.
#[test]
fn what_was_acknowledged_while_a_history_was_lost_is_not_asked_for_in_the_next_one() {
    let missed = |acknowledged: At| {
        // Emptied at 8 s.
        let mut history = model::play(2);
        history.retain(|line| !matches!(line, Line::Truth(_)));
        let again = history.iter().find_map(|line| match line {
            Line::Operation(op) if op.verb == Verb::Register && op.is_ok() && op.invoked > At(8_400_000) => {
                Some(op.clone())
            }
            _ => None,
        });
        let again = again.unwrap();
        let Outcome::Ok { revision: Some(revision), .. } = again.outcome else { panic!("{again:?}") };
        let outcome =
            Outcome::Ok { revision: Some(revision + 1), incarnation: None, position: None, listed: None };
        let update = Operation {
            verb: Verb::Update,
            incarnation: again.under(),
            value: Some(999_999),
            invoked: acknowledged,
            returned: acknowledged.plus_ms(5),
            outcome,
            ..again
        };
        history.push(Line::Operation(update));
        broken(&history).contains(&Invariant::I7)
    };
    assert!(missed(At(12_000_000)), "an update that nobody is told of is a silent loss");
    assert!(!missed(At(8_050_000)));
}

/// Found by etcd-cluster: who is told that it is stale, and then stops reading, is not told so again.
#[test]
fn who_stops_reading_stays_as_stale_as_it_was_told() {
    let silent = |stale: bool| {
        let mut history = model::play(0);
        let list = history.iter().find_map(|line| match line {
            Line::Told(told) if matches!(told.item, Item::Reset { .. }) => Some(told.item.clone()),
            _ => None,
        });
        let tell = |at, item| Line::Told(Told { watcher: "9.1".to_owned(), at: At(at), item });
        history.extend([tell(60_000, Item::Started { from: None }), tell(61_000, list.unwrap())]);
        if stale {
            history.push(tell(62_000, Item::Stale { error: "unavailable".to_owned() }));
        }
        history.extend([tell(1_000_000, Item::StopsReading), tell(2_000_000, Item::ReadsAgain)]);
        broken(&history).contains(&Invariant::I15)
    };
    assert!(silent(false));
    assert!(!silent(true));
}

/// Found by lossy fail-overs: what one watcher alone was told, of a history that was lost, and said to be, breaks no promise.
#[test]
fn what_one_alone_was_told_counts_for_as_much_as_the_history_that_it_is_of() {
    let mut history = branched();
    let other =
        |line: &Line| matches!(line, Line::Told(told) if told.watcher == "2.1" && told.at == At(20_611_000));
    let index = history.iter().position(other).unwrap();
    let Line::Told(told) = history[index].clone() else { panic!("no change") };
    for watcher in ["3.0", "3.1"] {
        history.insert(index, Line::Told(Told { watcher: watcher.to_owned(), ..told.clone() }));
    }
    let found = checked(&history).violations;
    assert!(found.iter().any(|one| one.what.contains("to one watcher only")), "{found:#?}");
    assert!(found.iter().all(|one| one.standing == Standing::Allowed), "{found:#?}");
}
