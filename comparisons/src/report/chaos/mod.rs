//! What people look at of the chaos suite: made of its record alone.
//!
//! * [`page`]: one page that needs nothing else: what it came to, the matrix, and each fault on each backend with its histories.
//! * [`section`]: the same in Markdown, short.
//! * [`text_matrix`]: the matrix for a terminal.
//!
//! The same record gives the same bytes.

mod details;
mod markdown;
mod matrix;
mod overview;
mod page;
mod picture;
mod words;

pub use markdown::section;
pub use matrix::text_matrix;
pub use page::{Page, page};

pub(super) use page::{STYLE, summary};
