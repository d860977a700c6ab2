//! What an experiment is.

use std::fmt;

use async_trait::async_trait;
use registry_testing::servers::ServerError;

use crate::finding::Finding;
use crate::lab::Lab;
use crate::picture::Picture;
use crate::record::Records;

/// An experiment: what it is about, how it is run, what its records say.
#[async_trait]
pub trait Experiment: fmt::Debug + Send + Sync {
    /// What it is about. Fixed before anything runs.
    fn about(&self) -> &'static About;

    /// What is to be done, in order. Each step stands alone: it starts its own servers, and is done as a whole or not at all. Repetitions that
    /// can share servers are one step.
    fn steps(&self, lab: &Lab) -> Vec<Step>;

    /// Does one step, and [keeps](Lab::keep) what it sees: one record for each run of an arm, also where it does not count.
    ///
    /// # Errors
    /// What the machine cannot do, and what broke.
    async fn run(&self, lab: &Lab, step: &Step) -> Result<(), Trouble>;

    /// What the records say, by the rule in [`About::rule`].
    fn judge(&self, records: &Records) -> Finding;

    /// The columns of the table in which its arms are compared.
    fn columns(&self) -> &'static [Column];

    /// What is to be seen; nothing where there are no records to see it in.
    fn pictures(&self, records: &Records) -> Vec<Picture>;

    /// What it shows that speaks against etcd, as one plain sentence made of the figures.
    fn against_etcd(&self, _records: &Records) -> Option<String> {
        None
    }
}

/// What an experiment is about, in words for who reads the report. Plain text.
#[derive(Debug)]
pub struct About {
    /// Such as `3a`.
    pub id: &'static str,
    /// Of a few words.
    pub title: &'static str,
    /// What is asked.
    pub question: &'static str,
    /// What is expected, if the claim is true.
    pub hypothesis: &'static str,
    /// What is done, on what.
    pub set_up: &'static str,
    /// By what the verdict is decided.
    pub rule: &'static str,
    /// What would have shown the claim to be wrong here.
    pub falsifier: &'static str,
    /// What `registry-redis` does about it.
    pub remedy: &'static str,
    /// What a fair-minded maintainer of either would want to be said with it.
    pub caveat: &'static str,
    /// Which contestants are left out, and why; empty if none is.
    pub left_out: &'static str,
    /// Whether it does no harm to servers that others use: no fault, little load.
    pub harmless: bool,
}

/// What is done as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its name within the experiment: an arm's, where the step runs only one.
    pub name: String,
    /// About how long it takes, for the time left.
    pub seconds: f64,
}

impl Step {
    /// A step.
    pub fn new(name: impl Into<String>, seconds: f64) -> Self {
        Self { name: name.into(), seconds }
    }
}

/// A column of a table.
#[derive(Debug)]
pub struct Column {
    /// What it is called.
    pub title: &'static str,
    /// Of which figure.
    pub figure: &'static str,
    /// How the figures of several runs are made one.
    pub of_runs: OfRuns,
    /// How it is written.
    pub unit: Unit,
}

impl Column {
    /// The figure `figure` of all runs of an arm, made one by `of_runs`.
    #[must_use]
    pub const fn new(title: &'static str, figure: &'static str, of_runs: OfRuns, unit: Unit) -> Self {
        Self { title, figure, of_runs, unit }
    }
}

/// How the figures of several runs are made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfRuns {
    /// Added.
    Sum,
    /// The one in the middle.
    Median,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A whole number, in groups of three digits.
    Count,
    /// Seconds, in s or ms.
    Seconds,
    /// Microseconds, in µs, ms or s.
    Micros,
    /// Bytes, in B, KiB or MiB.
    Bytes,
    /// A share of 1, in percent.
    Share,
    /// Two digits after the point.
    Ratio,
    /// 0 is `no`, all else is `yes`.
    YesNo,
}

/// Why a step was not done.
#[derive(Debug)]
pub enum Trouble {
    /// The machine cannot do it; it is reported as not run.
    NotRun(String),
    /// It should have worked.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Trouble {
    /// Something that should not be.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into().into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRun(why) => f.write_str(why),
            Self::Failed(error) => {
                write!(f, "{error}")?;
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

impl From<ServerError> for Trouble {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Missing { .. } | ServerError::NoDisk { .. } => Self::NotRun(error.to_string()),
            error => Self::Failed(Box::new(error)),
        }
    }
}

macro_rules! failed_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::Failed(Box::new(error))
            }
        }
    )*};
}
failed_from!(registry_core::Error, redis::RedisError, etcd_client::Error, std::io::Error);
