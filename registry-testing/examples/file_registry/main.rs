//! A backend of one's own, in one file: `registry.rs`. `tests/third_party.rs` shows how it is held against the contract.
//!
//! `cargo run -p registry-testing --example file_registry`

mod registry;

use registry::FileRegistry;
use registry_core::{Instance, RegisterOptions, Registry, RegistryExt};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::print_stdout, reason = "it is a program for people")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::temp_dir().join(format!("file-registry-{}", std::process::id()));
    let registry = FileRegistry::open(&root);
    let instance = Instance::builder("user.rpc").endpoint("10.0.0.7:8080").build()?;
    let registration = registry.register(&instance, &RegisterOptions::new()).await?;
    println!("registered in {}", registry.path(instance.service(), instance.id()).display());
    let seen =
        registry.wait_until(instance.service(), Duration::from_secs(1), |view| view.len() == 1).await?;
    println!("seen by a watch: {:?}", seen.instances().collect::<Vec<_>>());
    registry.deregister(&registration.lease).await?;
    registry.compact();
    std::fs::remove_dir_all(root)?;
    Ok(())
}
