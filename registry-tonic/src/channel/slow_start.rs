//! Newcomers get their share little by little. Pure.

use std::time::Duration;

/// What a newcomer gets at least: without calls it would never warm up.
const LEAST: f64 = 0.1;

/// The part of its share that an endpoint gets which can be called since `age`: grows from a tenth to all within `window`.
pub(crate) fn part(age: Duration, window: Duration) -> f64 {
    if age >= window {
        return 1.0;
    }
    (age.as_secs_f64() / window.as_secs_f64()).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_from_a_tenth_to_all() {
        let window = Duration::from_secs(10);
        let at = |seconds| part(Duration::from_secs(seconds), window);
        assert_eq!([0, 1, 5, 10, 60].map(at), [0.1, 0.1, 0.5, 1.0, 1.0]);
        assert_eq!(part(Duration::ZERO, Duration::ZERO), 1.0, "switched off");
    }
}
