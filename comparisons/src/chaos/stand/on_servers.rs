//! A stand of real servers: which fault is injected by which means.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use registry_testing::servers::redis::Failover;

use super::processes::Signal;
use super::site::Site;
use super::struck::{Struck, Wounds};
use super::{
    Bite, Fault, Place, Role, Stand, clock, data, foreign, forgetting, freezing, full, handover, links,
    network, processes,
};
use crate::experiment::Trouble;

/// Real servers.
pub(super) struct OnServers {
    wounds: Wounds,
    /// None when it has ended.
    site: Mutex<Option<Arc<Site>>>,
    places: [Place; 3],
}

impl OnServers {
    pub(super) fn new(site: Site) -> Self {
        let places = [Role::Reader, Role::Writer, Role::Witness].map(|role| site.place(role));
        Self { wounds: Wounds::default(), site: Mutex::new(Some(Arc::new(site))), places }
    }

    fn site(&self) -> Result<Arc<Site>, Trouble> {
        let site = self.site.lock().unwrap_or_else(PoisonError::into_inner);
        site.clone().ok_or_else(|| Trouble::failed("the servers have ended"))
    }
}

#[async_trait]
impl Stand for OnServers {
    fn place(&self, role: Role) -> Place {
        let [reader, writer, witness] = &self.places;
        match role {
            Role::Reader => reader.clone(),
            Role::Writer => writer.clone(),
            Role::Witness => witness.clone(),
        }
    }

    async fn strike(
        &self,
        fault: Fault,
        lasting: Duration,
        random: &mut fastrand::Rng,
    ) -> Result<String, Trouble> {
        self.wounds.has(fault)?;
        let struck = strike(self.site()?, fault, lasting, random).await?;
        Ok(self.wounds.add(fault, struck))
    }

    async fn heal(&self, fault: Fault) -> Result<Bite, Trouble> {
        let bite = self.wounds.take(fault)?.await?;
        // While another fault is in place, they do not serve as before.
        if self.wounds.are_none() {
            self.site()?.settle().await?;
        }
        Ok(bite)
    }

    async fn end(&self) {
        self.wounds.forget();
        let site = self.site.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Which waits for processes and threads, and unmounts.
        let _ = tokio::task::spawn_blocking(move || drop(site)).await;
    }
}

async fn strike(
    site: Arc<Site>,
    fault: Fault,
    lasting: Duration,
    random: &mut fastrand::Rng,
) -> Result<Struck, Trouble> {
    match fault {
        Fault::None => Ok(Struck::nothing(true, "there is nothing to be proved")),
        Fault::SlowConsumer | Fault::ClientPaused | Fault::ExpiryStorm | Fault::MassRejoin => {
            Ok(Struck::nothing(false, "the stand did nothing: what the clients did proves it"))
        }
        Fault::LinkCut
        | Fault::BlackHole
        | Fault::BlackHoleLong
        | Fault::BlackHoleToServer
        | Fault::BlackHoleToClient
        | Fault::Latency
        | Fault::Throttle => links::strike(site, fault).await,
        Fault::LinkReset => links::reset(site, lasting).await,
        Fault::Flaps => links::flap(site, lasting, random).await,
        Fault::ServerKill => processes::end(&site, site.follower(random).await?, Signal::Kill).await,
        Fault::ServerStop => processes::end(&site, site.follower(random).await?, Signal::Terminate).await,
        Fault::PauseShort | Fault::Pause | Fault::PauseLong => {
            processes::pause(&site, site.follower(random).await?, lasting).await
        }
        Fault::PowerCut => processes::power_cut(&site).await,
        Fault::LeaderKill => processes::end_leader(&site).await,
        Fault::LeaderPause => processes::pause_leader(&site).await,
        Fault::MinorityPartition => network::isolate_follower(&site, random).await,
        Fault::MajorityPartition => network::isolate_leader(&site).await,
        Fault::OneWayPartition => network::mute_leader(&site).await,
        Fault::SplitBrain => network::split_brain(&site).await,
        Fault::QuorumLoss => network::lose_quorum(&site, random).await,
        Fault::Compaction => forgetting::compact(&site).await,
        Fault::Wipe => data::wipe(&site).await,
        Fault::Restore => data::restore(&site).await,
        Fault::ClockStep => clock::step(&site, random).await,
        Fault::SlowFsync => freezing::freeze(&site).await,
        Fault::DiskFull => full::fill_disk(&site).await,
        Fault::StoreFull => full::fill_store(&site).await,
        Fault::SlotMigration => handover::migrate(&site, random).await,
        Fault::FailoverForce => handover::fail_over(&site, Failover::Force).await,
        Fault::FailoverTakeover => handover::fail_over(&site, Failover::Takeover).await,
        Fault::MalformedFlood => foreign::flood(&site, lasting).await,
    }
}
