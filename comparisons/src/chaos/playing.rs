//! A workload while it is played, in the hands of whoever directs the run: its processes, the witness, and in the end all that was written down.

use std::path::PathBuf;
use std::time::Duration;

use registry_core::{AfterDisruption, Durability, GapDetection, Guarantees, ServiceName, Ttl};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::backend::Backend;
use super::client::{Connected, Variant};
use super::fault::Fault;
use super::history::{At, Final, Line, Run};
use super::lines::merge;
use super::recorder::{Clock, Recorder, Recording};
use super::stand::{Place, Role};
use super::witness::Witness;
use super::worker::{Address, Share, Worker};
use super::workload::{Phase, Stage, Workload, play};
use crate::experiment::Trouble;

/// Of this schema are the histories that are written.
pub const SCHEMA: u32 = 1;

/// From when its processes are started until the play begins.
const PRELUDE_MS: u64 = 500;

/// What people who write a registry on Redis expect of it: they promise nothing, and this is what its histories are measured by.
const NAIVE_BOUND: Duration = Duration::from_secs(1);
/// The same: within this time every watcher should know what is listed.
const NAIVE_CONVERGENCE: Duration = Duration::from_secs(5);

/// What the run is, as far as the workload does not say.
#[derive(Clone, Debug)]
pub struct RunInfo {
    /// Who is put under faults.
    pub backend: Backend,
    /// By which.
    pub faults: Vec<Fault>,
    /// How durable an acknowledged write must be to survive them.
    pub needs: Durability,
    /// Which of the registries that people write is `redis-naive`.
    pub variant: Variant,
    /// The program that is `comparisons`, whose subcommand a worker is: the one that runs, but for tests.
    pub program: PathBuf,
}

/// A workload that is played. Dropping it ends its processes.
#[derive(Debug)]
pub struct Playing {
    recorder: Recorder,
    recording: Recording,
    run: Run,
    starts: At,
    witness: Witness,
    company: Company,
}

/// Who plays.
#[derive(Debug)]
enum Company {
    /// Tasks of this process, where the store is in its memory.
    Here { phase: watch::Sender<Phase>, playing: JoinHandle<()> },
    /// Other processes.
    Workers(Vec<Worker>),
}

impl Playing {
    /// Starts the processes and the witness. The play begins half a second later, when all of them are there.
    ///
    /// # Errors
    /// What is wrong with a place; that a process cannot be started.
    pub async fn start(
        workload: &Workload,
        places: impl Fn(Role) -> Place,
        info: RunInfo,
    ) -> Result<Self, Trouble> {
        let (recorder, recording) = Recorder::new(Clock::start());
        let service = ServiceName::new(workload.service.as_str())?;
        let (reader, writer) = (places(Role::Reader), places(Role::Writer));
        let guarantees = match Connected::to(&writer, info.variant).await? {
            Connected::Ours(registry) => Some(registry.guarantees()),
            Connected::Hash(_) | Connected::Key(_) => None,
        };
        let ttl = Ttl::new(Duration::from_millis(workload.ttl_ms))?;
        let ttl = guarantees.as_ref().map_or(ttl, |guarantees| ttl.max(guarantees.min_ttl));
        let run = run(workload, &info, ttl, guarantees.as_ref());
        recorder.write(Line::Run(run.clone()));
        let witness = Witness::start(&places(Role::Witness), info.variant, &service, ttl, &recorder).await?;
        let starts = recorder.now().plus_ms(PRELUDE_MS);
        let company = match (Address::of(&reader), Address::of(&writer)) {
            (Some(reader), Some(writer)) => {
                let mut workers = Vec::new();
                for process in 0..workload.processes {
                    let of_it = workload.actors.iter().filter(|actor| actor.process == process);
                    let share = Share {
                        clock: recorder.clock(),
                        starts,
                        service: workload.service.clone(),
                        ttl_ms: u64::try_from(ttl.get().as_millis()).unwrap_or(u64::MAX),
                        reader: reader.clone(),
                        writer: writer.clone(),
                        variant: info.variant,
                        actors: of_it.cloned().collect(),
                    };
                    workers.push(Worker::start(&info.program, &share).await?);
                }
                Company::Workers(workers)
            }
            _ => {
                let (sender, phase) = watch::channel(Phase::Changing);
                let stage = Stage {
                    recorder: recorder.clone(),
                    starts,
                    service,
                    ttl,
                    reader: Connected::to(&reader, info.variant).await?,
                    writer: Connected::to(&writer, info.variant).await?,
                    phase,
                };
                let playing = tokio::spawn(play(stage, workload.actors.clone()));
                Company::Here { phase: sender, playing }
            }
        };
        Ok(Self { recorder, recording, run, starts, witness, company })
    }

    /// Takes lines of the run, such as those of the nemesis, and tells its time.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What is played, and what the registry promises.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// When the play began: the times of the workload count from here.
    #[must_use]
    pub fn starts(&self) -> At {
        self.starts
    }

    /// Waits until so many milliseconds since the play began.
    pub async fn until(&self, ms: u64) {
        self.recorder.clock().until(self.starts.plus_ms(ms)).await;
    }

    /// How many processes can be paused.
    #[must_use]
    pub fn processes(&self) -> usize {
        match &self.company {
            Company::Here { .. } => 0,
            Company::Workers(workers) => workers.len(),
        }
    }

    /// Stops a process with all its owners, writers and watchers, as by SIGSTOP; returns when it stands still.
    ///
    /// # Errors
    /// [`Trouble::NotRun`] where the store is in the memory of this process; that there is no such process, or that it has ended.
    pub async fn pause_process(&self, number: usize) -> Result<(), Trouble> {
        self.worker(number)?.pause().await
    }

    /// Lets a process go on; returns when it does.
    ///
    /// # Errors
    /// As [`pause_process`](Self::pause_process).
    pub async fn resume(&self, number: usize) -> Result<(), Trouble> {
        self.worker(number)?.resume().await
    }

    fn worker(&self, number: usize) -> Result<&Worker, Trouble> {
        match &self.company {
            Company::Here { .. } => {
                Err(Trouble::NotRun("a store in memory has its clients in its own process".to_owned()))
            }
            Company::Workers(workers) => {
                workers.get(number).ok_or_else(|| Trouble::failed(format!("there is no process {number}")))
            }
        }
    }

    /// Nobody changes anything any more on purpose: who is registered goes on renewing, who watches goes on watching. What is not renewed any more still ends.
    pub async fn stop_changes(&mut self) {
        self.turn(Phase::Still).await;
    }

    async fn turn(&mut self, next: Phase) {
        match &mut self.company {
            Company::Here { phase, .. } => drop(phase.send_replace(next)),
            Company::Workers(workers) => {
                for worker in workers {
                    worker.turn(next).await;
                }
            }
        }
    }

    /// One of the last reads, past all faults. Also written down.
    ///
    /// # Errors
    /// That nothing can be read.
    pub async fn read(&self) -> Result<Final, Trouble> {
        self.witness.read().await
    }

    /// Reads twice, past all faults; then all stop without a word. Gives all that was written down, by time. Changes should have been
    /// [stopped](Self::stop_changes) for as long as it takes to converge. A read that fails is not in the history, but noted: `final_failed`.
    pub async fn finish(mut self) -> Vec<Line> {
        for _ in 0..2 {
            if let Err(trouble) = self.read().await {
                self.recorder.note(format!("final_failed: {trouble}"), None);
            }
        }
        self.turn(Phase::Over).await;
        let mut recordings = Vec::new();
        match self.company {
            Company::Here { playing, .. } => drop(playing.await),
            Company::Workers(workers) => {
                for worker in workers {
                    recordings.push(worker.end().await);
                }
            }
        }
        self.witness.end().await;
        self.recording.close();
        recordings.insert(0, self.recording.drain());
        merge(recordings)
    }
}

/// What is played, and what is promised. Of a registry that promises nothing, what people expect.
fn run(workload: &Workload, info: &RunInfo, ttl: Ttl, guarantees: Option<&Guarantees>) -> Run {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let promised = |which: fn(&Guarantees) -> Duration, naive| guarantees.map_or(naive, which);
    let says = |which: &dyn Fn(&Guarantees) -> bool| guarantees.is_some_and(which);
    Run {
        schema: SCHEMA,
        backend: info.backend,
        faults: info.faults.clone(),
        seed: workload.seed,
        service: workload.service.clone(),
        ttl_ms: millis(ttl.get()),
        expiry_bound_ms: millis(promised(|guarantees| guarantees.expiry_bound, NAIVE_BOUND)),
        convergence_ms: millis(promised(|guarantees| guarantees.convergence, NAIVE_CONVERGENCE)),
        linearizable: says(&|guarantees| guarantees.linearizable_reads),
        tells_gaps: says(&|guarantees| guarantees.gap_detection == GapDetection::Always),
        exact_deadlines: says(&|guarantees| guarantees.after_disruption == AfterDisruption::Exact),
        keeps_acknowledged: says(&|guarantees| guarantees.durability >= info.needs),
        may_expire_early: says(&|guarantees| guarantees.after_disruption == AfterDisruption::MayExpireEarly),
    }
}
