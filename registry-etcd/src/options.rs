//! How to reach etcd, and where to put things.

use std::time::Duration;

use registry_core::resume::ResumeOptions;

use registry_core::{Material, Tls, User};

/// How to reach etcd, and where to put things.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EtcdOptions {
    /// URLs of the members, such as `http://127.0.0.1:2379` or `https://etcd-1:2379`; at least one. One that answers is used until
    /// it fails. Without `http://` or `https://` it is the latter where [`tls`](Self::tls) is set.
    pub endpoints: Vec<String>,
    /// Which of them is asked first, counted from 0. Default: drawn at random, so that many clients spread over the members.
    pub first_member: Option<usize>,
    /// How entries lie in etcd. Default: [`Layout::Json`].
    pub layout: Layout,
    /// What all keys begin with, without a trailing `/`. Default: `/registry`; nothing with [`Layout::GoZero`].
    pub prefix: String,
    /// Who we are, where etcd demands users. Default: nobody.
    pub user: Option<User>,
    /// How to speak TLS. Default: with the system's certificate authorities, where an endpoint is `https://`.
    pub tls: Option<Tls>,
    /// How long one member may take to accept a connection, 1 ms or more. Default: 1 s.
    pub connect_timeout: Duration,
    /// How long an operation may take before it fails as [`Timeout`](registry_core::ErrorKind::Timeout), all requests that it makes and all members that
    /// are asked taken together; of what is read in pages, each page. Default: 5 s, because etcd's own first write after a fail-over may take 2 s.
    pub request_timeout: Duration,
    /// After how long without an answer the next member is asked as well; the first answer counts. 1 ms at least, to which less is raised. Default:
    /// 500 ms.
    pub hedge_after: Duration,
    /// How often a member that serves watches or heartbeats is asked whether it is there and has a quorum; one that does not answer for so long
    /// is left for another. 1 ms to 5 s. Default: 1 s.
    pub probe_interval: Duration,
    /// How many keys a lookup asks for at a time. Default: 1,000; fewer are asked for where instances are so large that an answer would not
    /// fit into a message.
    pub page: usize,
    /// How watches deal with trouble.
    pub resume: ResumeOptions,
}

/// How entries lie in etcd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// One JSON value for each instance, under `<prefix>/<service>/<id>`.
    #[default]
    Json,
    /// go-zero's: `<prefix>/<service>/<number>` holds `host:port`, so that Rust and go-zero services find each other. What go-zero has no place
    /// for (id, metadata, weight, …) lies beside it, under `<prefix>/<service>.~meta/<id>`.
    ///
    /// A service is what go-zero calls `Key`; the part of it up to its last `/` goes into [`prefix`](EtcdOptions::prefix).
    GoZero,
}

impl EtcdOptions {
    /// The defaults, for these members.
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            first_member: None,
            layout: Layout::Json,
            prefix: Layout::Json.default_prefix().into(),
            user: None,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(5),
            hedge_after: Duration::from_millis(500),
            probe_interval: Duration::from_secs(1),
            page: 1_000,
            resume: ResumeOptions::default(),
        }
    }

    /// Sets which member is asked first, counted from 0.
    #[must_use]
    pub fn with_first_member(mut self, at: usize) -> Self {
        self.first_member = Some(at);
        self
    }

    /// Sets the layout, and the prefix to the layout's default.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self.prefix = layout.default_prefix().into();
        self
    }

    /// Sets what all keys begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets who we are. The password is read anew whenever a login is needed.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>, password: impl Into<Material>) -> Self {
        self.user = Some(User::new(name, password));
        self
    }

    /// Sets how to speak TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long one member may take to accept a connection.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long a request may take.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets after how long without an answer the next member is asked as well.
    #[must_use]
    pub fn with_hedge_after(mut self, delay: Duration) -> Self {
        self.hedge_after = delay;
        self
    }

    /// Sets how often a member in use is asked whether it is there.
    #[must_use]
    pub fn with_probe_interval(mut self, interval: Duration) -> Self {
        self.probe_interval = interval;
        self
    }

    /// Sets how many keys a lookup asks for at a time.
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

impl Layout {
    /// The prefix where none is given.
    fn default_prefix(self) -> &'static str {
        match self {
            Self::Json => "/registry",
            Self::GoZero => "",
        }
    }
}
