//! How to reach etcd, and where to put things.

use std::time::Duration;

use registry_core::resume::ResumeOptions;

/// How to reach etcd, and where to put things.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EtcdOptions {
    /// URLs of the members, such as `http://127.0.0.1:2379`; at least one. The first one that answers is used until it fails.
    pub endpoints: Vec<String>,
    /// What all keys begin with, without a trailing `/`. Default: `/registry`.
    pub prefix: String,
    /// How long one member may take to accept a connection. Default: 1 s.
    pub connect_timeout: Duration,
    /// How long one member may take to answer, before the next one is asked. Default: 2 s, because the first write after a fail-over takes
    /// that long.
    pub request_timeout: Duration,
    /// How many instances a lookup asks for at a time. Default: 1,000; with instances of the greatest size that is
    /// more than one answer may hold, and fewer are asked for.
    pub page: usize,
    /// How watches deal with trouble.
    pub resume: ResumeOptions,
}

impl EtcdOptions {
    /// The defaults, for these members.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: "/registry".into(),
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(2),
            page: 1_000,
            resume: ResumeOptions::default(),
        }
    }

    /// Sets what all keys begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long one member may take to answer.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets how many instances a lookup asks for at a time.
    #[must_use]
    pub fn with_page(mut self, page: usize) -> Self {
        self.page = page.max(1);
        self
    }

    /// Sets how watches deal with trouble.
    #[must_use]
    pub fn with_resume(mut self, resume: ResumeOptions) -> Self {
        self.resume = resume;
        self
    }
}
