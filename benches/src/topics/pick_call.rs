//! A pick, a call that is answered at once, and its completion, beside tower's.

use std::hint::black_box;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use registry_tonic::Policy;

use crate::bars::{Bar, Bound};
use crate::contest::{Arms, Contest, PREPARED, Topic};
use crate::work::picking::{Published, TowerP2c, channel};
use crate::work::timed::Timed;

/// Picks and completes, among 1,000 endpoints, as a channel does it and by the core alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickCall;

const ENDPOINTS: usize = 1_000;
const BY_WEIGHT: &str = "by weight";
const CORE: &str = "core";
const TIMES: u32 = 1_000_000;

#[async_trait]
impl Topic for PickCall {
    fn name(&self) -> &'static str {
        "pick-call"
    }

    fn bars(&self) -> &'static [Bar] {
        const BARS: [Bar; 3] = [
            Bar::new(
                "a channel's pick and completion (P2C, peak EWMA) at 1,000 endpoints / tower's ready and call",
                "each_ns",
                Bound::AtMost(0.5),
            ),
            Bar::told(
                "the same of unequal weights, which tower's has not / tower's ready and call",
                "each_ns",
                BY_WEIGHT,
                "raw",
            ),
            Bar {
                ours: CORE,
                ..Bar::new(
                    "pick and completion by the core alone / tower's ready and call",
                    "each_ns",
                    Bound::AtMost(0.5),
                )
            },
        ];
        &BARS
    }

    // Where things lie in memory makes clients that are alike differ by 10 % for as long as they are there.
    fn steps(&self, lab: &Lab) -> u32 {
        lab.by_scale(4, 8)
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let (seed, times) = (lab.seed, lab.by_scale(TIMES / 10, TIMES));
        let of_channel = async |by_weight| {
            let channel = channel(ENDPOINTS, Policy::PeakEwma, by_weight, seed).await?;
            Ok(Timed::new(times, move || channel.call(0, || black_box(1))))
        };
        let of_core = async {
            let core = Published::new(ENDPOINTS, seed);
            Ok(Timed::new(times, move || core.call(black_box(1))))
        };
        let tower = async || {
            let mut tower = TowerP2c::new(ENDPOINTS);
            Ok(Timed::new(times, move || tower.call(black_box(1)).ok().flatten()))
        };
        let arms = Arms::default().with("ours", of_channel(false)).with(BY_WEIGHT, of_channel(true));
        let arms = arms.with(CORE, of_core).with("raw", tower()).with("raw again", tower());
        arms.make(&mut lab.random(PREPARED)).await
    }
}
