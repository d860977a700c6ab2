//! A part of a large service for each client: which one, as a pure function of the instances and of the client's number.
//!
//! Instances and clients lie on a ring. An instance's place is the hash of its id; that of client `i` is the `i`-th number of the van der Corput
//! sequence in base 2 (`i` with its bits reversed), so that the clients 0 to N are spread evenly for any N. An instance is taken by the clients before
//! it, and so a client takes the instances on an arc that begins at its place. There are `size * N` turns to be taken in all; they are dealt to the
//! instances one by one, round after round in the order of the ring, and each is taken by as many clients as it was dealt turns. Hence
//!
//! - every instance has the same number of clients, or one more;
//! - when one leaves, its turns are dealt to others, and no other instance has fewer than before: what clients newly take is exactly as much as
//!   what they have lost, and that is only the one that left;
//! - how many instances lie on a client's arc varies like any count of random points: `size` on average, about the square root of `size` more or less.
//!
//! For this the number of clients must be known. Where it is not, all 2³² that there can be are counted: each of those that there are has still the arc
//! that it should have, and on that what chance brings.
//!
//! We know of no scheme without memory that has all three: exact size for everybody, an even load, and nothing moved but what left. Subsets of exact size are
//! even when they are shuffled in rounds ("Site Reliability Engineering", chapter 20, "Deterministic Subsetting"), and move nearly everything
//! when an instance leaves; by rendezvous hashing (gRPC's proposal A68) they move nothing else, and the load varies by the square root of the number of clients.
//! Even places for clients by the van der Corput sequence are from Ward, Wankadia and Guliani, "Reinventing Backend Subsetting at Google", ACM
//! Queue 20(5), 2022; there, instances are numbered as well, which those of a registry are not.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

use crate::name::InstanceId;
use crate::pick;
use crate::snapshot::Entry;

/// Takes a part of the instances: on average `size` of them, the same for the same client and the same instances, and evenly over clients.
///
/// Told [how many clients there are](Self::with_clients), every instance has as many clients as every other, or one more. When an instance leaves, clients
/// keep all others that they had, and take exactly as many new ones, all clients together, as the one that left had clients; when one comes, it is the
/// other way round. Not told, both hold on average: of 20 among 1,000, over 500 clients, each instance has within ±25 % of the mean, and what is
/// newly taken varies by the square root of its number.
///
/// A single client has `size` on average, with a standard deviation of the square root of it, and never fewer than a quarter of `size` as long as there
/// are so many instances: where it would, which is one client in 60,000 of those with a `size` of 20 and more often with a smaller one, it takes as many beyond
/// its share. All are taken where there are not more than `size`. Weights are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subset {
    size: NonZeroU32,
    client: u32,
    clients: Option<NonZeroU32>,
}

impl Subset {
    /// A subset of `size` for the client with this number. Clients are to be numbered from 0, such as by the ordinal of a stateful set; with
    /// numbers drawn at random, the load is as uneven as chance is.
    #[must_use]
    pub fn new(size: NonZeroU32, client: u32) -> Self {
        Self { size, client, clients: None }
    }

    /// Tells how many clients there are, such as the replicas of a stateful set. All of them should be told the same; while they are not, as during a
    /// change of that number, or where it is only about right, the load is still about even. Default: not known.
    #[must_use]
    pub fn with_clients(mut self, clients: NonZeroU32) -> Self {
        self.clients = Some(clients);
        self
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

    /// How many clients there are, if that is known.
    #[must_use]
    pub fn clients(&self) -> Option<NonZeroU32> {
        self.clients
    }

    /// Where the client lies.
    fn place(&self) -> u64 {
        u64::from(self.client.reverse_bits()) << 32
    }

    /// How many clients are counted.
    fn counted(&self) -> u64 {
        self.clients.map_or(1 << 32, |clients| u64::from(clients.get()))
    }
}

/// Where fewer than this part of `size` are its own, a client takes as many of those that follow it. It is seldom; each time makes the load
/// less even.
const LEAST: u32 = 4;

/// Instances by their places. A change costs a logarithm of their number for each of the clients that an instance has, where their number is known;
/// reading a subset costs its size.
#[derive(Debug)]
pub(super) struct Ring {
    subset: Subset,
    places: BTreeMap<Place, Arc<Entry>>,
    first: First,
}

/// Where an instance lies. `None` comes before all ids.
type Place = (u64, Option<InstanceId>);

fn place(id: &InstanceId) -> Place {
    (pick::hash(id.as_str().as_bytes()), Some(id.clone()))
}

/// Who was dealt one turn more than the others: the first ones of the ring.
#[derive(Debug, Default)]
struct First {
    count: u64,
    last: Option<Place>,
}

impl First {
    fn has(&self, at: &Place) -> bool {
        self.last.as_ref().is_some_and(|last| at <= last)
    }
}

impl Ring {
    pub(super) fn new(subset: Subset) -> Self {
        Self { subset, places: BTreeMap::new(), first: First::default() }
    }

    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        let at = place(entry.id());
        let is_first = self.first.has(&at);
        if self.places.insert(at, entry).is_none() && is_first {
            self.first.count += 1;
        }
    }

    pub(super) fn remove(&mut self, id: &InstanceId) {
        let at = place(id);
        if self.places.remove(&at).is_some() && self.first.has(&at) {
            self.first.count -= 1;
            if self.first.last.as_ref() == Some(&at) {
                self.first.last = self.before(&at);
            }
        }
    }

    /// The client's part, in the order of the ring.
    pub(super) fn chosen(&mut self) -> impl Iterator<Item = &Arc<Entry>> {
        let turns = self.deal();
        let (start, least) = (self.subset.place(), self.subset.size.get().div_ceil(LEAST) as usize);
        let (arc, longer, first) = (self.arc(turns), self.arc(turns + 1), &self.first);
        let offset = move |place: &Place| u128::from(place.0.wrapping_sub(start));
        let after = self.places.range((start, None)..);
        let before = self.places.range(..(start, None));
        after
            .chain(before)
            .enumerate()
            .take_while(move |(at, (place, _))| *at < least || offset(place) < longer)
            .filter(move |(at, (place, _))| *at < least || offset(place) < arc || first.has(place))
            .map(|(_, (_, entry))| entry)
    }

    /// Deals the turns. How many each has, but for the first ones, who have one more.
    fn deal(&mut self) -> u64 {
        let all = (self.places.len() as u64).max(1);
        let turns = u64::from(self.subset.size.get()) * self.subset.counted();
        // Of so many turns as there are where clients are not known, one makes no difference.
        let left = if self.subset.clients.is_some() { turns % all } else { 0 };
        while self.first.count < left {
            let next = match &self.first.last {
                Some(last) => self.places.range((Bound::Excluded(last), Bound::Unbounded)).next(),
                None => self.places.iter().next(),
            };
            self.first.last = next.map(|(at, _)| at.clone());
            self.first.count += 1;
        }
        while self.first.count > left {
            self.first.last = self.first.last.take().and_then(|last| self.before(&last));
            self.first.count -= 1;
        }
        turns / all
    }

    fn before(&self, at: &Place) -> Option<Place> {
        self.places.range(..at).next_back().map(|(place, _)| place.clone())
    }

    /// How much of the ring lies between the client and the one from whom on an instance with so many turns is not the client's any more. The whole ring is 2⁶⁴.
    fn arc(&self, turns: u64) -> u128 {
        let clients = self.subset.counted();
        if turns == 0 {
            return 0;
        }
        if turns >= clients {
            return 1 << 64;
        }
        let start = self.subset.client.reverse_bits();
        let until = numbered(clients, (up_to(clients, start) + turns - 1) % clients);
        u128::from((u64::from(until) << 32).wrapping_sub(self.subset.place()))
    }
}

/// How many of the numbers below `count` have these as the lowest of their bits.
fn ending(count: u64, lowest: u32, bits: u32) -> u64 {
    count.saturating_sub(u64::from(lowest)).div_ceil(1 << bits)
}

/// How many of the numbers below `count` are, with their bits reversed, at most `reversed`.
fn up_to(count: u64, reversed: u32) -> u64 {
    let (mut found, mut lowest) = (0, 0_u32);
    for bit in 0..32 {
        if reversed & (1 << (31 - bit)) != 0 {
            found += ending(count, lowest, bit + 1);
            lowest |= 1 << bit;
        }
    }
    found + ending(count, lowest, 32)
}

/// The numbers below `count` with their bits reversed, in order: the one at this index.
fn numbered(count: u64, index: u64) -> u32 {
    let (mut index, mut lowest) = (index, 0_u32);
    for bit in 0..32 {
        let with_zero = ending(count, lowest, bit + 1);
        if index >= with_zero {
            index -= with_zero;
            lowest |= 1 << bit;
        }
    }
    lowest.reverse_bits()
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

    fn part(size: u32) -> Subset {
        Subset::new(NonZeroU32::new(size).unwrap(), 0)
    }

    fn told(size: u32, clients: u32) -> Subset {
        part(size).with_clients(NonZeroU32::new(clients).unwrap())
    }

    fn chosen(ring: &mut Ring, client: u32) -> BTreeSet<InstanceId> {
        ring.subset.client = client;
        ring.chosen().map(|entry| entry.id().clone()).collect()
    }

    /// The subsets of as many clients.
    fn subsets<'a>(ids: impl IntoIterator<Item = &'a str>, subset: Subset, clients: u32) -> Chosen {
        let mut ring = Ring::new(subset);
        ids.into_iter().for_each(|id| ring.insert(entry(id)));
        (0..clients).map(|client| chosen(&mut ring, client)).collect()
    }

    /// The same, as it is explained: turns are dealt one by one, and who has turns is taken by as many clients before it.
    fn dealt(ids: &BTreeSet<InstanceId>, size: u32, clients: u32) -> Chosen {
        let mut places: Vec<_> = ids.iter().map(place).collect();
        places.sort();
        let mut turns = vec![0; places.len()];
        (0..size as usize * clients as usize).for_each(|turn| turns[turn % places.len()] += 1);
        let at = |client: &u32| Subset::new(NonZeroU32::MIN, *client).place();
        let mut ring: Vec<_> = (0..clients).collect();
        ring.sort_by_key(at);
        let mut chosen: Chosen = vec![BTreeSet::new(); clients as usize];
        for ((place, id), turns) in places.iter().zip(turns) {
            let next = ring.partition_point(|client| at(client) <= *place);
            for back in 1..=turns.min(ring.len()) {
                let client = ring[(next + ring.len() - back) % ring.len()];
                chosen[client as usize].extend(id.clone());
            }
        }
        for (client, chosen) in (0..clients).zip(&mut chosen) {
            let next = places.partition_point(|(place, _)| *place < at(&client));
            let following = places.iter().cycle().skip(next).take(size.div_ceil(LEAST) as usize);
            chosen.extend(following.take(places.len()).filter_map(|(_, id)| id.clone()));
        }
        chosen
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
        for net in 0..8 {
            let ids = addresses(net, 1000);
            // Of clients that know how many they are, that do not, and that are a tenth fewer or more than they were told.
            for subset in [told(20, 500), part(20), told(20, 450), told(20, 550)] {
                let chosen = subsets(names(&ids), subset, 500);
                let (least, mean, most) = spread(&ids, &chosen);
                assert!(least >= 0.75 * mean && most <= 1.25 * mean, "{subset:?}: {least} {mean} {most}");
                assert!((9.5..10.5).contains(&mean), "{subset:?}: {mean}");
                assert!(chosen.iter().all(|chosen| chosen.len() >= 5), "never fewer than a quarter");
            }
        }
    }

    /// The subsets when `left` has left, what clients newly take then, all together, and how many of them had it.
    fn without(ids: &[String], left: &str, subset: Subset, before: &Chosen) -> (Chosen, usize, usize) {
        let clients = u32::try_from(before.len()).unwrap();
        let after = subsets(names(ids).filter(|id| *id != left), subset, clients);
        let mut taken = 0;
        for (before, after) in before.iter().zip(&after) {
            let lost = before.difference(after).filter(|id| id.as_str() != left).count();
            assert_eq!(lost, 0, "a client keeps all others that it had");
            taken += after.difference(before).count();
        }
        (after, taken, load(before, left))
    }

    #[test]
    fn one_of_1000_instances_that_leaves_moves_its_own_share_and_no_more() {
        for net in 0..10 {
            let mut ids = addresses(net, 1000);
            let mut before = subsets(names(&ids), told(20, 500), 500);
            // One after the other.
            for step in 0..8 {
                let left = ids.remove((net as usize + step * 123) % ids.len());
                let (after, taken, own) = without(&ids, &left, told(20, 500), &before);
                assert!(taken == own && (10..=11).contains(&own), "{taken} were taken for {own}");
                before = after;
            }
        }
    }

    #[test]
    fn it_moves_its_own_share_on_average_where_clients_do_not_know_how_many_they_are() {
        let (mut all_taken, mut all_own) = (0.0, 0.0);
        for net in 0..20 {
            let ids = addresses(net, 1000);
            let before = subsets(names(&ids), part(20), 500);
            for left in ids.iter().skip(net as usize).step_by(400) {
                let (_, taken, own) = without(&ids, left, part(20), &before);
                // 10 are expected; five standard deviations more.
                assert!(taken as f64 <= 10.0 + 5.0 * f64::sqrt(10.0), "{taken} were taken for {own}");
                (all_taken, all_own) = (all_taken + taken as f64, all_own + own as f64);
            }
        }
        assert!((0.8..1.2).contains(&(all_taken / all_own)), "{all_taken} were taken for {all_own}");
    }

    #[test]
    fn clients_are_counted_and_found_by_their_places() {
        for count in [1_u32, 2, 3, 7, 64, 500, 511, 512, 513] {
            let mut places: Vec<_> = (0..count).map(u32::reverse_bits).collect();
            places.sort_unstable();
            let count = u64::from(count);
            for (index, at) in (0..).zip(&places) {
                assert_eq!((numbered(count, index), up_to(count, *at)), (*at, index + 1));
                assert_eq!(up_to(count, at.saturating_sub(1)), if *at == 0 { 1 } else { index });
            }
            assert_eq!(up_to(count, u32::MAX), count);
        }
        for at in [0, 1, 77, u32::MAX] {
            assert_eq!((numbered(1 << 32, at.into()), up_to(1 << 32, at)), (at, u64::from(at) + 1));
        }
    }

    #[test]
    fn a_subset_is_the_same_whatever_the_order_in_which_instances_came() {
        let ids = addresses(1, 300);
        let backwards: Vec<_> = ids.iter().rev().cloned().collect();
        for subset in [part(10), told(10, 50)] {
            assert_eq!(subsets(names(&ids), subset, 50), subsets(names(&backwards), subset, 50));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_leaves_or_comes_a_client_loses_only_what_left_or_what_is_made_room_for(
            net in 0_u32..250, count in 2_u32..120, size in 1_u32..40, clients in 1_u32..100,
            left in any::<prop::sample::Index>(),
        ) {
            let ids = addresses(net, count);
            let left = &ids[left.index(ids.len())];
            for subset in [part(size), told(size, clients)] {
                let all = subsets(names(&ids), subset, 64);
                let less = subsets(names(&ids).filter(|id| id != left), subset, 64);
                for (all, less) in all.iter().zip(&less) {
                    prop_assert!(all.iter().all(|id| id.as_str() == left || less.contains(id)));
                    let least = (size.div_ceil(LEAST) as usize).min(ids.len());
                    prop_assert!(all.len() >= least);
                    prop_assert!(size < count || all.len() == ids.len(), "all where there are not more");
                }
            }
        }

        #[test]
        fn what_is_chosen_is_what_is_dealt_however_instances_have_come_and_gone(
            size in 1_u32..20, clients in 1_u32..60,
            changes in prop::collection::vec((any::<bool>(), 0_u32..80), 1..120),
        ) {
            let (mut ring, mut there) = (Ring::new(told(size, clients)), BTreeSet::new());
            let ids = addresses(7, 80);
            for (at, (comes, which)) in changes.into_iter().enumerate() {
                let name = &ids[which as usize];
                let id = InstanceId::new(name.as_str()).unwrap();
                // It is dealt now and then, as it is when a view is read.
                if at % 3 == 0 {
                    ring.deal();
                }
                if comes {
                    ring.insert(entry(name));
                    there.insert(id);
                } else {
                    ring.remove(&id);
                    there.remove(&id);
                }
            }
            prop_assume!(!there.is_empty());
            let expected = dealt(&there, size, clients);
            for (client, expected) in (0..clients).zip(expected) {
                prop_assert_eq!(chosen(&mut ring, client), expected, "client {}", client);
            }
        }

        #[test]
        fn the_load_is_even_for_any_large_number_of_clients(
            net in 0_u32..250, count in 200_u32..400, clients in 400_u32..800,
        ) {
            let ids = addresses(net, count);
            let (least, mean, most) = spread(&ids, &subsets(names(&ids), part(30), clients));
            prop_assert!(least >= 0.7 * mean && most <= 1.3 * mean, "{} {} {}", least, mean, most);
            let (least, mean, most) = spread(&ids, &subsets(names(&ids), told(30, clients), clients));
            prop_assert!(most - least <= 1.0, "{} {} {}", least, mean, most);
        }
    }
}
