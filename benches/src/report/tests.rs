use comparisons::environment::Environment;
use comparisons::record::{Outcome, Record};
use comparisons::results::{Done, Results};

use super::{Report, benches_section, html, pictures, readme_section, summary};
use crate::bars::{Bar, Bound, Verdict, rule};
use crate::contest::DISTURBED;
use crate::figures::{Estimate, Figure, Figures};
use crate::left_out::LeftOut;
use crate::profiles::{Counted, Profile, Profiled, Profiles};

const LOOKUP: &[Bar] = &[
    Bar::new("a lookup / the same raw", "each_us", Bound::AtMost(1.08)),
    Bar::new("the slowest <lookups> / the same raw", "p99_us", Bound::Told),
];
const PICK: &[Bar] = &[Bar::new("a pick / tower's", "each_us", Bound::AtMost(0.5))];
const CALLS: &[Bar] = &[Bar::new("calls per second / plain tonic's", "calls_per_s", Bound::AtLeast(0.97))];

/// One topic each for what a bar can come to.
fn topics() -> Vec<(&'static str, &'static [Bar])> {
    vec![
        ("met", LOOKUP),
        ("not shown", LOOKUP),
        ("missed", PICK),
        ("undecided", PICK),
        ("not measured", CALLS),
        ("broken", CALLS),
    ]
}

fn rounds(topic: &str, ours: f64, again: f64) -> Vec<Record> {
    let arm = |name: &str, run: u32, times: f64| {
        // Some noise, from round to round and between arms.
        let jitter = (7.0 * f64::from(run) + 3.0 * name.len() as f64) % 5.0 - 2.0;
        let each = (100.0 + f64::from(run % 3)) * times * (1.0 + jitter / 100.0);
        let record =
            Record::new(name, run).with("each_us", each).with("p50_us", each).with("calls_per_s", 1e6 / each);
        let record = record.with("p99_us", 1_234.0 * each / 100.0).with("max_us", 9_000.0 + each);
        Record { experiment: topic.to_owned(), step: (1 + run / 3).to_string(), ..record }
    };
    let round = |run| [arm("ours", run, ours), arm("raw", run, 1.0), arm("raw again", run, again)];
    (0..12).flat_map(round).collect()
}

fn results() -> Results {
    let environment = Environment {
        date: "2026-11-28".to_owned(),
        commit: "abc".to_owned(),
        build: "optimized".to_owned(),
        scale: "full".to_owned(),
        processor: "<fast>".to_owned(),
        ..Environment::default()
    };
    let broken = Outcome::NotRun { why: "etcd is missing & `apt-get` installs it".to_owned() };
    let broken = Record {
        experiment: "broken".to_owned(),
        step: "1".to_owned(),
        outcome: broken,
        ..Record::new("-", 0)
    };
    let measured = [("met", 1.02), ("not shown", 1.08), ("missed", 0.9), ("undecided", 0.45)];
    let again = |topic| if topic == "undecided" { 1.2 } else { 1.0 };
    let records =
        measured.iter().flat_map(|(topic, ours)| rounds(topic, *ours, again(*topic))).chain([broken]);
    let of = |topic: &str| topics().into_iter().find(|one| one.0 == topic).unwrap().1;
    let done = |topic: &str| Done {
        experiment: topic.to_owned(),
        step: "1".to_owned(),
        seconds: 1.0,
        complete: topic != "broken",
        rule: rule(of(topic)),
        go: Some(0),
    };
    let done = ["met", "not shown", "missed", "undecided", "broken"].map(done).to_vec();
    Results { environments: vec![environment], records: records.collect(), done, again: Vec::new() }
}

fn figures() -> Figures {
    let figure = |function: Option<&str>, parameter: Option<&str>, value: f64| {
        let estimate = Estimate { value, low: value * 0.9, high: value * 1.1, level: 0.95 };
        let [function, parameter] = [function, parameter].map(|text| text.map(str::to_owned));
        Figure {
            group: "fold & <differ>".to_owned(),
            function,
            parameter,
            median_ns: estimate,
            mean_ns: estimate,
        }
    };
    let figures = vec![
        figure(Some("diff"), Some("10"), 321.0),
        figure(Some("diff"), Some("1000"), 654.0),
        figure(Some("fold"), Some("10"), 123.0),
        figure(Some("fold"), Some("1000"), 45_678.0),
        figure(Some("read"), None, 7.0),
    ];
    Figures { figures, ..Figures::default() }
}

fn report() -> Report {
    Report::new(&topics(), &results(), figures())
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let (one, other) = (report(), report());
    assert_eq!(html(&one), html(&other));
    assert_eq!(summary(&one).unwrap(), summary(&other).unwrap());
    assert_eq!(benches_section(&one), benches_section(&other));
    let svgs =
        |report| pictures(report).iter().map(|drawn| (drawn.file.clone(), drawn.svg())).collect::<Vec<_>>();
    assert_eq!(svgs(&one), svgs(&other));
}

#[test]
fn every_bar_has_its_verdict_in_words_and_all_are_counted() {
    let page = html(&report());
    let rows: Vec<&str> = page.split("<tr ").filter(|row| row.contains("class=\"chip")).collect();
    assert_eq!(rows.len(), 8);
    let words = |row: &str| {
        Verdict::ALL
            .into_iter()
            .filter(|verdict| row.contains(&format!("</span> {}</span>", verdict.word())))
            .count()
    };
    assert!(rows.iter().all(|row| words(row) == 1), "{rows:?}");
    for verdict in Verdict::ALL {
        let word = verdict.word();
        assert!(rows.iter().any(|row| row.contains(&format!("</span> {word}</span>"))), "{word}: {page}");
    }
    let counts = "Of 6 bars 1 is met, 1 is not shown, 1 is missed, 1 is undecided, 2 are not measured; 2 figures without a bound are told.";
    assert_eq!(report().counts(), counts);
    assert!(page.contains(counts));
}

#[test]
fn what_was_started_less_often_than_it_is_to_be_is_told() {
    let mut results = results();
    let done =
        |step: u32| Done { experiment: "fold".to_owned(), step: step.to_string(), ..results.done[0].clone() };
    let (part, whole): (Vec<_>, Vec<_>) = ((1..=3).map(done).collect(), (1..=8).map(done).collect());
    let told = |results: &Results| html(&Report::new(&[("fold", PICK)], results, Figures::default()));
    results.done = part;
    assert!(told(&results).contains("fold was started 3 of 8 times"));
    results.done = whole;
    assert!(!told(&results).contains("fold was started"));
}

#[test]
fn what_is_missing_is_told_with_the_reason() {
    let page = html(&report());
    assert!(
        page.contains("broken: not run: etcd is missing &amp; <code>apt-get</code> installs it."),
        "{page}"
    );
    assert!(page.contains("Not measured yet: not measured."), "{page}");
    let mut quick = results();
    quick.environments[0].scale = "quick".to_owned();
    quick.done[0].experiment = "gone".to_owned();
    let page = html(&Report::new(&topics(), &quick, figures()));
    assert!(page.contains("This is a quick run") && page.contains("not known any more: gone."), "{page}");
}

#[test]
fn what_criterion_was_not_asked_for_or_left_out_is_told() {
    assert!(!html(&report()).contains("Criterion "));
    let left_out = vec![LeftOut { what: "Redis".to_owned(), why: "`redis-server` is <missing>".to_owned() }];
    let part = Figures { arguments: vec!["pick".to_owned()], left_out, ..figures() };
    let report = Report::new(&topics(), &results(), part);
    let (page, section) = (html(&report), benches_section(&report));
    assert!(page.contains("Criterion ran with <code>pick</code>"), "{page}");
    assert!(page.contains("left out Redis: <code>redis-server</code> is &lt;missing&gt;."), "{page}");
    assert!(section.contains("Criterion left out Redis"), "{section}");
    let without = Report::new(&topics(), &results(), Figures::default());
    assert!(html(&without).contains("Criterion's benchmarks have not been run."));
}

#[test]
fn of_what_broke_off_nothing_is_said() {
    let mut results = results();
    results.records.extend(rounds("broken", 0.5, 1.0));
    let report = Report::new(&topics(), &results, Figures::default());
    assert!(super::lines(&report).iter().any(|line| line.starts_with("broken: not measured: ")));
}

#[test]
fn texts_are_escaped() {
    let page = html(&report());
    assert!(
        page.contains("&lt;fast&gt;")
            && page.contains("the slowest &lt;lookups&gt;")
            && page.contains("fold &amp; &lt;differ&gt;")
    );
    for raw in ["<fast>", "<lookups>", "<differ>"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(!benches_section(&report()).contains("<lookups>"));
}

#[test]
fn a_page_of_nothing_says_so() {
    let nothing = Report::new(&topics(), &Results::default(), Figures::default());
    let page = html(&nothing);
    assert!(
        page.contains("Nothing has been measured yet.") && page.contains("It was not recorded."),
        "{page}"
    );
    assert!(nothing.counts().contains("8 are not measured"), "{}", nothing.counts());
    assert!(pictures(&nothing).is_empty());
    for section in [readme_section(&nothing), benches_section(&nothing)] {
        assert!(section.starts_with("Nothing has been published yet"), "{section}");
    }
}

#[test]
fn ratios_that_should_be_1_are_drawn_apart_from_others_and_curves_need_several_sizes() {
    let drawn = pictures(&report());
    let files: Vec<&str> = drawn.iter().map(|one| one.file.as_str()).collect();
    assert_eq!(files, ["ratios-1.svg", "ratios-2.svg", "ratios-3.svg", "growth-1.svg"]);
    assert!(drawn[0].svg().contains("a lookup / the same raw") && !drawn[0].svg().contains("a pick"));
    let growth = drawn[3].svg();
    assert!(growth.contains("fold: 123 at 10, 45678 at 1000") && !growth.contains("read"), "{growth}");
}

#[test]
fn percentiles_are_shown_by_arm() {
    let page = html(&report());
    let tails = page.split("id=\"tails\"").nth(1).unwrap();
    let row = tails.split("<tr ").find(|row| row.contains(">raw<")).unwrap();
    assert!(
        row.contains("data-label=\"99 %\">1.25 ms<") && row.contains("data-label=\"longest\">9.1 ms<"),
        "{row}"
    );
    assert!(row.contains("data-label=\"90 %\">–<") && row.contains("data-label=\"blocks\">12<"), "{row}");
}

#[test]
fn arms_stand_in_the_order_of_the_bars_whoever_played_first() {
    let mut results = results();
    results.records.reverse();
    results.records.extend(
        rounds("met", 1.0, 1.0)
            .into_iter()
            .filter(|one| one.arm == "ours")
            .map(|one| Record { arm: "another".to_owned(), ..one }),
    );
    let page = html(&Report::new(&topics(), &results, figures()));
    let tails = page.split("id=\"tails\"").nth(1).unwrap();
    let at = ["ours", "raw", "raw again", "another"].map(|arm| tails.find(&format!(">{arm}<")).unwrap());
    assert!(at.is_sorted(), "{tails}");
}

#[test]
fn blocks_that_were_disturbed_are_counted_by_arm_and_rounds_by_what_was_judged() {
    assert!(!html(&report()).contains("disturbed blocks</th>"), "nothing is told where no arm tells it");
    let mut results = results();
    for record in results.records.iter_mut().filter(|record| record.experiment == "met") {
        let is_ours = record.arm == "ours";
        record.figures.insert(DISTURBED.to_owned(), if is_ours && record.run < 3 { 1.0 } else { 0.0 });
        if record.arm == "raw" && record.run == 5 {
            record.figures.remove("each_us");
        }
    }
    // What all blocks give together is no block.
    let together = Record::new("ours", 0).with_series("tail_us", [[1.0, 0.5]]);
    results.records.push(Record { experiment: "met".to_owned(), step: "1".to_owned(), ..together });
    let report = Report::new(&topics(), &results, figures());
    let page = html(&report);
    let tails = page.split("id=\"tails\"").nth(1).unwrap();
    let row = |arm: &str| tails.split("<tr ").find(|row| row.contains(&format!(">{arm}<"))).unwrap();
    assert!(row("ours").contains("disturbed blocks\">3<") && row("ours").contains("blocks\">12<"), "{tails}");
    assert!(row("raw").contains("disturbed blocks\">0<"), "{tails}");
    let bar = |what: &str| {
        page.split("<tr ").find(|row| row.contains("class=\"chip") && row.contains(what)).unwrap()
    };
    assert!(bar("a lookup / the same raw").contains("11 rounds"), "{page}");
    let read: serde_json::Value = serde_json::from_str(&summary(&report).unwrap()).unwrap();
    assert_eq!(read["topics"][0]["bars"][0]["rounds"], 11);
    assert_eq!(read["topics"][0]["tails"][0]["disturbed"], 3.0);
}

#[test]
fn the_tails_of_all_blocks_together_are_drawn_by_arm_and_calls_without_an_answer_are_counted() {
    assert!(!pictures(&report()).iter().any(|one| one.file.starts_with("tails")));
    let mut results = results();
    let together = |arm: &str, step: &str, times: f64| {
        let tail = [[100.0 * times, 0.5], [400.0 * times, 0.999], [9_000.0, 1.0]];
        let record = Record::new(arm, 0).with_series("tail_us", tail);
        Record { experiment: "met".to_owned(), step: step.to_owned(), ..record }
    };
    for (step, times) in [("1", 1.0), ("2", 2.0), ("3", 9.0)] {
        results.records.extend([together("ours", step, 2.0 * times), together("raw", step, times)]);
    }
    for record in results.records.iter_mut().filter(|one| one.arm == "ours" && !one.figures.is_empty()) {
        record.figures.insert("failed".to_owned(), if record.run < 2 { 4.0 } else { 0.0 });
    }
    let report = Report::new(&topics(), &results, figures());
    let drawn: Vec<_> = pictures(&report).into_iter().filter(|one| one.file == "tails-1.svg").collect();
    let svg = drawn[0].svg();
    assert!(svg.contains("ours: 400 at 2, 1600 at 1000; raw: 200 at 2, 800 at 1000"), "{svg}");
    let page = html(&report);
    let tails = page.split("id=\"tails\"").nth(1).unwrap();
    assert!(tails.contains("met: how long the slowest took"), "{tails}");
    let ours = tails.split("<tr ").find(|row| row.contains(">ours<")).unwrap();
    assert!(ours.contains("data-label=\"not answered\">8<") && ours.contains("blocks\">12<"), "{ours}");
    assert!(benches_section(&report).contains("](results/tails-1.svg)"));
}

#[test]
fn where_the_time_goes_is_shown_beside_what_it_is_compared_with() {
    let counted =
        |samples: u64, function: &str| Counted::parse(&format!("{samples}|benches|[.] {function}")).unwrap();
    let ours = Profiled::new("ours", &[counted(70, "imbl::<Map>::insert"), counted(30, "redis::parse")]);
    let raw = Profiled::new("raw", &[counted(10, "redis::parse")]);
    let profile = Profile { environment: Environment::default(), arms: vec![ours, raw] };
    let report = report().with_profiles(Profiles([("missed".to_owned(), profile)].into()));
    let (page, section) = (html(&report), benches_section(&report));
    assert!(page.contains(">ours, 100 samples<") && page.contains("imbl::&lt;Map&gt;::insert"), "{page}");
    assert!(section.contains("| whose code | ours, 100 samples | raw, 10 samples |"), "{section}");
    assert!(section.contains("| imbl | 70.0 % | 0.0 % |\n| redis | 30.0 % | 100.0 % |"), "{section}");
    assert!(!html(&self::report()).contains("Where the time goes"));
}

#[test]
fn what_a_profile_shows_of_a_bar_that_is_not_met_and_what_it_does_not_is_said() {
    const BARS: &[Bar] = &[
        Bar::new("a lookup / the same raw", "each_us", Bound::AtMost(0.5)),
        Bar::alone("memory of it", "peak_ratio", "ours", Bound::AtMost(0.5)),
        Bar { ours: "by weight", ..Bar::new("by weight / the same raw", "each_us", Bound::AtMost(0.5)) },
    ];
    let mut results = results();
    for record in rounds("met", 1.0, 1.0) {
        let peak = record.figure("each_us").unwrap();
        let also = Record { arm: "by weight".to_owned(), ..record.clone() };
        results.records.extend((record.arm == "ours").then_some(also));
        results.records.push(record.with("peak_ratio", peak));
    }
    let counted = [Counted::parse("7|benches|[.] imbl::insert").unwrap()];
    let of = |commit: &str| {
        let arms = ["ours", "raw"].map(|arm| Profiled::new(arm, &counted)).to_vec();
        let environment = Environment { commit: commit.to_owned(), ..Environment::default() };
        let profiles = Profiles([("met".to_owned(), Profile { environment, arms })].into());
        Report::new(&[("met", BARS)], &results, figures()).with_profiles(profiles)
    };
    let (page, section) = (html(&of("abc")), benches_section(&of("abc")));
    for sentence in [
        "the same raw (met) is missed: what ours and raw do with their processor time is below, but not what they wait for.",
        "memory of it (met) is missed: its figure, peak_ratio, is no time, so no profile of processor time explains it.",
        "by weight / the same raw (met) is missed, and the profile of its topic lacks by weight and raw.",
    ] {
        assert!(page.contains(sentence) && section.contains(sentence), "{sentence}: {page}");
    }
    let count = |report: &Report| html(report).matches("and no profile of its commit shows where").count();
    assert_eq!(count(&of("of old")), 3);
    let mut quick = of("of old");
    quick.environments[0].scale = "quick".to_owned();
    assert_eq!(count(&quick), 0, "what is only to be seen need not be explained");
}

#[test]
fn a_bar_that_was_another_one_when_it_was_measured_is_told() {
    assert!(!html(&report()).contains("was measured for other bars"));
    let mut before = results();
    before.done[0].rule = before.done[0].rule.replace("1.08", "1.01");
    let page = html(&Report::new(&topics(), &before, figures()));
    assert!(page.contains("met was measured for other bars: ") && page.contains("at most 1.01"), "{page}");
}

#[test]
fn the_readme_shows_the_worst_bar_of_each_topic() {
    let section = readme_section(&report());
    let rows: Vec<&str> = section.lines().filter(|line| line.contains("**")).collect();
    assert_eq!(rows.len(), topics().len(), "{section}");
    assert!(
        rows[0].starts_with("| a lookup / the same raw | at most 1.08 | 1.0")
            && rows[0].ends_with("| **met** |"),
        "{section}"
    );
    assert!(benches_section(&report()).contains("](results/growth-1.svg)"));
}

#[test]
fn the_readme_shows_two_pictures_of_ratios_and_how_folding_and_picking_grow() {
    let shown = |report: &Report| {
        let section = readme_section(report);
        let files = section.split("](benches/results/").skip(1).filter_map(|rest| rest.split(')').next());
        files.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown(&report()), ["ratios-1.svg", "ratios-2.svg"], "no other growth is shown");
    let of_sizes = |group: &str| {
        let first = |size: &str| Figure {
            group: group.to_owned(),
            parameter: Some(size.to_owned()),
            ..figures().figures[0].clone()
        };
        [first("10"), first("1000")]
    };
    let groups = ["differences after one change", "fold one change", "pick", "pick and completion"];
    let figures = Figures { figures: groups.into_iter().flat_map(of_sizes).collect(), ..Figures::default() };
    let all = Report::new(&topics(), &results(), figures);
    assert_eq!(shown(&all), ["ratios-1.svg", "ratios-2.svg", "growth-2.svg", "growth-3.svg"]);
    let section = readme_section(&all);
    assert!(section.contains("![fold one change, by size](benches/results/growth-2.svg)"), "{section}");
    // As the benchmarks call them.
    let sources = [include_str!("../../benches/view.rs"), include_str!("../../benches/pick.rs")];
    for (group, source) in ["fold one change", "pick"].iter().zip(sources) {
        assert!(source.contains(&format!("benchmark_group(\"{group}\")")), "{group}");
    }
}

#[test]
fn the_summary_holds_what_the_page_shows() {
    let read: serde_json::Value = serde_json::from_str(&summary(&report()).unwrap()).unwrap();
    assert_eq!(read["environments"][0]["commit"], "abc");
    let bar = |topic: usize| &read["topics"][topic]["bars"][0];
    assert_eq!((&bar(0)["verdict"], &bar(0)["at_most"]), (&"met".into(), &1.08.into()));
    assert!(bar(0)["ratio"]["low"].as_f64() < bar(0)["ratio"]["high"].as_f64());
    assert_eq!((&bar(4)["verdict"], &bar(4)["ratio"]), (&"not_measured".into(), &serde_json::Value::Null));
    assert!(read["topics"][5]["trouble"].as_str().unwrap().contains("etcd is missing"));
    assert!(read["topics"][0]["tails"][0]["p99_us"].as_f64().unwrap() > 1_000.0);
    assert_eq!(read["criterion"]["figures"].as_array().unwrap().len(), 5);
}
