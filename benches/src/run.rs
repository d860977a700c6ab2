//! The runner: measures topics, one step after the other, and keeps what they say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use comparisons::environment::Environment;
use comparisons::lab::{Lab, Scale};
use comparisons::progress::{Progress, minutes};
use comparisons::record::{Outcome, Record};
use comparisons::results::{Again, Done, Results, ResultsError};
use comparisons::run::{Ended, interruptions, must_go_together};
use registry_testing::servers::{etcd::etcd_3_5, redis::redis_8};
use tokio::time::{Instant, timeout};

use crate::cli;
use crate::contest::Topic;
use crate::report::{Report, commits, lines};
use crate::step::{Played, Running};
use crate::topics;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The file of records within the folder.
pub const RECORDS: &str = "bars.jsonl";

/// A step may take so many times what is expected, and a minute, before it is taken for stuck.
const STUCK: f64 = 6.0;

/// Measures what `options` ask for.
///
/// # Errors
/// What is wrong with the options, or with the folder for the records. What goes wrong in a topic is recorded instead.
pub async fn bars(options: &cli::Bars) -> Result<Ended, Failure> {
    let selected = select(topics::all(), &options.only)?;
    let out = options.with.out(options.quick);
    std::fs::create_dir_all(&out).map_err(|error| format!("--out {}: {error}", out.display()))?;
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    let lab = Arc::new(lab(scale, &options.with, &out));
    let here = Environment::read_what_is_there(&lab).await.map_err(|trouble| trouble.to_string())?;
    let mut kept = Kept::read(out.join(RECORDS), here)?;
    must_go_together(&kept.results, &kept.here, options.again)
        .map_err(|why| format!("{} {why}; or name another folder by --out", out.display()))?;

    let plan = plan(&selected, &lab, &kept.results, options.again);
    if let Some(name) = of_two_programs(&plan, &kept) {
        return Err(format!(
            "{}: some of {name} was measured by another program (commit {} here), and half of it is not to be of each: --again --only {name} measures all of it anew",
            out.display(),
            kept.here.commit
        )
        .into());
    }
    let there: Vec<_> =
        selected.iter().filter(|one| !plan.iter().any(|(topic, _)| topic.name() == one.name())).collect();
    let mut progress = Progress::new(plan.iter().map(|(topic, _)| expected(topic.as_ref(), &lab)));
    announce(&progress, &kept.here, plan.len(), &out);
    let ended = take_steps(plan, &lab, &mut kept, &mut progress, Running::elsewhere).await;
    progress.finish();
    let ended = ended?;
    summarize(&selected, &there, &kept.results, ended);
    let failed = |topic: &Arc<dyn Topic>| kept.results.of(topic.name()).all().any(Record::is_broken_off);
    Ok(if ended == Ended::Complete && selected.iter().any(failed) { Ended::Failed } else { ended })
}

/// Those whose names hold one of `only`; all, if none is named.
pub(crate) fn select(all: Vec<Box<dyn Topic>>, only: &[String]) -> Result<Vec<Arc<dyn Topic>>, Failure> {
    let is_named = |topic: &dyn Topic, name: &String| topic.name().contains(name.as_str());
    if let Some(unknown) = only.iter().find(|name| !all.iter().any(|topic| is_named(topic.as_ref(), name))) {
        let names: Vec<&str> = all.iter().map(|topic| topic.name()).collect();
        return Err(format!("there is no topic {unknown:?}; there are {}", names.join(", ")).into());
    }
    let is_selected = |topic: &dyn Topic| only.is_empty() || only.iter().any(|name| is_named(topic, name));
    Ok(all.into_iter().filter(|topic| is_selected(topic.as_ref())).map(Arc::from).collect())
}

/// What a scale and programs make of it.
pub(crate) fn lab(scale: Scale, options: &cli::With, out: &Path) -> Lab {
    let etcd = options.etcd_program.clone().or_else(|| etcd_3_5().ok()).unwrap_or("etcd".into());
    let redis = options.redis_program.clone().or_else(|| redis_8().ok()).unwrap_or("redis-server".into());
    Lab::new(scale, options.seed, etcd, redis, out.to_owned())
}

type Plan = Vec<(Arc<dyn Topic>, u32)>;

/// What is still to be done, with what could not be done before.
fn plan(selected: &[Arc<dyn Topic>], lab: &Lab, done: &Results, again: bool) -> Plan {
    let steps =
        selected.iter().flat_map(|topic| (1..=topic.steps(lab)).map(|step| (Arc::clone(topic), step)));
    steps.filter(|(topic, step)| again || !done.has(topic.name(), &step.to_string())).collect()
}

/// A topic that would be measured in part by this program, and in part was by another.
fn of_two_programs(plan: &Plan, kept: &Kept) -> Option<&'static str> {
    let begins =
        |topic: &dyn Topic| plan.iter().any(|(other, step)| other.name() == topic.name() && *step == 1);
    let is_mixed = |topic: &dyn Topic| {
        commits(&kept.results, topic.name()).iter().any(|commit| *commit != kept.here.commit)
            && !begins(topic)
    };
    plan.iter().map(|(topic, _)| topic.as_ref()).find(|topic| is_mixed(*topic)).map(Topic::name)
}

/// About how many seconds a step takes: servers are started, then its rounds are played.
fn expected(topic: &dyn Topic, lab: &Lab) -> f64 {
    3.0 + f64::from(topic.rounds(lab) + 1) * topic.round().as_secs_f64()
}

/// One after the other; what a step saw is on disk before the next begins. The first step of a topic that cannot be done ends that topic.
async fn take_steps(
    plan: Plan,
    lab: &Arc<Lab>,
    kept: &mut Kept,
    progress: &mut Progress,
    start: Start,
) -> Result<Ended, Failure> {
    let mut interrupted = std::pin::pin!(interruptions(None));
    let mut begun: Option<&'static str> = None;
    let mut given_up = None;
    for (topic, step) in plan {
        let (name, expected) = (topic.name(), expected(topic.as_ref(), lab));
        progress.begin(&format!("{name}, step {step} of {}", topic.steps(lab)));
        if given_up == Some(name) {
            progress.done(expected, 0.0);
            continue;
        }
        let since = Instant::now();
        let mut running = start(&topic, step, lab);
        let limit = Duration::from_secs_f64(expected * STUCK + 60.0);
        let played = tokio::select! {
            biased;
            () = &mut interrupted => None,
            played = timeout(limit, running.played()) => Some(played.unwrap_or_else(|_| {
                Played::failed(format!("not done within {}", minutes(limit.as_secs_f64())))
            })),
        };
        // Its servers end before anything else is done.
        running.end().await;
        let Some(Played { records, trouble }) = played else { return Ok(Ended::Interrupted) };
        if begun.replace(name) != Some(name) {
            kept.make_way(topic.as_ref(), step);
        }
        if let Some(trouble) = &trouble {
            progress.say(&format!("{name}: {}", words(trouble)));
            given_up = Some(name);
        }
        let took = since.elapsed().as_secs_f64();
        kept.add(topic.as_ref(), step, lab.seed, took, records, trouble)?;
        progress.done(expected, took);
        if step == topic.steps(lab) || given_up == Some(name) {
            let report = Report::new(&[(name, topic.bars())], &kept.results, Default::default());
            lines(&report).iter().for_each(|line| progress.say(line));
        }
    }
    Ok(Ended::Complete)
}

fn words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::NotRun { why } => format!("not run: {why}"),
        Outcome::Failed { why } => format!("FAILED: {why}"),
        Outcome::Valid { .. } | Outcome::Invalid { .. } => String::new(),
    }
}

/// The records, and the file that holds them.
struct Kept {
    file: PathBuf,
    results: Results,
    here: Environment,
    go: Option<usize>,
}

impl Kept {
    fn read(file: PathBuf, here: Environment) -> Result<Self, ResultsError> {
        Ok(Self { results: Results::read(&file)?, file, here, go: None })
    }

    /// A topic is measured from `step` on; from the first on, nothing of what was there stays. What it had said, or why a step had broken off, stays as a line, so that
    /// nobody can measure until it suits and keep silent. That something could not be run at all says nothing.
    fn make_way(&mut self, topic: &dyn Topic, step: u32) {
        let name = topic.name();
        let before: Vec<&Done> = self.results.done.iter().filter(|done| done.experiment == name).collect();
        let of_topic = self.results.of(name);
        let broke_off: Vec<String> = of_topic.all().filter_map(broke_off).collect();
        if !broke_off.is_empty() || step == 1 && before.iter().any(|done| done.complete) {
            let commits = before
                .iter()
                .filter_map(|done| Some(self.results.environments.get(done.go?)?.commit.clone()));
            let records = self.results.of(name);
            let report = Report::new(&[(name, topic.bars())], &self.results, Default::default());
            let again = Again {
                experiment: name.to_owned(),
                date: self.here.date.clone(),
                commit: self.here.commit.clone(),
                commits_before: commits.collect::<std::collections::BTreeSet<_>>().into_iter().collect(),
                steps: before.len(),
                broken_off: before.iter().filter(|done| !done.complete).count(),
                runs: records.all().filter(|record| record.is_run() && !record.is_broken_off()).count(),
                verdict: report.counts(),
                figure: broke_off.into_iter().chain(lines(&report)).collect::<Vec<_>>().join("; "),
            };
            self.results.again.push(again);
        }
        if step == 1 {
            self.results.done.retain(|done| done.experiment != name);
            self.results.records.retain(|record| record.experiment != name);
        }
    }

    /// Adds a step, in the place of the same one.
    fn add(
        &mut self,
        topic: &dyn Topic,
        step: u32,
        seed: u64,
        seconds: f64,
        mut records: Vec<Record>,
        trouble: Option<Outcome>,
    ) -> Result<(), ResultsError> {
        let (experiment, step) = (topic.name().to_owned(), step.to_string());
        let complete = trouble.is_none();
        records.extend(trouble.map(|outcome| Record { outcome, ..Record::new("-", 0) }));
        for record in &mut records {
            record.experiment.clone_from(&experiment);
            record.step.clone_from(&step);
            record.seed = seed;
        }
        let go = *self.go.get_or_insert_with(|| {
            self.results.environments.push(self.here.clone());
            self.results.environments.len() - 1
        });
        self.results.records.retain(|other| (&other.experiment, &other.step) != (&experiment, &step));
        self.results.done.retain(|other| (&other.experiment, &other.step) != (&experiment, &step));
        self.results.records.append(&mut records);
        let rule = rule(topic);
        self.results.done.push(Done { experiment, step, seconds, complete, rule, go: Some(go) });
        self.results.write(&self.file)
    }
}

/// Why a step broke off, if that is what the record says.
fn broke_off(record: &Record) -> Option<String> {
    match &record.outcome {
        Outcome::Failed { why } => Some(format!("step {} broke off: {why}", record.step)),
        Outcome::NotRun { .. } | Outcome::Valid { .. } | Outcome::Invalid { .. } => None,
    }
}

/// The bars of a topic in words.
fn rule(topic: &dyn Topic) -> String {
    crate::bars::rule(topic.bars())
}

/// Where a step runs.
type Start = fn(&Arc<dyn Topic>, u32, &Arc<Lab>) -> Running;

fn announce(progress: &Progress, here: &Environment, steps: usize, out: &Path) {
    let what = match steps {
        0 => format!("all that was asked for is already in {} (--again measures it again)", out.display()),
        steps => format!("{steps} steps, records in {}", out.display()),
    };
    progress.say(&format!("{what}; etcd {}, Redis {}; seed {}", here.etcd, here.redis, here.seed));
    if here.build != "optimized" {
        progress.say("this build is not optimized: figures of time mean little (use --release)");
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
fn summarize(selected: &[Arc<dyn Topic>], there: &[&Arc<dyn Topic>], results: &Results, ended: Ended) {
    let report = |topics: &mut dyn Iterator<Item = &Arc<dyn Topic>>| {
        let topics: Vec<_> = topics.map(|topic| (topic.name(), topic.bars())).collect();
        Report::new(&topics, results, Default::default())
    };
    // The others were told when they were measured.
    lines(&report(&mut there.iter().copied())).iter().for_each(|line| println!("{line}"));
    println!("{}", report(&mut selected.iter()).counts());
    if ended == Ended::Interrupted {
        println!("Interrupted: the same command goes on from here.");
    }
}

/// Lists the topics with their bars.
#[must_use]
pub fn list() -> String {
    let mut text = String::new();
    for topic in topics::all() {
        let _ = writeln!(text, "{}", topic.name());
        for bar in topic.bars() {
            let _ = writeln!(text, "  {}: {}", bar.name(), bar.bound);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use comparisons::environment::Environment;
    use comparisons::experiment::Trouble;
    use comparisons::lab::{Lab, Scale};
    use comparisons::record::{Outcome, Record};
    use comparisons::results::Results;

    use comparisons::progress::Progress;
    use comparisons::run::Ended;

    use super::{Kept, of_two_programs, plan, select, take_steps};
    use crate::bars::{Bar, Bound};
    use crate::contest::{Arm, Arms, Contest, PREPARED, Topic};
    use crate::step::{Running, play};

    /// Its name says what it does.
    struct Named(&'static str);

    struct Block(f64);

    #[async_trait]
    impl Arm for Block {
        async fn play(&mut self) -> Result<Vec<(&'static str, f64)>, Trouble> {
            Ok(vec![("each_us", self.0)])
        }
    }

    #[async_trait]
    impl Topic for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn bars(&self) -> &'static [Bar] {
            const BARS: &[Bar] = &[Bar::new("a thing / the same raw", "each_us", Bound::AtMost(1.5))];
            BARS
        }

        async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
            match self.0 {
                "lacking" => Err(Trouble::NotRun("there is no such server".to_owned())),
                "broken" => panic!("this is a defect"),
                _ => {
                    let block = |each| std::future::ready(Ok(Block(each)));
                    let arms = Arms::default().with("ours", block(1.2)).with("raw", block(1.0));
                    arms.with("raw again", block(1.0)).make(&mut lab.random(PREPARED)).await
                }
            }
        }
    }

    /// These topics are no other program's.
    fn here(topic: &Arc<dyn Topic>, step: u32, lab: &Arc<Lab>) -> Running {
        Running::here(Arc::clone(topic), step, Arc::clone(lab))
    }

    fn topics() -> Vec<Box<dyn Topic>> {
        vec![Box::new(Named("register-etcd")), Box::new(Named("register-redis")), Box::new(Named("pick"))]
    }

    #[test]
    fn a_part_of_a_name_is_enough_and_an_unknown_one_is_refused_with_those_there_are() {
        let names = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            let selected = select(topics(), &only).map_err(|error| error.to_string());
            selected.map(|topics| topics.iter().map(|topic| topic.name()).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), 3);
        assert_eq!(names(&["register"]).unwrap(), ["register-etcd", "register-redis"]);
        assert_eq!(names(&["redis", "pick"]).unwrap(), ["register-redis", "pick"]);
        let error = names(&["pick", "choose"]).unwrap_err();
        assert!(
            error.contains("\"choose\"") && error.contains("register-etcd, register-redis, pick"),
            "{error}"
        );
    }

    fn rounds(ratio: f64) -> Vec<Record> {
        let arm = |name: &str, run, value| Record::new(name, run).with("each_us", value);
        let round = |run| [arm("ours", run, ratio), arm("raw", run, 1.0), arm("raw again", run, 1.0)];
        (0..10).flat_map(round).collect()
    }

    fn kept(folder: &std::path::Path, commit: &str) -> Kept {
        let here = Environment { commit: commit.to_owned(), ..Environment::default() };
        Kept::read(folder.join(super::RECORDS), here).unwrap()
    }

    #[tokio::test]
    async fn a_topic_that_cannot_run_ends_with_its_reason_and_the_others_are_measured() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = kept(folder.path(), "abc");
        let topics: Vec<Box<dyn Topic>> =
            vec![Box::new(Named("lacking")), Box::new(Named("broken")), Box::new(Named("pick"))];
        let lab = Arc::new(Lab::new(Scale::Full, 8, "".into(), "".into(), "".into()));
        let plan = plan(&select(topics, &[]).unwrap(), &lab, &kept.results, false);
        let mut progress = Progress::new(plan.iter().map(|_| 1.0));
        assert_eq!(take_steps(plan, &lab, &mut kept, &mut progress, here).await.unwrap(), Ended::Complete);
        let results = Results::read(&kept.file).unwrap();
        let done = |name: &str| {
            results
                .done
                .iter()
                .filter(|done| done.experiment == name)
                .map(|done| done.complete)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (done("lacking"), done("broken"), done("pick")),
            (vec![false], vec![false], vec![true; 8])
        );
        let outcome =
            |name: &str| results.of(name).all().map(|record| record.outcome.clone()).collect::<Vec<_>>();
        assert_eq!(outcome("lacking"), [Outcome::NotRun { why: "there is no such server".to_owned() }]);
        assert!(
            matches!(&outcome("broken")[..], [Outcome::Failed { why }] if why.contains("this is a defect"))
        );
        // Three arms in four rounds of each step; the round that warms up is in none.
        assert_eq!(results.of("pick").all().count(), 96);
    }

    #[tokio::test]
    async fn the_order_is_that_of_the_seed_and_the_step_and_records_of_a_round_go_together() {
        let played = async |seed, step| {
            let lab = Lab::new(Scale::Full, seed, "".into(), "".into(), "".into());
            let mut records = Vec::new();
            play(&Named("pick"), step, &lab, &mut records).await.unwrap();
            for (round, of_round) in records.chunks(3).enumerate() {
                assert!(of_round.iter().all(|record| record.run as usize == round), "{of_round:?}");
                let mut arms: Vec<&str> = of_round.iter().map(|record| record.arm.as_str()).collect();
                arms.sort_unstable();
                assert_eq!(arms, ["ours", "raw", "raw again"]);
            }
            records.into_iter().map(|record| record.arm).collect::<Vec<_>>()
        };
        let first = played(8, 1).await;
        assert_eq!(first, played(8, 1).await);
        assert!(first != played(8, 2).await && first != played(9, 1).await);
    }

    #[test]
    fn what_is_complete_is_not_measured_again_and_what_was_not_run_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = kept(folder.path(), "abc");
        let topic = Named("pick");
        kept.add(&topic, 1, 8, 1.0, rounds(1.0), None).unwrap();
        kept.add(&topic, 2, 8, 1.0, Vec::new(), Some(Outcome::NotRun { why: "no etcd".to_owned() })).unwrap();
        let lab = Lab::new(Scale::Full, 8, "".into(), "".into(), "".into());
        let selected = select(topics(), &["pick".to_owned()]).unwrap();
        let results = Results::read(&kept.file).unwrap();
        assert_eq!(results, kept.results);
        let steps = |again| {
            plan(&selected, &lab, &results, again).into_iter().map(|(_, step)| step).collect::<Vec<_>>()
        };
        assert_eq!(steps(false), [2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(steps(true), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    fn failed(why: &str) -> Option<Outcome> {
        Some(Outcome::Failed { why: why.to_owned() })
    }

    #[tokio::test]
    async fn a_step_that_broke_off_leaves_a_line_when_it_is_tried_again_whichever_it_was() {
        for step in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let mut kept = kept(folder.path(), "abc");
            let topic = Named("pick");
            for before in 1..step {
                kept.add(&topic, before, 8, 1.0, rounds(1.0), None).unwrap();
            }
            kept.add(&topic, step, 8, 1.0, Vec::new(), failed("3 changes were never seen")).unwrap();
            let lab = Arc::new(Lab::new(Scale::Full, 8, "".into(), "".into(), "".into()));
            let plan = plan(&select(topics(), &["pick".to_owned()]).unwrap(), &lab, &kept.results, false);
            let mut progress = Progress::new(plan.iter().map(|_| 1.0));
            assert_eq!(
                take_steps(plan, &lab, &mut kept, &mut progress, here).await.unwrap(),
                Ended::Complete
            );
            let results = Results::read(&kept.file).unwrap();
            assert!(results.done.iter().all(|done| done.complete), "step {step}");
            let told: Vec<_> =
                results.again.iter().map(|again| (again.broken_off, again.figure.as_str())).collect();
            let expected = format!("step {step} broke off: 3 changes were never seen");
            assert!(matches!(told[..], [(1, figure)] if figure.contains(&expected)), "{told:?}");
        }
    }

    #[test]
    fn what_could_not_be_run_leaves_none_since_it_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = kept(folder.path(), "abc");
        let not_run = Some(Outcome::NotRun { why: "no etcd".to_owned() });
        kept.add(&Named("pick"), 1, 8, 1.0, Vec::new(), not_run).unwrap();
        kept.make_way(&Named("pick"), 1);
        assert!(kept.results.again.is_empty() && kept.results.done.is_empty());
    }

    #[test]
    fn a_topic_is_not_measured_in_part_by_one_program_and_in_part_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = kept(folder.path(), "abc");
        first.add(&Named("pick"), 1, 8, 1.0, rounds(1.0), None).unwrap();
        let lab = Lab::new(Scale::Full, 8, "".into(), "".into(), "".into());
        let mixed = |commit: &str, again: bool| {
            let second = kept(folder.path(), commit);
            let selected = select(topics(), &[]).unwrap();
            of_two_programs(&plan(&selected, &lab, &second.results, again), &second)
        };
        assert_eq!(
            (mixed("abc", false), mixed("def", false), mixed("def", true)),
            (None, Some("pick"), None)
        );
    }

    #[test]
    fn what_is_measured_again_leaves_what_it_had_said_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Named("pick"), Named("register-etcd"));
        let mut first = kept(folder.path(), "abc");
        for step in 1..=3 {
            first.add(&one, step, 8, 1.0, rounds(2.0), None).unwrap();
        }
        first.add(&other, 1, 8, 1.0, rounds(1.0), None).unwrap();

        let mut second = kept(folder.path(), "def");
        second.make_way(&one, 1);
        second.add(&one, 1, 8, 1.0, rounds(1.0), None).unwrap();
        let results = Results::read(&second.file).unwrap();
        let done: Vec<_> =
            results.done.iter().map(|done| (done.experiment.as_str(), done.step.as_str(), done.go)).collect();
        assert_eq!(done, [("register-etcd", "1", Some(0)), ("pick", "1", Some(1))]);
        assert_eq!(results.of("pick").all().count(), 30);
        let again = &results.again[0];
        assert_eq!(
            (again.commits_before.join(","), again.commit.as_str(), again.steps),
            ("abc".to_owned(), "def", 3)
        );
        assert!(again.figure.contains("missed") && again.figure.contains("2.000"), "{}", again.figure);
    }
}
