//! How to reach Redis, and where to put things.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use registry_core::resume::ResumeOptions;
use registry_core::{Error, Material, Result, Tls, User};

use crate::address::Address;

/// How to reach Redis, and where to put things.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    /// Where the servers are, and who says which of them to use.
    pub deployment: Deployment,
    /// What all keys begin with: 1 to 64 bytes, without control characters, braces and glob characters. Default: `registry`.
    pub prefix: String,
    /// The number of the database. Redis Cluster has only 0, the default.
    pub database: u32,
    /// Who we are, where Redis demands users. A password of `requirepass` is that of the user `default`. Default: nobody.
    pub user: Option<User>,
    /// Who we are to the Sentinels. Default: nobody.
    pub sentinel_user: Option<User>,
    /// How to speak TLS, to Sentinels too. Default: not.
    pub tls: Option<Tls>,
    /// How long a connection may take to be ready, with TLS and log-in. Default: 1 s.
    pub connect_timeout: Duration,
    /// How long an operation may take before it fails as [`Timeout`](registry_core::ErrorKind::Timeout); what has not begun by then does not happen
    /// any more. Default: 5 s.
    pub request_timeout: Duration,
    /// After how long without an answer another connection is tried. Default: 1 s.
    pub stall_after: Duration,
    /// How often a watch asks whether it is current, 10 ms to 1 s. Default: 1 s.
    pub check_interval: Duration,
    /// How many changes of a service its log holds, beside at most 16 MiB: as far back as a watch can resume, and as many as may happen while a
    /// large service is loaded. Default: 10,000.
    pub history: usize,
    /// Up to how many instances a service is read in one piece, and how many are asked for at a time above. Default: 1,000.
    pub page: usize,
    /// How many replicas must have a registration, an update or a leaving before it is acknowledged. Default: none.
    pub wait: Option<Wait>,
    /// From the addresses that Sentinels and cluster nodes announce to those to connect to, where address translation is between. Default: as announced.
    pub address_map: Option<AddressMap>,
    /// How watches deal with trouble.
    pub resume: ResumeOptions,
}

/// Where the servers are. Each is `host:port`, `[::1]:port`, or a host alone with the usual port.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Deployment {
    /// One server. It may have replicas; a fail-over is then for whoever moves its address.
    Standalone(String),
    /// A primary that Sentinels watch over.
    Sentinel {
        /// The Sentinels; at least one that answers is needed.
        sentinels: Vec<String>,
        /// The name of the primary, as in `sentinel monitor <name> …`.
        primary: String,
    },
    /// Redis Cluster: some of its nodes, from which the others are learnt.
    Cluster(Vec<String>),
}

/// Replicas that must have a write before it is acknowledged (`WAIT`). It makes losing it in a fail-over less likely, not impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wait {
    /// How many.
    pub replicas: u32,
    /// How long that may take before the operation fails as [`Timeout`](registry_core::ErrorKind::Timeout); the write stands all the same, and may
    /// still reach them. Writes at the same time share the wait, and who comes while others wait does so after them. The least TTL is twice that, and
    /// so is the least request timeout.
    pub timeout: Duration,
}

/// From an announced address to the one to connect to.
#[derive(Clone)]
pub struct AddressMap(Arc<Translate>);

type Translate = dyn Fn(&str, u16) -> Option<(String, u16)> + Send + Sync;

impl AddressMap {
    /// `translate` gets host and port, and returns others, or `None` to keep them.
    pub fn new(translate: impl Fn(&str, u16) -> Option<(String, u16)> + Send + Sync + 'static) -> Self {
        Self(Arc::new(translate))
    }

    pub(crate) fn translate(&self, address: Address) -> Address {
        match (self.0)(&address.host, address.port) {
            Some((host, port)) => Address { host, port },
            None => address,
        }
    }
}

impl fmt::Debug for AddressMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddressMap")
    }
}

impl RedisOptions {
    /// The defaults, for one server.
    pub fn standalone(server: impl Into<String>) -> Self {
        Self::new(Deployment::Standalone(server.into()))
    }

    /// The defaults, for the primary of this name.
    pub fn sentinel<S: Into<String>>(
        sentinels: impl IntoIterator<Item = S>,
        primary: impl Into<String>,
    ) -> Self {
        let sentinels = sentinels.into_iter().map(Into::into).collect();
        Self::new(Deployment::Sentinel { sentinels, primary: primary.into() })
    }

    /// The defaults, for a cluster with these nodes among others.
    pub fn cluster<S: Into<String>>(nodes: impl IntoIterator<Item = S>) -> Self {
        Self::new(Deployment::Cluster(nodes.into_iter().map(Into::into).collect()))
    }

    /// The defaults.
    #[must_use]
    pub fn new(deployment: Deployment) -> Self {
        Self {
            deployment,
            prefix: "registry".into(),
            database: 0,
            user: None,
            sentinel_user: None,
            tls: None,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(5),
            stall_after: Duration::from_secs(1),
            check_interval: Duration::from_secs(1),
            history: 10_000,
            page: 1_000,
            wait: None,
            address_map: None,
            resume: ResumeOptions::default(),
        }
    }

    /// Sets what all keys begin with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the number of the database.
    #[must_use]
    pub fn with_database(mut self, database: u32) -> Self {
        self.database = database;
        self
    }

    /// Sets who we are. The password is read anew for every connection.
    #[must_use]
    pub fn with_user(mut self, name: impl Into<String>, password: impl Into<Material>) -> Self {
        self.user = Some(User::new(name, password));
        self
    }

    /// Sets who we are to the Sentinels.
    #[must_use]
    pub fn with_sentinel_user(mut self, name: impl Into<String>, password: impl Into<Material>) -> Self {
        self.sentinel_user = Some(User::new(name, password));
        self
    }

    /// Sets how to speak TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets how long a connection may take to be ready.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long an operation may take.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets after how long without an answer another connection is tried.
    #[must_use]
    pub fn with_stall_after(mut self, delay: Duration) -> Self {
        self.stall_after = delay;
        self
    }

    /// Sets how often a watch asks whether it is current.
    #[must_use]
    pub fn with_check_interval(mut self, interval: Duration) -> Self {
        self.check_interval = interval;
        self
    }

    /// Sets how many changes of a service its log holds.
    #[must_use]
    pub fn with_history(mut self, changes: usize) -> Self {
        self.history = changes;
        self
    }

    /// Sets how many instances are asked for at a time.
    #[must_use]
    pub fn with_page(mut self, page: usize) -> Self {
        self.page = page;
        self
    }

    /// Sets how many replicas must have a write before it is acknowledged, and how long that may take.
    #[must_use]
    pub fn with_wait(mut self, replicas: u32, timeout: Duration) -> Self {
        self.wait = Some(Wait { replicas, timeout });
        self
    }

    /// Sets how announced addresses are translated.
    #[must_use]
    pub fn with_address_map(mut self, map: AddressMap) -> Self {
        self.address_map = Some(map);
        self
    }

    /// Sets how watches deal with trouble.
    #[must_use]
    pub fn with_resume(mut self, resume: ResumeOptions) -> Self {
        self.resume = resume;
        self
    }

    /// The same, with what cannot work refused or brought into bounds.
    pub(crate) fn checked(mut self) -> Result<Self> {
        let strange = |c: char| c.is_control() || "{}*?[]\\^ ".contains(c);
        if self.prefix.is_empty() || self.prefix.len() > 64 || self.prefix.contains(strange) {
            let reason = format!(
                "{:?}: 1 to 64 bytes, without control, brace, space and glob characters",
                self.prefix
            );
            return Err(Error::invalid("prefix", reason));
        }
        if matches!(self.deployment, Deployment::Cluster(_)) && self.database != 0 {
            return Err(Error::invalid("database", "Redis Cluster has only database 0"));
        }
        let servers = match &self.deployment {
            Deployment::Standalone(server) => std::slice::from_ref(server),
            Deployment::Sentinel { sentinels, primary } => {
                if primary.is_empty() {
                    return Err(Error::invalid("primary", "has no name"));
                }
                sentinels
            }
            Deployment::Cluster(nodes) => nodes,
        };
        if servers.is_empty() {
            return Err(Error::invalid("servers", "none is given"));
        }
        for (field, timeout) in [
            ("connect timeout", self.connect_timeout),
            ("request timeout", self.request_timeout),
            ("stall after", self.stall_after),
        ] {
            if timeout < Duration::from_millis(1) {
                return Err(Error::invalid(field, format!("is {timeout:?}, must be 1 ms or more")));
            }
        }
        if let Some(wait) = self.wait
            && wait.timeout.saturating_mul(2) > self.request_timeout
        {
            let reason = format!("is {:?}, must be half of the request timeout or less", wait.timeout);
            return Err(Error::invalid("wait timeout", reason));
        }
        if self.check_interval < Duration::from_millis(10) || self.check_interval > Duration::from_secs(1) {
            let reason = format!("is {:?}, must be 10 ms to 1 s", self.check_interval);
            return Err(Error::invalid("check interval", reason));
        }
        self.history = self.history.clamp(1, 1_000_000);
        self.page = self.page.clamp(1, 100_000);
        Ok(self)
    }
}
