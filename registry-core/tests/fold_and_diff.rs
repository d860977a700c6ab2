//! Folding and differences, against the plainest thing that could be right.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use registry_core::{
    Batch, Change, Cursor, DeleteCause, Difference, Entry, Epoch, Folded, Incarnation, Instance, InstanceId,
    ResetCause, Revision, ServiceName, Snapshot, WatchEvent, diff, fold,
};

fn service() -> ServiceName {
    ServiceName::new("user.rpc").unwrap()
}

fn cursor(revision: u64) -> Cursor {
    Cursor::new(Epoch::new(1), Revision::new(revision), 0)
}

fn entry(id: u16, weight: u32, revision: u64) -> Arc<Entry> {
    let instance =
        Instance::builder(service()).id(format!("i{id}")).endpoint("h:1").weight(weight).build().unwrap();
    Arc::new(Entry::new(instance, Incarnation::new(1), Revision::new(revision), Revision::new(revision)))
}

/// A change of one instance: put with a weight, or gone.
fn changes() -> impl Strategy<Value = Vec<(u16, Option<u32>)>> {
    prop::collection::vec((0_u16..200, prop::option::of(0_u32..3)), 0..400)
}

fn batch(revision: u64, id: u16, put: Option<u32>) -> Batch {
    let change = match put {
        Some(weight) => Change::Put(entry(id, weight, revision)),
        None => {
            Change::Delete { id: InstanceId::new(format!("i{id}")).unwrap(), cause: DeleteCause::Expired }
        }
    };
    Batch { cursor: cursor(revision), changes: vec![change] }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folding_gives_what_a_plain_map_gives(changes in changes()) {
        let mut view = Some(Snapshot::new(service(), cursor(0), []));
        let mut plain = BTreeMap::new();
        for (at, (id, put)) in changes.into_iter().enumerate() {
            let revision = at as u64 + 1;
            let event = WatchEvent::Changes(batch(revision, id, put));
            prop_assert_eq!(fold(&mut view, &event), Folded::Changed);
            match put {
                Some(weight) => drop(plain.insert(format!("i{id}"), weight)),
                None => drop(plain.remove(&format!("i{id}"))),
            }
        }
        let view = view.unwrap();
        let listed: BTreeMap<_, _> =
            view.instances().map(|i| (i.id().to_string(), i.weight().get())).collect();
        prop_assert_eq!(listed, plain);
    }

    #[test]
    fn applying_the_differences_to_the_old_gives_the_new(first in changes(), second in changes()) {
        let mut view = Some(Snapshot::new(service(), cursor(0), []));
        let mut revision = 0;
        let mut play = |view: &mut Option<Snapshot>, changes: Vec<(u16, Option<u32>)>| {
            for (id, put) in changes {
                revision += 1;
                fold(view, &WatchEvent::Changes(batch(revision, id, put)));
            }
        };
        play(&mut view, first);
        let old = view.clone().unwrap();
        play(&mut view, second);
        let new = view.unwrap();
        let mut map: BTreeMap<_, _> = old.iter().map(|e| (e.id().clone(), Arc::clone(e))).collect();
        let mut ids = Vec::new();
        for difference in diff(Some(&old), &new) {
            ids.push(difference.id().clone());
            match difference {
                Difference::Added(e) => prop_assert!(map.insert(e.id().clone(), e).is_none()),
                Difference::Removed(e) => prop_assert_eq!(map.remove(e.id()), Some(e)),
                Difference::Changed { old, new } => {
                    prop_assert_ne!(&old, &new);
                    prop_assert_eq!(map.insert(new.id().clone(), new), Some(old));
                }
                other => panic!("{other:?}"),
            }
        }
        prop_assert!(ids.is_sorted(), "differences come in the order of ids");
        prop_assert!(map.into_values().eq(new.iter().cloned()));
    }
}

#[test]
fn a_change_of_weight_or_metadata_alone_is_a_difference() {
    let old = Snapshot::new(service(), cursor(1), [entry(1, 5, 1)]);
    let new = Snapshot::new(service(), cursor(2), [entry(1, 6, 1)]);
    assert!(matches!(&diff(Some(&old), &new)[..], [Difference::Changed { .. }]));
    assert!(diff(Some(&new), &new.clone()).is_empty());
    assert!(matches!(&diff(None, &new)[..], [Difference::Added(_)]));
}

#[test]
fn events_that_contradict_the_view_change_nothing() {
    let mut view = None;
    assert_eq!(fold(&mut view, &WatchEvent::Changes(batch(1, 1, Some(1)))), Folded::Refused);
    assert_eq!(fold(&mut view, &WatchEvent::Progress { cursor: cursor(1) }), Folded::Refused);
    let reset = |revision| WatchEvent::Reset {
        snapshot: Snapshot::new(service(), cursor(revision), [entry(1, 1, 1)]),
        cause: ResetCause::Unknown,
    };
    assert_eq!(fold(&mut view, &reset(5)), Folded::Changed);
    let before = view.clone();
    assert_eq!(fold(&mut view, &reset(4)), Folded::Refused, "an older list over a newer one");
    assert_eq!(fold(&mut view, &WatchEvent::Changes(batch(5, 1, None))), Folded::Refused, "twice");
    let other_epoch = Cursor::new(Epoch::new(2), Revision::new(9), 0);
    assert_eq!(fold(&mut view, &WatchEvent::Live { cursor: other_epoch }), Folded::Refused);
    assert_eq!(view, before);
}
