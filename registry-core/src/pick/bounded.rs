//! How much a candidate may carry before keys go elsewhere.

/// A bound on the load of each candidate, as a multiple of what it would carry if all load were shared by weight.
///
/// After Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018: a candidate whose share of all load, the new piece
/// included, is `m` takes keys while it has fewer than `factor * m` pieces, rounded up. So no candidate carries more than that, and some candidate
/// always has room. The closer the factor is to 1, the more keys are not where they belong, and move when loads change: with `e = factor - 1`, in the
/// order of `1 / e^2` for each piece that comes or goes. Between 1.25 and 2 is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadBound {
    factor: f64,
}

impl LoadBound {
    /// A bound of `factor` times the average; below 1.01, and what is no number, counts as 1.01.
    #[must_use]
    pub const fn new(factor: f64) -> Self {
        // Not `max`: that no number is greater than any other.
        Self { factor: if factor > 1.01 { factor } else { 1.01 } }
    }

    /// How many pieces a candidate with `weight` of `total_weight` may have, the new one included, when all candidates together have
    /// `total_load` without it.
    #[must_use]
    pub fn capacity(self, weight: u64, total_weight: u64, total_load: u64) -> u64 {
        let share = weight as f64 / total_weight.max(1) as f64;
        (self.factor * (total_load as f64 + 1.0) * share).ceil() as u64
    }

    /// Whether a candidate that has `load` may get one more.
    pub(super) fn has_room(self, load: u64, weight: u64, total_weight: u64, total_load: u64) -> bool {
        load < self.capacity(weight, total_weight, total_load)
    }
}

impl Default for LoadBound {
    /// A quarter more than the average.
    fn default() -> Self {
        Self::new(1.25)
    }
}

#[cfg(test)]
mod tests {
    use super::LoadBound;

    #[test]
    fn a_capacity_is_the_share_by_weight_times_the_factor_rounded_up() {
        let bound = LoadBound::new(1.25);
        assert_eq!(bound.capacity(100, 400, 15), 5);
        assert_eq!(bound.capacity(200, 400, 15), 10);
        assert_eq!(bound.capacity(100, 400, 16), 6);
        assert_eq!(bound.capacity(0, 400, 15), 0);
        assert_eq!(bound.capacity(1, 400, 0), 1, "whoever has a weight can carry one");
    }

    #[test]
    fn a_factor_that_leaves_no_room_is_none() {
        for factor in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 1.0] {
            assert_eq!(LoadBound::new(factor), LoadBound::new(1.01));
        }
        assert_eq!(LoadBound::new(f64::INFINITY).capacity(1, 2, 3), u64::MAX);
    }
}
