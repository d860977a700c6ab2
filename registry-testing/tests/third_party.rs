//! The suite as a third party uses it: on a registry of its own, a directory of files, with the controls that this has.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../examples/file_registry/registry.rs"]
mod registry;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use registry::{FileRegistry, HISTORY};
use registry_core::codec::Stored;
use registry_core::{Incarnation, Instance, InstanceId, OwnerToken, Registry, ServiceName};
use registry_testing::conformance::{Backend, PROMISES, left_out};

/// A directory of its own, removed at the end.
#[derive(Debug)]
struct FileBackend {
    root: PathBuf,
    registry: FileRegistry,
}

impl FileBackend {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("file-registry-{}-{number}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        Self { registry: FileRegistry::open(&root), root }
    }
}

impl Drop for FileBackend {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

#[async_trait]
impl Backend for FileBackend {
    async fn client(&self) -> Arc<dyn Registry> {
        Arc::new(self.registry.clone())
    }

    fn overflow(&self) -> usize {
        2 * HISTORY
    }

    async fn compact(&self) {
        self.registry.compact();
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        fs::remove_file(self.registry.path(service, id)).unwrap();
    }

    async fn overwrite(&self, instance: &Instance) {
        let foreign = Stored::new(instance.clone(), Incarnation::default(), OwnerToken::random());
        self.put_bytes(instance.service(), instance.id(), &foreign.encode()).await;
    }

    async fn put_bytes(&self, service: &ServiceName, id: &InstanceId, bytes: &[u8]) {
        let path = self.registry.path(service, id);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

registry_testing::conformance! {
    mod file;
    harness: FileBackend::new();
    clock: paused;
    controls: [compact, operator, malformed];
}

#[test]
fn what_is_left_out_can_be_listed() {
    let left_out: Vec<_> = left_out(file::CONTROLS).collect();
    assert!(left_out.iter().any(|promise| promise.name == "w9_a_black_hole_is_noticed"));
    assert!(left_out.len() < PROMISES.len() / 3, "most of the contract needs no control at all");
}
