//! How a directory and its views behave. The defaults change nothing: a view is what the registry lists.

use std::time::Duration;

use super::debounce::Debounce;
use super::disk::DiskOptions;
use super::select::{Filter, ZonePreference};
use super::subset::Subset;
use crate::guarantees::DeleteCauses;
use crate::lease::Ttl;

/// How a [`Directory`](crate::Directory) behaves, for all of its services.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DirectoryOptions {
    /// What is held when much vanishes at once. Default: nothing.
    pub guard: Option<GuardOptions>,
    /// Where views are kept, so that a process can start while the registry cannot be reached. Default: nowhere.
    pub disk: Option<DiskOptions>,
    /// How [`Directory::view`](crate::Directory::view) chooses. Default: all instances, at once.
    pub view: ViewOptions,
}

impl DirectoryOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds what vanishes by a `Reset` or by expiry when it is too much at once.
    #[must_use]
    pub fn with_guard(mut self, guard: GuardOptions) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Keeps views on disk.
    #[must_use]
    pub fn with_disk(mut self, disk: DiskOptions) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Sets how views choose that are asked for without options of their own.
    #[must_use]
    pub fn with_view(mut self, view: ViewOptions) -> Self {
        self.view = view;
        self
    }
}

/// What a guard holds, and for how long.
///
/// Instances that vanish are *suspects* when a [`Reset`](crate::WatchEvent::Reset) no longer has them, or when their lease ran out. They are
/// held once they are more than a [`share`](Self::share) of the set, or once the set would be empty. Since what dies at once expires one by one, those
/// count together between which no more than a TTL has passed each, for up to three TTLs. Once there are too many, all of them are
/// listed again, beside the live ones, until each comes back, is given up by its owner, is [released](crate::View::release), or has been gone for
/// three TTLs. It is the whole service that counts, whatever part of it a view has.
///
/// Never held is what its owner deregistered, as far as the watch was told, and what was draining when it vanished. What was deregistered
/// while the watch missed changes looks, in the `Reset` that follows, like what was lost. On etcd, whoever leaves says so by a key of its own; an etcd that is
/// full takes none, nor the mark of draining, and who leaves then may be held like who is lost.
///
/// With [views on disk](DiskOptions), a process that starts judges the first list of the registry by what was saved, however soon that list comes: it waits for the file to
/// be read, within the [grace](DiskOptions::with_grace). Since those in a file may have left right after it was written, they are held no longer than
/// three TTLs from then: a file older than that holds nobody. Only where it was served, and the registry comes back with nobody at all, are they held from then on.
///
/// A hold runs out while the registry is away, too: its time is that of this process, and what is held then is gone although nobody has told that it is
/// not there. What was still listed when the registry went away stays.
///
/// A store that ends leases slowly shows a great loss late: an etcd ends at most 1,000 a second, so that of 100,000 instances of which 90 % were killed, three
/// TTLs of 10 s show no more than 30,000, and nothing is held before there are hardly more left. For such a service set a greater [`ttl`](Self::ttl): with
/// 30 s the hold begins once half are gone, after 50 s.
///
/// The idea is that of Eureka's self-preservation and of Envoy's panic threshold: many that die at once are rarer than a registry that is wrong about them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuardOptions {
    /// The greatest TTL with which instances of the watched services register: entries do not carry theirs. Three times this is the bound of a
    /// hold. With too small a one living instances are given up before they are back, which the log tells and
    /// [`ViewStats::holds_premature`](crate::ViewStats::holds_premature) counts. Default: 10 s, as a registration's.
    pub ttl: Ttl,
    /// How large a part of the set may vanish at once before it is held, 0.0 to 1.0: at 0.0 everything that vanishes is held, at 1.0
    /// only what empties the set. Default: 0.5, as Envoy's panic threshold.
    pub share: f64,
    /// Whether deletions count whose cause the backend [cannot tell](crate::DeleteCause::Unknown): they may be an expiry, or an operator's
    /// hand. Default, `None`: only where the backend does not tell [who has expired](crate::DeleteCauses::All), as on etcd. Set it to `false` where owners leave
    /// in ways that the backend cannot tell either, such as go-zero's servers on etcd; then only a `Reset` and what is known to have expired are held.
    pub hold_unknown: Option<bool>,
    hold_for: Option<Duration>,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self { ttl: Ttl::default(), share: 0.5, hold_unknown: None, hold_for: None }
    }
}

impl GuardOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the greatest TTL with which instances register.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets how large a part may vanish; what is no number from 0.0 to 1.0 counts as the nearest one, and NaN as 0.0.
    #[must_use]
    pub fn with_share(mut self, share: f64) -> Self {
        self.share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self
    }

    /// Sets whether deletions without a known cause count.
    #[must_use]
    pub fn with_hold_unknown(mut self, hold: bool) -> Self {
        self.hold_unknown = Some(hold);
        self
    }

    /// Holds for less than three TTLs. A greater time counts as three TTLs.
    #[must_use]
    pub fn with_hold_for(mut self, time: Duration) -> Self {
        self.hold_for = Some(time);
        self
    }

    /// With what is left to the backend decided by what it tells.
    pub(super) fn on(mut self, told: DeleteCauses) -> Self {
        self.hold_unknown.get_or_insert(told < DeleteCauses::All);
        self
    }

    /// For how long an instance is held at most, from the moment it vanished: three TTLs, or less.
    #[must_use]
    pub fn hold_for(&self) -> Duration {
        let most = self.ttl.get() * 3;
        self.hold_for.map_or(most, |time| time.min(most))
    }

    /// How long after others something may vanish and count together with them: a TTL. Those that die together expire within a third of it, and a
    /// backend that is late with all of them is at work meanwhile.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.ttl.get()
    }
}

/// What a view has of the instances of its service, and how soon. Each step takes what the one before leaves: filter, zone, subset,
/// debounce.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ViewOptions {
    /// Which instances. Default: all.
    pub filter: Filter,
    /// Which zone goes before others. Default: none.
    pub zone: Option<ZonePreference>,
    /// How many of them. Default: all.
    pub subset: Option<Subset>,
    /// How long changes are gathered. Default: not at all.
    pub debounce: Option<Debounce>,
}

impl ViewOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which instances.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Prefers a zone.
    #[must_use]
    pub fn with_zone(mut self, zone: ZonePreference) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Takes a part of them.
    #[must_use]
    pub fn with_subset(mut self, subset: Subset) -> Self {
        self.subset = Some(subset);
        self
    }

    /// Gathers changes.
    #[must_use]
    pub fn with_debounce(mut self, debounce: Debounce) -> Self {
        self.debounce = Some(debounce);
        self
    }

    /// Whether a view has all that is listed, at once.
    pub(super) fn is_plain(&self) -> bool {
        self.filter.is_empty() && self.zone.is_none() && self.subset.is_none() && self.debounce.is_none()
    }
}
