//! Processes with guarded views that are kept on one shelf: they are cut off, end and start anew, and find their files damaged.
//!
//! They draw from dice of their own, and have clients of their own, so that a seed plays all else as if they were not there.

use std::sync::Arc;

use registry_core::{
    Directory, DirectoryOptions, DiskOptions, Freshness, GuardOptions, ServiceName, Snapshot, Ttl, View,
};
use registry_memory::MemoryRegistry;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use super::client::Client;
use super::files::{Board, Drawer};
use super::history::{History, Record};
use super::mutant::{Memory, Mutant};
use super::tap::{Tap, undisguised};

/// The greatest TTL with which anything registers in a simulation.
pub(super) const TTL: Duration = Duration::from_secs(5);

/// How many processes with guarded views there are.
const PROCESSES: usize = 2;

/// A life of a process: its view of one service.
struct Life {
    number: usize,
    view: View,
    tap: Tap,
}

impl Life {
    fn listed(&self) -> Option<Snapshot> {
        self.view.load().snapshot().map(|listed| undisguised(listed, &self.tap.disguised))
    }
}

pub(super) struct Guarded {
    rng: fastrand::Rng,
    history: History,
    clients: Vec<Client>,
    service: ServiceName,
    options: DirectoryOptions,
    board: Arc<Board>,
    lives: Vec<Life>,
    next: usize,
    mutant: Option<Mutant>,
}

impl Guarded {
    pub(super) fn new(
        seed: u64,
        store: &MemoryRegistry,
        mutant: Option<Mutant>,
        history: &History,
        service: ServiceName,
    ) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15);
        let clients = (0..PROCESSES)
            .map(|n| Client::new(100 + n, store, mutant, Arc::new(Memory::default()), history, rng.u64(..)))
            .collect();
        let board = Arc::new(Board::new());
        let clock = Arc::clone(&board);
        // Each life reads and writes by a drawer of its own.
        let nobody = Drawer { board: Arc::clone(&board), view: usize::MAX, history: history.clone(), mutant };
        let disk = DiskOptions::on(Arc::new(nobody), "simulated").with_clock(move || clock.time());
        let options = Mutant::guard(mutant, DirectoryOptions::new().with_disk(disk), |factor| {
            let ttl = Ttl::new(TTL * factor).expect("a good TTL");
            // As on a backend that cannot tell; there is more to be held then.
            GuardOptions::new().with_ttl(ttl).with_hold_unknown(true)
        });
        let (history, lives, next) = (history.clone(), Vec::new(), 0);
        let mut guarded = Self { rng, history, clients, service, options, board, lives, next, mutant };
        (0..PROCESSES).for_each(|client| guarded.start(client));
        guarded
    }

    fn start(&mut self, client: usize) {
        let number = self.next;
        self.next += 1;
        let tap = Tap {
            inner: Arc::clone(&self.clients[client].registry),
            view: number,
            history: self.history.clone(),
            mutant: self.mutant,
            disguised: Arc::default(),
        };
        let (board, history) = (Arc::clone(&self.board), self.history.clone());
        let mut options = self.options.clone();
        if let Some(disk) = &mut options.disk {
            disk.shelf = Arc::new(Drawer { board, view: number, history, mutant: self.mutant });
        }
        let view = Directory::with_options(Arc::new(tap.clone()), options).view(&self.service);
        self.history.note(format!("guarded view {number} starts on client {}", 100 + client));
        let life = Life { number, view, tap };
        match self.lives.get_mut(client) {
            // The one before ends here.
            Some(before) => *before = life,
            None => self.lives.push(life),
        }
    }

    /// Strikes at times, and looks.
    pub(super) async fn step(&mut self, tasks: &mut JoinSet<()>) {
        let at = self.rng.usize(0..PROCESSES);
        let client = self.clients[at].clone();
        match self.rng.u32(0..100) {
            0..4 => {
                let lasting = Duration::from_millis(self.rng.u64(50..12_000));
                self.history.note(format!("outage of client {} for {lasting:?}", 100 + at));
                if self.rng.bool() {
                    client.store.controls().outage();
                } else {
                    client.store.controls().black_hole();
                }
                tasks.spawn(async move {
                    sleep(lasting).await;
                    client.store.controls().heal();
                });
            }
            4..7 => self.start(at),
            7 => self.damage(),
            8 => {
                let life = &self.lives[at];
                self.history.push(Record::Released { view: life.number, at: Instant::now() });
                // A view hears of it before anything else.
                life.view.release().await;
            }
            _ => {}
        }
        self.look();
    }

    fn damage(&mut self) {
        self.board.damage(&mut self.rng, self.mutant);
        self.history.note("the files of guarded views are damaged");
    }

    pub(super) fn look(&self) {
        for life in &self.lives {
            let state = life.view.state();
            self.history.push(Record::Guarded {
                view: life.number,
                service: self.service.clone(),
                at: Instant::now(),
                listed: life.listed(),
                held: state.held().map(|(id, held)| (id.clone(), *held)).collect(),
                disk_age: state.disk_age(Instant::now()),
            });
        }
    }

    pub(super) fn heal(&self) {
        for client in &self.clients {
            client.store.controls().heal();
        }
    }

    /// I8: what is not live, or has, beside what it holds, something else than `list`.
    pub(super) fn unlike(&self, list: &Snapshot) -> Vec<String> {
        let unlike = |life: &&Life| {
            let state = life.view.state();
            let live = life.listed().map(|snapshot| {
                snapshot.iter().filter(|entry| state.held_of(entry.id()).is_none()).eq(list.iter())
            });
            live != Some(true) || !matches!(state.freshness(), Freshness::Live { .. })
        };
        let what =
            |life: &Life| format!("guarded view {} is {:?}, the list is {list:?}", life.number, life.view);
        self.lives.iter().filter(unlike).map(what).collect()
    }

    pub(super) fn service(&self) -> &ServiceName {
        &self.service
    }
}
