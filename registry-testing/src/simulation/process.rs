//! A process that keeps one instance registered, and does as it is ordered.

use std::sync::{Arc, Mutex, PoisonError};

use registry_core::{
    Instance, InstanceId, OwnerToken, Registrar, RegistrarState, RegistrarStates, ServiceName, WhenFenced,
};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout};

use super::history::{History, Record};

/// A process that keeps one instance registered.
pub(super) struct Process {
    pub(super) service: ServiceName,
    pub(super) id: InstanceId,
    pub(super) token: OwnerToken,
    pub(super) when_fenced: WhenFenced,
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) states: RegistrarStates,
    pub(super) intent: Arc<Mutex<Intent>>,
}

/// What a process is meant to be doing.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) life: Life,
    pub(super) instance: Instance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    Paused,
    Gone,
}

#[derive(Clone, Debug)]
pub(super) enum Order {
    Update(u32),
    Pause,
    Resume,
    Drain,
    Shutdown,
    Crash,
}

/// Runs a registrar as ordered.
pub(super) async fn obey(
    registrar: Registrar,
    mut orders: mpsc::UnboundedReceiver<Order>,
    intent: Arc<Mutex<Intent>>,
    history: History,
) {
    let mut held = None;
    while let Some(order) = orders.recv().await {
        if let RegistrarState::Registered { registration, .. } = &*registrar.state() {
            held = Some(registration.lease.clone());
        }
        let left = |result: registry_core::Result<()>| {
            if let (Ok(()), Some(lease)) = (result, &held) {
                let (service, id) = (lease.service().clone(), lease.id().clone());
                history.push(Record::Left {
                    service,
                    id,
                    incarnation: lease.incarnation(),
                    at: Instant::now(),
                });
            }
        };
        match order {
            Order::Update(weight) => {
                let instance = lock(&intent).instance.to_builder().weight(weight).build();
                let instance = instance.expect("a good instance");
                lock(&intent).instance = instance.clone();
                let asked = Instant::now();
                let answer = timeout(Duration::from_secs(3), registrar.update(instance.clone())).await;
                if let Ok(Ok(revision)) = answer {
                    history.push(Record::Published { instance, revision, between: (asked, Instant::now()) });
                }
            }
            Order::Pause => {
                lock(&intent).life = Life::Paused;
                left(registrar.pause().await);
            }
            Order::Resume => {
                lock(&intent).life = Life::Running;
                let _ = registrar.resume().await;
            }
            Order::Drain => {
                lock(&intent).life = Life::Gone;
                left(registrar.drain(Duration::from_secs(1)).await);
                return;
            }
            Order::Shutdown => {
                lock(&intent).life = Life::Gone;
                left(registrar.shutdown().await);
                return;
            }
            Order::Crash => {
                lock(&intent).life = Life::Gone;
                registrar.abandon();
                return;
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
