//! What lookups, views and the final list show, spoilt.

use super::*;

pub(super) fn short_view(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let view = if random.bool() { "2.7" } else { "3.7" };
    let shown = history.iter_mut().filter_map(|line| match line {
        Line::Viewed(viewed) if viewed.view == view && viewed.at > At(18_500_000) => viewed.listed.as_mut(),
        _ => None,
    });
    let mut planted = None;
    for listed in shown {
        planted = listed.pop();
    }
    planted.map(drop)
}

/// E and f die for good.
pub(super) fn ghost_lookup(history: &mut [Line], _: &mut Rng) -> Option<()> {
    let (dead, at) = ends(history).into_iter().find(|(listed, _)| listed.id == "e")?;
    let mut planted = None;
    for op in history.iter_mut().filter_map(operation_mut).filter(|op| op.invoked > at.plus_ms(1_200)) {
        if let Outcome::Ok { listed: Some(listed), .. } = &mut op.outcome {
            listed.push(dead.clone());
            planted = Some(());
        }
    }
    planted
}

pub(super) fn short(history: &mut [Line], random: &mut Rng, after: At) -> Option<()> {
    let lookups = all(history, |line| {
        operation(line).is_some_and(|op| {
            // A and b are always there.
            op.invoked > after
                && matches!(&op.outcome, Outcome::Ok { listed: Some(listed), .. } if listed.iter().any(|listed| listed.id == "a"))
        })
    });
    let op = operation_mut(&mut history[choose(lookups, random)?])?;
    let Outcome::Ok { listed: Some(listed), .. } = &mut op.outcome else { return None };
    listed.retain(|listed| listed.id != "a");
    Some(())
}

/// Everybody is healed by then and renews again, and what was lost must be back.
pub(super) fn short_lookup(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    short(history, random, At(16_500_000))
}

/// Where loss is allowed once something was struck, before that.
pub(super) fn short_lookup_early(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let lookups = all(history, |line| {
        operation(line).is_some_and(|op| {
            op.verb == Verb::Lookup && At(2_000_000) < op.invoked && op.invoked < At(6_900_000)
        })
    });
    let op = operation_mut(&mut history[choose(lookups, random)?])?;
    let Outcome::Ok { listed: Some(listed), .. } = &mut op.outcome else { return None };
    listed.retain(|listed| listed.id != "a");
    Some(())
}

pub(super) fn loses(history: &[Line]) -> bool {
    let struck = history.iter().any(|line| matches!(line, Line::Nemesis(_)));
    struck && matches!(history.first(), Some(Line::Run(run)) if !run.keeps_acknowledged)
}

pub(super) fn final_list(history: &mut [Line]) -> Option<&mut Vec<Listed>> {
    history
        .iter_mut()
        .find_map(|line| if let Line::Final(read) = line { Some(&mut read.listed) } else { None })
}

/// Its owner says to the end that it is registered. Where writes may be lost, that is all there is to tell it by.
pub(super) fn short_final(history: &mut Vec<Line>) -> Option<()> {
    final_list(history)?.retain(|listed| listed.id != "a");
    Some(())
}

pub(super) fn short_final_kept(history: &mut Vec<Line>) -> Option<()> {
    let loses = loses(history);
    short_final(history).filter(|()| !loses)
}

/// It has gone for good, and the view lists it long after, and says that it is live.
pub(super) fn ghost_view(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let (dead, at) = ends(history).into_iter().find(|(listed, _)| listed.id == "e")?;
    let mut planted = None;
    for line in history.iter_mut() {
        if let Line::Viewed(viewed) = line
            && viewed.view == "2.7"
            && viewed.live
            && viewed.at > at.plus_ms(1_200)
            && let Some(listed) = &mut viewed.listed
        {
            listed.push(dead.clone());
            planted = Some(());
        }
    }
    planted
}

/// What a view does that clears its list before it loads another one: for a moment it is stale and empty, and soon it has what it had, which never went.
pub(super) fn emptied_before_live(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    history.iter().find(|line| matches!(line, Line::Truth(_)))?;
    let turns = |view: &str| {
        let of_it = |index: &usize| matches!(&history[*index], Line::Viewed(viewed) if viewed.view == view);
        let lines: Vec<usize> = (0..history.len()).filter(of_it).collect();
        let is_live = |index: usize| matches!(&history[index], Line::Viewed(viewed) if viewed.live);
        lines.windows(2).rev().find(|pair| !is_live(pair[0]) && is_live(pair[1])).map(|pair| pair[1])
    };
    let live = ["2.7", "3.7"].into_iter().find_map(turns)?;
    let Line::Viewed(back) = history[live].clone() else { return None };
    // What it has had all the time.
    let mut had = Viewed { live: false, at: At(back.at.0 - 30_000), ..back.clone() };
    had.listed.as_mut()?.retain(|listed| listed.id == "a" || listed.id == "b");
    (had.listed.as_ref()?.len() == 2).then_some(())?;
    let empty = Viewed { at: At(back.at.0 - 20_000), listed: Some(Vec::new()), ..had.clone() };
    history.splice(live..live, [Line::Viewed(had), Line::Viewed(empty)]);
    Some(())
}

pub(super) fn older_final(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let writes = |op: &&Operation| {
        op.id.as_deref() == Some("b")
            && matches!(op.verb, Verb::Register | Verb::Update)
            && matches!(op.outcome, Outcome::Ok { .. })
    };
    let first = history.iter().filter_map(operation).find(writes)?.value?;
    let loses = loses(history);
    let listed = final_list(history)?.iter_mut().find(|listed| listed.id == "b")?;
    let changed = listed.value != first;
    listed.value = first;
    (changed && !loses).then_some(())
}

pub(super) fn in_outage(history: &mut [Line], random: &mut Rng, plant: impl Fn(&mut Viewed)) -> Option<()> {
    let from = At(9_000_000 + random.u64(0..1_000_000));
    let mut planted = None;
    for line in history {
        if let Line::Viewed(viewed) = line
            && viewed.view == "2.7"
            && !viewed.live
            && viewed.at > from
        {
            planted = Some(())
                .filter(|()| viewed.listed.as_ref().is_some_and(|listed| !listed.is_empty()))
                .or(planted);
            plant(viewed);
        }
    }
    planted
}

pub(super) fn unproven(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let live = all(
        history,
        |line| matches!(line, Line::Viewed(viewed) if viewed.live && viewed.at > At(15_000_000)),
    );
    let index = choose(live, random)?;
    let Line::Viewed(viewed) = &mut history[index] else { return None };
    viewed.proven = Some(At(viewed.at.0 - 14_500_000));
    Some(())
}

pub(super) fn grow(history: &mut Vec<Line>, _: &mut Rng) -> Option<()> {
    let mut planted = None;
    for line in history {
        if let Line::Note(note) = line
            && At(3_500_000) < note.at
            && note.at < At(6_500_000)
        {
            note.figure = note.figure.map(|figure| figure + note.at.0 as f64 / 10.0);
            planted = Some(());
        }
    }
    planted
}

/// Answers and lists say of two writes, one after the other, the revision of the other one; watchers were told the right ones.
pub(super) fn swapped_revisions(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let revision = |op: &Operation| match (op.verb, &op.outcome) {
        (Verb::Register | Verb::Update, Outcome::Ok { revision: Some(revision), .. }) => Some(*revision),
        _ => None,
    };
    let loses = loses(history);
    let updates = all(history, |line| {
        operation(line).is_some_and(|op| op.verb == Verb::Update && revision(op).is_some())
    });
    let later = choose(updates, random)?;
    let op = operation(&history[later])?.clone();
    let now = revision(&op)?;
    let is_before = |index: &usize| {
        operation(&history[*index]).is_some_and(|other| {
            other.returned < op.invoked && other.id != op.id && revision(other).is_some_and(|then| then < now)
        })
    };
    let before = choose((0..history.len()).filter(is_before).collect(), random)?;
    let then = revision(operation(&history[before])?)?;
    let swapped = |revision: u64| match revision {
        _ if revision == now => then,
        _ if revision == then => now,
        other => other,
    };
    let spoil = |listed: &mut Listed| listed.modified = listed.modified.map(swapped);
    for line in history.iter_mut() {
        match line {
            Line::Operation(Operation { outcome: Outcome::Ok { revision, listed, .. }, .. }) => {
                *revision = revision.map(swapped);
                listed.iter_mut().flatten().for_each(spoil);
            }
            Line::Final(read) => read.listed.iter_mut().for_each(spoil),
            _ => {}
        }
    }
    (!loses).then_some(())
}

pub(super) fn old_lookup(history: &mut Vec<Line>, random: &mut Rng) -> Option<()> {
    let loses = loses(history);
    let mut past: Option<(Position, Outcome)> = None;
    let mut later = Vec::new();
    for (index, op) in history.iter().enumerate().filter_map(|(index, line)| Some((index, operation(line)?)))
    {
        if let Outcome::Ok { position: Some(position), .. } = op.outcome {
            let (then, _) = past.get_or_insert((position, op.outcome.clone()));
            if then.epoch == position.epoch && then.revision < position.revision {
                later.push(index);
            }
        }
    }
    operation_mut(&mut history[choose(later, random)?])?.outcome = past?.1;
    (!loses).then_some(())
}
