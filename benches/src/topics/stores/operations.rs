//! Registering, renewing, changing, looking up and leaving: through the trait, and by a raw client that sends the same requests; but heartbeats on etcd that are
//! under way at the same time, which the registry sends together and the raw client does not.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use hdrhistogram::Histogram;

use super::{OURS, RAW, Server, Store};
use crate::bars::{Bar, Bound};
use crate::clients::{Client, Ours, RawEtcd, RawRedis, Sent};
use crate::contest::{Arm, Arms, Contest, PREPARED, Topic};
use crate::lanes::{histogram, run};
use crate::operator::{Operation, Operator};

const EACH: &str = "each_us";
const P99: &str = "p99_us";
/// The same where so many are under way at once.
const EACH_OF_MANY: &str = "each_of_32_us";
const P99_OF_MANY: &str = "p99_of_32_us";
const MANY: usize = 32;
/// The same where a service has one instance only.
const EACH_OF_ONE: &str = "each_of_one_us";
const P99_OF_ONE: &str = "p99_of_one_us";

/// What a service has where not everything is to be registered.
const INSTANCES: usize = 100;
/// How many of them each of many operators has.
const FEW: usize = 4;

/// A raw client that does less than the registry: it leaves what it looked up as it came.
const UNDECODED: &str = "raw, undecoded";
/// A raw client that waits for the first request of a registration before it sends the second.
const IN_TURN: &str = "raw, in turn";

const DOING_THE_SAME: Bound = Bound::AtMost(1.08);

macro_rules! bars {
    ($operation:literal, $store:literal, $bound:expr $(, $more:expr)*) => {
        const { &[
            Bar::new(concat!($operation, " on ", $store, ": through the trait / raw client"), EACH, $bound),
            Bar::new(concat!($operation, " on ", $store, ", 99th percentile"), P99, Bound::Told),
            Bar::new(concat!($operation, " on ", $store, ", 32 at a time"), EACH_OF_MANY, $bound),
            $($more,)*
        ] }
    };
}

macro_rules! lookup_bars {
    ($store:literal) => {
        bars!(
            "lookup of 100 instances",
            $store,
            DOING_THE_SAME,
            Bar::new(concat!("lookup of 1 instance on ", $store), EACH_OF_ONE, DOING_THE_SAME),
            Bar::told(
                concat!("lookup of 100 instances on ", $store, " / the same bytes, undecoded"),
                EACH,
                "ours",
                UNDECODED
            )
        )
    };
}

/// An operation on a store.
#[derive(Debug)]
pub struct Operations {
    operation: Operation,
    store: Store,
    size: Size,
}

/// The topic of `operation` on `store`.
#[must_use]
pub fn topic(operation: Operation, store: Store) -> Box<dyn Topic> {
    Box::new(Operations::new(operation, store))
}

impl Operations {
    /// As its bars are about it.
    #[must_use]
    pub fn new(operation: Operation, store: Store) -> Self {
        let size = Size::of(operation, store);
        Self { operation, store, size }
    }

    /// With blocks of another size: to see it work.
    #[must_use]
    pub fn with_size(mut self, size: Size) -> Self {
        self.size = size;
        self
    }
}

#[async_trait]
impl Topic for Operations {
    fn name(&self) -> &'static str {
        match (self.operation, self.store) {
            (Operation::Register, Store::Etcd) => "register-etcd",
            (Operation::Register, Store::Redis) => "register-redis",
            (Operation::Keepalive, Store::Etcd) => "keepalive-etcd",
            (Operation::Keepalive, Store::Redis) => "keepalive-redis",
            (Operation::Update, Store::Etcd) => "update-etcd",
            (Operation::Update, Store::Redis) => "update-redis",
            (Operation::Deregister, Store::Etcd) => "deregister-etcd",
            (Operation::Deregister, Store::Redis) => "deregister-redis",
            (Operation::Lookup, Store::Etcd) => "lookup-etcd",
            (Operation::Lookup, Store::Redis) => "lookup-redis",
        }
    }

    fn bars(&self) -> &'static [Bar] {
        match (self.operation, self.store) {
            (Operation::Register, Store::Etcd) => bars!("register", "etcd", DOING_THE_SAME),
            (Operation::Register, Store::Redis) => bars!(
                "register",
                "Redis",
                DOING_THE_SAME,
                Bar::told(
                    "register on Redis / raw client that sends its two requests in turn",
                    EACH,
                    "ours",
                    IN_TURN
                )
            ),
            (Operation::Keepalive, Store::Etcd) => {
                const {
                    let [each, p99, _] = bars!("keepalive", "etcd", DOING_THE_SAME);
                    // The registry sends heartbeats of many leases together; what that costs beside a raw client that does so too is a topic of its own.
                    &[
                        *each,
                        *p99,
                        Bar::told(
                            "keepalive on etcd, 32 at a time / raw clients with a stream and a transaction each",
                            EACH_OF_MANY,
                            "ours",
                            "raw",
                        ),
                    ]
                }
            }
            (Operation::Keepalive, Store::Redis) => bars!("keepalive", "Redis", DOING_THE_SAME),
            (Operation::Update, Store::Etcd) => bars!("update", "etcd", DOING_THE_SAME),
            (Operation::Update, Store::Redis) => bars!("update", "Redis", DOING_THE_SAME),
            (Operation::Deregister, Store::Etcd) => bars!("deregister", "etcd", Bound::Told),
            (Operation::Deregister, Store::Redis) => bars!("deregister", "Redis", Bound::Told),
            (Operation::Lookup, Store::Etcd) => lookup_bars!("etcd"),
            (Operation::Lookup, Store::Redis) => lookup_bars!("Redis"),
        }
    }

    fn rounds(&self, lab: &Lab) -> u32 {
        TOGETHER * lab.by_scale(1, 5)
    }

    // Two clients that are alike may differ by several percent for as long as a server runs, by more with etcd. Of six starts of etcd intervals were too
    // wide to decide by, and so was that of lookups on Redis.
    fn steps(&self, lab: &Lab) -> u32 {
        let full = match (self.operation, self.store) {
            // It has no bar.
            (Operation::Deregister, _) => 6,
            (Operation::Lookup, _) | (_, Store::Etcd) => 12,
            (_, Store::Redis) => 6,
        };
        lab.by_scale(4, full)
    }

    fn round(&self) -> Duration {
        Duration::from_millis(350)
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let server = Server::start(self.store, lab).await?;
        let stage = Stage { operation: self.operation, size: self.size, server };
        let ours = Ours::new(stage.server.registry()?);
        let arms = Arms::default().with("ours", stage.arm(OURS, ours.connected()));
        let arms = match self.store {
            Store::Etcd => stage.etcd(arms),
            Store::Redis => stage.redis(arms),
        };
        arms.make(&mut lab.random(PREPARED)).await
    }
}

/// What is the same for all arms.
struct Stage {
    operation: Operation,
    size: Size,
    server: Arc<Server>,
}

impl Stage {
    fn etcd<'a>(&'a self, arms: Arms<'a>) -> Arms<'a> {
        let connect = || {
            let url = self.server.url();
            async move { RawEtcd::connect(&url).await }
        };
        let arms =
            arms.with("raw", self.arm(RAW[0], connect())).with("raw again", self.arm(RAW[1], connect()));
        if self.operation != Operation::Lookup {
            return arms;
        }
        let connecting = connect();
        let undecoded = async { Ok(connecting.await?.without_decoding()) };
        arms.with(UNDECODED, self.arm(RAW[2], undecoded))
    }

    fn redis<'a>(&'a self, arms: Arms<'a>) -> Arms<'a> {
        let connect = || {
            let url = self.server.url();
            async move { RawRedis::connect(&url).await }
        };
        let arms =
            arms.with("raw", self.arm(RAW[0], connect())).with("raw again", self.arm(RAW[1], connect()));
        let connecting = connect();
        match self.operation {
            Operation::Lookup => {
                let undecoded = async { Ok(connecting.await?.without_decoding()) };
                arms.with(UNDECODED, self.arm(RAW[2], undecoded))
            }
            Operation::Register => {
                let in_turn = async { Ok(connecting.await?.sending(Sent::InTurn)) };
                arms.with(IN_TURN, self.arm(RAW[2], in_turn))
            }
            _ => arms,
        }
    }

    /// An arm with a service of its own.
    fn arm<C: Client>(
        &self,
        service: &'static str,
        connecting: impl Future<Output = Result<C, Trouble>> + Send + 'static,
    ) -> impl Future<Output = Result<Operating<C>, Trouble>> + Send + 'static {
        let (operation, size, server) = (self.operation, self.size, Arc::clone(&self.server));
        async move {
            let client = connecting.await?;
            let parts = if operation == Operation::Lookup {
                lookups(&client, service, size).await?
            } else {
                changes(&client, operation, service, size)?
            };
            Ok(Operating { parts, together: size.together, played: 0, _server: server })
        }
    }
}

/// How many operations make a block: 10 to 30 ms each by default, since how fast a shared machine is changes within some 100 ms. Ratios of blocks ten
/// times as long had a standard deviation of 14 %, also between clients that are alike.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// One after the other.
    pub alone: usize,
    /// Of each of many that work at the same time.
    pub each: usize,
    /// How many these are; their figures are named after 32.
    pub many: usize,
    /// What a service has where not everything is to be registered.
    pub instances: usize,
    /// The slowest in a hundred are those of so many blocks together, since one alone has too few operations.
    pub together: u32,
}

impl Size {
    fn of(operation: Operation, store: Store) -> Self {
        let (alone, each) = match (store, operation) {
            (Store::Etcd, Operation::Register | Operation::Deregister | Operation::Lookup) => (30, 4),
            (Store::Etcd, _) => (50, 8),
            (Store::Redis, Operation::Lookup) => (50, 4),
            (Store::Redis, _) => (150, 16),
        };
        Self { alone, each, many: MANY, instances: INSTANCES, together: TOGETHER }
    }
}

const TOGETHER: u32 = 10;

/// What is measured in one go: some operators that work at the same time, and how that is called.
struct Part<C: Client> {
    each: &'static str,
    p99: &'static str,
    steps: usize,
    operators: Vec<Operator<C>>,
    latencies: Histogram<u64>,
}

impl<C: Client> Part<C> {
    fn new(names: [&'static str; 2], steps: usize, operators: Vec<Operator<C>>) -> Self {
        let [each, p99] = names;
        Self { each, p99, steps, operators, latencies: histogram() }
    }
}

/// Lists a service, and one with a single instance, to be looked up.
async fn lookups<C: Client>(client: &C, service: &str, size: Size) -> Result<Vec<Part<C>>, Trouble> {
    let single = format!("single-{service}");
    for (service, instances) in [(service, size.instances), (&single, 1)] {
        // The leases last longer than the server.
        Operator::new(client, Operation::Keepalive, service, 0..instances)?.make_ready().await?;
    }
    let operators = |service: &str, count: usize| -> Result<Vec<_>, Trouble> {
        (0..count).map(|_| Operator::new(client, Operation::Lookup, service, 0..0)).collect()
    };
    Ok(vec![
        Part::new([EACH, P99], size.alone, operators(service, 1)?),
        Part::new([EACH_OF_MANY, P99_OF_MANY], size.each, operators(service, size.many)?),
        Part::new([EACH_OF_ONE, P99_OF_ONE], size.alone, operators(&single, 1)?),
    ])
}

fn changes<C: Client>(
    client: &C,
    operation: Operation,
    service: &str,
    size: Size,
) -> Result<Vec<Part<C>>, Trouble> {
    let members = |steps: usize, usual: usize| if operation.uses_up() { steps } else { usual };
    let mut free = 0;
    let mut operator = |members: usize| {
        let numbers = free..free + members;
        free = numbers.end;
        Operator::new(client, operation, service, numbers)
    };
    let alone = vec![operator(members(size.alone, size.instances))?];
    let many = (0..size.many).map(|_| operator(members(size.each, FEW))).collect::<Result<_, _>>()?;
    Ok(vec![
        Part::new([EACH, P99], size.alone, alone),
        Part::new([EACH_OF_MANY, P99_OF_MANY], size.each, many),
    ])
}

/// An arm.
struct Operating<C: Client> {
    parts: Vec<Part<C>>,
    together: u32,
    /// Blocks that were played; the first does not count.
    played: u32,
    _server: Arc<Server>,
}

#[async_trait]
impl<C: Client> Arm for Operating<C> {
    async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
        let mut figures = Vec::new();
        for part in &mut self.parts {
            let mut operators = std::mem::take(&mut part.operators);
            for operator in &mut operators {
                operator.make_ready().await?;
            }
            let (timed, mut operators) = run(operators, part.steps).await?;
            for operator in &mut operators {
                operator.clean_up().await?;
            }
            part.operators = operators;
            figures.push((part.each, timed.each_us()));
            if self.played > 0 {
                part.latencies += &timed.latencies;
            }
            if self.played > 0 && self.played.is_multiple_of(self.together) {
                figures.push((part.p99, part.latencies.value_at_quantile(0.99) as f64 / 1e3));
                part.latencies.reset();
            }
        }
        self.played += 1;
        Ok(figures)
    }
}
