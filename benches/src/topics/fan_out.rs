//! A change until 1,000 subscribers of one process have read it, beside `tokio::sync::watch`.

use std::time::Duration;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use tokio::time::timeout;

use crate::bars::{Bar, Bound};
use crate::contest::{Arm, Arms, Contest, PREPARED, Topic};
use crate::work::delivery::{Delivery, Way};

/// Delivers changes to 1,000 subscribers.
#[derive(Clone, Copy, Debug)]
pub(super) struct FanOut;

const SUBSCRIBERS: usize = 1_000;
const CHANGES: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(30);

#[async_trait]
impl Topic for FanOut {
    fn name(&self) -> &'static str {
        "fan-out"
    }

    fn bars(&self) -> &'static [Bar] {
        const BARS: [Bar; 1] = [Bar::new(
            "a change until 1,000 subscribers have read it / by tokio::sync::watch",
            "each_us",
            Bound::AtMost(1.2),
        )];
        &BARS
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let by = async |way| Ok(Deliveries(Delivery::start(way, SUBSCRIBERS).await?));
        let arms = Arms::default().with("ours", by(Way::View)).with("raw", by(Way::Watch));
        arms.with("raw again", by(Way::Watch)).make(&mut lab.random(PREPARED)).await
    }
}

struct Deliveries(Delivery);

#[async_trait]
impl Arm for Deliveries {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let took = timeout(PATIENCE, self.0.deliver(CHANGES)).await;
        let took = took.map_err(|_| Trouble::failed("not all subscribers were told of every change"))??;
        Ok(vec![("each_us", took.as_secs_f64() * 1e6 / f64::from(CHANGES))])
    }
}
