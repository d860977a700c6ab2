//! One late write: an old incarnation of an instance is held up while a newer one takes its place.

use std::sync::Arc;
use std::time::Duration;

use registry_core::ErrorKind;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::stage::Stage;
use crate::contestants::Member;
use crate::experiment::Trouble;

/// Nobody dies of this in a trial, which takes milliseconds.
const TTL: Duration = Duration::from_secs(60);
/// How long the answer to what was held up may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the old one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    Heartbeat,
    Update,
    Leave,
}

impl Late {
    pub(super) const ALL: [Self; 3] = [Self::Heartbeat, Self::Update, Self::Leave];

    async fn by(self, member: &dyn Member, value: u64) -> Result<(), Trouble> {
        match self {
            Self::Heartbeat => member.renew().await,
            Self::Update => member.set(value).await,
            Self::Leave => member.leave().await,
        }
    }
}

/// How it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    /// Whether the old one's operation was begun before the newer one was registered, and reached the registry after.
    pub(super) bitten: bool,
    /// Whether the newer one is no longer listed with its value.
    pub(super) overwritten: bool,
    /// Whether the old one was told that it is no longer the one.
    pub(super) told: bool,
}

/// The `number`th; each has an instance of its own.
pub(super) async fn trial(stage: &Stage, service: &str, number: u64, late: Late) -> Result<Trial, Trouble> {
    let id = format!("i{number}");
    let [first, newest, latest] = [0, 1, 2].map(|more| number * 3 + more);
    let old: Arc<dyn Member> = Arc::from(stage.far.register(service, &id, first, TTL).await?);
    let (bitten, newer, outcome) = if stage.link.carried().is_some() {
        held_up(stage, service, &id, old, [newest, latest], late).await?
    } else {
        let newer = stage.near.register(service, &id, newest, TTL).await?;
        (true, newer, late.by(&*old, latest).await)
    };
    let lost = |trouble: &Trouble| {
        matches!(trouble, Trouble::Failed(error)
            if error.downcast_ref::<registry_core::Error>().is_some_and(|error| error.kind() == ErrorKind::LeaseLost))
    };
    let told = outcome.as_ref().is_err_and(lost);
    let listed = stage.near.list(service).await?;
    newer.leave().await?;
    // What failed otherwise may never have arrived.
    let arrived = outcome.is_ok() || told;
    Ok(Trial { bitten: bitten && arrived, overwritten: listed.get(&id) != Some(&newest), told })
}

type Outcome = Result<(), Trouble>;

/// The old one's operation is begun, and held up on its way until the newer one is registered.
async fn held_up(
    stage: &Stage,
    service: &str,
    id: &str,
    old: Arc<dyn Member>,
    [newest, latest]: [u64; 2],
    late: Late,
) -> Result<(bool, Box<dyn Member>, Outcome), Trouble> {
    stage.link.stall().await;
    // Only what goes to the server: what comes back from before may still be counted.
    let sent = || stage.link.carried().map(|carried| carried.there);
    let before = sent();
    let (begin, begun) = oneshot::channel();
    let task = tokio::spawn(async move {
        let _ = begin.send(());
        late.by(&*old, latest).await
    });
    let was_begun = begun.await.is_ok();
    let newer = stage.near.register(service, id, newest, TTL).await;
    let was_held = !task.is_finished() && sent() == before;
    stage.link.heal().await;
    let outcome =
        timeout(PATIENCE, task).await.map_err(|_| Trouble::failed("a late write was never answered"))?;
    let outcome = outcome.map_err(|broken| Trouble::failed(broken.to_string()))?;
    Ok((was_begun && was_held, newer?, outcome))
}
