//! What the workspace promises about its dependencies, asked of cargo.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::process::Command;

/// The names of all crates that `package` is built with, for `edges` of the graph.
fn dependencies(package: &str, edges: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            package,
            "--edges",
            edges,
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn core_and_memory_pull_in_no_client_of_a_store_and_no_grpc() {
    for package in ["registry-core", "registry-memory"] {
        let found = dependencies(package, "normal,build");
        assert!(found.iter().any(|name| name == "tokio"), "cargo tree lists what is there: {found:?}");
        for heavy in ["etcd-client", "redis", "tonic", "prost", "hyper", "h2", "rustls", "openssl"] {
            assert!(!found.iter().any(|name| name == heavy), "{package} depends on {heavy}");
        }
    }
}

#[test]
fn a_user_of_one_backend_compiles_no_other() {
    let found = dependencies("service-registry", "normal,build");
    assert!(found.iter().any(|name| name == "registry-memory"), "{found:?}");
    for other in ["registry-etcd", "registry-redis", "registry-tonic", "etcd-client", "redis", "tonic"] {
        assert!(!found.iter().any(|name| name == other), "the default features pull in {other}");
    }
}

#[test]
fn what_a_plain_cargo_build_compiles_needs_no_protoc() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")).unwrap();
    let members =
        manifest.split("default-members = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= 6, "{members:?}");
    for member in members {
        // The folder `examples` holds the package `registry-examples`.
        let package = if member == "examples" { "registry-examples" } else { member };
        // Of the examples and tests too: `cargo run --example` is such a command.
        let found = dependencies(package, "normal,build,dev");
        // etcd-client runs protoc in its build script.
        assert!(!found.iter().any(|name| name == "etcd-client"), "{package} needs protoc");
    }
}
