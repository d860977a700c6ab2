//! What the URLs of Redis ask for: parsed, nothing opened, no file read.

use std::time::Duration;

use registry_core::Result;
use registry_redis::{Deployment, RedisOptions};

use crate::url::{Parameters, Parts, invalid, number};
use crate::values::{Password, TlsFiles, count, duration};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// The user that has a password of `requirepass`.
const DEFAULT: &str = "default";
/// How long replicas may take when the URL does not say.
const WAIT: Duration = Duration::from_secs(1);

/// The names of the parameters, as the documentation of [`connect`](crate::connect) lists them.
const PARAMETERS: [&str; 17] = [
    "prefix",
    "password-file",
    "ca",
    "cert",
    "key",
    "server-name",
    "connect-timeout",
    "request-timeout",
    "stall-after",
    "check-interval",
    "history",
    "page",
    "wait",
    "wait-timeout",
    "db",
    "sentinel-user",
    "sentinel-password-file",
];

/// Those that only Sentinels have a use for.
const OF_SENTINELS: [&str; 3] = ["db", "sentinel-user", "sentinel-password-file"];

/// A Redis, as a URL names it. What is `None` is as [`RedisOptions`] has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RedisUrl {
    deployment: Deployment,
    database: Option<u32>,
    prefix: Option<String>,
    user: Option<(String, Password)>,
    sentinel_user: Option<(String, Password)>,
    tls: Option<TlsFiles>,
    connect_timeout: Option<Duration>,
    request_timeout: Option<Duration>,
    stall_after: Option<Duration>,
    check_interval: Option<Duration>,
    history: Option<u32>,
    page: Option<u32>,
    /// How many replicas, and how long they may take.
    wait: Option<(u32, Duration)>,
}

impl RedisUrl {
    /// `scheme` is one of the six of Redis, `rest` is all after `://`.
    pub(crate) fn parse(scheme: &str, rest: &str) -> Result<Self> {
        let (_, kind) = scheme.split_at(scheme.find('+').unwrap_or(scheme.len()));
        let port = if kind == "+sentinel" { SENTINEL_PORT } else { REDIS_PORT };
        let Parts { user, password, hosts, path, mut parameters } = Parts::parse(rest, port, &PARAMETERS)?;
        let (plain, secure) = (format!("redis{kind}"), format!("rediss{kind}"));
        let tls = TlsFiles::take(&mut parameters, scheme, &plain, &secure)?;
        if kind != "+sentinel"
            && let Some(name) = OF_SENTINELS.iter().find(|name| parameters.has(name))
        {
            let instead = if *name == "db" { "; a database is written after the host: /1" } else { "" };
            return Err(invalid(format!(
                "has the parameter {name}, which only redis+sentinel:// has{instead}"
            )));
        }
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (deployment, database) = match kind {
            "+sentinel" => (sentinel(hosts, path)?, parameters.take("db").as_deref().map(database)),
            "+cluster" => (Deployment::Cluster(hosts), none_but_zero(path)?),
            _ => (standalone(hosts)?, (!path.is_empty()).then(|| database(path))),
        };
        let sentinel_password =
            parameters.take("sentinel-password-file").map(|path| Password::File(path.into()));
        Ok(Self {
            deployment,
            database: database.transpose()?,
            prefix: parameters.take("prefix"),
            user: login(
                user,
                Password::of(password, parameters.take("password-file"))?,
                || "has a user without a password; it is written user:password@, or in a file: password-file=PATH",
            )?,
            sentinel_user: login(
                parameters.take("sentinel-user"),
                sentinel_password,
                || "has a sentinel-user without a password; it is in a file: sentinel-password-file=PATH",
            )?,
            tls,
            connect_timeout: duration(&mut parameters, "connect-timeout")?,
            request_timeout: duration(&mut parameters, "request-timeout")?,
            stall_after: duration(&mut parameters, "stall-after")?,
            check_interval: check_interval(&mut parameters)?,
            history: count(&mut parameters, "history", "changes", 1..=1_000_000)?,
            page: count(&mut parameters, "page", "instances", 1..=100_000)?,
            wait: wait(&mut parameters)?,
        })
    }

    pub(crate) fn into_options(self) -> RedisOptions {
        let mut options = RedisOptions::new(self.deployment);
        if let Some(prefix) = self.prefix {
            options = options.with_prefix(prefix);
        }
        if let Some((user, password)) = self.user {
            options = options.with_user(user, password.into_material());
        }
        if let Some((user, password)) = self.sentinel_user {
            options = options.with_sentinel_user(user, password.into_material());
        }
        if let Some(tls) = self.tls {
            options = options.with_tls(tls.into_tls());
        }
        if let Some((replicas, timeout)) = self.wait {
            options = options.with_wait(replicas, timeout);
        }
        let size = |size: Option<u32>| size.and_then(|size| usize::try_from(size).ok());
        options.database = self.database.unwrap_or(options.database);
        options.connect_timeout = self.connect_timeout.unwrap_or(options.connect_timeout);
        options.request_timeout = self.request_timeout.unwrap_or(options.request_timeout);
        options.stall_after = self.stall_after.unwrap_or(options.stall_after);
        options.check_interval = self.check_interval.unwrap_or(options.check_interval);
        options.history = size(self.history).unwrap_or(options.history);
        options.page = size(self.page).unwrap_or(options.page);
        options
    }
}

fn standalone(hosts: Vec<String>) -> Result<Deployment> {
    match <[String; 1]>::try_from(hosts) {
        Ok([host]) => Ok(Deployment::Standalone(host)),
        Err(_) => Err(invalid(
            "has several hosts, and redis:// is one server; Sentinels are redis+sentinel://, the nodes of a cluster redis+cluster://",
        )),
    }
}

fn sentinel(sentinels: Vec<String>, path: &str) -> Result<Deployment> {
    if path.is_empty() {
        return Err(invalid(
            "has no primary; its name, as in `sentinel monitor`, is written after the hosts: /mymaster",
        ));
    }
    if path.contains('/') {
        return Err(invalid("has a primary with a '/' in its name; a database is written db=1"));
    }
    Ok(Deployment::Sentinel { sentinels, primary: path.to_owned() })
}

fn database(text: &str) -> Result<u32> {
    let number = number(text).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| invalid("has a database that is no number, 0 or more"))
}

fn none_but_zero(path: &str) -> Result<Option<Result<u32>>> {
    match path {
        "" | "0" => Ok(None),
        _ => Err(invalid("has a database, and Redis Cluster has only 0")),
    }
}

fn login(
    user: Option<String>,
    password: Option<Password>,
    missing: impl FnOnce() -> &'static str,
) -> Result<Option<(String, Password)>> {
    match (user, password) {
        (None, None) => Ok(None),
        (user, Some(password)) => Ok(Some((user.unwrap_or_else(|| DEFAULT.to_owned()), password))),
        (Some(_), None) => Err(invalid(missing())),
    }
}

fn check_interval(parameters: &mut Parameters<'_>) -> Result<Option<Duration>> {
    let interval = duration(parameters, "check-interval")?;
    let bounds = Duration::from_millis(10)..=Duration::from_secs(1);
    if interval.is_some_and(|interval| !bounds.contains(&interval)) {
        return Err(invalid("has a check-interval that is not from 10ms to 1s"));
    }
    Ok(interval)
}

fn wait(parameters: &mut Parameters<'_>) -> Result<Option<(u32, Duration)>> {
    let replicas = count(parameters, "wait", "replicas", 1..=u32::MAX)?;
    let timeout = duration(parameters, "wait-timeout")?;
    match (replicas, timeout) {
        (None, Some(_)) => Err(invalid("has a wait-timeout without a wait; wait=1 waits for one replica")),
        (replicas, timeout) => Ok(replicas.map(|replicas| (replicas, timeout.unwrap_or(WAIT)))),
    }
}

#[cfg(test)]
mod tests;
