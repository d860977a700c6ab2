//! A pick, beside what every choice between two of a published list has to do.

use std::hint::black_box;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;

use crate::bars::{Bar, Bound};
use crate::contest::{Contest, Topic};
use crate::work::picking::{Floor, Published};
use crate::work::timed::Timed;

/// Picks among 1,000 endpoints.
///
/// The clock is not read, since whoever calls reads it anyway: for when the call began.
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
        const BARS: [Bar; 2] = [
            Bar::new(
                "pick (P2C, peak EWMA) at 1,000 endpoints / its floor: load the snapshot, draw two, read both loads",
                "each_ns",
                Bound::AtMost(1.5),
            ),
            Bar {
                ours: "loads as of now",
                ..Bar::new(
                    "the floor with averages that fade until now / with averages as they were stored",
                    "each_ns",
                    Bound::Told,
                )
            },
        ];
        &BARS
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let seed = lab.seed;
        let (ours, now) = Published::after_answers(ENDPOINTS, seed);
        let (as_of_now, then) = Published::after_answers(ENDPOINTS, seed);
        let floor = || {
            let floor = Floor::new(ENDPOINTS, seed);
            Timed::new(TIMES, move || floor.loads_of_two())
        };
        let ours = move || ours.pick(black_box(now));
        let as_of_now = move || as_of_now.loads_of_two(black_box(then));
        Ok(Contest::new()
            .with("ours", Timed::new(TIMES, ours))
            .with("loads as of now", Timed::new(TIMES, as_of_now))
            .with("raw", floor())
            .with("raw again", floor()))
    }
}
