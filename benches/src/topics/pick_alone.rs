//! A pick, beside what every choice between two of a published list has to do.

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;

use crate::bars::{Bar, Bound};
use crate::contest::{Contest, Topic};
use crate::work::picking::{Floor, Published};
use crate::work::timed::Timed;

/// Picks among 1,000 endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct PickAlone;

const ENDPOINTS: usize = 1_000;
const TIMES: u32 = 4_000_000;

#[async_trait]
impl Topic for PickAlone {
    fn name(&self) -> &'static str {
        "pick-alone"
    }

    fn bars(&self) -> &'static [Bar] {
        const BARS: [Bar; 1] = [Bar::new(
            "pick (P2C, peak EWMA) at 1,000 endpoints / its floor: load the snapshot, draw two, read both loads",
            "each_ns",
            Bound::AtMost(1.5),
        )];
        &BARS
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let seed = lab.seed;
        let ours = Published::after_answers(ENDPOINTS, seed);
        let floor = || {
            let floor = Floor::new(ENDPOINTS, seed);
            Timed::new(TIMES, move || floor.loads_of_two())
        };
        Ok(Contest::new()
            .with("ours", Timed::new(TIMES, move || ours.pick()))
            .with("raw", floor())
            .with("raw again", floor()))
    }
}
