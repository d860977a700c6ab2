use std::path::Path;

use async_trait::async_trait;
use comparisons::environment::Environment;
use comparisons::experiment::Trouble;
use comparisons::lab::Lab;
use comparisons::record::Record;
use comparisons::results::{Done, Results};

use super::{Run, record, unfit};
use crate::bars::{Bar, Bound, rule};
use crate::contest::{Arms, Contest, Topic};
use crate::figures::{Estimate, Figure, Figures};
use crate::left_out::LeftOut;
use crate::profiles::{Counted, Profile, Profiled, Profiles};

struct Pick;

#[async_trait]
impl Topic for Pick {
    fn name(&self) -> &'static str {
        "pick"
    }

    fn bars(&self) -> &'static [Bar] {
        &[]
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        Arms::default().make(&mut lab.random("")).await
    }
}

fn topics() -> Vec<Box<dyn Topic>> {
    vec![Box::new(Pick)]
}

fn environment() -> Environment {
    let [commit, build, scale] = ["abc", "optimized", "full"].map(str::to_owned);
    Environment { commit, build, scale, ..Environment::default() }
}

fn run() -> Run {
    let done = |step: u32| Done {
        experiment: "pick".to_owned(),
        step: step.to_string(),
        seconds: 1.0,
        complete: true,
        rule: String::new(),
        go: Some(0),
    };
    let results = Results {
        environments: vec![environment()],
        done: (1..=8).map(done).collect(),
        ..Results::default()
    };
    let one = Estimate { value: 1.0, low: 1.0, high: 1.0, level: 0.95 };
    let figure = |size: &str| Figure {
        group: "fold".to_owned(),
        function: None,
        parameter: Some(size.to_owned()),
        median_ns: one,
        mean_ns: one,
    };
    Run {
        results,
        figures: Figures {
            environment: Some(environment()),
            figures: vec![figure("1"), figure("10")],
            ..Figures::default()
        },
        profiles: profiles("fold"),
    }
}

fn profiles(topic: &str) -> Profiles {
    let counted = Counted { samples: 9, object: "benches".to_owned(), function: "imbl::insert".to_owned() };
    let arms = ["ours", "raw"].map(|arm| Profiled::new(arm, std::slice::from_ref(&counted)));
    let profile = Profile { environment: environment(), arms: arms.to_vec() };
    Profiles([(topic.to_owned(), profile)].into())
}

/// Whose bars are these.
struct Slow(&'static [Bar]);

#[async_trait]
impl Topic for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn bars(&self) -> &'static [Bar] {
        self.0
    }

    async fn prepare(&self, lab: &Lab) -> Result<Contest, Trouble> {
        Arms::default().make(&mut lab.random("")).await
    }
}

const MOST: Bound = Bound::AtMost(1.1);
const SLOW: &[Bar] = &[Bar::new("slow / raw", "each_us", MOST)];

/// A run of these bars in which `ours` took so many times as long as `raw`, and so did `raw again`.
fn slow(bars: &[Bar], ours: f64, again: f64) -> Run {
    let mut run = run();
    let slow = |done: &Done| Done { experiment: "slow".to_owned(), rule: rule(bars), ..done.clone() };
    let done: Vec<Done> = run.results.done.iter().map(slow).collect();
    run.results.done.extend(done);
    for round in 0..12 {
        for (arm, each) in [("ours", ours), ("raw", 1.0), ("raw again", again)] {
            let each = each * (1.0 + f64::from(round * 7 % 5) / 100.0);
            let each = if arm == "ours" { each * (1.0 + f64::from(round / 3 % 3) / 100.0) } else { each };
            let record = Record::new(arm, round).with("each_us", each).with("peak_ratio", each);
            let step = (1 + round / 3).to_string();
            run.results.records.push(Record { experiment: "slow".to_owned(), step, ..record });
        }
    }
    run
}

fn with(bars: &'static [Bar]) -> Vec<Box<dyn Topic>> {
    vec![Box::new(Pick), Box::new(Slow(bars))]
}

#[test]
fn a_bar_that_is_missed_or_not_shown_or_undecided_needs_a_profile_and_one_that_is_met_none() {
    for (ours, again, is) in [(2.0, 1.0, "missed"), (1.09, 1.0, "not shown"), (1.0, 1.3, "undecided")] {
        let (mut run, all) = (slow(SLOW, ours, again), with(SLOW));
        let why = unfit(&run, &all, false).unwrap_or_default();
        assert!(why.contains(&format!("slow / raw is {is}, and nothing of its commit shows")), "{is}: {why}");
        assert!(why.contains("(use `benches profile slow`)"), "{why}");
        assert_eq!(unfit(&run, &all, true), None);
        run.profiles = profiles("slow");
        assert_eq!(unfit(&run, &all, false), None, "{is}");
    }
    assert_eq!(unfit(&slow(SLOW, 1.0, 1.0), &with(SLOW), false), None);
    let never: &[Bar] = const { &[Bar::new("never / raw", "never_us", MOST)] };
    let why = unfit(&slow(never, 1.0, 1.0), &with(never), false);
    assert!(why.is_some_and(|why| why.contains("never / raw was not measured")));
}

#[test]
fn a_profile_is_to_have_the_arms_of_the_bar_and_one_of_memory_is_explained_by_none() {
    const OTHER: &[Bar] = &[Bar { theirs: Some("raw again"), again: Some("raw"), ..SLOW[0] }];
    const MEMORY: &[Bar] = &[Bar::alone("memory of it", "peak_ratio", "ours", MOST)];
    let of = |bars: &'static [Bar], profile: &str| {
        let run = Run { profiles: profiles(profile), ..slow(bars, 2.0, 1.0) };
        unfit(&run, &with(bars), false)
    };
    assert!(of(OTHER, "slow").is_some_and(|why| why.contains("nothing of its commit")));
    assert_eq!(of(MEMORY, "slow"), None);
    assert!(of(MEMORY, "fold").is_some_and(|why| why.contains("memory of it is missed")));
}

#[test]
fn a_profile_is_of_the_commit_of_the_records() {
    let (mut run, all) = (slow(SLOW, 2.0, 1.0), with(SLOW));
    run.profiles = profiles("slow");
    run.profiles.0.values_mut().for_each(|profile| profile.environment.commit = "of old".to_owned());
    assert!(unfit(&run, &all, false).is_some_and(|why| why.contains("nothing of its commit")));
    run.profiles.0.values_mut().for_each(|profile| profile.environment.commit.push('+'));
    assert!(unfit(&run, &all, true).is_some_and(|why| why.contains("in no commit")));
}

#[test]
fn only_a_full_run_of_all_by_an_optimized_build_of_a_commit_is_published() {
    let why = |change: fn(&mut Run)| {
        let mut run = run();
        change(&mut run);
        unfit(&run, &topics(), false).unwrap_or_default()
    };
    assert_eq!(why(|_| {}), "");
    assert!(why(|run| *run = Run::default()).contains("on what"));
    assert!(why(|run| run.results.environments[0].scale = "quick".to_owned()).contains("quick"));
    assert!(why(|run| run.results.environments[0].build = "not optimized".to_owned()).contains("optimized"));
    for commit in ["abc+", "unknown", ""] {
        let mut dirty = run();
        dirty.results.environments[0].commit = commit.to_owned();
        assert!(unfit(&dirty, &topics(), true).is_some_and(|why| why.contains("in no commit")), "{commit:?}");
    }
    assert!(why(|run| run.figures.environment = None).contains("nobody knows"));
    assert!(
        why(|run| run.figures.environment.iter_mut().for_each(|one| one.commit.push('+')))
            .contains("in no commit")
    );
    let of_another = |change: fn(&mut Environment)| {
        let mut run = run();
        run.figures.environment.iter_mut().for_each(change);
        unfit(&run, &topics(), true).unwrap_or_default()
    };
    assert!(of_another(|one| one.commit = "of old".to_owned()).contains("of commit of old"));
    assert!(of_another(|one| one.processor = "slow".to_owned()).contains("on slow"));
    // Of a go that holds nothing any more, nothing is shown.
    assert_eq!(why(|run| run.results.environments.push(Environment::default())), "");
}

#[test]
fn what_a_topic_says_is_of_one_program_and_of_the_bars_that_it_has() {
    let mut two = slow(SLOW, 1.0, 1.0);
    two.results.environments.push(Environment { commit: "def".to_owned(), ..environment() });
    two.results.done.last_mut().unwrap().go = Some(1);
    let why = |run: &Run, bars| unfit(run, &with(bars), true).unwrap_or_default();
    assert!(why(&two, SLOW).contains("slow was measured in part by each of several programs (abc, def)"));
    const EASIER: &[Bar] = &[Bar { bound: Bound::AtMost(2.0), ..SLOW[0] }];
    let missed = slow(SLOW, 1.5, 1.0);
    assert!(
        why(&missed, EASIER)
            .contains("the bars of slow were others when it was measured: slow / raw: at most 1.1")
    );
}

#[test]
fn a_run_that_lacks_something_is_published_only_if_that_is_asked_for() {
    let lacks = |change: fn(&mut Run), what: &str| {
        let mut run = run();
        change(&mut run);
        assert!(unfit(&run, &topics(), false).is_some_and(|why| why.contains(what)), "{what}");
        assert_eq!(unfit(&run, &topics(), true), None);
    };
    lacks(|run| drop(run.results.done.pop()), "pick is missing, broke off or was not run, in step 8");
    lacks(|run| run.results.done[1].complete = false, "in step 2");
    lacks(|run| run.figures = Figures::default(), "criterion's figures are missing");
    lacks(|run| run.figures.arguments.push("pick".to_owned()), "not whole: Criterion ran with `pick`");
    let etcd = |run: &mut Run| {
        let (what, why) = ("etcd".to_owned(), "it is not installed".to_owned());
        run.figures.left_out.push(LeftOut { what, why });
    };
    lacks(etcd, "Criterion left out etcd: it is not installed");
}

#[test]
fn a_recorded_run_replaces_the_pictures_of_the_one_before_and_touches_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["growth-7.svg", "ratios-1.svg", "tails-2.svg", "growth-old.svg", "logo.svg"] {
        std::fs::write(at(name), "old").unwrap();
    }
    record(&run(), folder.path()).unwrap();
    let is_there = |path: &Path| path.exists();
    assert!(["growth-7.svg", "ratios-1.svg", "tails-2.svg"].iter().all(|name| !is_there(&at(name))));
    assert!(is_there(&at("growth-old.svg")) && is_there(&at("logo.svg")) && is_there(&at("report.html")));
    assert!(std::fs::read_to_string(at("growth-1.svg")).unwrap().contains("fold, by size"));
    assert_eq!(Run::read(folder.path()).unwrap(), run());
}
