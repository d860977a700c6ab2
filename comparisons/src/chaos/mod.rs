//! Every promise, under every fault, checked: workload × nemesis × checker.
//!
//! Data flows one way, and the modules follow it:
//!
//! 1. A [`Fault`](fault::Fault) of the catalogue and a [`Backend`](backend::Backend) make a cell of the matrix. A plan, drawn from the seed, says
//!    when what is struck.
//! 2. A stand starts the servers of the backend, injects faults, and proves that they bit.
//! 3. Clients, in several processes, register, renew, update, leave, crash, look up and watch.
//! 4. What everybody asked and was told is one [`history`] of JSON lines.
//! 5. Checkers, pure functions of the history, say which of the invariants I1 to I17 it breaks, and a verdict follows.
//! 6. The report makes the matrix, excerpts and timelines of histories and verdicts alone.

pub mod backend;
pub mod cell;
pub mod check;
pub mod client;
pub mod course;
pub mod coverage;
pub mod excerpt;
pub mod fault;
pub mod go;
pub mod history;
pub mod judging;
pub mod lines;
pub mod plan;
pub mod playing;
pub mod pulse;
pub mod record;
pub mod recorder;
pub mod result;
pub mod run;
pub mod stand;
pub mod verdict;
pub mod witness;
pub mod worker;
pub mod workload;
