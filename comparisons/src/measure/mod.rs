//! How things are measured: pure arithmetic of samples, and what takes them.
//!
//! Latency is measured in blocks, in an open loop. A [`Schedule`] says when each change is to be sent, a [`Subject`] sends it then, whether or not
//! those before it have been answered, and every latency counts from the intended time: a server that stands still is charged with all that was to
//! be sent meanwhile. What comes of a block are [`Event`]s, all times read from one monotonic clock in one process, and how busy the machine was
//! ([`Load`]). [`fault`] throws a block away in which the measuring itself was disturbed.
//!
//! What is compared takes turns in [`Rounds`], so that whatever else the machine does falls on all alike; each round gives one ratio of two arms
//! ([`ratios`]), and the rounds are resampled for the [`Interval`] of their median.

mod block;
mod cpu;
mod ecdf;
mod event;
mod numbers;
mod ratio;
mod rounds;
mod schedule;

pub use block::{Block, BlockPlan, Subject};
pub use cpu::{Load, Ticks};
pub use ecdf::{ecdf, pooled, steps};
pub use event::{Event, MOST_BUSY, MOST_SLIP, Summary, Tail, fault};
pub use numbers::{median, median_with_never, quantile};
pub use ratio::{Interval, LEAST_PAIRS, between_steps, bootstrap, ratios, ratios_less};
pub use rounds::{Rounds, Turn};
pub use schedule::Schedule;
