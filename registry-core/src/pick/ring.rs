//! Picking by a key out of a table: what [`rendezvous`](super::rendezvous) does, for many candidates.

use super::bounded::LoadBound;
use super::rendezvous::mix;

/// A candidate of the greatest weight has more than half as many points on the ring, and at most as many.
const POINTS: u64 = 256;

/// A consistent-hash ring: the same key goes to the same candidate for as long as that is there. Made once for each list of candidates, such as a
/// version of a view; a pick is a binary search, O(log n), without allocation.
///
/// Each candidate has points on a circle, as many as its weight tells, and a key goes to the first point after it (Karger et al., "Consistent Hashing
/// and Random Trees", STOC 1997). When a candidate leaves, only its own keys move; when one comes, only keys that are now its own. The order of
/// candidates does not matter, and clients that know the same ones agree.
///
/// Keys are shared by weight less evenly than by [`rendezvous`](super::rendezvous), which looks at all candidates for every pick: the share of one with
/// `p` points has a standard deviation of one part in the square root of `p`. That is 6 to 9 % for the greatest weight, of whom up to a few in a hundred get a
/// fifth more or less than they should; twice as much for a quarter of that weight; and for weight 1 beside 10,000, which has a single point
/// where it should have a sixty-fourth of one, some sixty times its share, give or take as much.
///
/// Takes 12 bytes for each point, of which there are 129 to 256 for a candidate of the greatest weight, and in proportion for others, at least one.
/// When the greatest weight crosses a power of two, all have twice or half as many points, and some more keys move.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    points: Box<[Point]>,
    weights: Box<[u32]>,
    total_weight: u64,
}

/// A place on the circle, in two halves so that it takes 12 bytes, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    high: u32,
    low: u32,
    owner: u32,
}

impl Point {
    fn place(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

impl Ring {
    /// A ring of candidates, given as what identifies each, as a [`hash`](super::hash), and its weight. One with weight 0 gets nothing.
    /// Beyond 2^32 candidates the rest is left out.
    #[must_use]
    pub fn new(candidates: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let (identities, weights): (Vec<u64>, Vec<u32>) = candidates.into_iter().unzip();
        let greatest = u64::from(weights.iter().copied().max().unwrap_or(0)).next_power_of_two();
        let each = || (0_u32..).zip(identities.iter().zip(&weights));
        let mut points: Vec<Point> = each()
            .flat_map(|(owner, (identity, weight))| {
                // The first points of a candidate stay what they are, however many it has.
                let points = (u64::from(*weight) * POINTS).div_ceil(greatest);
                (0..points).map(move |nth| point(mix(mix(*identity) ^ nth), owner))
            })
            .collect();
        // Of equal places the greater identity's comes first, so that the order of candidates does not matter.
        let identity = |point: &Point| identities.get(point.owner as usize).copied();
        points.sort_unstable_by_key(|point| (point.place(), std::cmp::Reverse(identity(point))));
        let total_weight = weights.iter().map(|weight| u64::from(*weight)).sum();
        Self { points: points.into(), weights: weights.into(), total_weight }
    }

    /// The candidate to which `key` belongs, as a [`hash`](super::hash).
    #[must_use]
    pub fn pick(&self, key: u64) -> Option<usize> {
        self.from(key).next()
    }

    /// The candidate to which `key` belongs among those that have room within `bound`, for what `load` tells of each and `total_load` of all
    /// together.
    ///
    /// A key whose candidate has none goes on along the ring, the same way every time, and comes back once there is room. Where loads are read
    /// while others change them, all can seem full: then the key goes to where it belongs, after a look at every point, up to 256 for each candidate.
    pub fn pick_bounded(
        &self,
        key: u64,
        bound: LoadBound,
        total_load: u64,
        load: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let has_room = |at: &usize| {
            let weight = self.weights.get(*at).copied().unwrap_or(0);
            bound.has_room(load(*at), u64::from(weight), self.total_weight, total_load)
        };
        self.from(key).find(has_room).or_else(|| self.pick(key))
    }

    /// The owners of all points, in the order in which `key` meets them.
    fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let place = mix(key);
        let (before, after) =
            self.points.split_at(self.points.partition_point(|point| point.place() < place));
        after.iter().chain(before).map(|point| point.owner as usize)
    }
}

fn point(place: u64, owner: u32) -> Point {
    Point { high: (place >> 32) as u32, low: place as u32, owner }
}
