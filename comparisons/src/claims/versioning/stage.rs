//! What an arm runs on: servers, and two ways to them, one of which can be cut.

use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_memory::{Controls, MemoryRegistry};
use registry_redis::{RedisOptions, RedisRegistry};
use registry_testing::servers::ServerError;
use registry_testing::servers::etcd::{Etcd, EtcdCluster};
use registry_testing::servers::proxy::{Faults, Proxy};
use registry_testing::servers::redis::Redis;

use super::plain_put::PlainPut;
use crate::contestants::{Contestant, NaiveHash, NaiveKey, Ours, Place};
use crate::experiment::Trouble;
use crate::lab::Lab;
use crate::theirs::Theirs;

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    Memory,
    Etcd,
    EtcdCluster,
    /// etcd, by someone who puts without a transaction.
    PlainPut,
    Redis,
    NaiveHash,
    NaiveHashReloading,
    NaiveKey,
}

impl Arm {
    const ALL: [Self; 8] = [
        Self::Memory,
        Self::Etcd,
        Self::EtcdCluster,
        Self::PlainPut,
        Self::Redis,
        Self::NaiveHash,
        Self::NaiveHashReloading,
        Self::NaiveKey,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Etcd => "etcd 1 node",
            Self::EtcdCluster => "etcd 3 nodes",
            Self::PlainPut => "etcd 1 node, plain put",
            Self::Redis => "redis",
            Self::NaiveHash => "redis-naive hash",
            Self::NaiveHashReloading => "redis-naive hash, reloading",
            Self::NaiveKey => "redis-naive key",
        }
    }

    pub(super) fn named(name: &str) -> Result<Self, Trouble> {
        let arm = Self::ALL.into_iter().find(|arm| arm.name() == name);
        arm.ok_or_else(|| Trouble::failed(format!("there is no arm {name:?}")))
    }
}

/// The servers of an arm. They end with this.
pub(super) enum Servers {
    Memory(MemoryRegistry),
    Etcd(Box<Etcd>),
    EtcdCluster(Box<EtcdCluster>),
    Redis(Box<Redis>),
}

/// How many members a cluster of etcd has.
const MEMBERS: usize = 3;

impl Servers {
    pub(super) async fn start(arm: Arm, lab: &Lab) -> Result<Self, Trouble> {
        Ok(match arm {
            Arm::Memory => Self::Memory(MemoryRegistry::new()),
            Arm::Etcd | Arm::PlainPut => Self::Etcd(Box::new(Etcd::start(lab.etcd_options()).await?)),
            Arm::EtcdCluster => {
                Self::EtcdCluster(Box::new(EtcdCluster::start(MEMBERS, lab.etcd_options()).await?))
            }
            Arm::Redis | Arm::NaiveHash | Arm::NaiveHashReloading => {
                Self::Redis(Box::new(Redis::start(lab.redis_options()).await?))
            }
            Arm::NaiveKey => {
                Self::Redis(Box::new(Redis::start(lab.redis_options().with_args(NaiveKey::ARGS)).await?))
            }
        })
    }

    /// Two contestants there: one whose link can be cut, and one that goes past it. Where a history is kept by number, it is of `history` changes.
    pub(super) async fn stage(&self, arm: Arm, history: usize) -> Result<Stage, Trouble> {
        match self {
            Self::Memory(registry) => {
                let (far, near) = (registry.client(), registry.client());
                let link = Link::Memory(far.controls());
                Ok(Stage { far: Box::new(Ours::new(far)), near: Box::new(Ours::new(near)), link })
            }
            Self::Etcd(etcd) => {
                let proxy = Proxy::start(etcd.client_address())?;
                let [far, near] = [format!("http://{}", proxy.address()), etcd.endpoint()];
                let link = Link::Proxies(vec![proxy]);
                if arm == Arm::PlainPut {
                    let far = PlainPut::new(etcd_client::Client::connect([far], None).await?);
                    let near = PlainPut::new(etcd_client::Client::connect([near], None).await?);
                    return Ok(Stage { far: Box::new(far), near: Box::new(near), link });
                }
                Ok(Stage { far: our_etcd([far])?, near: our_etcd([near])?, link })
            }
            Self::EtcdCluster(etcds) => {
                let addresses = etcds.members().iter().map(Etcd::client_address);
                let proxies: Vec<Proxy> = addresses.map(Proxy::start).collect::<Result<_, ServerError>>()?;
                let far = our_etcd(proxies.iter().map(|proxy| format!("http://{}", proxy.address())))?;
                Ok(Stage { far, near: our_etcd(etcds.endpoints())?, link: Link::Proxies(proxies) })
            }
            Self::Redis(redis) => {
                let proxy = Proxy::start(redis.address())?;
                let at = |address| -> Result<Box<dyn Contestant>, Trouble> {
                    let place = Place::Server(address);
                    Ok(match arm {
                        Arm::NaiveHash => Box::new(NaiveHash::new(place)),
                        Arm::NaiveHashReloading => Box::new(NaiveHash::reloading(place)),
                        Arm::NaiveKey => Box::new(NaiveKey::new(place)),
                        _ => {
                            let options = RedisOptions::standalone(address.to_string()).with_history(history);
                            Box::new(Ours::new(RedisRegistry::new(options)?))
                        }
                    })
                };
                let (far, near) = (at(proxy.address())?, at(redis.address())?);
                Ok(Stage { far, near, link: Link::Proxies(vec![proxy]) })
            }
        }
    }
}

/// Two contestants on servers of the reader, which nothing is done to.
pub(super) async fn at_theirs(arm: Arm, theirs: &Theirs) -> Result<Stage, Trouble> {
    let one = || async {
        Ok::<Box<dyn Contestant>, Trouble>(match arm {
            Arm::Etcd => Box::new(theirs.our_etcd().await?),
            Arm::PlainPut => Box::new(PlainPut::new(theirs.etcd_client().await?)),
            Arm::Redis => Box::new(theirs.our_redis().await?),
            Arm::NaiveHash => Box::new(NaiveHash::new(theirs.redis_place())),
            other => return Err(Trouble::failed(format!("{} is not for servers of others", other.name()))),
        })
    };
    Ok(Stage { far: one().await?, near: one().await?, link: Link::Solid })
}

fn our_etcd(endpoints: impl IntoIterator<Item = String>) -> Result<Box<dyn Contestant>, Trouble> {
    Ok(Box::new(Ours::new(EtcdRegistry::new(EtcdOptions::new(endpoints))?)))
}

/// Two contestants on the same servers, and the link of one of them.
pub(super) struct Stage {
    /// Whose link can be cut.
    pub(super) far: Box<dyn Contestant>,
    /// Whose cannot.
    pub(super) near: Box<dyn Contestant>,
    pub(super) link: Link,
}

/// A link that can be cut.
pub(super) enum Link {
    Memory(Controls),
    Proxies(Vec<Proxy>),
    /// One that cannot be cut after all.
    Solid,
}

/// What went over a link so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Connections that were cut.
    pub(super) cut: u64,
    /// Bytes to the server.
    pub(super) there: u64,
    /// Bytes from the server.
    pub(super) back: u64,
}

impl Link {
    /// Ends what is open, and refuses what is new.
    pub(super) async fn cut(&self) {
        match self {
            Self::Solid => {}
            Self::Memory(controls) => controls.outage(),
            Self::Proxies(proxies) => {
                for proxy in proxies {
                    // First, so that nobody slips in between.
                    proxy.set(Faults::refusing()).await;
                    proxy.cut().await;
                }
            }
        }
    }

    /// Holds back what is sent, to be delivered after healing. In memory there is no way between on which anything could be.
    pub(super) async fn stall(&self) {
        if let Self::Proxies(proxies) = self {
            for proxy in proxies {
                proxy.set(Faults::stalled()).await;
            }
        }
    }

    pub(super) async fn heal(&self) {
        match self {
            Self::Solid => {}
            Self::Memory(controls) => controls.heal(),
            Self::Proxies(proxies) => {
                for proxy in proxies {
                    proxy.heal().await;
                }
            }
        }
    }

    /// What went over it; none where it is not a link of which bytes can be counted.
    pub(super) fn carried(&self) -> Option<Carried> {
        let Self::Proxies(proxies) = self else { return None };
        let of_one = proxies.iter().map(Proxy::counters);
        Some(of_one.fold(Carried::default(), |sum, one| Carried {
            cut: sum.cut + one.cut,
            there: sum.there + one.to_server.delivered,
            back: sum.back + one.to_client.delivered,
        }))
    }
}
