//! A part of a large service for each client: which one, as a pure function of the instances and of the client's number.
//!
//! Instances and clients lie on a ring. An instance's place is the hash of its id; that of client `i` is the `i`-th number of the van der Corput
//! sequence in base 2 (`i` with its bits reversed), so that the clients 0 to N are spread evenly for any N. A client takes the instances on the
//! arc that begins at its place and covers `size / n` of the ring. Hence
//!
//! - an instance is taken by as many clients as begin on the arc before it, which is the same for all instances but for the discrepancy of the
//!   sequence, O(log N) at worst, whatever places the hash gives;
//! - an instance that leaves or comes is nobody else's matter, but for the arcs, which all grow or shrink by one part in `n`: over all clients
//!   this brings in as many instances as the one that left had clients, on average, and by chance some more or fewer;
//! - how many instances lie on an arc varies like any count of random points: `size` on average, about the square root of `size` more or less.
//!
//! No scheme without memory can have all three: exact size for everybody, an even load, and nothing moved but what left. Subsets of exact size are
//! even when they are shuffled in rounds ("Site Reliability Engineering", chapter 20, "Deterministic Subsetting"), and move nearly everything
//! when an instance leaves; by rendezvous hashing (gRPC's proposal A68) they move nothing, and the load varies by the square root of the number of clients.
//! Even places for clients by the van der Corput sequence are from Ward, Wankadia and Guliani, "Reinventing Backend Subsetting at Google", ACM
//! Queue 20(5), 2022; there, instances are numbered as well, which those of a registry are not.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::name::InstanceId;
use crate::pick;
use crate::snapshot::Entry;

/// Takes a part of the instances: on average `size` of them, the same for the same client and the same instances, and evenly over clients.
///
/// Of 20 among 1,000, over 500 clients, each instance has within ±25 % of the mean number of clients; when an instance leaves, clients keep
/// all others that they had, and on average as many new ones are taken, over all clients, as the one that left had clients, with a standard deviation of
/// the square root of that. A single client has `size` on average, with
/// a standard deviation of the square root of it, and never fewer than a quarter of `size` as long as there are so many instances. All are taken
/// where there are not more than `size`. Weights are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subset {
    size: NonZeroU32,
    client: u32,
}

impl Subset {
    /// A subset of `size` for the client with this number. Clients are to be numbered from 0, such as by the ordinal of a stateful set; with
    /// numbers drawn at random, the load is as uneven as chance is.
    #[must_use]
    pub fn new(size: NonZeroU32, client: u32) -> Self {
        Self { size, client }
    }

    /// The average size.
    #[must_use]
    pub fn size(&self) -> NonZeroU32 {
        self.size
    }

    /// The client's number.
    #[must_use]
    pub fn client(&self) -> u32 {
        self.client
    }
}

/// Where fewer than this part of `size` lie on its arc, a client takes as many of those that follow. It is seldom; each time makes the load
/// less even.
const LEAST: u32 = 4;

/// Instances by their places. A change costs a logarithm of their number; reading a subset costs its size.
#[derive(Debug)]
pub(super) struct Ring {
    subset: Subset,
    places: BTreeMap<Place, Arc<Entry>>,
}

/// Where an instance lies. `None` comes before all ids.
type Place = (u64, Option<InstanceId>);

fn place(id: &InstanceId) -> Place {
    (pick::hash(id.as_str().as_bytes()), Some(id.clone()))
}

impl Ring {
    pub(super) fn new(subset: Subset) -> Self {
        Self { subset, places: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        self.places.insert(place(entry.id()), entry);
    }

    pub(super) fn remove(&mut self, id: &InstanceId) {
        self.places.remove(&place(id));
    }

    /// The client's part, in the order of the ring.
    pub(super) fn chosen(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let size = u128::from(self.subset.size.get());
        let all = self.places.len();
        let arc = (size << 64) / (all as u128).max(1);
        let least = self.subset.size.get().div_ceil(LEAST) as usize;
        let start = u64::from(self.subset.client.reverse_bits()) << 32;
        let after = self.places.range((start, None)..);
        let before = self.places.range(..(start, None));
        after
            .chain(before)
            .enumerate()
            .take_while(move |(at, ((place, _), _))| {
                u128::from(place.wrapping_sub(start)) < arc || *at < least
            })
            .map(|(_, (_, entry))| entry)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{Incarnation, Instance, Revision};

    fn entry(id: &str) -> Arc<Entry> {
        let instance = Instance::builder("user.rpc").id(id).endpoint("10.0.0.1:80").build().unwrap();
        Arc::new(Entry::new(instance, Incarnation::new(1), Revision::new(1), Revision::new(1)))
    }

    type Chosen = Vec<BTreeSet<InstanceId>>;

    /// The subsets of as many clients.
    fn subsets<'a>(ids: impl IntoIterator<Item = &'a str>, size: u32, clients: u32) -> Chosen {
        let mut ring = Ring::new(Subset::new(NonZeroU32::new(size).unwrap(), 0));
        ids.into_iter().for_each(|id| ring.insert(entry(id)));
        let of = |client| {
            ring.subset.client = client;
            ring.chosen().map(|entry| entry.id().clone()).collect()
        };
        (0..clients).map(of).collect()
    }

    fn load(subsets: &Chosen, id: &str) -> usize {
        subsets.iter().filter(|chosen| chosen.iter().any(|one| one.as_str() == id)).count()
    }

    fn addresses(net: u32, count: u32) -> Vec<String> {
        (0..count).map(|n| format!("10.{net}.{}.{}:8080", n / 250, n % 250 + 1)).collect()
    }

    fn names(ids: &[String]) -> impl Iterator<Item = &str> + Clone {
        ids.iter().map(String::as_str)
    }

    /// How many clients an instance has: least, mean and most.
    fn spread(ids: &[String], subsets: &Chosen) -> (f64, f64, f64) {
        let mut loads: std::collections::BTreeMap<&str, u32> = names(ids).map(|id| (id, 0)).collect();
        for id in subsets.iter().flatten() {
            *loads.get_mut(id.as_str()).unwrap() += 1;
        }
        let total: u32 = loads.values().sum();
        let least = f64::from(*loads.values().min().unwrap());
        (least, f64::from(total) / ids.len() as f64, f64::from(*loads.values().max().unwrap()))
    }

    #[test]
    fn of_1000_instances_each_has_within_a_quarter_of_the_mean_over_500_clients_of_20() {
        for net in 0..20 {
            let ids = addresses(net, 1000);
            let chosen = subsets(names(&ids), 20, 500);
            let (least, mean, most) = spread(&ids, &chosen);
            assert!(least >= 0.75 * mean && most <= 1.25 * mean, "{least} {mean} {most}");
            assert!((9.5..10.5).contains(&mean), "{mean}");
            assert!(chosen.iter().all(|chosen| chosen.len() >= 5), "never fewer than a quarter");
        }
    }

    /// The arcs grow by one part in 1,000, the same whoever leaves: what lies on that much of them is a count of 999 instances, each of which lies there by
    /// chance.
    #[test]
    fn one_of_1000_instances_that_leaves_moves_its_own_share_on_average_and_never_five_deviations_more() {
        let (mut all_taken, mut all_own) = (0, 0);
        for net in 0..40 {
            let ids = addresses(net, 1000);
            let before = subsets(names(&ids), 20, 500);
            for left in ids.iter().skip(net as usize).step_by(400) {
                let after = subsets(names(&ids).filter(|id| id != left), 20, 500);
                let mut taken = 0;
                for (before, after) in before.iter().zip(&after) {
                    let lost = before.difference(after).filter(|id| id.as_str() != left).count();
                    assert_eq!(lost, 0, "a client keeps all others that it had");
                    taken += after.difference(before).count();
                }
                let (share, own) = (500.0 * 20.0 / 1000.0, load(&before, left));
                assert!(taken as f64 <= share + 5.0 * f64::sqrt(share), "{taken} were taken for {own}");
                (all_taken, all_own) = (all_taken + taken, all_own + own);
            }
        }
        let ratio = f64::from(u32::try_from(all_taken).unwrap()) / f64::from(u32::try_from(all_own).unwrap());
        assert!((0.8..1.2).contains(&ratio), "{all_taken} were taken for {all_own}");
    }

    #[test]
    fn a_subset_is_the_same_whatever_the_order_in_which_instances_came() {
        let ids = addresses(1, 300);
        let backwards: Vec<_> = ids.iter().rev().cloned().collect();
        assert_eq!(subsets(names(&ids), 10, 50), subsets(names(&backwards), 10, 50));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_leaves_or_comes_a_client_loses_only_what_left_or_what_is_made_room_for(
            net in 0_u32..250, count in 2_u32..120, size in 1_u32..40, left in any::<prop::sample::Index>(),
        ) {
            let ids = addresses(net, count);
            let left = &ids[left.index(ids.len())];
            let all = subsets(names(&ids), size, 64);
            let less = subsets(names(&ids).filter(|id| id != left), size, 64);
            for (all, less) in all.iter().zip(&less) {
                prop_assert!(all.iter().all(|id| id.as_str() == left || less.contains(id)));
                let least = (size.div_ceil(LEAST) as usize).min(ids.len());
                prop_assert!(all.len() >= least);
                prop_assert!(size < count || all.len() == ids.len(), "all where there are not more");
            }
        }

        #[test]
        fn the_load_is_even_for_any_large_number_of_clients(
            net in 0_u32..250, count in 200_u32..400, clients in 400_u32..800,
        ) {
            let ids = addresses(net, count);
            let (least, mean, most) = spread(&ids, &subsets(names(&ids), 30, clients));
            prop_assert!(least >= 0.7 * mean && most <= 1.3 * mean, "{} {} {}", least, mean, most);
        }
    }
}
