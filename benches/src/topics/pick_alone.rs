//! A pick, beside what every choice between two of a published list has to do.

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use registry_tonic::Policy;

use crate::bars::{Bar, Bound};
use crate::contest::{Arms, Contest, PREPARED, Topic};
use crate::work::picking::{Floor, Published, channel};
use crate::work::timed::Timed;

/// Picks among 1,000 endpoints, as a channel does it and by the core alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickAlone;

const ENDPOINTS: usize = 1_000;
const BY_WEIGHT: &str = "by weight";
const CORE: &str = "core";
const TIMES: u32 = 4_000_000;

#[async_trait]
impl Topic for PickAlone {
    fn name(&self) -> &'static str {
        "pick-alone"
    }

    fn bars(&self) -> &'static [Bar] {
        const BARS: [Bar; 3] = [
            Bar::new(
                "a channel's pick (P2C, peak EWMA) at 1,000 endpoints / its floor: load the snapshot, draw two, read both loads",
                "each_ns",
                Bound::AtMost(1.5),
            ),
            Bar::told("the same of unequal weights / its floor", "each_ns", BY_WEIGHT, "raw"),
            Bar {
                ours: CORE,
                ..Bar::new("pick by the core alone / its floor", "each_ns", Bound::AtMost(1.5))
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
            Ok(Timed::new(times, move || channel.pick(0)))
        };
        let of_core = async {
            let core = Published::after_answers(ENDPOINTS, seed);
            Ok(Timed::new(times, move || core.pick()))
        };
        let floor = async || {
            let floor = Floor::new(ENDPOINTS, seed);
            Ok(Timed::new(times, move || Some(floor.loads_of_two())))
        };
        let arms = Arms::default().with("ours", of_channel(false)).with(BY_WEIGHT, of_channel(true));
        let arms = arms.with(CORE, of_core).with("raw", floor()).with("raw again", floor());
        arms.make(&mut lab.random(PREPARED)).await
    }
}
