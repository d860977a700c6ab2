use proptest::prelude::*;

use super::*;
use crate::{Cursor, Epoch, Incarnation, Instance, Revision, ServiceName, Ttl};

const TTL: Duration = Duration::from_secs(10);

/// A guard, what the registry lists, and the time.
struct Scene {
    guard: Guard,
    live: Snapshot,
    now: Instant,
}

fn entry(id: u32, status: Status, revision: Revision) -> Arc<Entry> {
    let instance = Instance::builder("user.rpc").id(format!("i{id:03}")).endpoint("10.0.0.1:80");
    let instance = instance.status(status).build().unwrap();
    Arc::new(Entry::new(instance, Incarnation::new(1), revision, revision))
}

fn id(id: u32) -> InstanceId {
    InstanceId::new(format!("i{id:03}")).unwrap()
}

fn list(revision: u64, entries: impl IntoIterator<Item = (u32, Status)>) -> Snapshot {
    let cursor = Cursor::new(Epoch::new(1), Revision::new(revision), 0);
    let entries = entries.into_iter().map(|(id, status)| entry(id, status, Revision::new(revision)));
    Snapshot::new(ServiceName::new("user.rpc").unwrap(), cursor, entries)
}

fn up(ids: impl IntoIterator<Item = u32>) -> impl Iterator<Item = (u32, Status)> {
    ids.into_iter().map(|id| (id, Status::Up))
}

impl Scene {
    fn new(options: GuardOptions, first: impl IntoIterator<Item = (u32, Status)>) -> Self {
        let live = list(1, first);
        Self { guard: Guard::new(options, live.clone()), live, now: Instant::now() }
    }

    fn of(count: u32) -> Self {
        Self::new(GuardOptions::new().with_share(0.3), up(0..count))
    }

    fn pass(&mut self, time: Duration) -> usize {
        self.now += time;
        self.guard.expire(self.now)
    }

    fn event(&mut self, event: &WatchEvent) -> Ruling {
        let mut live = Some(self.live.clone());
        assert_eq!(crate::fold(&mut live, event), crate::Folded::Changed);
        self.live = live.unwrap();
        self.guard.on(event, &self.live, self.now)
    }

    fn reset(&mut self, entries: impl IntoIterator<Item = (u32, Status)>) -> Ruling {
        let snapshot = list(self.live.revision().get() + 1, entries);
        self.event(&WatchEvent::Reset { snapshot, cause: ResetCause::Wiped })
    }

    fn changes(&mut self, changes: impl FnOnce(Revision) -> Vec<Change>) -> Ruling {
        let revision = Revision::new(self.live.revision().get() + 1);
        let cursor = Cursor::new(Epoch::new(1), revision, 0);
        self.event(&WatchEvent::Changes(Batch { cursor, changes: changes(revision) }))
    }

    fn delete(&mut self, gone: u32, cause: DeleteCause) -> Ruling {
        self.changes(|_| vec![Change::Delete { id: id(gone), cause }])
    }

    fn put(&mut self, came: u32, status: Status) -> Ruling {
        self.changes(|revision| vec![Change::Put(entry(came, status, revision))])
    }

    fn shown(&self) -> usize {
        self.guard.shown().len()
    }

    /// A sign of life that brings no change.
    fn progress(&mut self) {
        let event = WatchEvent::Progress { cursor: self.live.cursor() };
        assert_eq!(self.guard.on(&event, &self.live, self.now), Ruling::default());
    }

    /// How much is remembered beside what is shown.
    fn remembered(&self) -> (usize, usize) {
        let Guard { due, suspects, vanished, .. } = &self.guard;
        assert_eq!((due.len(), vanished.len()), (self.guard.held().len(), suspects.len()));
        (due.len(), vanished.len())
    }
}

#[test]
fn wipe_upon_wipe_nothing_is_remembered_of_holds_that_are_over() {
    const COUNT: u32 = 2_000;
    let mut scene = Scene::of(COUNT);
    for _ in 0..5 {
        assert_eq!(scene.reset([]).begun, COUNT as usize);
        for back in 0..COUNT {
            scene.put(back, Status::Up);
            assert_eq!(scene.remembered(), ((COUNT - back - 1) as usize, 0));
        }
        assert_eq!(scene.guard.deadline(), None);
        scene.pass(TTL);
    }
}

#[test]
fn who_was_given_up_and_comes_back_had_been_alive_unless_it_is_another_or_long_after() {
    let mut scene = Scene::of(10);
    assert_eq!((scene.reset([]).begun, scene.pass(3 * TTL), scene.guard.given_up.len()), (10, 10, 10));
    scene.pass(TTL);
    assert_eq!(scene.put(0, Status::Up), Ruling { premature: 1, ..Ruling::default() });
    assert_eq!(scene.put(0, Status::Draining), Ruling::default(), "it is there");
    // The id was taken by another process, and then that one was lost.
    let another = |revision| {
        let instance = entry(1, Status::Up, revision).instance().clone();
        vec![Change::Put(Arc::new(Entry::new(instance, Incarnation::new(2), revision, revision)))]
    };
    assert_eq!(scene.changes(another), Ruling::default());
    assert_eq!(scene.put(1, Status::Up), Ruling::default());
    assert_eq!(scene.reset(up(0..5)), Ruling { premature: 3, ..Ruling::default() });
    assert_eq!(scene.guard.given_up.len(), 5);
    scene.pass(29 * TTL);
    assert_eq!(scene.put(5, Status::Up).premature, 1);
    scene.pass(Duration::from_millis(1));
    assert_eq!((scene.put(6, Status::Up).premature, scene.guard.given_up.len()), (0, 0));
}

/// Such as a go-zero server, whose key is configured: the same again after a restart.
#[test]
fn of_those_without_an_incarnation_it_is_not_known_whether_they_had_been_alive() {
    let mut scene = Scene::of(1);
    let foreign = |revision| {
        let instance = entry(0, Status::Up, revision).instance().clone();
        vec![Change::Put(Arc::new(Entry::new(instance, Incarnation::default(), revision, revision)))]
    };
    scene.changes(foreign);
    assert_eq!((scene.reset([]).begun, scene.pass(3 * TTL), scene.guard.given_up.len()), (1, 1, 0));
    assert_eq!(scene.changes(foreign), Ruling::default());
}

#[test]
fn what_vanished_is_forgotten_in_time_also_when_nothing_else_changes() {
    let mut scene = Scene::of(100);
    for gone in 0..10 {
        scene.delete(gone, DeleteCause::Expired);
        scene.put(gone, Status::Up);
        scene.delete(gone, DeleteCause::Expired);
        assert_eq!(scene.remembered(), (0, gone as usize + 1), "once each");
    }
    scene.pass(TTL);
    scene.progress();
    assert_eq!(scene.remembered(), (0, 10));
    scene.pass(Duration::from_millis(1));
    scene.progress();
    assert_eq!(scene.remembered(), (0, 0));
}

#[test]
fn a_reset_that_loses_all_holds_all_until_each_comes_back() {
    let mut scene = Scene::of(100);
    assert_eq!(
        scene.reset([]),
        Ruling { begun: 100, cause: Some(HeldCause::Reset(ResetCause::Wiped)), ..Ruling::default() }
    );
    assert_eq!((scene.shown(), scene.guard.held().len()), (100, 100));
    let held = scene.guard.held().get(&id(7)).unwrap();
    assert_eq!((held.since(), held.until()), (scene.now, scene.now + 3 * TTL));
    assert_eq!(held.cause(), HeldCause::Reset(ResetCause::Wiped));
    for back in 0..100 {
        scene.pass(Duration::from_millis(50));
        assert_eq!(scene.put(back, Status::Up), Ruling { ended: 1, ..Ruling::default() });
        assert_eq!((scene.shown(), scene.guard.held().len()), (100, 99 - back as usize));
        let newer = scene.guard.shown().get(&id(back)).unwrap();
        assert_eq!(newer.modified(), scene.live.revision(), "the entry is the one that came back");
    }
    assert_eq!(scene.guard.deadline(), None);
    assert_eq!(scene.guard.shown(), &scene.live);
}

#[test]
fn what_is_held_is_gone_after_three_ttls_and_not_before() {
    let mut scene = Scene::of(10);
    scene.reset([]);
    assert_eq!(scene.guard.deadline(), Some(scene.now + 3 * TTL));
    assert_eq!(scene.pass(3 * TTL - Duration::from_millis(1)), 0);
    assert_eq!(scene.shown(), 10);
    assert_eq!(scene.pass(Duration::from_millis(1)), 10);
    assert_eq!((scene.shown(), scene.guard.deadline()), (0, None));
}

#[test]
fn a_hold_can_be_made_shorter_and_never_longer_than_three_ttls() {
    let options = GuardOptions::new().with_ttl(Ttl::from_secs(2).unwrap());
    assert_eq!(options.hold_for(), Duration::from_secs(6));
    assert_eq!(options.clone().with_hold_for(Duration::from_secs(4)).hold_for(), Duration::from_secs(4));
    assert_eq!(options.with_hold_for(Duration::MAX).hold_for(), Duration::from_secs(6));
    for (share, counts) in [(0.4, 0.4), (-1.0, 0.0), (7.0, 1.0), (f64::NAN, 0.0)] {
        assert_eq!(GuardOptions::new().with_share(share).share, counts);
    }
}

#[test]
fn up_to_the_share_what_expires_is_gone_and_beyond_it_all_of_it_is_held() {
    let mut scene = Scene::of(100);
    for gone in 0..30 {
        scene.pass(Duration::from_millis(100));
        assert_eq!(scene.delete(gone, DeleteCause::Expired), Ruling::default());
        assert_eq!(scene.shown(), 99 - gone as usize);
    }
    assert_eq!(
        scene.delete(30, DeleteCause::Expired),
        Ruling { begun: 31, cause: Some(HeldCause::Expired), ..Ruling::default() }
    );
    assert_eq!(scene.shown(), 100, "those that went before it was too much are back");
    let first = *scene.guard.held().get(&id(0)).unwrap();
    let last = *scene.guard.held().get(&id(30)).unwrap();
    assert!(first.since() < last.since(), "each since it vanished");
    for gone in 31..90 {
        assert_eq!(scene.delete(gone, DeleteCause::Expired).begun, 1, "and all that follow");
    }
    scene.pass(first.until() - scene.now);
    assert_eq!(scene.shown(), 99, "one by one, as they vanished");
    scene.pass(3 * TTL);
    assert_eq!(scene.guard.shown(), &scene.live);
}

#[test]
fn what_vanishes_slowly_is_not_held() {
    let mut scene = Scene::of(100);
    for gone in 0..99 {
        scene.pass(TTL + Duration::from_millis(1));
        // Of three, one is more than three tenths.
        assert_eq!(scene.delete(gone, DeleteCause::Expired).begun, usize::from(gone > 96), "{gone}");
    }
}

#[test]
fn what_a_backend_ends_one_after_the_other_for_longer_than_a_ttl_counts_together() {
    let mut scene = Scene::new(GuardOptions::new(), up(0..1_000));
    for gone in 0..500 {
        scene.pass(TTL / 200);
        assert_eq!(
            scene.delete(gone, DeleteCause::Expired),
            Ruling::default(),
            "half of them is not more than half"
        );
    }
    // Within a TTL there were no more than 200.
    scene.pass(TTL / 200);
    assert_eq!(
        scene.delete(500, DeleteCause::Expired),
        Ruling { begun: 501, cause: Some(HeldCause::Expired), ..Ruling::default() }
    );
    assert_eq!(scene.shown(), 1_000);
    for gone in 501..900 {
        scene.pass(TTL / 200);
        scene.delete(gone, DeleteCause::Expired);
    }
    assert_eq!(scene.live.len(), 100);
    assert_eq!((scene.guard.held().len(), scene.shown()), (600, 700), "nobody for longer than three TTLs");
}

#[test]
fn a_few_that_die_all_the_time_and_are_replaced_are_not_held() {
    let mut scene = Scene::of(30);
    for gone in 0..300 {
        scene.pass(TTL / 3);
        assert_eq!(scene.delete(gone % 900, DeleteCause::Expired), Ruling::default(), "{gone}");
        scene.put(gone % 900 + 30, Status::Up);
    }
    assert!(scene.remembered().1 <= 10);
}

#[test]
fn what_was_read_from_disk_is_held_no_longer_than_its_age_leaves() {
    let guard = |age, served| {
        let mut scene = Scene::of(10);
        scene.guard =
            Guard::of_file(GuardOptions::new(), scene.live.clone(), File { age, read: scene.now, served });
        scene
    };
    let mut scene = guard(TTL, false);
    scene.pass(TTL);
    scene.progress();
    assert_eq!(scene.reset(up(0..2)).begun, 8);
    assert_eq!(scene.guard.deadline(), Some(scene.now + TTL));
    let held = scene.guard.held().get(&id(7)).unwrap();
    assert_eq!((held.since(), held.until() - held.since()), (scene.now - 2 * TTL, 3 * TTL));
    assert_eq!(scene.reset([]).begun, 2, "what the registry has told since is held from now on");
    assert_eq!(scene.guard.held().get(&id(0)).unwrap().since(), scene.now);

    for age in [3 * TTL, Duration::from_secs(20 * 60 * 60), Duration::MAX / 2] {
        for served in [false, true] {
            let mut scene = guard(age, served);
            assert_eq!(scene.reset(up(0..2)), Ruling::default(), "{age:?}");
            assert_eq!(scene.shown(), 2);
            assert_eq!(scene.reset([]).begun, 2);
        }
        let mut scene = guard(age, true);
        assert_eq!(scene.reset([]).begun, 10, "who would all vanish, and were served");
        assert_eq!(scene.guard.deadline(), Some(scene.now + 3 * TTL));
        assert_eq!(guard(age, false).reset([]), Ruling::default(), "they may have left long ago");
    }
}

#[test]
fn what_deregisters_or_drains_is_never_held_and_scale_to_zero_is_seen_at_once() {
    let mut scene = Scene::of(10);
    for gone in 0..10 {
        assert_eq!(scene.delete(gone, DeleteCause::Deregistered), Ruling::default());
    }
    assert_eq!(scene.shown(), 0);
    let mut scene = Scene::of(10);
    for draining in 0..10 {
        scene.put(draining, Status::Draining);
    }
    for (gone, cause) in (0..9).zip([DeleteCause::Expired, DeleteCause::Unknown].into_iter().cycle()) {
        assert_eq!(scene.delete(gone, cause), Ruling::default());
    }
    assert_eq!(scene.reset([]), Ruling::default());
    assert_eq!(scene.shown(), 0);
}

#[test]
fn the_last_one_is_held_whatever_the_share() {
    let mut scene = Scene::new(GuardOptions::new().with_share(1.0), up(0..3));
    assert_eq!(scene.delete(0, DeleteCause::Deregistered).begun, 0);
    assert_eq!(scene.delete(1, DeleteCause::Expired).begun, 0);
    assert_eq!(scene.delete(2, DeleteCause::Expired).begun, 2);
}

#[test]
fn an_unknown_cause_counts_unless_it_is_told_not_to() {
    let mut scene = Scene::of(1);
    assert_eq!(scene.delete(0, DeleteCause::Unknown).begun, 1);
    assert_eq!(scene.guard.held().get(&id(0)).unwrap().cause(), HeldCause::Unknown);
    let mut scene = Scene::new(GuardOptions::new().with_hold_unknown(false), up(0..1));
    assert_eq!(scene.delete(0, DeleteCause::Unknown), Ruling::default());
    assert_eq!(scene.shown(), 0);
}

#[test]
fn release_gives_all_up_at_once_and_nothing_of_it_is_held_again() {
    let mut scene = Scene::of(100);
    scene.reset(up(0..10));
    assert_eq!((scene.shown(), scene.guard.release()), (100, 90));
    assert_eq!((scene.guard.shown(), scene.guard.deadline()), (&scene.live, None));
    assert_eq!(scene.guard.release(), 0);
    assert_eq!(scene.delete(0, DeleteCause::Expired), Ruling::default(), "one of ten is not too much");
    assert_eq!(scene.shown(), 9);
}

#[test]
fn one_that_came_back_and_leaves_is_not_kept_by_its_former_hold() {
    let mut scene = Scene::of(10);
    scene.reset([]);
    scene.pass(TTL);
    scene.put(0, Status::Up);
    assert_eq!(scene.delete(0, DeleteCause::Deregistered), Ruling::default());
    assert_eq!(scene.shown(), 9);
    scene.put(1, Status::Up);
    scene.pass(TTL);
    assert_eq!(scene.delete(1, DeleteCause::Expired).begun, 1);
    assert_eq!(scene.pass(TTL), 8, "the others' time is over");
    assert_eq!(scene.shown(), 1);
    assert_eq!(scene.pass(2 * TTL), 1);
}

/// No backend does that (an instance is in a batch at most once), but what is not there must not stay for ever.
#[test]
fn one_that_comes_and_expires_in_one_batch_is_not_left_behind() {
    let mut scene = Scene::of(10);
    let twice = |new: u32| {
        move |revision| {
            let put = Change::Put(entry(new, Status::Up, revision));
            vec![put, Change::Delete { id: id(new), cause: DeleteCause::Expired }]
        }
    };
    scene.changes(twice(77));
    assert_eq!((scene.shown(), scene.live.len(), scene.guard.held().len()), (10, 10, 0));
    scene.reset([]);
    scene.changes(twice(77));
    scene.changes(twice(3));
    assert_eq!(scene.shown(), scene.live.len() + scene.guard.held().len());
}

#[test]
fn an_owner_that_gives_up_what_is_held_ends_the_hold() {
    let mut scene = Scene::of(3);
    scene.reset([]);
    assert_eq!(scene.delete(0, DeleteCause::Deregistered), Ruling { ended: 1, ..Ruling::default() });
    assert_eq!(scene.shown(), 2);
}

proptest! {
    /// Whatever happens: all that is live is shown as it is, all else that is shown is held, within its time, and was not given up.
    #[test]
    fn what_is_shown_is_what_is_live_and_what_is_held(
        share in 0.0_f64..1.0,
        events in prop::collection::vec((0_u32..12, 0_u8..8, 0_u64..6_000), 1..120),
    ) {
        let mut scene = Scene::new(GuardOptions::new().with_share(share), up(0..8));
        let mut left = std::collections::BTreeSet::new();
        let (mut begun, mut over, mut expired, mut premature) = (0, 0, 0, 0);
        for (which, what, wait) in events {
            expired += scene.pass(Duration::from_millis(wait));
            let ruling = match what {
                0..3 => {
                    left.remove(&id(which));
                    scene.put(which, if what == 2 { Status::Draining } else { Status::Up })
                }
                3 => {
                    left.insert(id(which));
                    scene.delete(which, DeleteCause::Deregistered)
                }
                4 => scene.delete(which, DeleteCause::Expired),
                5 => scene.delete(which, DeleteCause::Unknown),
                6 => {
                    left.retain(|gone| !(0..which).any(|back| *gone == id(back)));
                    scene.reset(up(0..which))
                }
                _ if which == 0 => {
                    over += scene.guard.release();
                    prop_assert_eq!(scene.shown(), scene.live.len());
                    Ruling::default()
                }
                _ => Ruling::default(),
            };
            (begun, over, premature) = (begun + ruling.begun, over + ruling.ended, premature + ruling.premature);
            let guard = &scene.guard;
            prop_assert_eq!(begun, over + expired + guard.held().len(), "each hold that began is over once");
            prop_assert!(premature + guard.given_up.len() <= expired, "each that was given up comes back once");
            prop_assert_eq!(guard.shown().len(), scene.live.len() + guard.held().len());
            prop_assert_eq!(guard.shown().cursor(), scene.live.cursor());
            for entry in scene.live.iter() {
                prop_assert_eq!(guard.shown().get(entry.id()), Some(entry));
                prop_assert!(!guard.held().contains_key(entry.id()));
            }
            for (id, held) in guard.held() {
                let entry = guard.shown().get(id).unwrap();
                prop_assert!(entry.instance().status() == Status::Up && !left.contains(id));
                prop_assert!(held.until() > scene.now && held.until() - held.since() <= 3 * TTL);
            }
            scene.remembered();
            let least = guard.held().iter().map(|(_, held)| held.until()).min();
            prop_assert_eq!(guard.deadline(), least, "nobody outstays its time");
        }
    }
}
