//! Power of two choices.

use super::random::Draw;

/// The index of the less loaded of two candidates drawn at random, for the load that `load` tells.
///
/// See Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001: the greatest load is
/// exponentially lower than with one choice, and no two pickers need to agree. Two draws are always different candidates where there
/// are two, so a candidate that hangs is avoided by every pick that has an alternative.
pub fn p2c<T, L: PartialOrd>(candidates: &[T], load: impl Fn(&T) -> L, draw: &Draw) -> Option<usize> {
    let Some((first, second)) = draw.two_below(candidates.len()) else {
        return (!candidates.is_empty()).then_some(0);
    };
    // No processor foresees which of two that differ little is the less loaded.
    let is_less = load(&candidates[second]) < load(&candidates[first]);
    Some(std::hint::select_unpredictable(is_less, second, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_loaded_of_two_is_picked_always() {
        let draw = Draw::with_seed(3);
        assert!((0..1000).all(|_| p2c(&[5, 1], |load| *load, &draw) == Some(1)));
    }

    #[test]
    fn the_most_loaded_of_many_is_never_picked_and_the_others_share() {
        let draw = Draw::with_seed(3);
        let loads = [1, 1, 1, 9];
        let mut counts = [0_u32; 4];
        for _ in 0..30_000 {
            counts[p2c(&loads, |load| *load, &draw).unwrap()] += 1;
        }
        assert_eq!(counts[3], 0);
        assert!(counts[..3].iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn none_and_one_need_no_choice() {
        let draw = Draw::with_seed(3);
        assert_eq!(p2c::<i32, _>(&[], |load| *load, &draw), None);
        assert_eq!(p2c(&[7], |load| *load, &draw), Some(0));
    }
}
