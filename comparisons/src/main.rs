//! `comparisons claims`: the five claims, tested. See the library for how.

fn main() {}
