//! A watcher that is cut off for a moment.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use registry_core::backoff::Backoff;
use registry_core::resume::ResumeOptions;
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::etcd::Etcd;
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::Redis;
use registry_testing::servers::until;
use tokio::time::{Instant, sleep_until};

use super::{BYTES, CHANGES, LIMIT, RIGHT, RIGHT_AFTER, WRONG};
use crate::claims::clustering::view::View;
use crate::contestants::{Contestant, Listed, Member, NaiveHash, Ours, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::record::Record;

/// How long a client waits between attempts to connect again, at most: that of all, so that it is not compared who was lucky with a longer one.
const AGAIN: Duration = Duration::from_millis(100);
/// So many register at a time, before anything is measured.
const AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing expires meanwhile.
const TTL: Duration = Duration::from_secs(3600);
const SERVICE: &str = "reconnect";

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Etcd,
    Redis,
    Reloading,
    Naive,
}

/// A registry that is full of instances, whose watchers come by a link that can be cut.
pub(super) struct Subject {
    // Before the servers, so that they are gone before those are.
    members: Vec<(String, Box<dyn Member>)>,
    watcher: Arc<dyn Contestant>,
    truth: Listed,
    link: Proxy,
    /// It ends with this.
    _server: Box<dyn Send + Sync>,
}

impl Subject {
    pub(super) async fn start(lab: &Lab, kind: Kind, instances: usize) -> Result<Self, Trouble> {
        let (server, address): (Box<dyn Send + Sync>, _) = match kind {
            Kind::Etcd => {
                let etcd = Etcd::start(lab.etcd_options()).await?;
                let address = etcd.client_address();
                (Box::new(etcd), address)
            }
            _ => {
                let redis = Redis::start(lab.redis_options()).await?;
                let address = redis.address();
                (Box::new(redis), address)
            }
        };
        let link = Proxy::start(address)?;
        let resume = || ResumeOptions::default().with_backoff(Backoff::new(AGAIN / 2, AGAIN));
        let client = |at: std::net::SocketAddr| -> Result<Arc<dyn Contestant>, Trouble> {
            Ok(match kind {
                Kind::Etcd => Arc::new(Ours::new(EtcdRegistry::new(
                    EtcdOptions::new([format!("http://{at}")]).with_resume(resume()),
                )?)),
                Kind::Redis => Arc::new(Ours::new(RedisRegistry::new(
                    RedisOptions::standalone(at.to_string()).with_resume(resume()),
                )?)),
                Kind::Reloading => Arc::new(NaiveHash::reloading(Place::Server(at))),
                Kind::Naive => Arc::new(NaiveHash::new(Place::Server(at))),
            })
        };
        let writer = client(address)?;
        let register = |index: usize| {
            let writer = Arc::clone(&writer);
            async move {
                let id = format!("instance-{index}");
                let member = writer.register(SERVICE, &id, 0, TTL).await?;
                Ok::<_, Trouble>((id, member))
            }
        };
        let registering = stream::iter((0..instances).map(register)).buffer_unordered(AT_ONCE);
        let members: Vec<(String, Box<dyn Member>)> = registering.try_collect().await?;
        let truth = members.iter().map(|(id, _)| (id.clone(), 0)).collect();
        let watcher = client(link.address())?;
        Ok(Self { members, watcher, truth, link, _server: server })
    }

    /// Cuts a new watcher off for as long as `outage`, while some instances change, and measures what comes after.
    pub(super) async fn trial(
        &mut self,
        arm: &str,
        run: u32,
        outage: Duration,
        random: &mut fastrand::Rng,
    ) -> Result<Record, Trouble> {
        let view = View::of(&*self.watcher, SERVICE, PATIENCE).await?;
        let right = || async { self.is_right(&view).then_some(()) };
        until("a new watcher has all", PATIENCE, right).await?;
        let before = self.link.counters();
        let cut = Instant::now();
        self.link.set(Faults::refusing()).await;
        self.link.cut().await;
        for change in 0..CHANGES {
            let (id, member) = &self.members[random.usize(0..self.members.len())];
            let value = u64::from(run * CHANGES + change) + 1;
            member.set(value).await?;
            self.truth.insert(id.clone(), value);
        }
        let missed = view.look(|told| told.wrong(&self.truth));
        sleep_until(cut + outage).await;
        let down = self.link.counters();
        self.link.heal().await;
        let healed = Instant::now();
        // A view is compared only after it has changed.
        let mut seen = None;
        let right = || {
            let changed = view.look(|told| told.changed);
            let look = changed != seen;
            seen = changed;
            let right = look && self.is_right(&view);
            async move { right.then_some(changed).flatten() }
        };
        // Not right in time is an answer, too.
        let right = until("the view is right again", LIMIT, right).await.ok();
        let bytes = self.link.counters().to_client.delivered - down.to_client.delivered;
        let cuts = down.cut - before.cut;
        // Whoever is not right in time counts as if it had been at the limit, and is told apart by `RIGHT`.
        let after = right.map_or(LIMIT, |at| at.saturating_duration_since(healed)).as_secs_f64();
        let record = Record::new(arm, run)
            .with(RIGHT, f64::from(u8::from(right.is_some())))
            .with(RIGHT_AFTER, after)
            .with(WRONG, view.look(|told| told.wrong(&self.truth)) as f64)
            .with(BYTES, bytes as f64);
        let proof = format!(
            "the proxy cut {cuts} connections, and the watcher had {missed} instances wrong when the link healed"
        );
        Ok(record.if_bitten(cuts > 0 && missed > 0, proof))
    }

    fn is_right(&self, view: &View) -> bool {
        view.look(|told| told.wrong(&self.truth)) == 0
    }
}
