//! What the registry costs, beside what it is built on.
//!
//! Two kinds of figures are made here. `cargo bench -p benches` measures by criterion, one `[[bench]]` per topic, how much a single thing takes, and how
//! that grows. [`bars`] are promises: a ratio to the raw client, or to what others use, that is to stay within a bound. Their arms do the same work in
//! turns within one run ([`contest`]), since absolute figures of a shared machine mean little, and with every bar goes a control: the same ratio of two
//! arms that are alike.
//!
//! ```text
//! work -> topics -> contest -> records (bars.jsonl) -> judgement \
//!                                                         report: page, summary, documents
//! benches (criterion) -> figures (criterion.json) ------- /
//! profile (perf)      -> profiles (profiles.json) ------ /
//! ```
//!
//! Nothing after the records measures anything: the same records give the same bytes.

pub mod bars;
pub mod cli;
pub mod clients;
pub mod contest;
pub mod criterion;
pub mod figures;
pub mod lanes;
pub mod left_out;
pub mod load_once;
pub mod operator;
pub mod order;
pub mod profile;
pub mod profiles;
pub mod publish;
pub mod report;
pub mod run;
pub mod step;
pub mod topics;
pub mod watchers;
pub mod work;
