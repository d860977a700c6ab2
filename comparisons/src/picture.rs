//! What is to be seen in a picture, as data; [`report`](crate::report) draws it.

use crate::measure;

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// What it shows, as a sentence that says what to see.
    pub title: String,
    /// What is drawn.
    pub drawing: Drawing,
}

/// The kinds of pictures.
#[derive(Clone, Debug, PartialEq)]
pub enum Drawing {
    /// Shares of events by how long they took, over a logarithmic axis: each line is `(x, share up to x)`.
    Ecdf {
        /// The axis, such as `intended send to receive, µs`.
        x: String,
        /// The lines.
        lines: Vec<Line>,
    },
    /// Ratios with their intervals over a logarithmic axis, and the band in which nothing is decided.
    Forest {
        /// The axis, such as `Redis / etcd, median latency`.
        x: String,
        /// From which to which ratio nothing is decided.
        undecided: [f64; 2],
        /// From top to bottom.
        rows: Vec<Interval>,
    },
    /// Ratios with their intervals, each with the range in which it is to lie and, smaller, with its control. Over a linear axis where they are close to
    /// each other, otherwise over a logarithmic one.
    Bounds {
        /// The axis, such as `ours / raw client`.
        x: String,
        /// From top to bottom.
        rows: Vec<Bounded>,
    },
    /// Something against a size, both axes logarithmic. Zeroes are drawn at the lower end.
    Lag {
        /// The axis of the sizes.
        x: String,
        /// The other axis.
        y: String,
        /// The lines.
        lines: Vec<Line>,
    },
    /// What happened over time, with the time of the fault shaded.
    Timeline {
        /// The axis, such as `seconds since the primary was isolated`.
        x: String,
        /// From when to when there was a fault.
        fault: [f64; 2],
        /// From top to bottom.
        lanes: Vec<Lane>,
    },
    /// What many did and were told over time, each on a strip of its own, with the times of faults shaded.
    Strips {
        /// The axis, such as `seconds since the fault struck`.
        x: String,
        /// From where to where the axis goes.
        between: [f64; 2],
        /// The faults.
        shades: Vec<Shade>,
        /// From top to bottom.
        strips: Vec<Strip>,
    },
    /// One bar for each, of a length that is written beside it.
    Bars {
        /// What the length is, such as `changes lost without a word, of 100`.
        x: String,
        /// From top to bottom.
        bars: Vec<Bar>,
    },
}

/// A line through points.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whose.
    pub name: String,
    /// Pairs of x and y, by ascending x.
    pub points: Vec<[f64; 2]>,
}

/// A ratio and its 95 % interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// What is compared.
    pub name: String,
    /// The middle.
    pub ratio: f64,
    /// From where to where.
    pub between: [f64; 2],
}

/// A ratio that is to lie within a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounded {
    /// What is compared.
    pub name: String,
    /// What was measured; none if nothing was.
    pub ratio: Option<measure::Interval>,
    /// The ratio of two that are alike.
    pub control: Option<measure::Interval>,
    /// From where to where it is to lie; an end that is 0 or infinite is none.
    pub within: [f64; 2],
    /// What is said of it, which is not only a matter of where it lies: its control counts too.
    pub standing: Standing,
}

/// What is said of a ratio that is to lie within a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Within,
    /// It does not.
    Beyond,
    /// It may or may not: its interval holds a bound.
    Across,
    /// Nothing.
    Unknown,
}

/// What happened to one contestant over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    /// Whose.
    pub name: String,
    /// When writes were acknowledged that are still there.
    pub kept: Vec<f64>,
    /// When writes were acknowledged that are lost.
    pub lost: Vec<f64>,
}

/// A time that is shaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Shade {
    /// What there was.
    pub name: String,
    /// From when to when.
    pub between: [f64; 2],
}

/// What somebody did or was told over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strip {
    /// Whose; short, since it stands beside the strip.
    pub name: String,
    /// What happened at which times.
    pub marks: Vec<(Mark, Vec<f64>)>,
    /// What went on from when to when.
    pub stretches: Vec<(Stretch, Vec<[f64; 2]>)>,
}

/// What happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// What was asked for was done.
    Done,
    /// It was refused.
    Refused,
    /// Nobody knows whether it was done.
    Unknown,
    /// Changes were told.
    Told,
    /// All were listed anew.
    List,
    /// All were listed anew, and a gap was told.
    Gap,
    /// A promise is broken.
    Broken,
}

/// What goes on for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stretch {
    /// It is known to be out of date.
    Stale,
    /// Nobody reads.
    Away,
}

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Whose.
    pub name: String,
    /// How long it is.
    pub length: f64,
    /// What is written beside it, such as `100 of 100, nobody told`.
    pub label: String,
    /// Whether it is bad.
    pub bad: bool,
}
