//! The report on the chaos suite, on a made-up record: verdicts of all kinds, findings, what could not be run, and texts that must be escaped.

use comparisons::chaos::backend::Backend;
use comparisons::chaos::check::{Invariant, Standing, Violation};
use comparisons::chaos::course::{Asked, Broken, Course, Kind, Watched, Window};
use comparisons::chaos::coverage::Scope;
use comparisons::chaos::excerpt::Excerpt;
use comparisons::chaos::fault::Fault;
use comparisons::chaos::go::Go;
use comparisons::chaos::history::{At, Change, Item, Line, Listed, Told};
use comparisons::chaos::plan::Cell;
use comparisons::chaos::record::{Played, Record};
use comparisons::chaos::result::{CellResult, Judged, Outcome};
use comparisons::chaos::verdict::Verdict;
use comparisons::report::{Report, chaos, html};

use super::needs_nothing_else;

fn text(text: &str) -> String {
    text.to_owned()
}

fn go(commit: &str) -> Go {
    let (code, build) = (text("0123"), text("optimized"));
    Go { commit: text(commit), code, build, etcd: text("3.5"), redis: text("8.0"), ..Go::default() }
}

/// A run with marks every 50 ms for some 15 s, struck at 4 s.
fn judged(cell: &Cell, verdict: Verdict, broken: &[u8]) -> Judged {
    let all: Vec<u32> = (0..300).collect();
    let watched =
        Watched { name: text("0.24"), told: all.clone(), stale: vec![[80, 120]], ..Watched::default() };
    let asked =
        Asked { process: text("0"), kind: Kind::Writes, done: all, refused: vec![90], unknown: vec![100] };
    let listed = Listed { id: text("a <b>"), value: 7, incarnation: None, modified: None };
    let told = Told {
        watcher: text("0.24"),
        at: At(4_500_000),
        item: Item::Changes { position: None, changes: vec![Change::Put(listed)] },
    };
    let shown = broken.iter().map(|number| {
        let violation = Violation {
            invariant: Invariant::ALL[usize::from(number - 1)],
            standing: Standing::Broken,
            what: text("0.24 lists a <b> at 5.000 s"),
            at: At(5_000_000),
            id: None,
            lines: vec![usize::from(*number)],
        };
        (violation, Excerpt { lines: vec![(usize::from(*number), Line::Told(told.clone()))] })
    });
    let window = |fault: &Fault| Window {
        fault: *fault,
        from: At(4_000_000),
        to: At(8_000_000),
        what: text("SIGKILL to <it>"),
        proof: text("it did not answer"),
    };
    let struck = cell.faults.iter().filter(|fault| **fault != Fault::None);
    Judged {
        verdict,
        why: text("0.24 lists a <b> at 5.000 s"),
        expected: None,
        as_expected: true,
        lost: std::collections::BTreeSet::new(),
        broken: broken.iter().copied().collect(),
        shown: shown.collect(),
        windows: struck.map(window).collect(),
        course: Some(Course {
            ends: 300,
            asked: vec![asked],
            watched: vec![watched],
            broken: broken
                .iter()
                .map(|number| Broken { invariant: *number, at: 100, watcher: Some(text("0.24")) })
                .collect(),
        }),
        lines: 9,
    }
}

fn add(record: &mut Record, cell: Cell, go: usize, outcome: Outcome) {
    let result = CellResult { cell: cell.clone(), outcome, seconds: 14.0, late_ms: 3 };
    record.cells.insert(cell, Played { go, result });
}

/// Everything with `seeds` seeds, and pairs; ours survive, the control does not.
fn record(seeds: u64) -> Record {
    let mut record = Record { goes: vec![go("abc"), go("def")], ..Record::default() };
    let scope = Scope::all(1);
    for cell in scope.each(seeds).into_iter().chain(scope.pairs(0..21)) {
        let judged = match cell.backend {
            Backend::RedisNaive => judged(&cell, Verdict::Violated, &[7, 9]),
            _ => judged(&cell, Verdict::Survived, &[]),
        };
        let go = usize::from(cell.seed > 1);
        add(&mut record, cell, go, Outcome::Judged(Box::new(judged)));
    }
    record
}

/// The same with all that can be wrong.
fn with_everything() -> Record {
    let mut record = record(3);
    let cell = |fault, seed| Cell { backend: Backend::Redis, faults: vec![fault], seed };
    let found = |cell: &Cell, verdict| {
        let judged =
            Judged { as_expected: false, expected: Some(text("SURVIVED")), ..judged(cell, verdict, &[7]) };
        Outcome::Judged(Box::new(judged))
    };
    for (seed, verdict) in [(2, Verdict::Violated), (3, Verdict::Down)] {
        let cell = cell(Fault::Wipe, seed);
        let outcome = found(&cell, verdict);
        add(&mut record, cell, 0, outcome);
    }
    add(&mut record, cell(Fault::PowerCut, 1), 0, Outcome::NotRun { why: text("no <root>") });
    add(&mut record, cell(Fault::PowerCut, 2), 0, Outcome::Failed { why: text("a worker died") });
    record
}

pub(super) fn page() -> String {
    chaos::page(&with_everything()).html
}

#[test]
fn the_page_needs_nothing_else_whatever_is_in_it() {
    needs_nothing_else(&page());
    needs_nothing_else(&chaos::page(&record(1)).html);
    needs_nothing_else(&chaos::page(&Record::default()).html);
}

#[test]
fn what_was_not_expected_is_told_first_and_shown_with_the_lines_that_show_it() {
    let page = page();
    let at = |wanted: &str| page.find(wanted).unwrap_or_else(|| panic!("{wanted}"));
    assert!(at("Not as expected:") < at("class=\"matrix\""));
    assert!(at("href=\"#wipe.redis\"") < at("id=\"wipe.redis\""));
    let square = &page[at("id=\"wipe.redis\"")..];
    let square = &square[..square.find("</details>").unwrap()];
    assert!(square.starts_with("id=\"wipe.redis\" open"), "{}", &square[..60]);
    assert!(square.contains("Expected when it was played: SURVIVED."));
    for told in [
        "+0.500 s",
        "watcher 0.24",
        "is told: a &lt;b&gt; (value 7) is there",
        "at +1.000 s",
        "SIGKILL to &lt;it&gt;",
    ] {
        assert!(square.contains(told), "{told}: {square}");
    }
    // Either finding, and the first of those that were expected.
    assert_eq!(square.matches("<svg").count(), 3);
    assert!(page.contains("No &lt;root&gt;.") && page.contains("broke off 1"));
}

#[test]
fn a_page_on_a_whole_record_is_below_ten_megabytes() {
    let made = chaos::page(&record(20));
    assert!(made.html.len() < 10_000_000, "{}", made.html.len());
    let drawn = made.html.matches("<svg").count() + made.pictures.len();
    // Of each fault on each backend one, and of the pairs of each backend.
    assert_eq!(drawn, Scope::all(1).singles().len() + 7);
}

#[test]
fn what_has_no_room_in_the_page_lies_beside_it() {
    let mut record = record(30);
    for played in record.cells.values_mut() {
        if let Outcome::Judged(judged) = &mut played.result.outcome {
            judged.as_expected = false;
        }
    }
    let made = chaos::page(&record);
    assert!(!made.pictures.is_empty());
    let (name, svg) = &made.pictures[0];
    assert!(made.html.contains(name.as_str()) && svg.contains("<svg"));
    let names: std::collections::BTreeSet<&String> = made.pictures.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), made.pictures.len());
}

#[test]
fn a_record_that_is_published_takes_little_room_and_makes_the_same_page() {
    let whole = record(20);
    let compact = whole.compact();
    let (whole_size, size) = (whole.text().unwrap().len(), compact.text().unwrap().len());
    assert!(size * 3 < whole_size && size < 3_000_000, "{size} of {whole_size}");
    assert_eq!(chaos::page(&compact).html, chaos::page(&whole).html);
}

#[test]
fn documents_show_the_matrix_with_what_was_expected() {
    let markdown = chaos::section(&with_everything());
    let row = markdown.lines().find(|line| line.starts_with("| wipe ")).unwrap();
    assert!(row.contains("SURVIVED 1, DOWN 1, VIOLATED 1 (DEGRADED) **not as expected: 2**"), "{row}");
    assert!(markdown.contains("- redis under wipe, seed 2: VIOLATED (NOT AS EXPECTED)"));
    assert!(markdown.contains("commit abc") && markdown.contains("commit def"));
    assert!(!markdown.contains("<b>") && !markdown.contains("<root>"));
    assert_eq!(chaos::section(&Record::default()), "Nothing is recorded yet.");
}

#[test]
fn the_page_on_the_claims_shows_the_matrix_if_there_is_one() {
    let without = Report::new(Vec::new(), Vec::new());
    assert!(!html(&without).contains("Under faults"));
    let mut with = Report::new(Vec::new(), Vec::new());
    with.chaos = Some(with_everything());
    let page = html(&with);
    assert!(page.contains("Under faults") && page.contains("not as expected: 2"));
    needs_nothing_else(&page);
}
