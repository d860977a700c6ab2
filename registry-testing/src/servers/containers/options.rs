//! How a container is started.

use std::time::Duration;

/// How a container is started.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ContainerOptions {
    /// The image, such as `registry-test/etcd:3.5`. It must be there; none is pulled.
    pub image: String,
    /// More arguments of the server, last, so that they win.
    pub args: Vec<String>,
    /// How long a start may take; 30 s by default.
    pub patience: Duration,
}

impl ContainerOptions {
    /// Of an etcd: the image that `REGISTRY_ETCD_IMAGE` names, or else `registry-test/etcd:3.5`. The image runs `etcd` from its `PATH`, as the
    /// official ones do.
    #[must_use]
    pub fn etcd() -> Self {
        Self::named_by("REGISTRY_ETCD_IMAGE", "registry-test/etcd:3.5")
    }

    /// Of a Redis: the image that `REGISTRY_REDIS_IMAGE` names, or else `registry-test/redis:latest`. The image runs `redis-server` from its
    /// `PATH`, as the official ones do.
    #[must_use]
    pub fn redis() -> Self {
        Self::named_by("REGISTRY_REDIS_IMAGE", "registry-test/redis:latest")
    }

    fn named_by(variable: &str, default: &str) -> Self {
        let named = std::env::var(variable).ok().filter(|image| !image.is_empty());
        let image = named.unwrap_or_else(|| default.to_owned());
        Self { image, args: Vec::new(), patience: Duration::from_secs(30) }
    }

    /// With another image.
    #[must_use]
    pub fn with_image(mut self, image: impl Into<String>) -> Self {
        self.image = image.into();
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
}
