//! The catalogue of faults, as a table.

use serde::{Deserialize, Serialize};

/// A fault of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// Nothing is struck: the control.
    None,
}
