//! Picking by a key: the same key goes to the same candidate for as long as that is there.

use super::bounded::LoadBound;

/// The index of the candidate to which `key` belongs, where `of` tells what identifies a candidate, as a [`hash`], and its weight.
///
/// Weighted rendezvous hashing: each candidate draws a number from the key and its own identity, and the highest wins (Thaler and
/// Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM TON 6(1), 1998; weights as in Schindelhauer and
/// Schomaker, "Weighted Distributed Hash Tables", SPAA 2005). When a candidate leaves, only its own keys move, and to all others by
/// weight; when one comes, it takes only what is its own. Nothing is kept between picks, and the order of candidates does not
/// matter. Looks at all candidates; for many there is a table, [`Ring`](super::Ring). One with weight 0 gets nothing.
pub fn rendezvous<T>(candidates: &[T], key: u64, of: impl Fn(&T) -> (u64, u32)) -> Option<usize> {
    highest(candidates, key, of, |_, _| true)
}

/// As [`rendezvous`], among the candidates that have room within `bound`, for what `load` tells of each. Looks at all candidates, three times.
///
/// A key whose candidate has none goes to the next one of an order of its own, the same one every time, and comes back once there is room. So what
/// one candidate cannot carry is spread over all others, which on a ring falls upon its neighbours (Chen, Coleman and Shrivastava, "Revisiting
/// Consistent Hashing with Bounded Loads", AAAI 2021). Where loads are read while others change them, all can seem full: then the key goes to where
/// it belongs.
pub fn rendezvous_bounded<T>(
    candidates: &[T],
    key: u64,
    of: impl Fn(&T) -> (u64, u32),
    bound: LoadBound,
    load: impl Fn(&T) -> u64,
) -> Option<usize> {
    let total_load = candidates.iter().map(&load).fold(0, u64::saturating_add);
    let total_weight = candidates.iter().map(|candidate| u64::from(of(candidate).1)).sum();
    let has_room =
        |candidate: &T, weight| bound.has_room(load(candidate), u64::from(weight), total_weight, total_load);
    highest(candidates, key, &of, has_room).or_else(|| rendezvous(candidates, key, of))
}

/// The one whose score is highest among those that are `eligible` with their weight.
fn highest<T>(
    candidates: &[T],
    key: u64,
    of: impl Fn(&T) -> (u64, u32),
    eligible: impl Fn(&T, u32) -> bool,
) -> Option<usize> {
    let scores = candidates.iter().enumerate().filter_map(|(at, candidate)| {
        let (identity, weight) = of(candidate);
        (weight > 0 && eligible(candidate, weight)).then(|| (score(key, identity, weight), identity, at))
    });
    // Of equal scores the greater identity wins, so that clients that list candidates in another order agree.
    let best = scores.reduce(|best, next| if (next.0, next.1) > (best.0, best.1) { next } else { best });
    best.map(|(_, _, at)| at)
}

/// The hash of `bytes`: the same in every process and every release, so that clients agree on where a key belongs.
///
/// FNV-1a (Fowler, Noll, Vo), 64 bits, with the finalizer of SplitMix64 for bits that depend on all others. Not for secrets, nor
/// against who chooses keys to collide.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Grows with the weight, and is as random as the pair of key and identity.
fn score(key: u64, identity: u64, weight: u32) -> f64 {
    // Strictly between 0 and 1, so that the logarithm is neither 0 nor infinite.
    let unit = ((mix(key ^ mix(identity)) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    f64::from(weight) / -unit.ln()
}

pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::{hash, rendezvous};

    fn candidates(weights: &[u32]) -> Vec<(u64, u32)> {
        weights.iter().zip(0_u64..).map(|(weight, at)| (hash(&at.to_le_bytes()), *weight)).collect()
    }

    fn picks(candidates: &[(u64, u32)]) -> Vec<u64> {
        let of = |key: u64| rendezvous(candidates, hash(&key.to_be_bytes()), |one| *one).unwrap();
        (0..30_000).map(|key| candidates[of(key)].0).collect()
    }

    fn shares(candidates: &[(u64, u32)]) -> Vec<usize> {
        let picks = picks(candidates);
        candidates.iter().map(|one| picks.iter().filter(|pick| **pick == one.0).count()).collect()
    }

    #[test]
    fn a_hash_never_changes() {
        // FNV-1a of "a" is 0xaf63dc4c8601ec8c, from its authors' test vectors; then the finalizer.
        assert_eq!(hash(b"a"), super::mix(0xaf63_dc4c_8601_ec8c));
        assert_ne!(hash(b"ab"), hash(b"ba"));
    }

    #[test]
    fn keys_are_shared_by_weight() {
        for share in shares(&candidates(&[100; 5])) {
            assert!((5_600..6_400).contains(&share), "{share}");
        }
        let shares = shares(&candidates(&[100, 300]));
        assert!((7_100..7_900).contains(&shares[0]), "{shares:?}");
    }

    #[test]
    fn when_one_leaves_only_its_keys_move_and_all_others_get_some() {
        let all = candidates(&[100; 5]);
        let left: Vec<_> = [&all[..2], &all[3..]].concat();
        let mut gained = std::collections::BTreeMap::new();
        for (before, after) in picks(&all).into_iter().zip(picks(&left)) {
            if before == all[2].0 {
                *gained.entry(after).or_insert(0_u32) += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!(gained.len() == 4 && gained.values().all(|keys| *keys > 1_200), "{gained:?}");
    }

    #[test]
    fn the_order_of_candidates_does_not_matter() {
        let all = candidates(&[100, 7, 100, 100]);
        let reversed: Vec<_> = all.iter().rev().copied().collect();
        assert_eq!(picks(&all), picks(&reversed));
    }

    #[test]
    fn weight_zero_gets_nothing() {
        assert_eq!(shares(&candidates(&[0, 1])), [0, 30_000]);
        assert_eq!(rendezvous(&candidates(&[0, 0]), 7, |one| *one), None);
        assert_eq!(rendezvous(&[], 7, |one: &(u64, u32)| *one), None);
    }
}
