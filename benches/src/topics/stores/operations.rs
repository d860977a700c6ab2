//! Registering, renewing, changing, looking up and leaving: through the trait, and by a raw client that sends the same requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use hdrhistogram::Histogram;

use super::{Arms, Preparations, Server, Store};
use crate::bars::{Bar, Bound};
use crate::clients::{Client, Ours, RawEtcd, RawRedis, Sent};
use crate::contest::{Arm, Contest, Topic};
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
            Bar::new(concat!($operation, " on ", $store, ", 32 at a time"), EACH_OF_MANY, Bound::Told),
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
    preparations: Preparations,
}

/// The topic of `operation` on `store`.
#[must_use]
pub fn topic(operation: Operation, store: Store) -> Box<dyn Topic> {
    Box::new(Operations { operation, store, preparations: Preparations::default() })
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
            (Operation::Keepalive, Store::Etcd) => bars!("keepalive", "etcd", DOING_THE_SAME),
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
        TOGETHER * lab.by_scale(4, 5)
    }

    // Two clients that are alike may differ by 2 % for as long as a server runs.
    fn steps(&self, lab: &Lab) -> u32 {
        lab.by_scale(2, 6)
    }

    fn round(&self) -> Duration {
        Duration::from_millis(350)
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        let server = Server::start(self.store, lab).await?;
        let stage = Stage { operation: self.operation, steps: Steps::of(self.operation, self.store), server };
        let ours = Ours::new(stage.server.registry()?);
        let arms = Arms::default().with("ours", stage.arm("ours", async { Ok(ours) }));
        let arms = match self.store {
            Store::Etcd => stage.etcd(arms),
            Store::Redis => stage.redis(arms),
        };
        self.preparations.make(arms).await
    }
}

/// What is the same for all arms.
struct Stage {
    operation: Operation,
    steps: Steps,
    server: Arc<Server>,
}

impl Stage {
    fn etcd(&self, arms: Arms) -> Arms {
        let connect = || {
            let url = self.server.url();
            async move { RawEtcd::connect(&url).await }
        };
        let arms =
            arms.with("raw", self.arm("raw", connect())).with("raw again", self.arm("again", connect()));
        if self.operation != Operation::Lookup {
            return arms;
        }
        let connecting = connect();
        let undecoded = async { Ok(connecting.await?.without_decoding()) };
        arms.with(UNDECODED, self.arm("undecoded", undecoded))
    }

    fn redis(&self, arms: Arms) -> Arms {
        let connect = || {
            let url = self.server.url();
            async move { RawRedis::connect(&url).await }
        };
        let arms =
            arms.with("raw", self.arm("raw", connect())).with("raw again", self.arm("again", connect()));
        let connecting = connect();
        match self.operation {
            Operation::Lookup => {
                let undecoded = async { Ok(connecting.await?.without_decoding()) };
                arms.with(UNDECODED, self.arm("undecoded", undecoded))
            }
            Operation::Register => {
                let in_turn = async { Ok(connecting.await?.sending(Sent::InTurn)) };
                arms.with(IN_TURN, self.arm("in-turn", in_turn))
            }
            _ => arms,
        }
    }

    /// An arm with services of its own, whose names begin with `name`.
    fn arm<C: Client>(
        &self,
        name: &'static str,
        connecting: impl Future<Output = Result<C, Trouble>> + Send + 'static,
    ) -> impl Future<Output = Result<Operating<C>, Trouble>> + Send + 'static {
        let (operation, steps, server) = (self.operation, self.steps, Arc::clone(&self.server));
        async move {
            let client = connecting.await?;
            let service = format!("{name}.rpc");
            let parts = if operation == Operation::Lookup {
                lookups(&client, &service, steps).await?
            } else {
                changes(&client, operation, &service, steps)?
            };
            Ok(Operating { parts, played: 0, _server: server })
        }
    }
}

/// How many operations make a block: 10 to 30 ms each, since how fast a shared machine is changes within some 100 ms. Ratios of blocks ten times as long
/// had a standard deviation of 14 %, also between clients that are alike.
#[derive(Clone, Copy, Debug)]
struct Steps {
    /// One after the other.
    alone: usize,
    /// Of each of [`MANY`] that work at the same time.
    each: usize,
}

impl Steps {
    fn of(operation: Operation, store: Store) -> Self {
        match (store, operation) {
            (Store::Etcd, Operation::Register | Operation::Deregister) => Self { alone: 30, each: 4 },
            (Store::Etcd, Operation::Lookup) => Self { alone: 30, each: 4 },
            (Store::Etcd, _) => Self { alone: 50, each: 8 },
            (Store::Redis, Operation::Lookup) => Self { alone: 50, each: 4 },
            (Store::Redis, _) => Self { alone: 150, each: 16 },
        }
    }
}

/// The slowest in a hundred are those of so many blocks together: one alone has too few operations.
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
async fn lookups<C: Client>(client: &C, service: &str, steps: Steps) -> Result<Vec<Part<C>>, Trouble> {
    let single = format!("single-{service}");
    for (service, instances) in [(service, INSTANCES), (&single, 1)] {
        // The leases last longer than the server.
        Operator::new(client, Operation::Keepalive, service, 0..instances)?.make_ready().await?;
    }
    let operators = |service: &str, count: usize| -> Result<Vec<_>, Trouble> {
        (0..count).map(|_| Operator::new(client, Operation::Lookup, service, 0..0)).collect()
    };
    Ok(vec![
        Part::new([EACH, P99], steps.alone, operators(service, 1)?),
        Part::new([EACH_OF_MANY, P99_OF_MANY], steps.each, operators(service, MANY)?),
        Part::new([EACH_OF_ONE, P99_OF_ONE], steps.alone, operators(&single, 1)?),
    ])
}

fn changes<C: Client>(
    client: &C,
    operation: Operation,
    service: &str,
    steps: Steps,
) -> Result<Vec<Part<C>>, Trouble> {
    let members = |steps: usize, usual: usize| if operation.uses_up() { steps } else { usual };
    let mut free = 0;
    let mut operator = |members: usize| {
        let numbers = free..free + members;
        free = numbers.end;
        Operator::new(client, operation, service, numbers)
    };
    let alone = vec![operator(members(steps.alone, INSTANCES))?];
    let many = (0..MANY).map(|_| operator(members(steps.each, FEW))).collect::<Result<_, _>>()?;
    Ok(vec![
        Part::new([EACH, P99], steps.alone, alone),
        Part::new([EACH_OF_MANY, P99_OF_MANY], steps.each, many),
    ])
}

/// An arm.
struct Operating<C: Client> {
    parts: Vec<Part<C>>,
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
            if self.played > 0 && self.played.is_multiple_of(TOGETHER) {
                figures.push((part.p99, part.latencies.value_at_quantile(0.99) as f64 / 1e3));
                part.latencies.reset();
            }
        }
        self.played += 1;
        Ok(figures)
    }
}
