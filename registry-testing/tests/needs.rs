//! `harness |needs|`: a harness is told exactly the controls that its test uses.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use registry_core::{Instance, InstanceId, Registry, ServiceName};
use registry_testing::MemoryBackend;
use registry_testing::conformance::{Backend, Control, Link};

/// Lets a test use no control that it did not name beforehand, and wants to see all that it named.
#[derive(Debug)]
struct Exact {
    memory: MemoryBackend,
    needs: &'static [Control],
    used: Mutex<Vec<Control>>,
}

impl Exact {
    fn told(needs: &'static [Control]) -> Self {
        Self { memory: MemoryBackend::new(), needs, used: Mutex::default() }
    }

    fn uses(&self, control: Control) -> &MemoryBackend {
        assert!(
            self.needs.contains(&control),
            "{control:?} is used, and the harness was told {:?}",
            self.needs
        );
        self.used.lock().unwrap().push(control);
        &self.memory
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let used = self.used.lock().unwrap();
        for need in self.needs {
            assert!(used.contains(need), "the harness was told {need:?}, and only {used:?} were used");
        }
    }
}

#[async_trait]
impl Backend for Exact {
    async fn client(&self) -> Arc<dyn Registry> {
        self.memory.client().await
    }

    fn overflow(&self) -> usize {
        self.memory.overflow()
    }

    async fn linked_client(&self) -> (Arc<dyn Registry>, Arc<dyn Link>) {
        self.uses(Control::Link).linked_client().await
    }

    async fn pause(&self) {
        self.uses(Control::Pause).pause().await;
    }

    async fn resume(&self) {
        self.uses(Control::Pause).resume().await;
    }

    async fn compact(&self) {
        self.uses(Control::Compact).compact().await;
    }

    async fn wipe(&self) {
        self.uses(Control::Wipe).wipe().await;
    }

    async fn restart(&self) {
        self.uses(Control::Restart).restart().await;
    }

    async fn checkpoint(&self) {
        self.uses(Control::Restore).checkpoint().await;
    }

    async fn restore(&self) {
        self.uses(Control::Restore).restore().await;
    }

    async fn delete(&self, service: &ServiceName, id: &InstanceId) {
        self.uses(Control::Operator).delete(service, id).await;
    }

    async fn overwrite(&self, instance: &Instance) {
        self.uses(Control::Operator).overwrite(instance).await;
    }

    async fn expire(&self, service: &ServiceName, id: &InstanceId) {
        self.uses(Control::Expire).expire(service, id).await;
    }

    async fn fill(&self) {
        self.uses(Control::Capacity).fill().await;
    }

    async fn unfill(&self) {
        self.uses(Control::Capacity).unfill().await;
    }
}

registry_testing::conformance! {
    /// Attributes are allowed in this form too.
    mod exact;
    /// And any name.
    harness |told|: Exact::told(told);
    clock: paused;
    controls: [link, pause, compact, wipe, restart, restore, operator, expire, capacity];
}
