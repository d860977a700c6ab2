//! The report in Markdown, for the documents of this project.

use std::fmt::Write as _;
use std::mem::{Discriminant, discriminant};

use super::Report;
use super::overview::{
    Claimed, Judged, VERDICTS, against_etcd, answer, caveats, caveats_of, claims, missing, sentence,
};
use super::table::{table, uncounted};
use crate::picture::{Drawing, Picture};

const BEGIN: &str = "begin";
const END: &str = "end";

/// What the README of the project shows: the answer, the verdicts, and two or three pictures from `comparisons/results`.
#[must_use]
pub fn readme_section(report: &Report) -> String {
    let claims = claims(report);
    let mut text = head(report, &claims);
    let caveats = caveats_of(&claims, |_| false);
    if !caveats.is_empty() {
        text.push_str("\nWhat a fair-minded maintainer would add to these figures (the others, and what speaks against etcd, are in the ");
        text.push_str("[README of the comparisons](comparisons/README.md#what-was-found)):\n\n");
        list(&mut text, caveats);
    }
    for (file, picture) in chosen(&claims) {
        let _ = write!(text, "\n{}\n", image(picture, &format!("comparisons/results/{file}")));
    }
    text
}

/// What the README of the comparisons shows: the answer, the verdicts, and each experiment with its figures and pictures from `results`.
#[must_use]
pub fn comparisons_section(report: &Report) -> String {
    let claims = claims(report);
    let mut text = head(report, &claims);
    let against = against_etcd(&claims);
    if !against.is_empty() {
        text.push_str("\nWhat speaks against etcd:\n\n");
        list(&mut text, against);
    }
    let caveats = caveats(&claims);
    if !caveats.is_empty() {
        text.push_str("\nWhat a fair-minded maintainer would add:\n\n");
        list(&mut text, caveats);
    }
    for claim in &claims {
        let (number, title) = (claim.claim.number(), claim.claim.title());
        let wording = escaped(claim.claim.wording());
        let _ = write!(text, "\n### {number}. {title}: {}\n\n> {wording}\n", claim.word());
        for experiment in &claim.experiments {
            section(&mut text, experiment);
        }
    }
    text
}

fn list(text: &mut String, notes: impl IntoIterator<Item = (&'static str, impl AsRef<str>)>) {
    for (id, note) in notes {
        let _ = writeln!(text, "- {} ({id})", escaped(note.as_ref()));
    }
}

/// A document with `text` between the lines `<!-- marker:begin -->` and `<!-- marker:end -->`; none if they are not there, each once and in this order.
#[must_use]
pub fn replace_section(document: &str, marker: &str, text: &str) -> Option<String> {
    let only = |which: &str| {
        let line = format!("<!-- {marker}:{which} -->");
        let mut found = document.match_indices(&line).map(|(at, _)| (at, at + line.len()));
        found.next().filter(|_| found.next().is_none())
    };
    let ((_, begins), (ends, _)) = (only(BEGIN)?, only(END)?);
    let (before, after) = (document.get(..begins)?, document.get(ends..)?);
    (begins <= ends).then(|| format!("{before}\n\n{}\n\n{after}", text.trim()))
}

fn head(report: &Report, claims: &[Claimed<'_>]) -> String {
    let mut text = format!("{}\n\n", escaped(&answer(claims).join(" ")));
    text.push_str("| Claim | Verdict | The figure that decides | What `registry-redis` does about it |\n");
    text.push_str("| --- | --- | --- | --- |\n");
    for claim in claims {
        let deciding = claim.deciding();
        let figure = match deciding[..] {
            [] => "none: nothing was decided".to_owned(),
            [only] => figure_of(only),
            _ => {
                let figures = deciding.iter().map(|one| format!("{}: {}", one.word(), figure_of(one)));
                figures.collect::<Vec<_>>().join("; ")
            }
        };
        let wording = format!("{}. {}", claim.claim.number(), claim.claim.wording());
        let cells = [wording.as_str(), &format!("**{}**", claim.word()), &figure, claim.remedy()];
        row(&mut text, cells);
    }
    let meanings = VERDICTS.map(|(word, meaning)| format!("{word}: {meaning}"));
    let _ = write!(text, "\n{}\n", meanings.join(" "));
    if !report.made_on.is_empty() {
        let _ = write!(text, "\n{}\n", escaped(&report.made_on));
    }
    let missing = missing(report, claims);
    if !missing.is_empty() {
        let _ = write!(text, "\nMissing: {}\n", escaped(&missing.join(" ")));
    }
    text
}

fn figure_of(judged: &Judged<'_>) -> String {
    format!("{} ({})", judged.finding.figure, judged.about().id)
}

fn section(text: &mut String, judged: &Judged<'_>) {
    let about = judged.about();
    let _ = write!(text, "\n#### {}. {}: {}\n\n", about.id, escaped(about.title), judged.word());
    let _ = writeln!(text, "{} {}", escaped(about.question), escaped(about.rule));
    let said = match &judged.not_run {
        Some(why) => format!("No result. {}", sentence(why)),
        None => judged.finding.sentences.join(" "),
    };
    let _ = write!(text, "\n{}\n", escaped(&said));
    let table = table(judged);
    if !table.rows.is_empty() {
        text.push('\n');
        row(text, table.head.iter().map(String::as_str));
        let rule = table.head.iter().enumerate().map(|(index, _)| if index == 0 { "---" } else { "---:" });
        row(text, rule);
        for cells in &table.rows {
            row(text, cells.iter().map(String::as_str));
        }
    }
    let uncounted = uncounted(&judged.records);
    if !uncounted.is_empty() {
        text.push('\n');
        for line in uncounted {
            let _ = writeln!(text, "- {}", escaped(&line));
        }
    }
    for (file, picture) in judged.files() {
        let _ = write!(text, "\n{}\n", image(picture, &format!("results/{file}")));
    }
}

/// Adds a row of a table.
pub fn row<'a>(text: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    for cell in cells {
        let _ = write!(text, "| {} ", escaped(cell).replace('|', "\\|"));
    }
    text.push_str("|\n");
}

fn image(picture: &Picture, path: &str) -> String {
    let title = escaped(&picture.title).replace('[', "\\[").replace(']', "\\]");
    format!("![{title}]({path})")
}

/// On one line, and without what would be markup.
#[must_use]
pub fn escaped(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('<', "&lt;")
}

/// Two or three pictures that differ in kind and in claim as far as there are such.
fn chosen<'a>(claims: &'a [Claimed<'_>]) -> Vec<(String, &'a Picture)> {
    const MOST: usize = 3;
    let first_of = |claim: &'a Claimed<'_>| {
        let deciding = claim.deciding().into_iter().chain(claim.leading());
        let drawn: Vec<(String, &'a Picture)> = deciding.flat_map(Judged::files).collect();
        drawn
    };
    let mut chosen: Vec<(String, &Picture)> = Vec::new();
    let mut kinds: Vec<Discriminant<Drawing>> = Vec::new();
    for claim in claims {
        let new = first_of(claim).into_iter().find(|(_, one)| !kinds.contains(&discriminant(&one.drawing)));
        if let Some((file, picture)) = new.filter(|_| chosen.len() < MOST) {
            kinds.push(discriminant(&picture.drawing));
            chosen.push((file, picture));
        }
    }
    for (file, picture) in claims.iter().filter_map(|claim| first_of(claim).into_iter().next()) {
        if chosen.len() < 2 && chosen.iter().all(|(other, _)| *other != file) {
            chosen.push((file, picture));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::replace_section;

    const DOCUMENT: &str = "a\n<!-- claims:begin -->\nold\n<!-- claims:end -->\nb\n";

    #[test]
    fn what_is_between_the_markers_is_replaced_and_nothing_else() {
        let once = replace_section(DOCUMENT, "claims", "new").unwrap();
        assert_eq!(once, "a\n<!-- claims:begin -->\n\nnew\n\n<!-- claims:end -->\nb\n");
        assert_eq!(replace_section(&once, "claims", "new"), Some(once));
    }

    #[test]
    fn a_document_without_its_markers_is_refused() {
        assert_eq!(replace_section("a\nb\n", "claims", "new"), None);
        assert_eq!(replace_section(DOCUMENT, "chaos", "new"), None);
        assert_eq!(replace_section("<!-- claims:begin -->", "claims", "new"), None);
        assert_eq!(replace_section("<!-- claims:end --> <!-- claims:begin -->", "claims", "new"), None);
        assert_eq!(replace_section(&DOCUMENT.repeat(2), "claims", "new"), None);
    }
}
