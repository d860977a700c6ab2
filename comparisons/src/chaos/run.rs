//! The runner: which cells are to be played, some side by side, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use registry_testing::servers::{etcd::etcd_3_5, redis::redis_8};
use tokio::time::Instant;

use super::backend::Backend;
use super::cell::play;
use super::check::check;
use super::fault::Fault;
use super::lines;
use super::plan::Cell;
use super::result::{CellResult, Outcome, append, judged, read};
use super::stand::{Programs, clean_left_over};
use crate::cli;
use crate::experiment::Trouble;
use crate::progress::Progress;
use crate::run::{Ended, interruptions};

/// The checkers of one history may take so long.
const CHECKING: Duration = Duration::from_secs(60);

/// About so long views may take to converge, where that is asked before there is a registry to say it.
const CONVERGENCE_MS: u64 = 8_000;

/// The file of results within the folder.
const RESULTS: &str = "chaos.jsonl";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Plays what `options` ask for.
///
/// # Errors
/// What is wrong with the options, or with the folder for the results. What goes wrong in a cell is recorded instead.
pub async fn chaos(options: &cli::Chaos) -> Result<Ended, Failure> {
    let cells = cells(options)?;
    let histories = options.out.join("histories");
    std::fs::create_dir_all(&histories)
        .map_err(|error| format!("--out {}: {error}", options.out.display()))?;
    let file = options.out.join(RESULTS);
    // What broke off, or could not be run, is tried again.
    let before: BTreeSet<Cell> = read(&file)?
        .into_iter()
        .filter(|result| matches!(result.outcome, Outcome::Judged(_)))
        .map(|result| result.cell)
        .collect();
    let left: Vec<Cell> = cells.iter().filter(|cell| !before.contains(cell)).cloned().collect();
    let programs = Programs {
        etcd: options.etcd_program.clone().or_else(|| etcd_3_5().ok()).unwrap_or("etcd".into()),
        redis: options.redis_program.clone().or_else(|| redis_8().ok()).unwrap_or("redis-server".into()),
    };
    let program = std::env::current_exe()?;
    let jobs = options.jobs.max(1);
    let mut progress = Progress::new(left.iter().map(|cell| cell.seconds(CONVERGENCE_MS) / jobs as f64));
    for cleaned in clean_left_over() {
        progress.say(&format!("left by an earlier run, and cleaned: {cleaned}"));
    }
    progress.say(&format!(
        "{} cells, {} of them in {} already",
        cells.len(),
        cells.len() - left.len(),
        file.display()
    ));
    let ended = take_cells(left, &programs, &program, &histories, &file, jobs, &mut progress).await?;
    progress.finish();
    let wanted = read(&file)?.into_iter().filter(|result| cells.contains(&result.cell));
    // The last of each cell counts.
    let latest: BTreeMap<Cell, CellResult> = wanted.map(|result| (result.cell.clone(), result)).collect();
    let results: Vec<CellResult> = latest.into_values().collect();
    let bad = |result: &&CellResult| result.is_finding() || matches!(result.outcome, Outcome::Failed { .. });
    let bad: Vec<&CellResult> = results.iter().filter(bad).collect();
    if !results.is_empty() {
        progress.say(&matrix(&results));
    }
    for result in &bad {
        progress.say(&result.summary());
    }
    progress.say(&format!("results in {}, histories beside it", file.display()));
    if ended == Ended::Interrupted {
        progress
            .say("interrupted: all servers and clients were ended, and the same command goes on from here");
    }
    Ok(if ended == Ended::Complete && !bad.is_empty() { Ended::Failed } else { ended })
}

/// Some side by side; what a cell came to is on disk before the next one of its place begins.
async fn take_cells(
    cells: Vec<Cell>,
    programs: &Programs,
    program: &Path,
    histories: &Path,
    file: &Path,
    jobs: usize,
    progress: &mut Progress,
) -> Result<Ended, Failure> {
    let mut interrupted = std::pin::pin!(interruptions(None));
    let playing = cells.into_iter().map(|cell| one(cell, programs, program.to_owned(), histories));
    let mut playing = stream::iter(playing).buffer_unordered(jobs);
    loop {
        let result = tokio::select! {
            result = playing.next() => result,
            () = &mut interrupted => return Ok(Ended::Interrupted),
        };
        let Some(result) = result else { return Ok(Ended::Complete) };
        append(file, &result)?;
        progress.say(&result.summary());
        progress.done(result.cell.seconds(CONVERGENCE_MS) / jobs as f64, result.seconds / jobs as f64);
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
                let began = Instant::now();
                let checked = check(&history, &|| began.elapsed() < CHECKING);
                Ok::<_, std::io::Error>(judged(&cell, &history, &checked))
            });
            match judged.await {
                Ok(Ok(judged)) => Outcome::Judged(Box::new(judged)),
                Ok(Err(error)) => Outcome::Failed { why: format!("its history cannot be written: {error}") },
                Err(error) => Outcome::Failed { why: format!("it cannot be judged: {error}") },
            }
        }
        Err(Trouble::NotRun(why)) => Outcome::NotRun { why },
        Err(trouble) => Outcome::Failed { why: trouble.to_string() },
    };
    CellResult { cell, outcome, seconds: began.elapsed().as_secs_f64() }
}

/// Where the history of a cell is kept, within its folder.
#[must_use]
pub fn file_name(cell: &Cell) -> String {
    let faults: Vec<&str> = cell.faults.iter().map(|fault| fault.id()).collect();
    format!("{}_{}_{}.jsonl", cell.backend, faults.join("+"), cell.seed)
}

/// Those that are asked for, each with each seed.
fn cells(options: &cli::Chaos) -> Result<Vec<Cell>, Failure> {
    let backends: &[Backend] = if options.backend.is_empty() { &Backend::ALL } else { &options.backend };
    let named = !options.fault.is_empty();
    let faults: &[Fault] = if named { &options.fault } else { Fault::all() };
    let wanted = |fault: Fault| {
        named || (!fault.row().long && (!options.quick || fault == Fault::None || fault.row().bites_watches))
    };
    let mut cells = Vec::new();
    for seed in options.seed..options.seed.saturating_add(options.seeds.max(1)) {
        for fault in faults.iter().copied().filter(|fault| wanted(*fault)) {
            for backend in backends.iter().copied().filter(|backend| fault.on(*backend).is_some()) {
                cells.push(Cell { backend, faults: vec![fault], seed });
            }
        }
    }
    if cells.is_empty() {
        return Err("none of these faults applies to any of these backends".into());
    }
    Ok(cells)
}

/// Fault by backend, with how many seeds came to what was expected.
fn matrix(results: &[CellResult]) -> String {
    let mut table = format!("{:<22}", "");
    for backend in Backend::ALL {
        table.push_str(&format!("{:<15}", backend.name()));
    }
    for fault in Fault::all() {
        let row: Vec<&CellResult> = results.iter().filter(|result| result.cell.faults == [*fault]).collect();
        if row.is_empty() {
            continue;
        }
        table.push_str(&format!("\n{:<22}", fault.id()));
        for backend in Backend::ALL {
            let of_it: Vec<&&CellResult> =
                row.iter().filter(|result| result.cell.backend == backend).collect();
            table.push_str(&format!("{:<15}", cell_text(&of_it)));
        }
    }
    table
}

/// The worst verdict of several seeds; with a mark, if one of them is not as expected.
fn cell_text(results: &[&&CellResult]) -> String {
    let judged = |result: &&&CellResult| match &result.outcome {
        Outcome::Judged(judged) => Some(judged.verdict),
        _ => None,
    };
    let mark = if results.iter().any(|result| result.is_finding()) { " !" } else { "" };
    match results.iter().filter_map(judged).max() {
        Some(worst) => format!("{}{mark}", super::result::name(worst)),
        None if results.is_empty() => "·".to_owned(),
        None if results.iter().any(|result| matches!(result.outcome, Outcome::Failed { .. })) => {
            "broke off".to_owned()
        }
        None => "not run".to_owned(),
    }
}
