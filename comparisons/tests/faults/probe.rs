//! A short strike of one fault on a real stand, with a simple client that writes and watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use comparisons::chaos::backend::Backend;
use comparisons::chaos::fault::{Fault, StruckBy};
use comparisons::chaos::stand::{Place, Programs, Role, Stand, start};
use comparisons::contestants::{self, Contestant, NaiveHash, Ours};
use comparisons::experiment::Trouble;
use futures_util::StreamExt;
use registry_testing::servers::until;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long a strike lasts here.
const SHORT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(5);
const SERVICE: &str = "probe.rpc";
const SEED: u64 = 7;

/// By names as in the code: `etcd_cluster` and `leader_kill`.
pub(crate) fn cell(backend: &str, fault: &str) -> (Backend, Fault) {
    let (backend, fault) = (backend.replace('_', "-"), fault.replace('_', "-"));
    let backend = Backend::ALL.into_iter().find(|one| one.name() == backend);
    let fault = Fault::all().iter().copied().find(|one| one.id() == fault);
    (backend.expect("a backend"), fault.expect("a fault"))
}

async fn contestant(place: Place) -> Arc<dyn Contestant> {
    match place {
        Place::Memory(registry) => Arc::new(Ours::new(registry)),
        Place::Url(url) | Place::Group { url, .. } => {
            Arc::new(Ours::of(service_registry::connect(&url).await.unwrap()))
        }
        Place::NaiveUrl(url) => Arc::new(NaiveHash::new(contestants::Place::Url(url))),
    }
}

/// Writes without end: an instance for as long as it lives, a new one whenever something is wrong with it.
async fn write(contestant: Arc<dyn Contestant>, written: Arc<AtomicU64>) {
    let mut member = None;
    for value in 0_u64.. {
        let outcome = match &member {
            None => contestant.register(SERVICE, "writer", value, TTL).await.map(|new| member = Some(new)),
            Some(it) => contestants::Member::set(it.as_ref(), value).await,
        };
        match outcome {
            Ok(()) => drop(written.fetch_add(1, Ordering::SeqCst)),
            Err(_) => member = None,
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Strikes a fault of a backend that both writes and watches meet, heals it, and has them served again.
pub(crate) async fn strikes(backend: &str, fault: &str) {
    let (backend, fault) = cell(backend, fault);
    strike_all(backend, &[fault]).await;
}

/// The same with several at once, healed in the order in which they were struck.
pub(crate) async fn strike_all(backend: Backend, faults: &[Fault]) {
    let programs = Programs::default();
    let stand = start(backend, faults, &programs).await.unwrap_or_else(|trouble| panic!("{trouble}"));
    let outcome = struck(&*stand, faults).await;
    let at = address(&stand.place(Role::Reader));
    stand.end().await;
    outcome.unwrap_or_else(|trouble| panic!("{faults:?} on {backend}: {trouble}"));
    if let Some(at) = at {
        assert!(TcpStream::connect(&at).await.is_err(), "{at} still listens");
    }
}

async fn struck(stand: &dyn Stand, faults: &[Fault]) -> Result<(), Trouble> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let (writer, reader) =
        (contestant(stand.place(Role::Writer)).await, contestant(stand.place(Role::Reader)).await);
    let written = Arc::new(AtomicU64::new(0));
    let writing = tokio::spawn(write(Arc::clone(&writer), Arc::clone(&written)));
    let watching = reader.watch(SERVICE);
    let watching = tokio::spawn(watching.for_each(|_| async {}));
    until("the first writes", PATIENCE, || async { (written.load(Ordering::SeqCst) > 3).then_some(()) })
        .await?;

    for fault in faults {
        let lasting = SHORT.min(fault.row().lasts);
        let what = stand.strike(*fault, lasting, &mut random).await?;
        println!("{what}");
    }
    sleep(SHORT).await;
    for fault in faults {
        let bite = stand.heal(*fault).await?;
        println!("{}", bite.proof);
        assert_eq!(bite.bitten, fault.row().struck_by == StruckBy::Stand, "{fault}: {}", bite.proof);
    }

    let before = written.load(Ordering::SeqCst);
    until("writes go on", PATIENCE, || async { (written.load(Ordering::SeqCst) > before + 3).then_some(()) })
        .await?;
    // By clients that have seen nothing of it, and by one that has.
    let fresh = [contestant(stand.place(Role::Reader)).await, contestant(stand.place(Role::Witness)).await];
    for reads in fresh.iter().chain([&reader]) {
        until("the instance is listed that is written all the time", PATIENCE, || async {
            let listed = timeout(TTL, reads.list(SERVICE)).await.ok()?.ok()?;
            listed.contains_key("writer").then_some(())
        })
        .await?;
    }
    writing.abort();
    watching.abort();
    Ok(())
}

/// The first host of a URL.
fn address(place: &Place) -> Option<String> {
    let (Place::Url(url) | Place::Group { url, .. } | Place::NaiveUrl(url)) = place else { return None };
    let hosts = url.split_once("://")?.1;
    hosts.split([',', '/']).next().map(str::to_owned)
}

/// A test for each of these, and a list of them.
#[macro_export]
macro_rules! cells {
    ($($backend:ident: $($fault:ident),+;)+) => {
        mod a_fault_bites_and_is_healed {$(
            mod $backend {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $fault() {
                    $crate::probe::strikes(stringify!($backend), stringify!($fault)).await;
                }
            )+}
        )+}

        const CELLS: &[(&str, &[&str])] = &[$((stringify!($backend), &[$(stringify!($fault)),+])),+];
    };
}
