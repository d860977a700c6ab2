//! Why not use Redis as a service registry? Five reasons are given for that, and each is tested here on real servers.
//!
//! Data flows one way, and the modules follow it:
//!
//! 1. [`claims`] holds the five claims and the experiments on them: what is asked, the rule that decides, fixed before anything runs, and the
//!    steps that are taken.
//! 2. A step works in a [`Lab`](lab::Lab): the servers it starts, the [`contestants`] it sets up on them, the tools to [`measure`] with.
//! 3. What it saw becomes [`Record`](record::Record)s: one for each time that an arm of an experiment was run. They are all that is kept.
//! 4. The rule of the experiment makes a [`Finding`](finding::Finding) of its records, and the findings of a claim make its verdict.
//! 5. [`report`] makes tables, sentences and pictures of both. Nothing after the records measures anything, so a report can be made again.

pub mod chaos;
pub mod claims;
pub mod cli;
pub mod contestants;
pub mod environment;
pub mod experiment;
pub mod finding;
pub mod instance;
pub mod lab;
pub mod measure;
pub mod picture;
pub mod progress;
pub mod publish;
pub mod record;
pub mod report;
pub mod results;
pub mod run;
pub mod theirs;
