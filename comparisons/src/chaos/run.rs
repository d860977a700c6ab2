//! The runner: which cells are to be played, some side by side, and what becomes of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use registry_testing::servers::{etcd::etcd_3_5, redis::redis_8};
use tokio::time::Instant;

use super::backend::Backend;
use super::cell::play;
use super::check::{Invariant, check};
use super::coverage::{Scope, is_quick};
use super::fault::Fault;
use super::go::Go;
use super::history::Line;
use super::lines;
use super::plan::Cell;
use super::pulse::Pulse;
use super::record::{FILE, Keeper, Record, Whose, example_of};
use super::result::{CellResult, Judged, Outcome, judged};
use super::stand::{Programs, clean_left_over};
use super::verdict::Verdict;
use super::worker;
use crate::cli;
use crate::experiment::Trouble;
use crate::progress::{Progress, minutes};
use crate::publish::write_chaos_report;
use crate::report::chaos::text_matrix;
use crate::run::{Ended, interruptions};

/// The checkers of one history may take so long.
pub(super) const CHECKING: Duration = Duration::from_secs(60);

/// About so long views may take to converge, where that is asked before there is a registry to say it.
const CONVERGENCE_MS: u64 = 3_000;

/// What is thrown away if nothing else is said: it was played while processes stood still for longer.
pub(super) const LATE: Duration = Duration::from_millis(250);

/// So begins what is said of a cell that was played to its end and thrown away for that.
pub(super) const TOO_BUSY: &str = "the machine was too busy";

/// The folder of histories within that of results.
pub(super) const HISTORIES: &str = "histories";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Plays what `options` ask for.
///
/// # Errors
/// What is wrong with the options, or with the folder for the results. What goes wrong in a cell is recorded instead.
pub async fn chaos(options: &cli::Chaos) -> Result<Ended, Failure> {
    let scope = scope(options);
    if scope.singles().is_empty() {
        return Err("none of these faults applies to any of these backends".into());
    }
    let programs = Programs {
        etcd: options.etcd_program.clone().or_else(|| etcd_3_5().ok()).unwrap_or("etcd".into()),
        redis: options.redis_program.clone().or_else(|| redis_8().ok()).unwrap_or("redis-server".into()),
    };
    let folder = options.out.join(HISTORIES);
    std::fs::create_dir_all(&folder).map_err(|error| format!("--out {}: {error}", options.out.display()))?;
    let jobs = options.jobs.max(1);
    let go = Go::read(&programs, jobs).await.map_err(|trouble| trouble.to_string())?;
    let file = options.out.join(FILE);
    let keeper = Keeper::open(&file, go.clone())?;
    let before = Record::read(&file)?;
    let there = before.by(if options.any_code { Whose::Any } else { Whose::SameAs(&go) });
    // What broke off, or could not be run, is tried again.
    let judged = there.results().filter(|result| result.judged().is_some());
    let done: BTreeSet<Cell> = judged.map(|result| result.cell.clone()).collect();

    let wanted = wanted(&scope, options);
    if wanted.is_empty() {
        return Err("none of these pairs applies to any of these backends".into());
    }
    let missing: Vec<Cell> = wanted.iter().filter(|cell| !done.contains(cell)).cloned().collect();
    let left: Box<dyn Iterator<Item = Cell>> = match options.soak {
        true => Box::new(scope.soak().filter(|cell| !done.contains(cell))),
        false => Box::new(missing.clone().into_iter()),
    };
    let mut progress = Progress::new(missing.iter().map(|cell| seconds(cell) / jobs as f64));
    for cleaned in clean_left_over() {
        progress.say(&format!("left by an earlier run, and cleaned: {cleaned}"));
    }
    announce(&progress, options, &wanted, &missing, jobs);
    let other = before.cells.len() - before.by(Whose::SameAs(&go)).cells.len();
    if other > 0 && !options.any_code {
        progress.say(&format!(
            "{other} cells in {} were played by other code or on other servers, and are played again (--any-code takes them for done)",
            file.display()
        ));
    }
    let mut players = Players {
        programs: &programs,
        program: std::env::current_exe()?,
        histories: Histories { folder, all: options.histories, examples: examples(&done) },
        keeper,
        pulse: Pulse::start()?,
        late: Duration::from_millis(options.late_ms),
        until: options.minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0)),
        jobs,
    };
    let ended = players.take(left, &mut progress).await?;
    progress.finish();
    let record = Record::read(&file)?.by(if options.any_code { Whose::Any } else { Whose::SameAs(&go) });
    conclude(&record, options, &wanted, ended, &progress)
}

/// Tells what came of it, and makes the report.
fn conclude(
    record: &Record,
    options: &cli::Chaos,
    wanted: &[Cell],
    ended: Ended,
    progress: &Progress,
) -> Result<Ended, Failure> {
    let asked = |result: &&CellResult| options.soak || wanted.contains(&result.cell);
    let results: Vec<&CellResult> = record.results().filter(asked).collect();
    if !results.is_empty() {
        progress.say(&text_matrix(&results));
    }
    let bad: Vec<&&CellResult> =
        results.iter().filter(|result| result.is_finding() || result.has_failed()).collect();
    for result in &bad {
        progress.say(&result.summary());
    }
    if !record.cells.is_empty() {
        write_chaos_report(record, &options.out)?;
        let report = options.out.join("report.html");
        progress.say(&format!("{} cells; report in {}", results.len(), report.display()));
    }
    let missing = wanted.iter().filter(|cell| !record.cells.contains_key(*cell)).count();
    if missing > 0 && ended == Ended::Complete {
        progress.say(&format!(
            "{missing} cells were not begun, since the time was over: the same command goes on from here"
        ));
    }
    let lacks = missing > 0 && !options.soak;
    Ok(if ended == Ended::Complete && (lacks || !bad.is_empty()) { Ended::Failed } else { ended })
}

fn announce(progress: &Progress, options: &cli::Chaos, wanted: &[Cell], missing: &[Cell], jobs: usize) {
    let time = minutes(missing.iter().map(seconds).sum::<f64>() / jobs as f64);
    let there = wanted.len() - missing.len();
    let (all, file) = (wanted.len(), options.out.join(FILE));
    let file = file.display();
    progress.say(&match options.soak {
        true => format!("a record has {all} cells, {there} of them are in {file} already; the others take about {time}, and then it goes on"),
        false => format!("{all} cells, {there} of them in {file} already; about {time}"),
    });
}

/// How long a cell takes, roughly.
fn seconds(cell: &Cell) -> f64 {
    cell.seconds(CONVERGENCE_MS)
}

/// What may be played.
fn scope(options: &cli::Chaos) -> Scope {
    let backends = if options.backend.is_empty() { Backend::ALL.to_vec() } else { options.backend.clone() };
    let faults = if options.fault.is_empty() { Fault::all().to_vec() } else { options.fault.clone() };
    // What is named is wanted.
    let wanted = |fault: &Fault| !options.fault.is_empty() || !options.quick || is_quick(*fault);
    Scope { backends, faults: faults.into_iter().filter(wanted).collect(), seed: options.seed }
}

/// How many pairs are played, where that is not said.
const PAIRS: u64 = 35;

/// What is to be there in the end.
fn wanted(scope: &Scope, options: &cli::Chaos) -> Vec<Cell> {
    if options.soak {
        return scope.record();
    }
    if !options.pair.is_empty() {
        return scope.named(&options.pair, options.seeds.max(1));
    }
    let is_all = options.fault.is_empty() && !options.quick;
    let pairs = options.pairs.unwrap_or(if is_all { PAIRS } else { 0 });
    scope.each(options.seeds.max(1)).into_iter().chain(scope.pairs(0..pairs)).collect()
}

/// Of what a history is kept, where not all are.
fn examples(done: &BTreeSet<Cell>) -> BTreeSet<String> {
    done.iter().map(example_of).collect()
}

/// Histories as files: of everything unexpected, and one example of each fault on each backend. All of them would fill the disk.
#[derive(Debug)]
struct Histories {
    folder: PathBuf,
    all: bool,
    examples: BTreeSet<String>,
}

impl Histories {
    fn keep(&mut self, result: &CellResult) -> std::io::Result<()> {
        let is_first = result.judged().is_some() && self.examples.insert(example_of(&result.cell));
        let is_odd = result.is_finding() || result.has_failed();
        if self.all || is_first || is_odd {
            return Ok(());
        }
        match std::fs::remove_file(self.folder.join(file_name(&result.cell))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Who plays cells, and what becomes of them.
#[derive(Debug)]
struct Players<'a> {
    programs: &'a Programs,
    program: PathBuf,
    histories: Histories,
    keeper: Keeper,
    pulse: Pulse,
    /// A cell during which processes stood still for longer says nothing.
    late: Duration,
    /// When all is to be over.
    until: Option<Instant>,
    jobs: usize,
}

impl Players<'_> {
    /// Some side by side; what a cell came to is on disk before the next one takes its place.
    async fn take(
        &mut self,
        mut cells: impl Iterator<Item = Cell>,
        progress: &mut Progress,
    ) -> Result<Ended, Failure> {
        let mut interrupted = std::pin::pin!(interruptions(None));
        let (programs, program, folder) =
            (self.programs, self.program.clone(), self.histories.folder.clone());
        let mut playing = FuturesUnordered::new();
        loop {
            while playing.len() < self.jobs
                && let Some(cell) = cells.next()
            {
                let ends = Instant::now() + Duration::from_secs_f64(seconds(&cell));
                if self.until.is_some_and(|until| ends > until) {
                    break;
                }
                let (began, playing_it) = (self.pulse.now(), one(cell, programs, program.clone(), &folder));
                playing.push(async move { (began, playing_it.await) });
            }
            if playing.is_empty() {
                return Ok(Ended::Complete);
            }
            let next = tokio::select! {
                next = playing.next() => next,
                () = &mut interrupted => None,
            };
            let Some((began, result)) = next else {
                let many = playing.len();
                // Their servers, clients, disks and proxies end with them.
                drop(playing);
                progress.say(&format!(
                    "interrupted: {many} cells were broken off and leave nothing, their servers and clients are ended; the same command goes on from here"
                ));
                return Ok(Ended::Interrupted);
            };
            let late = self.pulse.late_since(began);
            let result = on_a_busy_machine(result, late, self.late);
            self.keeper.add(&result)?;
            self.histories.keep(&result)?;
            progress.say(&result.summary());
            progress.done(seconds(&result.cell) / self.jobs as f64, result.seconds / self.jobs as f64);
        }
    }
}

/// Plays a cell, writes its history down, and judges it.
async fn one(cell: Cell, programs: &Programs, program: PathBuf, histories: &Path) -> CellResult {
    let began = Instant::now();
    let outcome = match play(&cell, programs, program).await {
        Ok(history) => {
            let path = histories.join(file_name(&cell));
            let judging = (cell.clone(), history);
            // On a thread of its own, since it computes.
            let judged = tokio::task::spawn_blocking(move || {
                let (cell, history) = judging;
                lines::write(&path, &history)?;
                Ok::<_, std::io::Error>(outcome(&cell, &history))
            });
            match judged.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => Outcome::Failed { why: format!("its history cannot be written: {error}") },
                Err(error) => Outcome::Failed { why: format!("it cannot be judged: {error}") },
            }
        }
        Err(Trouble::NotRun(why)) => Outcome::NotRun { why },
        Err(trouble) => Outcome::Failed { why: trouble.to_string() },
    };
    CellResult { cell, outcome, seconds: began.elapsed().as_secs_f64(), late_ms: 0 }
}

/// What a cell came to while processes stood still for so long. Beyond what is allowed it says nothing, since deadlines of a registry are not kept by a machine
/// that does not let it run; but for a promise that is broken however long anybody was kept waiting.
pub(super) fn on_a_busy_machine(result: CellResult, late: Duration, allowed: Duration) -> CellResult {
    let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
    let outcome = match result.outcome {
        Outcome::Judged(judged) if late > allowed && !breaks_what_is_timeless(&judged) => Outcome::Failed {
            why: format!("{TOO_BUSY}: processes stood still for {late_ms} ms (fewer --jobs help)"),
        },
        outcome => outcome,
    };
    CellResult { outcome, late_ms, ..result }
}

fn breaks_what_is_timeless(judged: &Judged) -> bool {
    let timeless =
        |number: &u8| Invariant::ALL.iter().any(|one| one.number() == *number && one.is_timeless());
    judged.verdict == Verdict::Violated && judged.broken.iter().any(timeless)
}

/// What a history came to. One that lacks what a client wrote says nothing of the registry.
pub(super) fn outcome(cell: &Cell, history: &[Line]) -> Outcome {
    let died = |line: &Line| matches!(line, Line::Note(note) if note.what == worker::DIED);
    if history.iter().any(died) {
        return Outcome::Failed { why: format!("{}, and with it what it had seen", worker::DIED) };
    }
    let began = Instant::now();
    let checked = check(history, &|| began.elapsed() < CHECKING);
    Outcome::Judged(Box::new(judged(cell, history, &checked)))
}

/// Where the history of a cell is kept, within its folder.
#[must_use]
pub fn file_name(cell: &Cell) -> String {
    let faults: Vec<&str> = cell.faults.iter().map(|fault| fault.id()).collect();
    format!("{}_{}_{}.jsonl", cell.backend, faults.join("+"), cell.seed)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::chaos::coverage::{PAIRS as PAIRS_OF_A_RECORD, is_pair};
    use crate::chaos::history::{At, Note};

    fn wanted_by(words: &[&str]) -> Vec<Cell> {
        let words = ["comparisons", "chaos"].iter().chain(words);
        let Ok(cli::Command::Chaos(options)) = cli::Cli::try_parse_from(words).map(|cli| cli.command) else {
            panic!("chaos was not understood");
        };
        wanted(&scope(&options), &options)
    }

    #[test]
    fn where_nothing_is_chosen_every_fault_is_played_once_on_every_backend_then_pairs() {
        let (pairs, singles): (Vec<Cell>, Vec<Cell>) = wanted_by(&[]).into_iter().partition(is_pair);
        let all: BTreeSet<Cell> = Scope::all(1).each(1).into_iter().collect();
        assert_eq!(singles.len(), all.len());
        assert_eq!(singles.into_iter().collect::<BTreeSet<Cell>>(), all, "some of them take a minute each");
        assert_eq!(u64::try_from(pairs.len()), Ok(PAIRS));
        let four_side_by_side: f64 = all.iter().chain(&pairs).map(|cell| seconds(cell) / 4.0).sum();
        assert!(four_side_by_side < 3_600.0, "{four_side_by_side} s, where an hour is promised");
        let of_a_record = wanted_by(&["--soak"]).iter().filter(|cell| is_pair(cell)).count();
        assert_eq!(u64::try_from(of_a_record), Ok(PAIRS_OF_A_RECORD));
    }

    #[test]
    fn what_was_played_on_a_machine_that_stood_still_says_nothing_but_of_what_no_delay_excuses() {
        let cell = Cell { backend: Backend::Etcd, faults: vec![Fault::None], seed: 1 };
        let result = |outcome| CellResult { cell: cell.clone(), outcome, seconds: 1.0, late_ms: 0 };
        let judged = || result(outcome(&cell, &[]));
        let [limit, less, more] = [250, 249, 251].map(Duration::from_millis);
        let well = on_a_busy_machine(judged(), less, limit);
        assert!(matches!(well.outcome, Outcome::Judged(_)) && well.late_ms == 249);
        assert!(on_a_busy_machine(judged(), more, limit).has_failed());
        let not_run = result(Outcome::NotRun { why: String::new() });
        assert!(matches!(on_a_busy_machine(not_run, more, limit).outcome, Outcome::NotRun { .. }));
        let violated = |broken: u8| {
            let mut result = judged();
            if let Outcome::Judged(judged) = &mut result.outcome {
                (judged.verdict, judged.broken) = (Verdict::Violated, [broken].into());
            }
            on_a_busy_machine(result, more, limit)
        };
        assert!(violated(10).has_failed(), "who stood still renews late");
        let silent = violated(7);
        assert!(silent.is_finding() && silent.late_ms == 251, "a silent loss stays one");
    }

    #[test]
    fn a_history_without_what_a_dead_client_saw_gets_no_verdict() {
        let cell = Cell { backend: Backend::Etcd, faults: vec![Fault::None], seed: 1 };
        let note = |what: &str| Line::Note(Note { at: At(1), what: what.to_owned(), figure: None });
        assert!(matches!(outcome(&cell, &[note("resident_kb")]), Outcome::Judged(_)));
        let broken_off = outcome(&cell, &[note("resident_kb"), note(worker::DIED)]);
        assert!(matches!(broken_off, Outcome::Failed { why } if why.contains("a worker died")));
    }
}
