//! How things are measured: pure arithmetic of samples, and what takes them.

mod numbers;

pub use numbers::{median, quantile};
