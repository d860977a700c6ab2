//! Which instances a view is about, and which zone goes first: pure, a step for each difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::guard::HeldSet;
use crate::diff::Difference;
use crate::instance::{Instance, Status};
use crate::name::{InstanceId, Version, Zone};
use crate::snapshot::Entry;

type Rule = Arc<dyn Fn(&Instance) -> bool + Send + Sync>;

/// Which instances a view has: those that satisfy all of it. Without anything, all do.
#[derive(Clone, Default)]
pub struct Filter {
    versions: BTreeSet<Version>,
    zones: BTreeSet<Zone>,
    metadata: BTreeMap<String, String>,
    status: Option<Status>,
    rules: Vec<Rule>,
}

impl Filter {
    /// All instances.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of this version, or of another one that is given in the same way.
    #[must_use]
    pub fn with_version(mut self, version: Version) -> Self {
        self.versions.insert(version);
        self
    }

    /// Those in this zone, or in another one that is given in the same way. To prefer a zone, see [`ZonePreference`].
    #[must_use]
    pub fn with_zone(mut self, zone: Zone) -> Self {
        self.zones.insert(zone);
        self
    }

    /// Those with this metadata pair, and with every other one that is given; of one key the last value counts.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Those of this status.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Those for which `rule` says so; it is asked once for every instance that is new or changed, and must give the same answer for the same
    /// instance. It must not panic: that ends the view, which is [`Stale`](crate::Freshness::Stale) for good then, with an error of the kind
    /// [`Closed`](crate::ErrorKind::Closed); other views of the service go on.
    #[must_use]
    pub fn with_rule(mut self, rule: impl Fn(&Instance) -> bool + Send + Sync + 'static) -> Self {
        self.rules.push(Arc::new(rule));
        self
    }

    /// Whether `instance` satisfies all of it.
    #[must_use]
    pub fn accepts(&self, instance: &Instance) -> bool {
        let of = |version: Option<&Version>| version.is_some_and(|version| self.versions.contains(version));
        let within = |zone: Option<&Zone>| zone.is_some_and(|zone| self.zones.contains(zone));
        (self.versions.is_empty() || of(instance.version()))
            && (self.zones.is_empty() || within(instance.zone()))
            && self.metadata.iter().all(|(key, value)| instance.metadata().get(key) == Some(value.as_str()))
            && self.status.is_none_or(|status| instance.status() == status)
            && self.rules.iter().all(|rule| rule(instance))
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
            && self.zones.is_empty()
            && self.metadata.is_empty()
            && self.status.is_none()
            && self.rules.is_empty()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("versions", &self.versions)
            .field("zones", &self.zones)
            .field("metadata", &self.metadata)
            .field("status", &self.status)
            .field("rules", &self.rules.len())
            .finish()
    }
}

/// A zone whose instances are the only ones in a view, as long as enough of them want work; otherwise those of all zones are.
///
/// An instance that is [held](crate::Held) may be dead, and does not count: when a zone dies, a guarded view has all zones, what is held included, as
/// soon as that is held; and so it has for a moment when the registry has lost everything, until enough of the zone have come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonePreference {
    zone: Zone,
    at_least: usize,
}

impl ZonePreference {
    /// Prefers `zone` while at least one instance there wants work: its status is up, its weight is not 0, and it is not held.
    #[must_use]
    pub fn new(zone: Zone) -> Self {
        Self { zone, at_least: 1 }
    }

    /// Sets how many must want work, at least 1, so that a few that are left do not get the work of all.
    #[must_use]
    pub fn with_at_least(mut self, instances: usize) -> Self {
        self.at_least = instances.max(1);
        self
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }
}

type Entries = OrdMap<InstanceId, Arc<Entry>>;

/// What is chosen from a service. A difference costs a logarithm of the number of instances.
pub(super) struct Selector {
    filter: Filter,
    zone: Option<ZonePreference>,
    all: Entries,
    near: Entries,
    held: HeldSet,
    /// How many in `near` want work, and are not held.
    able: usize,
}

impl Selector {
    pub(super) fn new(filter: Filter, zone: Option<ZonePreference>) -> Self {
        Self { filter, zone, all: Entries::new(), near: Entries::new(), held: HeldSet::new(), able: 0 }
    }

    /// Which ones are held from now on. Costs what is different.
    pub(super) fn hold(&mut self, held: &HeldSet) {
        let wants = |id| usize::from(self.near.get(id).is_some_and(|entry| wants_work(entry)));
        for item in self.held.diff(held) {
            match item {
                DiffItem::Add(id, _) => self.able -= wants(id),
                DiffItem::Remove(id, _) => self.able += wants(id),
                DiffItem::Update { .. } => {}
            }
        }
        self.held = held.clone();
    }

    pub(super) fn apply(&mut self, difference: &Difference) {
        match difference {
            Difference::Added(entry) => self.insert(entry),
            Difference::Removed(entry) => self.remove(entry.id()),
            Difference::Changed { new, .. } => {
                self.remove(new.id());
                self.insert(new);
            }
        }
    }

    /// What a view shows: of the preferred zone, or of all.
    pub(super) fn chosen(&self) -> &Entries {
        match &self.zone {
            Some(zone) if self.able >= zone.at_least => &self.near,
            _ => &self.all,
        }
    }

    fn insert(&mut self, entry: &Arc<Entry>) {
        if !self.filter.accepts(entry.instance()) {
            return;
        }
        self.all.insert(entry.id().clone(), Arc::clone(entry));
        if self.zone.as_ref().is_some_and(|prefer| entry.instance().zone() == Some(&prefer.zone)) {
            self.near.insert(entry.id().clone(), Arc::clone(entry));
            self.able += self.counts(entry);
        }
    }

    fn remove(&mut self, id: &InstanceId) {
        self.all.remove(id);
        if let Some(entry) = self.near.remove(id) {
            self.able -= self.counts(&entry);
        }
    }

    fn counts(&self, near: &Entry) -> usize {
        usize::from(wants_work(near) && !self.held.contains_key(near.id()))
    }
}

fn wants_work(entry: &Entry) -> bool {
    entry.instance().status() == Status::Up && entry.instance().weight().get() > 0
}

#[cfg(test)]
mod tests {
    use super::super::guard::Held;
    use super::*;
    use crate::{Incarnation, InstanceBuilder, Revision};

    fn zone(name: &str) -> Zone {
        Zone::new(name).unwrap()
    }

    fn entry(id: &str, change: impl FnOnce(InstanceBuilder) -> InstanceBuilder) -> Arc<Entry> {
        let builder = Instance::builder("user.rpc").id(id).endpoint("10.0.0.1:80");
        let instance = change(builder).build().unwrap();
        Arc::new(Entry::new(instance, Incarnation::new(1), Revision::new(1), Revision::new(1)))
    }

    #[test]
    fn a_filter_asks_for_all_that_it_names_and_for_one_of_several_versions_or_zones() {
        let one = entry("a", |a| a.version("1.2").zone("eu").metadata("tier", "gold").metadata("x", "y"));
        let version = |version: &str| Version::new(version).unwrap();
        for (filter, accepts) in [
            (Filter::new(), true),
            (Filter::new().with_version(version("1.2")), true),
            (Filter::new().with_version(version("1.3")), false),
            (Filter::new().with_version(version("1.3")).with_version(version("1.2")), true),
            (Filter::new().with_zone(zone("us")), false),
            (Filter::new().with_zone(zone("us")).with_zone(zone("eu")), true),
            (Filter::new().with_metadata("tier", "gold").with_metadata("x", "y"), true),
            (Filter::new().with_metadata("tier", "gold").with_metadata("x", "z"), false),
            (Filter::new().with_metadata("absent", ""), false),
            (Filter::new().with_status(Status::Up), true),
            (Filter::new().with_status(Status::Draining), false),
            (Filter::new().with_rule(|instance| instance.id().as_str() == "a"), true),
            (Filter::new().with_zone(zone("eu")).with_rule(|_| false), false),
        ] {
            assert_eq!(filter.accepts(one.instance()), accepts, "{filter:?}");
        }
        let bare = entry("b", |b| b);
        assert!(!Filter::new().with_zone(zone("eu")).accepts(bare.instance()), "of no zone");
        assert!(!Filter::new().with_version(version("1.2")).accepts(bare.instance()), "of no version");
    }

    fn ids(selector: &Selector) -> Vec<&str> {
        selector.chosen().keys().map(InstanceId::as_str).collect()
    }

    #[test]
    fn the_preferred_zone_is_alone_until_too_few_there_want_work() {
        let preference = ZonePreference::new(zone("eu")).with_at_least(2);
        let mut selector = Selector::new(Filter::new(), Some(preference));
        let (a, b, far) =
            (entry("a", |a| a.zone("eu")), entry("b", |b| b.zone("eu")), entry("c", |c| c.zone("us")));
        selector.apply(&Difference::Added(Arc::clone(&a)));
        selector.apply(&Difference::Added(far));
        assert_eq!(ids(&selector), ["a", "c"], "one is too few");
        selector.apply(&Difference::Added(Arc::clone(&b)));
        assert_eq!(ids(&selector), ["a", "b"]);
        let draining = entry("b", |b| b.zone("eu").status(Status::Draining));
        selector.apply(&Difference::Changed { old: Arc::clone(&b), new: Arc::clone(&draining) });
        assert_eq!(ids(&selector), ["a", "b", "c"], "one who drains wants no work");
        selector.apply(&Difference::Changed { old: draining, new: b });
        assert_eq!(ids(&selector), ["a", "b"]);
        let moved = entry("b", |b| b.zone("us"));
        selector.apply(&Difference::Changed { old: Arc::clone(&moved), new: moved });
        assert_eq!(ids(&selector), ["a", "b", "c"]);
        selector.apply(&Difference::Removed(a));
        assert_eq!(ids(&selector), ["b", "c"]);
    }

    #[test]
    fn those_that_are_held_do_not_count_however_they_come_and_go() {
        let mut selector = Selector::new(Filter::new(), Some(ZonePreference::new(zone("eu"))));
        let held = |ids: &[&str]| -> HeldSet {
            ids.iter().map(|id| (InstanceId::new(*id).unwrap(), Held::for_ever())).collect()
        };
        let near = ["a", "b"].map(|id| entry(id, |builder| builder.zone("eu")));
        selector.hold(&held(&["b"]));
        selector.apply(&Difference::Added(entry("far", |far| far.zone("us"))));
        for near in &near {
            selector.apply(&Difference::Added(Arc::clone(near)));
        }
        assert_eq!(ids(&selector), ["a", "b"], "one is not held");
        selector.hold(&held(&["a", "b"]));
        assert_eq!(ids(&selector), ["a", "b", "far"]);
        let [a, b] = near;
        selector.apply(&Difference::Changed { old: Arc::clone(&a), new: Arc::clone(&a) });
        assert_eq!(ids(&selector), ["a", "b", "far"]);
        selector.hold(&held(&["b", "far"]));
        assert_eq!(ids(&selector), ["a", "b"], "it came back");
        selector.apply(&Difference::Removed(b));
        selector.apply(&Difference::Removed(a));
        selector.hold(&held(&[]));
        assert_eq!((ids(&selector), selector.able), (vec!["far"], 0));
    }

    #[test]
    fn an_instance_that_does_not_fit_any_more_is_gone() {
        let mut selector = Selector::new(Filter::new().with_status(Status::Up), None);
        let up = entry("a", |a| a);
        selector.apply(&Difference::Added(Arc::clone(&up)));
        assert_eq!(ids(&selector), ["a"]);
        let new = entry("a", |a| a.status(Status::Draining));
        selector.apply(&Difference::Changed { old: up, new });
        assert!(ids(&selector).is_empty());
    }
}
