//! What people look at: made of records alone.
//!
//! * [`html`]: one page that needs nothing else, the verdicts first.
//! * [`readme_section`] and [`comparisons_section`]: the same in Markdown, short and in full, put into a document by [`replace_section`].
//! * [`pictures`]: the pictures that both show.
//! * [`svg`], [`page`], [`STYLE`], [`prose`] and [`row`]: what pages and documents on other records are made with.
//!
//! The same records give the same bytes.

pub mod chaos;
mod draw;
pub mod format;
mod html;
mod markdown;
mod overview;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use crate::claims::experiments;
use crate::experiment::Experiment;
use crate::record::{Record, Records};

pub use draw::svg;
pub use html::{STYLE, html, page, prose};
pub use markdown::{comparisons_section, escaped, readme_section, replace_section, row};

/// What a report is made of.
pub struct Report {
    /// All records, in the order in which they were kept.
    pub records: Vec<Record>,
    /// What they were made on: names and values, in the order in which they are shown.
    pub environment: Vec<(String, String)>,
    /// The same in one sentence, for documents; empty if it is not known.
    pub made_on: String,
    /// The rules of experiments as they were worded when they were run, by id.
    pub rules: BTreeMap<String, String>,
    /// What the chaos suite came to, if it is to be shown.
    pub chaos: Option<crate::chaos::record::Record>,
    experiments: Vec<Box<dyn Experiment>>,
}

impl Report {
    /// One on the experiments of the five claims.
    #[must_use]
    pub fn new(records: Vec<Record>, environment: Vec<(String, String)>) -> Self {
        let (rules, made_on) = (BTreeMap::new(), String::new());
        Self { records, environment, made_on, rules, chaos: None, experiments: experiments() }
    }

    /// One on other experiments.
    #[must_use]
    pub fn with_experiments(mut self, experiments: Vec<Box<dyn Experiment>>) -> Self {
        self.experiments = experiments;
        self
    }

    /// The records of one experiment.
    #[must_use]
    pub fn records_of(&self, experiment: &str) -> Records {
        self.records.iter().filter(|record| record.experiment == experiment).cloned().collect()
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.experiments.iter().map(|experiment| experiment.about().id).collect();
        f.debug_struct("Report").field("records", &self.records.len()).field("experiments", &ids).finish()
    }
}

/// The verdicts of what was run, for a terminal.
#[must_use]
pub fn summary(report: &Report) -> String {
    overview::summary(&overview::claims(report))
}

/// All pictures as SVG documents, each with the name of its file: `3a-1.svg` is the first of experiment `3a`.
#[must_use]
pub fn pictures(report: &Report) -> Vec<(String, String)> {
    let claims = overview::claims(report);
    let shown = claims.iter().flat_map(|claim| &claim.experiments).flat_map(overview::Judged::files);
    shown.map(|(name, picture)| (name, draw::svg(picture))).collect()
}
