//! A pick, a call that is answered at once, and its completion, beside tower's.

use std::hint::black_box;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;

use crate::bars::{Bar, Bound};
use crate::contest::{Contest, Topic};
use crate::work::picking::{Published, PublishedByWeight, TowerP2c};
use crate::work::timed::Timed;

/// Picks and completes, among 1,000 endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickCall;

const ENDPOINTS: usize = 1_000;
const TIMES: u32 = 1_000_000;

#[async_trait]
impl Topic for PickCall {
    fn name(&self) -> &'static str {
        "pick-call"
    }

    fn bars(&self) -> &'static [Bar] {
        const BARS: [Bar; 2] = [
            Bar::new(
                "pick and completion (P2C, peak EWMA) at 1,000 endpoints / tower's ready and call",
                "each_ns",
                Bound::AtMost(0.5),
            ),
            Bar {
                ours: "by weight",
                ..Bar::new(
                    "the same of unequal weights, which tower's has not / tower's ready and call",
                    "each_ns",
                    Bound::Told,
                )
            },
        ];
        &BARS
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let seed = lab.seed;
        let (ours, by_weight) = (Published::new(ENDPOINTS, seed), PublishedByWeight::new(ENDPOINTS, seed));
        let tower = || {
            let mut tower = TowerP2c::new(ENDPOINTS);
            Timed::new(TIMES, move || tower.call(black_box(1)))
        };
        Ok(Contest::new()
            .with("ours", Timed::new(TIMES, move || ours.call(black_box(1))))
            .with("by weight", Timed::new(TIMES, move || by_weight.call(black_box(1))))
            .with("raw", tower())
            .with("raw again", tower()))
    }
}
