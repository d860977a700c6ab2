//! What counts for what.

use std::time::Duration;

use tokio::time::Instant;

use super::{broken, checked, model, variants};
use crate::chaos::backend::Backend;
use crate::chaos::check::{Invariant, Standing, check};
use crate::chaos::excerpt::excerpt;
use crate::chaos::fault::Fault;
use crate::chaos::history::{
    Act, At, Change, Final, Item, Line, Listed, Nemesis, Note, Operation, Outcome, Position, Told, Truth,
    Verb, Viewed,
};
use crate::chaos::verdict::{Verdict, judge};

/// With the least that a witness knows: what is listed in the end.
fn verdict(history: &[Line]) -> Verdict {
    let finals =
        history.iter().filter_map(|line| if let Line::Final(read) = line { Some(read) } else { None });
    let known =
        finals.filter_map(|read| Some((read.position?, &read.listed))).flat_map(|(position, listed)| {
            let known = move |one: &Listed| {
                let revision = one.modified.unwrap_or_default();
                let (position, change) = (Position { revision, ..position }, Change::Put(one.clone()));
                Line::Truth(Truth { position, branch: 0, change, listed: true })
            };
            listed.iter().map(known)
        });
    let witnessed: Vec<Line> = history.iter().cloned().chain(known).collect();
    judge(&witnessed, &checked(history)).0
}

#[test]
fn a_good_history_survives_or_is_degraded_by_gaps_that_were_told() {
    for seed in 0..50 {
        let history = model::play(seed);
        let gap = |line: &Line| matches!(line, Line::Told(told) if matches!(told.item, Item::Reset { gap: Some(_), .. }));
        let expected = if history.iter().any(gap) { Verdict::Degraded } else { Verdict::Survived };
        assert_eq!(verdict(&history), expected, "seed {seed}");
    }
}

#[test]
fn a_fault_that_did_not_bite_or_was_not_healed_says_nothing() {
    let mut history = model::play(1);
    let unhealed: Vec<Line> = history
        .iter()
        .filter(|line| !matches!(line, Line::Nemesis(step) if matches!(step.act, Act::Healed { .. })))
        .cloned()
        .collect();
    assert_eq!(verdict(&unhealed), Verdict::Invalid);
    for line in &mut history {
        if let Line::Nemesis(step) = line
            && let Act::Healed { bitten, .. } = &mut step.act
        {
            *bitten = false;
        }
    }
    assert_eq!(verdict(&history), Verdict::Invalid);
    assert_eq!(judge(&[], &checked(&[])).0, Verdict::Invalid);
}

/// The last one that a watcher was told, which breaks I7.
fn lose_an_event(history: &mut Vec<Line>) {
    let lost = history
        .iter()
        .rposition(|line| matches!(line, Line::Told(told) if told.watcher == "3.0" && matches!(told.item, Item::Changes { .. })))
        .unwrap();
    history.remove(lost);
}

#[test]
fn a_promise_that_is_broken_is_so_whether_or_not_the_fault_bit() {
    let mut history = model::play(1);
    lose_an_event(&mut history);
    for line in &mut history {
        if let Line::Nemesis(step) = line
            && let Act::Healed { bitten, .. } = &mut step.act
        {
            *bitten = false;
        }
    }
    let (verdict, why) = judge(&history, &checked(&history));
    assert_eq!(verdict, Verdict::Violated);
    assert!(why.starts_with("I7") && why.contains("did not bite"), "{why}");
}

#[test]
fn a_witness_that_missed_something_is_unknown_but_where_every_change_has_a_number() {
    let mut history = (0..)
        .map(model::play)
        .find(|history| history.iter().any(|line| matches!(line, Line::Truth(_))))
        .unwrap();
    history.push(Line::Note(Note { at: At(1), what: "truth_gap: compacted".to_owned(), figure: None }));
    let of = |history: &[Line]| judge(history, &checked(history));
    let (verdict, why) = of(&history);
    assert!(verdict == Verdict::Unknown && why.contains("compacted"), "{verdict} {why}");
    // A revision that nobody knows of, and that watchers passed over.
    let Some(Line::Run(run)) = history.first_mut() else { panic!("no run") };
    run.backend = Backend::Redis;
    assert_ne!(of(&history).0, Verdict::Unknown);
    let missed = history
        .iter()
        .find_map(|line| match line {
            Line::Told(Told { at, item: Item::Changes { position: Some(position), .. }, watcher })
                if *at > At(2_000_000) && watcher == "3.0" =>
            {
                Some(*position)
            }
            _ => None,
        })
        .unwrap();
    let of_it = |line: &Line| match line {
        Line::Told(Told { item: Item::Changes { position: Some(position), .. }, .. }) => *position == missed,
        Line::Truth(truth) => truth.position == missed,
        Line::Operation(op) => {
            matches!(op.outcome, Outcome::Ok { revision: Some(revision), .. } if revision == missed.revision)
        }
        _ => false,
    };
    history.retain(|line| !of_it(line));
    for line in &mut history {
        let forget = |listed: &mut Vec<Listed>| listed.retain(|one| one.modified != Some(missed.revision));
        match line {
            Line::Operation(Operation { outcome: Outcome::Ok { listed: Some(listed), .. }, .. })
            | Line::Told(Told { item: Item::Reset { listed, .. }, .. }) => forget(listed),
            Line::Final(read) => forget(&mut read.listed),
            _ => {}
        }
    }
    let (verdict, why) = of(&history);
    assert!(verdict == Verdict::Violated && why.contains("of which nobody knows"), "{verdict} {why}");
}

#[test]
fn without_a_last_read_it_is_down() {
    let mut history = model::play(0);
    history.retain(|line| !matches!(line, Line::Final(_)));
    assert_eq!(verdict(&history), Verdict::Down);
}

#[test]
fn a_checker_that_runs_out_of_time_is_unknown_and_not_good() {
    let history = model::play(0);
    let checked = check(&history, &|| false);
    assert!(!checked.unfinished.is_empty());
    assert_eq!(judge(&history, &checked).0, Verdict::Unknown);
}

#[test]
fn what_the_witness_did_not_see_to_its_end_is_unknown_and_not_good() {
    let is_truth = |line: &Line| matches!(line, Line::Truth(_));
    let mut history = (0..).step_by(5).map(model::play).find(|history| history.iter().any(is_truth)).unwrap();
    let found = checked(&history);
    let of = |history: &[Line]| judge(history, &found).0;
    assert!(matches!(of(&history), Verdict::Survived | Verdict::Degraded));
    let Some(Line::Final(read)) = history.iter().find(|line| matches!(line, Line::Final(_))) else {
        panic!("no read")
    };
    let last = read.listed[0].clone();
    let without = |wanted: &dyn Fn(&Line) -> bool| -> Vec<Line> {
        history.iter().filter(|line| !wanted(line)).cloned().collect()
    };
    let is_last =
        |line: &Line| matches!(line, Line::Truth(truth) if truth.change == Change::Put(last.clone()));
    assert_eq!(of(&without(&is_last)), Verdict::Unknown);
    let unread = without(&is_truth);
    assert_eq!(of(&unread), Verdict::Unknown);
    // What people write has no log.
    assert_ne!(verdict(&variants::naive(unread.clone())), Verdict::Unknown);
    // Nothing listed, and nothing seen.
    history = unread;
    for line in &mut history {
        if let Line::Final(read) = line {
            read.listed.clear();
        }
    }
    assert_eq!(of(&history), Verdict::Unknown);
}

#[test]
fn what_a_wipe_loses_is_allowed_only_where_it_was_never_claimed_and_everybody_was_told() {
    let history = model::play(2);
    let lost = |history: &[Line], standing| {
        checked(history)
            .violations
            .iter()
            .any(|one| one.invariant == Invariant::I10 && one.standing == standing)
    };
    assert!(lost(&history, Standing::Allowed));
    assert_eq!(verdict(&history), Verdict::Degraded);
    let mut claimed = history.clone();
    if let Some(Line::Run(run)) = claimed.first_mut() {
        run.keeps_acknowledged = true;
    }
    assert!(lost(&claimed, Standing::Broken));
    let mut untold = history;
    for line in &mut untold {
        if let Line::Told(told) = line
            && let Item::Reset { gap, .. } = &mut told.item
            && told.watcher == "2.0"
        {
            *gap = None;
        }
    }
    assert!(broken(&untold).contains(&Invariant::I7));
    assert!(lost(&untold, Standing::Broken));
    assert_eq!(verdict(&untold), Verdict::Violated);
}

#[test]
fn what_was_acknowledged_after_all_was_healed_is_lost_to_no_fault() {
    let standing = |history: &[Line], invariant| {
        let found = checked(history).violations;
        found.into_iter().filter(|one| one.invariant == invariant).map(|one| one.standing).collect::<Vec<_>>()
    };
    // The store is wiped at 8 s, and healed at 8.3 s.
    let history = model::play(2);
    let ok = || Outcome::Ok { revision: None, incarnation: None, position: None, listed: None };
    let newest = |after: u64, before: u64| {
        history
            .iter()
            .filter_map(|line| if let Line::Operation(op) = line { Some(op) } else { None })
            .rfind(|op| {
                op.verb == Verb::Register && op.is_ok() && (At(after)..At(before)).contains(&op.returned)
            })
            .unwrap()
            .clone()
    };
    let old_beats = |newer: &Operation, at: At| {
        let mut history = history.clone();
        let incarnation = newer.under().map(|incarnation| incarnation - 1);
        let older = Operation {
            client: "9.1".to_owned(),
            incarnation,
            invoked: At(newer.invoked.0 - 2_000),
            returned: At(newer.invoked.0 - 1_000),
            outcome: Outcome::Ok { revision: None, incarnation, position: None, listed: None },
            value: Some(3_000_000),
            ..newer.clone()
        };
        let late = Operation {
            verb: Verb::Keepalive,
            value: None,
            invoked: at,
            returned: at.plus_ms(1),
            outcome: ok(),
            ..older.clone()
        };
        history.extend([Line::Operation(older), Line::Operation(late)]);
        standing(&history, Invariant::I12)
    };
    // What took its place is lost with the store, and its owner has not come back yet.
    let lost = newest(0, 7_900_000);
    assert_eq!(old_beats(&lost, At(8_010_000)), [Standing::Allowed]);
    // What took its place was registered when all was well again.
    let kept = newest(13_900_000, 17_000_000);
    assert_eq!(old_beats(&kept, kept.returned.plus_ms(100)), [Standing::Broken]);
    // A value that was acknowledged then, and is not there in the end.
    let mut history = history.clone();
    let last = history.iter().rev().find_map(|line| match line {
        Line::Operation(op) if op.verb == Verb::Update && op.is_ok() && op.invoked > At(9_000_000) => {
            Some(op.clone())
        }
        _ => None,
    });
    let last = last.unwrap();
    let before = history.iter().find_map(|line| match line {
        Line::Operation(op) if op.id == last.id && op.is_ok() && op.value.is_some() => op.value,
        _ => None,
    });
    for line in &mut history {
        if let Line::Final(read) = line {
            let of_it = read.listed.iter_mut().filter(|one| Some(&one.id) == last.id.as_ref());
            of_it.for_each(|one| one.value = before.unwrap());
        }
    }
    assert_eq!(standing(&history, Invariant::I11), [Standing::Broken]);
}

#[test]
fn a_lease_that_etcd_ended_although_it_was_renewed_is_allowed_only_where_that_is_said_and_its_log_has_the_end()
 {
    // Everybody is cut off from 7 to 11 s.
    let play = |may_expire_early: bool, in_log: bool| {
        let mut history = model::play(3);
        if let Some(Line::Run(run)) = history.first_mut() {
            run.may_expire_early = may_expire_early;
        }
        let renewal = history.iter().find_map(|line| match line {
            Line::Operation(op)
                if op.verb == Verb::Keepalive
                    && op.is_ok()
                    && op.id.as_deref() == Some("a")
                    && op.invoked > At(11_200_000) =>
            {
                Some(op.clone())
            }
            _ => None,
        });
        let renewal = renewal.unwrap();
        let at = renewal.returned.plus_ms(50);
        let entry = Listed { id: "a".to_owned(), value: 1, incarnation: renewal.under(), modified: None };
        let view = |at, listed| {
            Line::Viewed(Viewed {
                view: "9.9".to_owned(),
                at,
                live: true,
                proven: None,
                listed: Some(listed),
            })
        };
        history.extend([view(At(renewal.invoked.0 - 1), vec![entry]), view(at, Vec::new())]);
        if in_log {
            let position = Position { epoch: 77, revision: 1 };
            let put =
                Listed { id: "a".to_owned(), value: 1, incarnation: renewal.under(), modified: Some(1) };
            let gone = Change::Delete { id: "a".to_owned(), cause: None };
            for (revision, change) in [(1, Change::Put(put)), (2, gone)] {
                history.push(Line::Truth(Truth {
                    position: Position { revision, ..position },
                    branch: 0,
                    change,
                    listed: false,
                }));
            }
        }
        let of_it = |one: &crate::chaos::check::Violation| {
            one.invariant == Invariant::I10 && one.what.starts_with("9.9")
        };
        checked(&history).violations.into_iter().filter(of_it).map(|one| one.standing).collect::<Vec<_>>()
    };
    assert_eq!(play(true, true), [Standing::Allowed]);
    assert_eq!(play(false, true), [Standing::Broken]);
    assert_eq!(play(true, false), [Standing::Broken]);
}

/// Found by redis-cluster under leader-pause, seed 16: a primary that had stood still told a watcher that went on there of a write that no other had, just before it
/// learned that it leads no more.
#[test]
fn who_goes_on_from_where_it_was_into_a_history_that_is_lost_is_told_so_and_that_is_all() {
    let history = branched_while(true);
    let found = checked(&history).violations;
    assert!(found.iter().all(|one| one.standing == Standing::Allowed), "{found:#?}");
    assert!(found.iter().any(|one| one.invariant == Invariant::I5), "{found:#?}");
    let mut untold = history;
    untold.retain(
        |line| !matches!(line, Line::Told(told) if told.watcher == "2.0" && told.at == At(20_620_000)),
    );
    assert_eq!(verdict(&untold), Verdict::Violated);
}

/// A primary dies with a write that nobody else has, and its successor uses the revision again.
pub(super) fn branched() -> Vec<Line> {
    branched_while(false)
}

/// The same, where one who has seen what is lost has just gone on from before it.
fn branched_while(resumed: bool) -> Vec<Line> {
    let mut history = model::play(0);
    let Some(Line::Run(run)) = history.first_mut() else { panic!("no run") };
    (run.keeps_acknowledged, run.faults) = (false, vec![Fault::LeaderKill]);
    let Some(Line::Final(read)) = history.iter().find(|line| matches!(line, Line::Final(_))) else {
        panic!("no read")
    };
    let (old, listed) = (read.position.unwrap(), read.listed.clone());
    let tell = |watcher: &str, at, item| Line::Told(Told { watcher: watcher.to_owned(), at: At(at), item });
    let put = |id: &str| {
        let revision = old.revision + 1;
        let put = Listed { id: id.to_owned(), value: 77, incarnation: Some(7), modified: Some(revision) };
        Item::Changes { position: Some(Position { revision, ..old }), changes: vec![Change::Put(put)] }
    };
    let new = Position { epoch: old.epoch + 1, revision: old.revision + 1 };
    let reset =
        || Item::Reset { position: Some(new), gap: Some("diverged".to_owned()), listed: listed.clone() };
    let strike = |at, act| Line::Nemesis(Nemesis { fault: Fault::LeaderKill, at: At(at), act });
    history.retain(|line| {
        !matches!(line, Line::Told(told) if told.at > At(20_600_000))
            && !matches!(line, Line::Viewed(_) | Line::Truth(_))
    });
    history.push(strike(20_600_000, Act::Strikes));
    if resumed {
        history.push(tell("2.0", 20_600_300, Item::Dropped));
        history.push(tell("2.0", 20_600_500, Item::Started { from: Some(old) }));
    }
    history.push(tell("2.0", 20_601_000, put("x")));
    history.push(strike(20_610_000, Act::Healed { bitten: true, proof: "a probe".to_owned() }));
    history.push(tell("2.1", 20_611_000, put("y")));
    for watcher in ["2.0", "2.1", "3.0", "3.1"] {
        history.push(tell(watcher, 20_620_000, reset()));
    }
    history.push(Line::Final(Final { invoked: At(20_700_000), position: Some(new), listed }));
    history
}

#[test]
fn two_branches_of_a_lost_history_are_allowed_only_if_everybody_was_told() {
    let history = branched();
    let found = checked(&history).violations;
    assert!(found.iter().all(|one| one.standing == Standing::Allowed), "{found:#?}");
    assert!(found.iter().any(|one| one.invariant == Invariant::I4), "{found:#?}");
    assert_eq!(verdict(&history), Verdict::Degraded);
    let mut untold = history;
    untold.retain(
        |line| !matches!(line, Line::Told(told) if told.watcher == "2.0" && told.at == At(20_620_000)),
    );
    assert!(broken(&untold).contains(&Invariant::I7));
    assert_eq!(verdict(&untold), Verdict::Violated);
}

#[test]
fn an_excerpt_has_the_lines_that_show_it_and_what_was_struck() {
    let mut history = model::play(1);
    lose_an_event(&mut history);
    let checked = checked(&history);
    let violation = checked.violations.iter().find(|one| one.invariant == Invariant::I7).unwrap();
    let excerpt = excerpt(&history, violation);
    for index in &violation.lines {
        assert!(excerpt.lines.iter().any(|(line, _)| line == index), "{index} {excerpt:?}");
    }
    assert!(excerpt.lines.len() <= 8, "{excerpt:#?}");
}

#[test]
fn a_long_history_is_checked_in_time() {
    let day = model::play(6);
    // The same day again and again, each in an epoch of its own.
    let mut history: Vec<Line> = Vec::new();
    let lines = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
    let mut days = 0;
    while history.len() < lines {
        history.extend(variants::later(&day, days));
        days += 1;
    }
    let start = Instant::now();
    let checked = check(&history, &|| start.elapsed() < Duration::from_secs(20));
    assert!(checked.unfinished.is_empty(), "{:?}", checked.unfinished);
}

/// Found by redis under client-paused, seed 1: a process that had stood still read an old list just after its own instance was back.
#[test]
fn who_reads_late_of_an_end_has_not_lost_what_was_registered_again() {
    let lost_having_seen = |behind: u64| {
        let mut history = model::play(0);
        let again = history.iter().find_map(|line| match line {
            Line::Operation(op) if op.verb == Verb::Register && op.is_ok() => Some(op.clone()),
            _ => None,
        });
        let again = again.unwrap();
        let (id, value) = (again.id.clone().unwrap(), again.value.unwrap() - behind);
        let seen = Listed { id, value, incarnation: again.under(), modified: None };
        let view = |ms, listed| {
            let at = again.returned.plus_ms(ms);
            Line::Viewed(Viewed {
                view: "9.9".to_owned(),
                at,
                live: true,
                proven: None,
                listed: Some(listed),
            })
        };
        history.extend([view(1, vec![seen]), view(2, Vec::new())]);
        broken(&history).contains(&Invariant::I10)
    };
    assert!(lost_having_seen(0));
    assert!(!lost_having_seen(1));
}
