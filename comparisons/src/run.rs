//! The runner: which steps are to be done, one after the other, and what becomes of their records.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use registry_core::OwnerToken;
use registry_testing::servers::{etcd::etcd_3_5, redis::redis_8};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::claims::{Claim, experiments};
use crate::cli;
use crate::environment::Environment;
use crate::experiment::{Experiment, Step, Trouble};
use crate::lab::{Lab, Scale};
use crate::progress::{Progress, minutes};
use crate::publish::{report_of, write_report};
use crate::record::{Outcome, Record};
use crate::report::summary;
use crate::results::{Again, Done, Line, Results, ResultsError, append};
use crate::theirs::Theirs;

/// A step may take so many times what is expected, and a minute, before it is taken for stuck.
const STUCK: f64 = 4.0;

/// The file of records within the folder.
const RECORDS: &str = "results.jsonl";

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that was asked for is there.
    Complete,
    /// Something broke that should not.
    Failed,
    /// Ctrl-C, or SIGTERM.
    Interrupted,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs what `options` ask for.
///
/// # Errors
/// What is wrong with the options, or with the folder for the results. What goes wrong in a step is recorded instead.
pub async fn claims(options: &cli::Claims) -> Result<Ended, Failure> {
    let (selected, harmful) = on_these_servers(select(&options.only)?, options);
    let not_run = (!harmful.is_empty())
        .then(|| format!("not run on servers of yours: {}. {WHY_NOT}", harmful.join(", ")));
    if let (true, Some(not_run)) = (selected.is_empty(), &not_run) {
        return Err(format!("nothing is left to run; {not_run}").into());
    }
    let out = options.out();
    fs::create_dir_all(&out).map_err(|error| format!("--out {}: {error}", out.display()))?;
    let file = out.join(RECORDS);
    let results = Results::read(&file)?;
    let lab = Arc::new(lab(options)?);
    let environment = Environment::read(&lab).await.map_err(|trouble| trouble.to_string())?;
    must_go_together(&results, &environment, options.again)
        .map_err(|why| format!("{} {why}; or name another folder by --out", out.display()))?;

    let done = if options.again { &Results::default() } else { &results };
    let plan = plan(&selected, &lab, done);
    let mut progress = Progress::new(plan.iter().map(|(_, step)| step.seconds));
    announce(&progress, &lab, &environment, &plan, &out);
    if let Some(not_run) = not_run {
        progress.say(&not_run);
    }
    let interrupted = interruptions(lab.theirs.clone());
    let file =
        File { path: &file, environment: Some(&environment), again: again(&plan, &results, &environment) };
    let ran = take_steps(plan, &lab, file, &mut progress, interrupted).await;
    progress.finish();
    let cleaned = match &lab.theirs {
        Some(theirs) => theirs.clean_up().await,
        None => Ok(()),
    };
    let results = Results::read(&out.join(RECORDS))?;
    write_report(&results, &out)?;
    let ended = match ran? {
        Ended::Complete if results.has_failed(|id| selected.iter().any(|one| one.about().id == id)) => {
            Ended::Failed
        }
        ended => ended,
    };
    summarize(&results, &out, ended);
    cleaned.map_err(|trouble| trouble.to_string())?;
    Ok(ended)
}

/// One after the other; what a step saw is on disk before the next begins.
async fn take_steps(
    plan: Plan,
    lab: &Arc<Lab>,
    mut file: File<'_>,
    progress: &mut Progress,
    interrupted: impl Future<Output = ()>,
) -> Result<Ended, Failure> {
    let mut interrupted = std::pin::pin!(interrupted);
    for (experiment, step) in plan {
        let about = experiment.about();
        progress.begin(&format!("{} {}: {}", about.id, about.title, step.name));
        let start = Instant::now();
        let mut running = Running::start(&experiment, lab, &step);
        let outcome = tokio::select! {
            outcome = running.outcome(&step) => Some(outcome),
            () = &mut interrupted => None,
        };
        // Its servers, and what it does on those of the reader, end before anything else is done.
        running.end().await;
        let Some(outcome) = outcome else { return Ok(Ended::Interrupted) };
        let took = start.elapsed().as_secs_f64();
        let records = records(about.id, lab, &step, outcome);
        tell_trouble(progress, &records);
        let complete = !records.iter().any(|record| record.is_broken_off());
        let done = Done {
            experiment: about.id.to_owned(),
            step: step.name.clone(),
            seconds: took,
            complete,
            rule: about.rule.to_owned(),
            go: None,
        };
        file.add(records, done)?;
        progress.done(step.seconds, took);
    }
    Ok(Ended::Complete)
}

/// The file of records, to which steps are added, and what is still to be said before them.
struct File<'a> {
    path: &'a Path,
    environment: Option<&'a Environment>,
    again: Vec<Again>,
}

impl File<'_> {
    /// The first step tells the environment, and the first of an experiment that is measured again what that had said before.
    fn add(&mut self, records: Vec<Record>, done: Done) -> Result<(), ResultsError> {
        let environment = self.environment.take().cloned().map(Line::Environment);
        let again: Vec<Again> =
            self.again.extract_if(.., |again| again.experiment == done.experiment).collect();
        let again = again.into_iter().map(Line::Again);
        let records = records.into_iter().map(Line::Record);
        let lines: Vec<Line> =
            environment.into_iter().chain(again).chain(records).chain([Line::Step(done)]).collect();
        append(self.path, &lines)
    }
}

/// What the experiments have said of which steps in `plan` take the place of others.
fn again(plan: &Plan, there: &Results, here: &Environment) -> Vec<Again> {
    let mut again: Vec<Again> = Vec::new();
    for (experiment, step) in plan {
        let id = experiment.about().id;
        let replaces = there.done.iter().any(|done| done.experiment == id && done.step == step.name);
        if replaces && again.iter().all(|other| other.experiment != id) {
            again.extend(there.before_again(experiment.as_ref(), here));
        }
    }
    again
}

/// Records of different servers, machines or programs are not put into one file, unless those that are selected are measured `again`: then
/// programs may differ, and the report names all of them.
///
/// # Errors
/// Why they do not belong together.
pub fn must_go_together(results: &Results, here: &Environment, again: bool) -> Result<(), String> {
    if let Some(differs) = results.environments.iter().find_map(|there| there.differs(here)) {
        return Err(format!("holds results that do not go together with these ({differs}): remove it"));
    }
    let other = results.environments.last().filter(|there| !again && there.commit != here.commit);
    match other {
        Some(there) => Err(format!(
            "holds results of another program (commit {} there, {} here): --again measures anew what is selected and keeps the rest",
            there.commit, here.commit
        )),
        None => Ok(()),
    }
}

/// Those that are asked for by id or by claim; all, if none is named.
fn select(only: &[String]) -> Result<Vec<Arc<dyn Experiment>>, Failure> {
    let all: Vec<Arc<dyn Experiment>> = experiments().into_iter().map(Arc::from).collect();
    let ids = || all.iter().map(|experiment| experiment.about().id).collect::<Vec<_>>().join(", ");
    let is_named = |id: &str, name: &str| id == name || (name.len() == 1 && id.starts_with(name));
    if let Some(unknown) =
        only.iter().find(|name| !all.iter().any(|experiment| is_named(experiment.about().id, name)))
    {
        return Err(format!("there is no experiment {unknown:?}; there are {}", ids()).into());
    }
    let is_selected = |id: &str| only.is_empty() || only.iter().any(|name| is_named(id, name));
    Ok(all.into_iter().filter(|experiment| is_selected(experiment.about().id)).collect())
}

const WHY_NOT: &str = "They make faults or a heavy load, which would harm whoever else uses these servers; without --etcd and --redis they \
                       start servers of their own";

/// Those that may be run on the servers that `options` name, and the names of those that may not: on servers of the reader, only what does no
/// harm is run.
fn on_these_servers(
    selected: Vec<Arc<dyn Experiment>>,
    options: &cli::Claims,
) -> (Vec<Arc<dyn Experiment>>, Vec<String>) {
    let may_run = |one: &Arc<dyn Experiment>| options.etcd.is_none() || one.about().harmless;
    let (may, may_not): (Vec<_>, Vec<_>) = selected.into_iter().partition(may_run);
    let named = may_not.iter().map(|one| format!("{} ({})", one.about().id, one.about().title));
    (may, named.collect())
}

fn lab(options: &cli::Claims) -> Result<Lab, Failure> {
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    let etcd = options.etcd_program.clone().or_else(|| etcd_3_5().ok()).unwrap_or("etcd".into());
    let redis = options.redis_program.clone().or_else(|| redis_8().ok()).unwrap_or("redis-server".into());
    let mut lab = Lab::new(scale, options.seed, etcd, redis, options.data.clone());
    if let Some((etcd, redis)) = options.etcd.as_ref().zip(options.redis.as_ref()) {
        // Of this process alone, so that two who try it on the same servers do not meet.
        let prefix = format!("comparisons-{:x}", OwnerToken::random().as_u128() >> 64);
        lab.theirs = Some(Theirs::new(etcd, redis, prefix)?);
    }
    Ok(lab)
}

type Plan = Vec<(Arc<dyn Experiment>, Step)>;

/// What is still to be done, with what could not be done before.
fn plan(selected: &[Arc<dyn Experiment>], lab: &Lab, done: &Results) -> Plan {
    let steps = selected
        .iter()
        .flat_map(|experiment| experiment.steps(lab).into_iter().map(|step| (Arc::clone(experiment), step)));
    steps.filter(|(experiment, step)| !done.has(experiment.about().id, &step.name)).collect()
}

/// A step that runs. It ends with this, and so do its servers.
struct Running(JoinHandle<Result<(), Trouble>>);

impl Running {
    fn start(experiment: &Arc<dyn Experiment>, lab: &Arc<Lab>, step: &Step) -> Self {
        drop(lab.take());
        let (experiment, lab, step) = (Arc::clone(experiment), Arc::clone(lab), step.clone());
        Self(tokio::spawn(async move { experiment.run(&lab, &step).await }))
    }

    /// What came of it; none if all went well.
    async fn outcome(&mut self, step: &Step) -> Option<Outcome> {
        let limit = Duration::from_secs_f64(step.seconds * STUCK + 60.0);
        match timeout(limit, &mut self.0).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(Trouble::NotRun(why)))) => Some(Outcome::NotRun { why }),
            Ok(Ok(Err(trouble))) => Some(Outcome::Failed { why: trouble.to_string() }),
            Ok(Err(broken)) => Some(Outcome::Failed { why: broken.to_string() }),
            Err(_) => {
                Some(Outcome::Failed { why: format!("not done within {}", minutes(limit.as_secs_f64())) })
            }
        }
    }

    /// Done when nothing of it runs on.
    async fn end(mut self) {
        self.0.abort();
        if !self.0.is_finished() {
            let _ = (&mut self.0).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a step kept, and why it broke off, if it did.
fn records(experiment: &str, lab: &Lab, step: &Step, outcome: Option<Outcome>) -> Vec<Record> {
    let mut records = lab.take();
    records.extend(outcome.map(|outcome| Record { outcome, ..Record::new(step.name.clone(), 0) }));
    for record in &mut records {
        experiment.clone_into(&mut record.experiment);
        record.step.clone_from(&step.name);
        record.seed = lab.seed;
    }
    records
}

/// Done at the first Ctrl-C or SIGTERM. At the second the process ends at once; its servers end with it. What was put on servers of the reader is named then.
pub fn interruptions(theirs: Option<Theirs>) -> impl Future<Output = ()> {
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        signalled().await;
        let _ = tell.send(());
        signalled().await;
        if let Some(theirs) = theirs {
            say(&format!("keys that begin with {} may be left on {}", theirs.prefix(), theirs.shown()));
        }
        std::process::exit(130);
    });
    async {
        let _ = told.await;
    }
}

#[expect(clippy::print_stderr, reason = "the last words")]
fn say(text: &str) {
    eprintln!("{text}");
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let comes = async |kind| match signal(kind) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = comes(SignalKind::terminate()) => {}
        () = comes(SignalKind::hangup()) => {}
    }
}

fn announce(progress: &Progress, lab: &Lab, environment: &Environment, plan: &Plan, out: &Path) {
    let seconds = plan.iter().map(|(_, step)| step.seconds).sum();
    let what = match plan.len() {
        0 => format!("all that was asked for is already in {} (--again measures it again)", out.display()),
        steps => format!("{steps} steps, about {}, results in {}", minutes(seconds), out.display()),
    };
    let servers = environment.theirs.as_ref().map(|theirs| format!("on {theirs}"));
    let servers =
        servers.unwrap_or_else(|| format!("etcd {}, Redis {}", environment.etcd, environment.redis));
    progress.say(&format!("{what}; {servers}; seed {}", environment.seed));
    if let Some(theirs) = &lab.theirs {
        progress.say(&format!("all keys begin with {}, and are removed in the end", theirs.prefix()));
    }
    if environment.build != "optimized" {
        progress.say("this build is not optimized: figures of time mean little (use --release)");
    }
}

/// Says what of a step does not count, in a line for each kind.
fn tell_trouble(progress: &Progress, records: &[Record]) {
    let mut invalid = Vec::new();
    for record in records {
        let (word, why) = match &record.outcome {
            Outcome::Valid { .. } => continue,
            Outcome::Invalid { why } => {
                invalid.push((record, why));
                continue;
            }
            Outcome::NotRun { why } => ("not run", why),
            Outcome::Failed { why } => ("FAILED", why),
        };
        progress.say(&format!("{} {}: {word}: {why}", record.experiment, record.arm));
    }
    if let Some((record, why)) = invalid.first() {
        progress.say(&format!(
            "{} {}: {} of {} runs do not count, the first for this: {why}",
            record.experiment,
            record.step,
            invalid.len(),
            records.len()
        ));
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
fn summarize(results: &Results, out: &Path, ended: Ended) {
    print!("{}", summary(&report_of(results)));
    match ended {
        Ended::Interrupted => println!("Interrupted: the same command goes on from here."),
        Ended::Failed => println!("Something broke, as the report says: the same command tries that again."),
        Ended::Complete => {}
    }
    println!("The report: {}", out.join("report.html").display());
}

/// Lists the experiments.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    let lab = |scale| Lab::new(scale, 1, PathBuf::new(), PathBuf::new(), PathBuf::new());
    let (quick, full) = (lab(Scale::Quick), lab(Scale::Full));
    for claim in Claim::ALL {
        let _ = writeln!(text, "{} {}: {}", claim.number(), claim.title(), claim.wording());
        for experiment in claim.experiments() {
            let about = experiment.about();
            let takes = |lab| minutes(experiment.steps(lab).iter().map(|step| step.seconds).sum());
            let _ = writeln!(
                text,
                "  {} {} ({}; quick {}){}\n     {}",
                about.id,
                about.title,
                takes(&full),
                takes(&quick),
                if about.harmless { ", harmless" } else { "" },
                about.question
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn an_unknown_experiment_is_refused_with_the_known_ones() {
        let error = select(&["9z".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("\"9z\""), "{error}");
    }
}
