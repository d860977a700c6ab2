//! How an etcd is started.

use std::path::PathBuf;
use std::time::Duration;

use super::super::ServerError;
use super::super::process::Program;

/// Heartbeat and election timeout of several, and of one.
const TOGETHER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
const ALONE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// etcd alone reserves two files of 64 MiB for its log.
const DISK: u64 = 512 << 20;

/// Flags of every member, and what stands in front of its ports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EtcdOptions {
    /// The program; `etcd` by default, from `PATH`. `etcdctl` (and `etcdutl`, if there) are taken from the same folder.
    pub program: PathBuf,
    /// Where data folders are made; by default in memory if there is room.
    pub data_in: Option<PathBuf>,
    /// Put the data of each member on a [`Disk`](super::super::disk::Disk) of its own, of so many bytes, for
    /// [`Etcd::power_cut`](super::Etcd::power_cut). Then fsync is never skipped. Needs root.
    pub disk: Option<u64>,
    /// Between heartbeats of the leader, and without one until an election. By default 50 and 500 ms, half of etcd's own, and a fifth of that for
    /// a node that is alone and would otherwise wait before it elects itself.
    ///
    /// The shortest lease that etcd grants depends on it: one and a half times the second, rounded up to whole seconds. So it is 1 s here and 2 s with
    /// etcd's own 100 and 1,000 ms.
    pub timing: Option<(Duration, Duration)>,
    /// Ask before an election whether it could be won, so that a member that returns does not disturb; on by default, as in etcd 3.5.
    pub pre_vote: bool,
    /// `--auto-compaction-mode` and `--auto-compaction-retention`, such as `("revision", "100")`; none by default.
    pub auto_compaction: Option<(String, String)>,
    /// `--quota-backend-bytes`; etcd's default if none.
    pub quota: Option<u64>,
    /// What clients must speak; plain by default.
    pub client_tls: Option<ClientTls>,
    /// Put a proxy in front of each client port, and advertise it.
    pub client_proxies: bool,
    /// Put proxies between members, one for each ordered pair. Linux only.
    pub peer_proxies: bool,
    /// Skip fsync where etcd can (3.5 and later), unless there is a `disk`; on by default. A SIGKILL loses nothing by it, a power cut would.
    pub no_fsync: bool,
    /// More arguments, last, so that they win.
    pub args: Vec<String>,
    /// How long a start, a fail-over and the like may take; 30 s by default.
    pub patience: Duration,
}

/// Certificates for the port of the clients, as PEM files.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// `--cert-file`.
    pub cert: PathBuf,
    /// `--key-file`.
    pub key: PathBuf,
    /// `--trusted-ca-file`; if given, clients must show a certificate of it.
    pub client_ca: Option<PathBuf>,
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            program: "etcd".into(),
            data_in: None,
            disk: None,
            timing: None,
            pre_vote: true,
            auto_compaction: None,
            quota: None,
            client_tls: None,
            client_proxies: false,
            peer_proxies: false,
            no_fsync: true,
            args: Vec::new(),
            patience: Duration::from_secs(30),
        }
    }
}

impl EtcdOptions {
    /// With another installation: the path of its `etcd`, such as [`etcd_3_5`](super::etcd_3_5) finds it.
    #[must_use]
    pub fn with_program(mut self, etcd: impl Into<PathBuf>) -> Self {
        self.program = etcd.into();
        self
    }

    /// With proxies in front of the clients' ports.
    #[must_use]
    pub fn with_client_proxies(mut self) -> Self {
        self.client_proxies = true;
        self
    }

    /// With proxies between members.
    #[must_use]
    pub fn with_peer_proxies(mut self) -> Self {
        self.peer_proxies = true;
        self
    }

    /// With another heartbeat and election timeout. etcd wants the second at least five times the first.
    #[must_use]
    pub fn with_timing(mut self, heartbeat: Duration, election: Duration) -> Self {
        self.timing = Some((heartbeat, election));
        self
    }

    /// With or without the vote before the vote.
    #[must_use]
    pub fn with_pre_vote(mut self, pre_vote: bool) -> Self {
        self.pre_vote = pre_vote;
        self
    }

    /// With `--auto-compaction-mode` and `--auto-compaction-retention`.
    #[must_use]
    pub fn with_auto_compaction(mut self, mode: impl Into<String>, retention: impl Into<String>) -> Self {
        self.auto_compaction = Some((mode.into(), retention.into()));
        self
    }

    /// With `--quota-backend-bytes`.
    #[must_use]
    pub fn with_quota(mut self, bytes: u64) -> Self {
        self.quota = Some(bytes);
        self
    }

    /// With TLS for clients.
    #[must_use]
    pub fn with_client_tls(mut self, tls: ClientTls) -> Self {
        self.client_tls = Some(tls);
        self
    }

    /// With data folders in `parent`.
    #[must_use]
    pub fn with_data_in(mut self, parent: impl Into<PathBuf>) -> Self {
        self.data_in = Some(parent.into());
        self
    }

    /// With data on disks whose power can be cut, large enough for etcd's files and a store of 100 MiB.
    #[must_use]
    pub fn with_disk(mut self) -> Self {
        self.disk = Some(DISK);
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(super) fn server(&self) -> Program {
        let hint = "`apt-get install etcd-server`, or put an etcd of 3.4 or later into PATH";
        Program::new(&self.program, hint)
    }

    /// A tool of the same installation.
    pub(super) fn tool(&self, name: &str) -> Program {
        let hint = "`apt-get install etcd-client`, or put the tools of etcd into PATH";
        Program::new(self.program.with_file_name(name), hint).with_env("ETCDCTL_API", "3")
    }

    /// Of elections in a cluster of `size`.
    pub(in super::super) fn timing_flags(&self, size: usize) -> [String; 3] {
        let default = if size == 1 { ALONE } else { TOGETHER };
        let (heartbeat, election) = self.timing.unwrap_or(default);
        [
            format!("--heartbeat-interval={}", heartbeat.as_millis()),
            format!("--election-timeout={}", election.as_millis()),
            format!("--pre-vote={}", self.pre_vote),
        ]
    }

    /// The flags that do not differ between members.
    pub(super) async fn common_flags(&self, size: usize) -> Result<Vec<String>, ServerError> {
        let mut flags = self.timing_flags(size).to_vec();
        if let Some((mode, retention)) = &self.auto_compaction {
            flags.push(format!("--auto-compaction-mode={mode}"));
            flags.push(format!("--auto-compaction-retention={retention}"));
        }
        flags.extend(self.quota.map(|quota| format!("--quota-backend-bytes={quota}")));
        if let Some(tls) = &self.client_tls {
            flags.push(format!("--cert-file={}", tls.cert.display()));
            flags.push(format!("--key-file={}", tls.key.display()));
            if let Some(ca) = &tls.client_ca {
                flags.push(format!("--trusted-ca-file={}", ca.display()));
                flags.push("--client-cert-auth".to_owned());
            }
        }
        let skips_fsync = self.no_fsync && self.disk.is_none();
        if skips_fsync && can_skip_fsync(&self.server().with_args(["--version"]).run().await?) {
            flags.push("--unsafe-no-fsync".to_owned());
        }
        Ok(flags)
    }
}

/// `printed` is what `etcd --version` prints.
fn can_skip_fsync(printed: &str) -> bool {
    let version = printed.lines().find_map(|line| line.strip_prefix("etcd Version: ")).unwrap_or_default();
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u64>().ok());
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= (3, 5)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{EtcdOptions, can_skip_fsync};

    #[tokio::test]
    async fn with_a_disk_fsync_is_never_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("etcd");
        fs::write(&program, "#!/bin/sh\necho 'etcd Version: 3.5.16'\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let options = EtcdOptions { program, ..EtcdOptions::default() };
        let skip = "--unsafe-no-fsync".to_owned();
        assert!(options.common_flags(1).await.unwrap().contains(&skip));
        assert!(!options.with_disk().common_flags(1).await.unwrap().contains(&skip));
    }

    #[test]
    fn only_newer_servers_are_told_to_skip_fsync() {
        assert!(!can_skip_fsync("etcd Version: 3.4.23\nGit SHA: x\n"));
        assert!(can_skip_fsync("etcd Version: 3.5.16\nGit SHA: x\n"));
        assert!(can_skip_fsync("etcd Version: 3.10.0-rc.0\n"));
        assert!(!can_skip_fsync("something else"));
    }
}
