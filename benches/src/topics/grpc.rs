//! gRPC calls through the balanced channel, beside plain tonic's: how many are answered, and how late.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use comparisons::measure::Schedule;

use crate::bars::{Bar, Bound};
use crate::contest::{Arm, Arms, Contest, PREPARED, Topic};
use crate::work::grpc::{
    Background, Caller, Ours, Plain, Servers, calls, instrument, is_instrumented, ours, plain,
};
use crate::work::open_loop::{Plan, latencies};
use crate::work::pooled::Pooled;

/// Calls without a break, to one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls;

/// Calls at a steady rate, to one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallTail;

const CALLERS: usize = 16;
/// Short, since a shared machine changes its speed within some 100 ms.
const BLOCK: Duration = Duration::from_millis(80);
const PER_SECOND: u32 = 2_000;
const WARM_UP: u32 = 200;
/// So that 4 of them are slower than the figure for one in a thousand.
const COUNTED: u32 = 4_000;

#[async_trait]
impl Topic for Calls {
    fn name(&self) -> &'static str {
        "grpc"
    }

    fn bars(&self) -> &'static [Bar] {
        const BARS: [Bar; 3] = [
            Bar::new(
                "gRPC calls a second, one endpoint, spans and metrics on / plain tonic",
                "calls_per_s",
                Bound::AtLeast(0.97),
            ),
            Bar::new("processor time of a gRPC call in its client / plain tonic", "cpu_us", Bound::Told),
            Bar::alone(
                "part of the time in which the thread that calls has work",
                "busy",
                "ours",
                Bound::Told,
            ),
        ];
        &BARS
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let on = On::start()?;
        let plain = || async { Ok(WithoutABreak { client: on.plain().await?, on: Arc::clone(&on) }) };
        let ours = async { Ok(WithoutABreak { client: on.ours().await?, on: Arc::clone(&on) }) };
        let arms = Arms::default().with("ours", ours).with("raw", plain()).with("raw again", plain());
        arms.make(&mut lab.random(PREPARED)).await
    }

    // What the bar leaves is 3 %; of 336 pairs of blocks five times as long the interval was 3 % wide.
    fn rounds(&self, lab: &Lab) -> u32 {
        lab.by_scale(10, 250)
    }

    fn round(&self) -> Duration {
        Duration::from_millis(250)
    }

    fn steps(&self, lab: &Lab) -> u32 {
        lab.by_scale(4, 6)
    }
}

#[async_trait]
impl Topic for CallTail {
    fn name(&self) -> &'static str {
        "call-tail"
    }

    fn bars(&self) -> &'static [Bar] {
        const BARS: [Bar; 3] = [
            Bar::new("a gRPC call at 2,000 a second, p50 / plain tonic", "p50_us", Bound::Told),
            Bar::new("a gRPC call at 2,000 a second, p99 / plain tonic", "p99_us", Bound::Told),
            Bar::new("a gRPC call at 2,000 a second, p99.9 / plain tonic", "p999_us", Bound::Told),
        ];
        &BARS
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let on = On::start()?;
        let plain = || async { Ok(Steadily::new(on.plain().await?, &on)) };
        let ours = async { Ok(Steadily::new(on.ours().await?, &on)) };
        let arms = Arms::default().with("ours", ours).with("raw", plain()).with("raw again", plain());
        arms.make(&mut lab.random(PREPARED)).await
    }
}

/// Where things run: clients on one thread, their only server on another.
struct On {
    calling: Background,
    server: Servers,
}

impl On {
    fn start() -> Result<Arc<Self>, Trouble> {
        instrument()?;
        Ok(Arc::new(Self { calling: Background::start()?, server: Servers::start(1)? }))
    }

    /// Whose spans and metrics are there.
    async fn ours(&self) -> Result<Ours, Trouble> {
        let addresses = self.server.addresses.clone();
        self.calling
            .run(async move {
                let mut ours = ours(addresses).await?;
                ours.call().await.map_err(|status| Trouble::Failed(Box::new(status)))?;
                is_instrumented().await?;
                Ok(ours)
            })
            .await
    }

    async fn plain(&self) -> Result<Plain, Trouble> {
        let &[address] = self.server.addresses.as_slice() else {
            return Err(Trouble::failed("there is one server"));
        };
        self.calling.run(plain(address)).await
    }
}

struct WithoutABreak<C> {
    client: C,
    on: Arc<On>,
}

#[async_trait]
impl<C: Caller + Sync> Arm for WithoutABreak<C> {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let called = self.on.calling.run(calls(self.client.clone(), CALLERS, BLOCK)).await?;
        Ok(vec![("calls_per_s", called.per_second), ("cpu_us", called.cpu_us), ("busy", called.busy)])
    }
}

struct Steadily<C> {
    client: C,
    on: Arc<On>,
    pooled: Pooled,
}

impl<C> Steadily<C> {
    fn new(client: C, on: &Arc<On>) -> Self {
        Self { client, on: Arc::clone(on), pooled: Pooled::default() }
    }
}

#[async_trait]
impl<C: Caller + Sync> Arm for Steadily<C> {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let plan = Plan { schedule: Schedule::new(PER_SECOND, WARM_UP + COUNTED), warm_up: WARM_UP };
        let client = self.client.clone();
        let call = move || {
            let mut client = client.clone();
            async move { client.call().await.is_ok() }
        };
        let latencies = latencies(self.on.calling.handle(), plan, call).await?;
        self.pooled.add(&latencies.all, latencies.failed as u64);
        Ok(latencies.figures())
    }

    fn series(&self) -> Vec<(&'static str, Vec<[f64; 2]>)> {
        self.pooled.series()
    }
}
