//! What guarded views promise, over a history and the truth: all that lives is listed, what is held is what a guard must hold that was told the same, and
//! no set is emptied but by its owners.

use std::collections::BTreeMap;

use registry_core::{DeleteCause, Entry, Held, HeldCause, InstanceId, ServiceName, Snapshot, Status};
use tokio::time::{Duration, Instant};

use super::Violation;
use super::check::violation;
use super::guard_model::{LATE, Model};
use super::guarded::TTL;
use super::history::{File, Record};
use super::truth::Truth;

/// How far a view may lag behind the store: an outage, and what it takes to notice its end.
const LAG: Duration = Duration::from_secs(60);

/// One look at a view.
struct Look<'a> {
    service: &'a ServiceName,
    at: Instant,
    listed: &'a Snapshot,
    held: &'a [(InstanceId, Held)],
    /// How old what is listed is, where it is from disk.
    age: Option<Duration>,
}

impl Look<'_> {
    fn held(&self, id: &InstanceId) -> Option<&Held> {
        self.held.iter().find(|(held, _)| held == id).map(|(_, held)| held)
    }
}

/// I13 of guarded views.
pub(super) fn guarded(records: &[Record], truth: &Truth, found: &mut Vec<Violation>) {
    let mut before: BTreeMap<usize, Look<'_>> = BTreeMap::new();
    let mut models: BTreeMap<usize, Model> = BTreeMap::new();
    for record in records {
        match record {
            Record::Read { view, at, file } => models.entry(*view).or_default().read(file.as_ref(), *at),
            Record::Told { view, at, event } => models.entry(*view).or_default().on(event, *at),
            Record::Released { view, .. } => {
                models.get_mut(view).into_iter().for_each(Model::release);
                // What it had may be gone now.
                before.remove(view);
            }
            Record::Guarded { view, service, at, listed, held, disk_age } => {
                let model = models.entry(*view).or_default();
                let mut what = unlike_its_file(listed.as_ref(), *disk_age, model.must_serve(*at));
                if let Some(listed) = listed {
                    let look = Look { service, at: *at, listed, held, age: *disk_age };
                    what = what
                        .or_else(|| judge(&look, before.get(view), truth))
                        .or_else(|| otherwise(&look, model));
                    before.insert(*view, look);
                }
                found.extend(what.map(|what| {
                    violation("I13 static stability", format!("guarded view {view} of {service}: {what}"))
                }));
            }
            _ => {}
        }
    }
}

/// How a view serves something else than its file, where it must serve that.
fn unlike_its_file(
    listed: Option<&Snapshot>,
    age: Option<Duration>,
    file: Option<(&File, Duration)>,
) -> Option<String> {
    let (File { entries, .. }, true_age) = file?;
    match (listed, age) {
        (Some(listed), Some(age)) if listed.iter().eq(entries) && age == true_age => None,
        _ => {
            Some(format!("it has {listed:?}, {age:?} old, and its file, {true_age:?} old, lists {entries:?}"))
        }
    }
}

/// What is held otherwise than by the rule.
fn otherwise(look: &Look<'_>, model: &mut Model) -> Option<String> {
    let must = model.held(look.at);
    let mut held = look.held.iter().filter(|(_, held)| held.until() > look.at);
    let wrong = held.find(|(id, held)| must.get(id) != Some(&(held.since(), held.cause())));
    let wrong = wrong.map(|(id, held)| format!("{id} is {held:?}, and by the rule {:?}", must.get(id)));
    let mut missing = must.iter().filter(|(id, _)| look.held(id).is_none());
    let wrong = wrong.or_else(|| {
        missing.next().map(|(id, gone)| format!("{id} is not held, and by the rule it is: {gone:?}"))
    });
    model.is_sure(look.at, wrong.is_none()).then_some(wrong)?
}

fn judge(look: &Look<'_>, before: Option<&Look<'_>>, truth: &Truth) -> Option<String> {
    if look.age.is_some() {
        let never = |entry: &&std::sync::Arc<Entry>| {
            !truth.was_listed(look.service, entry.id(), entry.incarnation(), look.at - LAG * 60, look.at)
        };
        return look.listed.iter().find(never).map(|entry| format!("{} was never listed", entry.id()));
    }
    let live = truth.state(look.listed.epoch(), look.service, look.listed.revision());
    if !look.listed.iter().filter(|entry| look.held(entry.id()).is_none()).eq(live.values()) {
        return Some(format!("beside what is held, it lists something else than {live:?}"));
    }
    let wrong = look.held.iter().find_map(|(id, held)| {
        may_be_held(look, id, held, truth).err().map(|why| format!("{id} is held: {why}"))
    });
    // Within less than three TTLs nobody can have been held and given up unseen.
    let lately = |before: &&Look<'_>| look.listed.is_empty() && look.at - before.at < 3 * TTL;
    wrong.or_else(|| before.filter(lately).and_then(|before| emptied(look, before, truth)))
}

fn may_be_held(look: &Look<'_>, id: &InstanceId, held: &Held, truth: &Truth) -> Result<(), String> {
    let entry = look.listed.get(id).ok_or("and not listed")?;
    if held.until() < look.at || held.until() - held.since() > 3 * TTL {
        return Err(format!("for longer than three TTLs: {held:?}"));
    }
    if entry.instance().status() == Status::Draining {
        return Err("it was draining".into());
    }
    let gone = |cause| {
        truth.gone.iter().any(|gone| {
            gone.entry.id() == id
                && gone.entry.instance().service() == look.service
                && gone.entry.incarnation() == entry.incarnation()
                && gone.cause == cause
        })
    };
    match held.cause() {
        HeldCause::Expired if !gone(DeleteCause::Expired) => Err("it never expired".into()),
        HeldCause::Unknown if !gone(DeleteCause::Unknown) => Err("nobody deleted it".into()),
        _ => Ok(()),
    }
}

/// Why a set may not be empty that was not: somebody in it has neither left, nor been held for as long as is allowed.
fn emptied(look: &Look<'_>, before: &Look<'_>, truth: &Truth) -> Option<String> {
    // Of what a file lists nobody is held any more, once it is as old as that.
    if before.age.is_some_and(|age| age + (look.at - before.at) + LATE >= 3 * TTL) {
        return None;
    }
    let lost = |entry: &&std::sync::Arc<Entry>| {
        let id = entry.id();
        let draining = entry.instance().status() == Status::Draining;
        let held_out = before.held(id).is_some_and(|held| held.until() <= look.at);
        // Or in between, where it drained first.
        let left = truth.gone.iter().any(|gone| {
            gone.entry.id() == id
                && gone.entry.instance().service() == look.service
                && gone.at + LAG >= before.at
                && gone.at <= look.at
                && (gone.cause == DeleteCause::Deregistered
                    || gone.entry.instance().status() == Status::Draining)
        });
        !(draining || held_out || left)
    };
    before.listed.iter().find(lost).map(|entry| format!("it is empty, and {} has not left", entry.id()))
}
