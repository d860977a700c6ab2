//! A pick, beside what every choice between two of a published list has to do.

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use registry_tonic::Policy;

use crate::bars::{Bar, Bound};
use crate::contest::{Contest, Topic};
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
        let seed = lab.seed;
        let (ours, by_weight) = (
            channel(ENDPOINTS, Policy::PeakEwma, false, seed).await?,
            channel(ENDPOINTS, Policy::PeakEwma, true, seed).await?,
        );
        let core = Published::after_answers(ENDPOINTS, seed);
        let floor = || {
            let floor = Floor::new(ENDPOINTS, seed);
            Timed::new(TIMES, move || Some(floor.loads_of_two()))
        };
        Ok(Contest::new()
            .with("ours", Timed::new(TIMES, move || ours.pick(0)))
            .with(BY_WEIGHT, Timed::new(TIMES, move || by_weight.pick(0)))
            .with(CORE, Timed::new(TIMES, move || core.pick()))
            .with("raw", floor())
            .with("raw again", floor()))
    }
}
