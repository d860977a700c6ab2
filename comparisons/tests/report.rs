//! What the report promises, tested on made-up experiments and records.
//!
//! `REPORT_OUT=/tmp/report cargo test -p comparisons --test report` also writes the page, the Markdown and the pictures there, to be looked at.

#![allow(clippy::unwrap_used, reason = "also in what helps the tests")]

#[path = "report/chaos.rs"]
mod chaos;
#[path = "report/made_up.rs"]
mod made_up;

use comparisons::picture::{Bar, Drawing, Interval, Lane, Line, Mark, Picture, Shade, Stretch, Strip};
use comparisons::record::Record;
use comparisons::report::{Report, comparisons_section, html, pictures, readme_section, summary};

use made_up::{Drawn, environment, experiments, records};

fn report() -> Report {
    Report::new(records(), environment()).with_experiments(experiments())
}

/// The page as XML: its doctype is dropped, and its `meta` elements are closed.
fn xml_of(page: &str) -> String {
    let page = page.trim_start_matches("<!DOCTYPE html>");
    let mut pieces = page.split("<meta ");
    let mut xml = pieces.next().unwrap().to_owned();
    for piece in pieces {
        xml += &format!("<meta {}", piece.replacen('>', "/>", 1));
    }
    xml
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_else() {
    needs_nothing_else(&html(&report()));
}

/// That a page is well formed, loads nothing, and leads nowhere but to places of its own.
fn needs_nothing_else(page: &str) {
    let xml = xml_of(page);
    let parsed = roxmltree::Document::parse(&xml).unwrap();
    let mut ids = Vec::new();
    let mut level = 0;
    for node in parsed.descendants().filter(|node| node.is_element()) {
        let name = node.tag_name().name();
        assert!(!["script", "link", "img", "iframe"].contains(&name), "{name} needs something else");
        for attribute in node.attributes() {
            assert!(!["src", "onload", "onclick"].contains(&attribute.name()));
            if attribute.name() == "href" {
                assert!(attribute.value().starts_with('#'), "{}", attribute.value());
            }
        }
        if let Some(id) = node.attribute("id") {
            assert!(!ids.contains(&id), "{id} is there twice");
            ids.push(id);
        }
        if let Some(next) = name.strip_prefix('h').and_then(|digit| digit.parse::<u32>().ok()) {
            assert!(next <= level + 1, "a heading is left out before {:?}", node.text());
            level = next;
        }
        if name == "svg" {
            assert_eq!(node.attribute("role"), Some("img"));
            assert!(node.attribute("aria-label").is_some_and(|label| !label.is_empty()));
        }
    }
    for link in parsed.descendants().filter_map(|node| node.attribute("href")) {
        assert!(ids.contains(&&link[1..]), "{link} leads nowhere");
    }
    assert!(!page.contains("url(") && !page.contains("@import"));
}

#[test]
fn texts_are_escaped() {
    let page = html(&report());
    assert!(page.contains("redis-naive key, &lt;reloading &amp; waiting&gt;"));
    assert!(!page.contains("<reloading"));
    let markdown = comparisons_section(&report());
    assert!(markdown.contains("&lt;reloading & waiting>"));
    assert!(markdown.contains("a \\| b"), "a bar would end the cell");
}

#[test]
fn the_same_records_give_the_same_bytes() {
    assert_eq!(html(&report()), html(&report()));
    assert_eq!(pictures(&report()), pictures(&report()));
    assert_eq!(comparisons_section(&report()), comparisons_section(&report()));
    assert_eq!(readme_section(&report()), readme_section(&report()));
}

#[test]
fn an_experiment_without_records_is_told_as_not_run_and_never_judged() {
    let report = Report::new(Vec::new(), Vec::new()).with_experiments(experiments());
    for text in [html(&report), comparisons_section(&report), readme_section(&report)] {
        assert!(text.contains("not run"));
        for word in ["confirmed", "refuted"] {
            assert!(
                !text.contains(&format!("**{word}**")) && !text.contains(&format!("</span> {word}")),
                "{word}"
            );
        }
        assert!(text.contains("cannot be answered from these records"));
    }
    assert!(pictures(&report).is_empty());
}

#[test]
fn what_could_not_be_run_is_said_on_the_first_screen() {
    let page = html(&report());
    let first_section = &page[..page.find("id=\"words\"").unwrap()];
    assert!(first_section.contains("steps could not be run here: no loop device"), "{first_section}");
    assert!(first_section.contains("steps broke off"));
    assert!(first_section.contains("runs were thrown away"));
}

/// A report on one experiment with these records, of one arm.
fn of_records(records: impl IntoIterator<Item = Record>) -> Report {
    let records = records.into_iter().map(|record| Record { experiment: "1a".to_owned(), ..record });
    Report::new(records.collect(), environment()).with_experiments(experiments())
}

#[test]
fn what_is_only_a_distribution_is_not_counted_as_a_run() {
    let counts = Record::new("redis", 0).with("lost", 0.0);
    let distribution = Record::new("redis", 0).with_series("ecdf", [[1.0, 1.0]]);
    let page = html(&of_records([counts, distribution, Record::new("redis", 1).invalid("slipped")]));
    assert!(page.contains("1 of 2 runs were thrown away"), "{page}");
}

#[test]
fn runs_that_do_not_count_are_told_by_kind_with_the_range_of_their_numbers() {
    let slipped =
        |arm: &str, by: u32| Record::new(arm, by).invalid(format!("sends slipped: by {by} µs, 200 at most"));
    let records = [slipped("redis", 847), slipped("redis", 1_498), slipped("memory", 202)];
    let records = || records.clone().into_iter().chain([Record::new("redis", 0)]);
    let expected =
        "3 runs do not count: sends slipped: by 202 to 1,498 µs, 200 at most (redis: 2; memory: 1)";
    for text in [html(&of_records(records())), comparisons_section(&of_records(records()))] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn of_a_part_it_is_said_that_it_is_one_and_in_the_same_words_everywhere() {
    let some =
        || Report::new(vec![Record { experiment: "1a".to_owned(), ..Record::new("redis", 0) }], Vec::new());
    let some = || some().with_experiments(experiments());
    let printed = summary(&some());
    assert!(printed.contains("Versioning: depends, without 1b"), "{printed}");
    assert!(html(&some()).contains("depends, without 1b"));
    assert!(!printed.contains("Pub/sub") && printed.contains("7 experiments were not run"), "{printed}");
    let page = html(&some());
    assert!(page.contains("only about what was run: 1 of 8 experiments"));
    assert!(page.contains("In what was run, no drawback was found"));
}

#[test]
fn documents_say_on_what_it_was_run_and_what_is_to_be_said_with_it() {
    let mut report = report();
    report.made_on = "Run with etcd 3.4.23 on one machine.".to_owned();
    for text in [readme_section(&report), comparisons_section(&report)] {
        assert!(text.contains("Run with etcd 3.4.23 on one machine."), "{text}");
        assert!(text.contains("Streams exist for that. (4b)"), "{text}");
    }
    assert!(readme_section(&report).contains("](comparisons/README.md#"));
}

#[test]
fn what_a_reader_acts_on_is_told_with_its_whole_caveat() {
    let record = |id: &str| Record { experiment: id.to_owned(), ..Record::new("redis", 0) };
    let both = vec![record("4b"), record("5a")];
    let page = html(&Report::new(both, environment()).with_experiments(experiments()));
    let first_screen = &page[..page.find("id=\"words\"").unwrap()];
    for id in ["4b", "5a"] {
        let caveat = format!("Streams exist for that. <a href=\"#{id}\"");
        assert!(first_screen.contains(&caveat), "{id}: {first_screen}");
    }
}

#[test]
fn figures_of_arms_are_made_one_by_their_column() {
    let markdown = comparisons_section(&report());
    assert!(markdown.contains("| redis-naive hash | 56,153 | 21.7 s | 5 of 6 |"), "{markdown}");
}

#[test]
fn the_readme_shows_two_or_three_pictures_that_are_made() {
    let made: Vec<String> = pictures(&report()).into_iter().map(|(name, _)| name).collect();
    let section = readme_section(&report());
    let shown: Vec<&str> =
        section.split("](comparisons/results/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!((2..=3).contains(&shown.len()), "{shown:?}");
    assert!(shown.iter().all(|name| made.iter().any(|made| made == name)), "{shown:?}");
}

/// Every number that can be in a picture, with the names of many lengths.
fn hard() -> Vec<(String, f64)> {
    let values =
        [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 1.0, 1e9];
    let name = |index: usize| "a name & <more> ".repeat(index * index % 13);
    values.into_iter().enumerate().map(|(index, value)| (name(index), value)).collect()
}

fn drawings(hard: &[(String, f64)]) -> Vec<Drawing> {
    let values: Vec<f64> = hard.iter().map(|(_, value)| *value).collect();
    let points: Vec<[f64; 2]> = values.iter().flat_map(|x| values.iter().map(|y| [*x, *y])).collect();
    let lines: Vec<Line> = hard
        .iter()
        .enumerate()
        .map(|(index, (name, _))| Line {
            name: name.clone(),
            points: points[..points.len() / (index + 1)].to_vec(),
        })
        .collect();
    let rows = hard.iter().map(|(name, value)| Interval {
        name: name.clone(),
        ratio: *value,
        between: [1.0, *value],
    });
    let lanes = hard.iter().map(|(name, value)| Lane {
        name: name.clone(),
        kept: values.clone(),
        lost: vec![*value],
    });
    let bars = hard.iter().map(|(name, value)| Bar {
        name: name.clone(),
        length: *value,
        label: name.clone(),
        bad: value.is_nan(),
    });
    let strips = hard.iter().map(|(name, value)| Strip {
        name: name.clone(),
        marks: vec![(Mark::Done, values.clone()), (Mark::Broken, vec![*value])],
        stretches: vec![(Stretch::Stale, vec![[*value, 1.0], [0.0, *value]])],
    });
    let strips: Vec<Strip> = strips.collect();
    let shades = hard.iter().map(|(name, value)| Shade { name: name.clone(), between: [*value, 2.0] });
    let shades: Vec<Shade> = shades.collect();
    let (rows, lanes, bars): (Vec<_>, Vec<_>, Vec<_>) = (rows.collect(), lanes.collect(), bars.collect());
    let odd = *values.first().unwrap_or(&f64::NAN);
    vec![
        Drawing::Ecdf { x: "x".to_owned(), lines: lines.clone() },
        Drawing::Lag { x: "x".to_owned(), y: "y".to_owned(), lines },
        Drawing::Forest { x: "x".to_owned(), undecided: [odd, 1.1], rows: rows.clone() },
        Drawing::Forest { x: "x".to_owned(), undecided: [f64::NAN, f64::INFINITY], rows },
        Drawing::Timeline { x: "x".to_owned(), fault: [odd, f64::NAN], lanes: lanes.clone() },
        Drawing::Timeline { x: "x".to_owned(), fault: [f64::INFINITY, f64::MIN], lanes },
        Drawing::Strips { x: "x".to_owned(), between: [odd, f64::NAN], shades, strips },
        Drawing::Bars { x: "x".to_owned(), bars },
    ]
}

#[test]
fn every_drawing_stands_what_can_be_in_it() {
    let hard = hard();
    let single = hard.iter().map(std::slice::from_ref);
    for some in [&hard[..], &[]].into_iter().chain(single) {
        for drawing in drawings(some) {
            let said = format!("{drawing:?}");
            let picture = Picture { title: "It is <so> & \"so\"".to_owned(), drawing };
            for (_, svg) in pictures(&Drawn::report(picture)) {
                let parsed =
                    roxmltree::Document::parse(&svg).unwrap_or_else(|error| panic!("{error}: {said}"));
                assert!(parsed.root_element().attribute("viewBox").is_some());
                assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{said}");
            }
        }
    }
}

/// The places of texts, from their attributes: about `(left, right, middle of the height)`.
fn texts(svg: &str) -> Vec<(String, f64, f64, f64)> {
    let parsed = roxmltree::Document::parse(svg).unwrap();
    let texts = parsed.descendants().filter(|node| node.has_tag_name("text"));
    let place = |node: roxmltree::Node<'_, '_>| {
        let number = |name: &str| node.attribute(name).unwrap().parse::<f64>().unwrap();
        let text = node.text().unwrap_or_default().trim().to_owned();
        let width = text.chars().count() as f64 * number("font-size") * 0.52;
        let left = match node.attribute("text-anchor") {
            Some("end") => number("x") - width,
            Some("middle") => number("x") - width / 2.0,
            _ => number("x"),
        };
        (text, left, left + width, number("y"))
    };
    texts.map(place).collect()
}

#[test]
fn no_text_lies_upon_another_or_over_the_edge() {
    for (name, svg) in pictures(&report()) {
        let texts = texts(&svg);
        for (index, (text, left, right, y)) in texts.iter().enumerate() {
            assert!(*left >= -2.0 && *right <= 645.0, "{name}: {text:?} from {left} to {right}");
            for (other, other_left, other_right, other_y) in &texts[index + 1..] {
                let apart = right <= other_left || other_right <= left || (y - other_y).abs() >= 20.0;
                assert!(apart, "{name}: {text:?} and {other:?}");
            }
        }
    }
}

#[test]
fn it_can_be_looked_at() {
    let kept = std::env::var_os("REPORT_OUT").map(std::path::PathBuf::from);
    let passing = tempfile::tempdir().unwrap();
    let folder = kept.unwrap_or_else(|| passing.path().to_owned());
    let results = folder.join("results");
    std::fs::create_dir_all(&results).unwrap();
    std::fs::write(folder.join("report.html"), html(&report())).unwrap();
    let empty = Report::new(Vec::new(), Vec::new()).with_experiments(experiments());
    std::fs::write(folder.join("empty.html"), html(&empty)).unwrap();
    std::fs::write(folder.join("chaos.html"), chaos::page()).unwrap();
    std::fs::write(folder.join("comparisons.md"), comparisons_section(&report())).unwrap();
    std::fs::write(folder.join("readme.md"), readme_section(&report())).unwrap();
    for (name, svg) in pictures(&report()) {
        std::fs::write(results.join(name), svg).unwrap();
    }
    assert!(folder.join("report.html").exists());
}
