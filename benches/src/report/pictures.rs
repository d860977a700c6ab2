//! What is to be seen: the ratios, and how things grow.

use comparisons::picture::{Bounded, Drawing, Line, Picture, Standing};
use comparisons::report::svg;

use super::{Judged, Report};
use crate::bars::{Bound, Verdict};
use crate::figures::Figure;

/// A picture, and the name of its file: `ratios-1.svg`, `tails-1.svg`, `growth-1.svg`.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The name.
    pub file: String,
    /// What it shows.
    pub picture: Picture,
}

impl Drawn {
    /// As an SVG document.
    #[must_use]
    pub fn svg(&self) -> String {
        svg(&self.picture)
    }
}

/// All of them: first the ratios, then the tails, then what grows.
#[must_use]
pub fn pictures(report: &Report) -> Vec<Drawn> {
    ratios(report).into_iter().chain(tails(report)).chain(growth(report)).collect()
}

/// A bound this close to 1 says that two do the same; on one axis with others, nothing would be seen of it.
const ALIKE: std::ops::RangeInclusive<f64> = 0.8..=1.25;

pub(super) fn ratios(report: &Report) -> Vec<Drawn> {
    let is_alike = |bound: Bound| bound.within().iter().any(|end| ALIKE.contains(end));
    let kinds: [(&str, &dyn Fn(Bound) -> bool); 3] = [
        ("What should cost what its counterpart costs", &|bound| is_alike(bound)),
        ("What should be cheaper, or may cost more", &|bound| bound != Bound::Told && !is_alike(bound)),
        ("What has no bound", &|bound| bound == Bound::Told),
    ];
    let drawn = kinds.into_iter().map(|(title, is_kind)| {
        let judged =
            report.judged().filter(|judged| is_kind(judged.bar.bound) && judged.judgement.ratio.is_some());
        let x = "first / second, 95 % intervals".to_owned();
        Picture { title: title.to_owned(), drawing: Drawing::Bounds { x, rows: judged.map(row).collect() } }
    });
    let there =
        drawn.filter(|picture| !matches!(&picture.drawing, Drawing::Bounds { rows, .. } if rows.is_empty()));
    named("ratios", there)
}

fn row(Judged { bar, judgement }: &Judged) -> Bounded {
    let (ratio, control) = (judgement.ratio, judgement.control);
    let standing = match judgement.verdict {
        Verdict::Met => Standing::Within,
        Verdict::Missed => Standing::Beyond,
        Verdict::NotShown => Standing::Across,
        Verdict::Undecided | Verdict::NotMeasured | Verdict::Told => Standing::Unknown,
    };
    Bounded { name: bar.name().into_owned(), ratio, control, within: bar.bound.within(), standing }
}

/// How long the slowest took, of each topic that tells it.
pub(super) fn tails(report: &Report) -> Vec<Drawn> {
    named("tails", report.topics.iter().filter_map(|topic| topic.curves.clone()))
}

pub(super) fn growth(report: &Report) -> Vec<Drawn> {
    let groups = report.figures.figures.chunk_by(|one, next| one.group == next.group);
    named("growth", groups.filter_map(curves))
}

/// The figures of a group by size, if there is one of several sizes. They are in order.
fn curves(group: &[Figure]) -> Option<Picture> {
    let lines = group.chunk_by(|one, next| one.function == next.function).map(|of_function| {
        let points = of_function.iter().filter_map(|figure| Some([figure.size()?, figure.median_ns.value]));
        let first = of_function.first()?;
        let name = first.function.as_ref().unwrap_or(&first.group).clone();
        Some(Line { name, points: points.collect() }).filter(|line| line.points.len() > 1)
    });
    let mut lines: Vec<Line> = lines.flatten().collect();
    let least = lines.iter().flat_map(|line| &line.points).map(|point| point[1]).reduce(f64::min)?;
    let (unit, size) = match least {
        least if least >= 1e6 => ("ms", 1e6),
        least if least >= 1e3 => ("µs", 1e3),
        _ => ("ns", 1.0),
    };
    for point in lines.iter_mut().flat_map(|line| &mut line.points) {
        // As many digits as mean something.
        point[1] = (point[1] / size * 1e3).round() / 1e3;
    }
    let drawing = Drawing::Lag { x: "size".to_owned(), y: format!("{unit}, median"), lines };
    Some(Picture { title: title_of_growth(&group.first()?.group), drawing })
}

/// Of the picture that shows how a group of criterion grows.
pub(super) fn title_of_growth(group: &str) -> String {
    format!("{group}, by size")
}

fn named(kind: &str, pictures: impl Iterator<Item = Picture>) -> Vec<Drawn> {
    let named = pictures
        .enumerate()
        .map(|(index, picture)| Drawn { file: format!("{kind}-{}.svg", index + 1), picture });
    named.collect()
}
