//! `cargo bench` at the root. The benchmarks are in `benches`, which takes `protoc` to build as all does that knows etcd, and what cargo builds at the root
//! is to take none. So this asks cargo for them, with the same arguments.
#![allow(missing_docs, reason = "a benchmark")]

use std::ffi::OsString;
use std::process::{Command, ExitCode};

fn main() -> std::io::Result<ExitCode> {
    let (by_cargo, arguments): (Vec<OsString>, Vec<OsString>) =
        std::env::args_os().skip(1).partition(|argument| argument == "--bench");
    // Not asked by `cargo bench`, but by `cargo test --benches`, which is to be quick.
    if by_cargo.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut benches = Command::new(env!("CARGO"));
    benches.args(["bench", "--package", "benches", "--"]).args(arguments);
    let status = benches.current_dir(env!("CARGO_MANIFEST_DIR")).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
