//! One etcd: alone, or a member of a cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::super::ports::Port;
use super::super::process::{Folder, Process};
use super::super::proxy::Proxy;
use super::super::{ServerError, until};
use super::control::EtcdControl;
use super::{EtcdOptions, EtcdStatus};

/// How often a start is tried with other ports.
const TRIES: usize = 5;

/// One etcd server. See [`Process`] for what becomes of it in the end.
///
/// ```no_run
/// # async fn example() -> Result<(), registry_testing::servers::ServerError> {
/// use registry_testing::servers::etcd::{Etcd, EtcdOptions};
///
/// let etcd = Etcd::start(EtcdOptions::default()).await?;
/// let clients_connect_to = etcd.endpoint();
/// etcd.kill().await?;
/// etcd.restart().await?; // the same address, the same data
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Etcd {
    // Before the proxies, so that it is gone before they are.
    process: Process,
    name: String,
    options: EtcdOptions,
    ports: Ports,
    client_proxy: Option<Proxy>,
    peers: Peers,
    pub(super) control: EtcdControl,
    /// Its data were destroyed for good: it must not come back and vote as if it had never seen any.
    lost: AtomicBool,
}

/// The ports of one member. They stay held while it is down.
#[derive(Debug)]
pub(super) struct Ports {
    client: Port,
    pub(super) peer: Port,
    control: Port,
}

impl Ports {
    pub(super) fn free() -> Result<Self, ServerError> {
        Ok(Self { client: Port::free()?, peer: Port::free()?, control: Port::free()? })
    }
}

/// How a member is reached by the others, and all members as `--initial-cluster` wants them.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    pub(super) advertised: SocketAddr,
    pub(super) initial_cluster: String,
}

/// The store as it was at some time. The file goes when this is dropped.
#[derive(Debug)]
pub struct Snapshot {
    folder: TempDir,
}

impl Snapshot {
    /// The file.
    #[must_use]
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("snapshot.db")
    }
}

impl Etcd {
    /// Starts one node, on ports of its own, and waits until it serves.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if etcd is not installed, and what [`Process::start`] gives.
    pub async fn start(options: EtcdOptions) -> Result<Self, ServerError> {
        let flags = options.common_flags(1).await?;
        for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
            let ports = Ports::free()?;
            let advertised = ports.peer.address();
            let peers = Peers { advertised, initial_cluster: format!("one=http://{advertised}") };
            let etcd = Self::new("one", &options, &flags, ports, peers).await?;
            match etcd.start_process().await {
                Err(ServerError::AddressInUse { .. }) if !last => {}
                outcome => return outcome.map(|()| etcd),
            }
        }
        unreachable!("the last try returns")
    }

    /// A member that does not run yet.
    pub(super) async fn new(
        name: &str,
        options: &EtcdOptions,
        common_flags: &[String],
        ports: Ports,
        peers: Peers,
    ) -> Result<Self, ServerError> {
        let parent = options.data_in.as_deref();
        let folder = match options.disk {
            Some(bytes) => Folder::with_disk(parent, bytes).await?,
            None => Folder::new(parent)?,
        };
        let client_proxy =
            options.client_proxies.then(|| Proxy::start(ports.client.address())).transpose()?;
        let clients = client_proxy.as_ref().map_or(ports.client.address(), Proxy::address);
        let scheme = if options.client_tls.is_some() { "https" } else { "http" };
        let flags = [
            format!("--name={name}"),
            format!("--data-dir={}", folder.data().display()),
            format!(
                "--listen-client-urls={scheme}://{},http://{}",
                ports.client.address(),
                ports.control.address()
            ),
            format!("--advertise-client-urls={scheme}://{clients}"),
            format!("--listen-peer-urls=http://{}", ports.peer.address()),
            format!("--initial-advertise-peer-urls=http://{}", peers.advertised),
            format!("--initial-cluster={}", peers.initial_cluster),
        ];
        let program = options.server().with_name(format!("etcd {name}"));
        let program = program.with_args(flags).with_args(common_flags).with_args(&options.args);
        Ok(Self {
            process: Process::new(program, folder),
            name: name.to_owned(),
            control: EtcdControl::new(ports.control.address()),
            options: options.clone(),
            ports,
            client_proxy,
            peers,
            lost: AtomicBool::new(false),
        })
    }

    /// Its name in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL for clients: the proxy's, if there is one.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.options.client_tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.client_address())
    }

    /// The address for clients: the proxy's, if there is one.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_proxy.as_ref().map_or(self.ports.client.address(), Proxy::address)
    }

    /// The URL past the proxy.
    #[must_use]
    pub fn direct_endpoint(&self) -> String {
        let scheme = if self.options.client_tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.ports.client.address())
    }

    /// A plain URL that no proxy, no TLS and no other client touches: for a test's own reads and writes.
    #[must_use]
    pub fn control_endpoint(&self) -> String {
        format!("http://{}", self.control.address())
    }

    /// The proxy in front of the clients' port, with [`EtcdOptions::client_proxies`].
    #[must_use]
    pub fn client_proxy(&self) -> Option<&Proxy> {
        self.client_proxy.as_ref()
    }

    /// The process: its pid, log and folder.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL; returns when it is gone.
    ///
    /// # Errors
    /// See [`Process::kill`].
    pub async fn kill(&self) -> Result<(), ServerError> {
        self.process.kill().await
    }

    /// SIGTERM; returns when it is gone. A leader of a cluster first hands over.
    ///
    /// # Errors
    /// See [`Process::terminate`].
    pub async fn terminate(&self) -> Result<(), ServerError> {
        self.process.terminate(self.options.patience).await
    }

    /// SIGSTOP; returns when it has stopped. Its sockets go on accepting.
    ///
    /// # Errors
    /// See [`Process::pause`].
    pub async fn pause(&self) -> Result<(), ServerError> {
        self.process.pause().await
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// See [`Process::resume`].
    pub async fn resume(&self) -> Result<(), ServerError> {
        self.process.resume().await
    }

    /// Starts it on the same ports with the same data, after a SIGKILL if it runs, and waits until it serves. Where it needs others for a
    /// quorum, use [`EtcdCluster`](super::EtcdCluster) to start several at once.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn restart(&self) -> Result<(), ServerError> {
        self.kill().await?;
        self.start_again().await
    }

    /// Cuts its power and starts it again, on the same ports, with what was on its disk, and waits until it serves. See [`Process::power_cut`].
    ///
    /// # Errors
    /// [`ServerError::Refused`] without [`EtcdOptions::disk`]; see [`Process::power_cut`] and [`Process::start`].
    pub async fn power_cut(&self) -> Result<(), ServerError> {
        self.process.power_cut().await?;
        self.start_again().await
    }

    /// The same as [`restart`](Self::restart) with no data. A member of a cluster of several must not come back like this alone: wipe the cluster.
    ///
    /// # Errors
    /// See [`Process::start`].
    pub async fn wipe(&self) -> Result<(), ServerError> {
        self.discard().await?;
        self.start_again().await
    }

    /// Kills it and removes its data.
    pub(super) async fn discard(&self) -> Result<(), ServerError> {
        self.kill().await?;
        self.process.remove_data()?;
        self.control.set_root(None);
        self.lost.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Kills it and removes its data; only a wipe or a restore of the whole cluster brings it back.
    pub(super) async fn lose(&self) -> Result<(), ServerError> {
        self.lost.store(true, Ordering::SeqCst);
        self.kill().await?;
        self.process.remove_data()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// The store of this member as a file, by `etcdctl snapshot save`.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if `etcdctl` is not installed; [`ServerError::Refused`] if the server does not answer.
    pub async fn save(&self) -> Result<Snapshot, ServerError> {
        let folder = tempfile::tempdir().map_err(ServerError::io("making a folder for a snapshot"))?;
        let snapshot = Snapshot { folder };
        let mut tool =
            self.options.tool("etcdctl").with_args([format!("--endpoints={}", self.control.address())]);
        if let Some(password) = self.control.root() {
            tool = tool.with_args(["--user".to_owned(), format!("root:{password}")]);
        }
        tool.with_args(["snapshot", "save"]).with_args([snapshot.path()]).run().await?;
        Ok(snapshot)
    }

    /// Kills it, puts the data back to `snapshot`, and starts it on the same ports. Revisions go back, and the cluster's id is as before.
    ///
    /// # Errors
    /// [`ServerError::Missing`] if neither `etcdutl` nor `etcdctl` is installed; see [`Process::start`].
    pub async fn restore(&self, snapshot: &Snapshot) -> Result<(), ServerError> {
        self.put_back(&snapshot.path()).await?;
        self.start_again().await
    }

    /// Kills it and makes its data those of a snapshot.
    pub(super) async fn put_back(&self, snapshot: &Path) -> Result<(), ServerError> {
        self.kill().await?;
        self.process.remove_data()?;
        // From 3.6 on, `etcdctl` can no longer restore.
        let newer = self.options.tool("etcdutl");
        let tool = if newer.find().is_ok() { newer } else { self.options.tool("etcdctl") };
        let tool = tool.with_args(["snapshot", "restore"]).with_args([snapshot]).with_args([
            format!("--name={}", self.name),
            format!("--data-dir={}", self.process.folder().data().display()),
            format!("--initial-cluster={}", self.peers.initial_cluster),
            format!("--initial-advertise-peer-urls=http://{}", self.peers.advertised),
        ]);
        tool.run().await?;
        self.lost.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Compacts history up to the present, not waiting for the space to be freed; gives the oldest revision that can still be read.
    ///
    /// # Errors
    /// [`ServerError::Refused`], [`ServerError::Timeout`], [`ServerError::Io`].
    pub async fn compact(&self) -> Result<u64, ServerError> {
        self.control.compact().await
    }

    /// What it knows of itself; answered without agreement, also by a member that is cut off.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] after 1 s, as when it is paused; [`ServerError::Io`] when it does not run.
    pub async fn status(&self) -> Result<EtcdStatus, ServerError> {
        self.control.status().await
    }

    /// The value of one of its metrics: the first whose name and labels begin like that, such as `etcd_debugging_mvcc_watcher_total`; 0 where
    /// there is none yet.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] after 10 s; [`ServerError::Io`] when it does not run; [`ServerError::Refused`] if that is no number.
    pub async fn metric(&self, name: &str) -> Result<f64, ServerError> {
        self.control.metric(name).await
    }

    /// Whether it serves a linearizable read within 1 s.
    pub async fn serves(&self) -> bool {
        self.control.serves().await
    }

    /// Waits until it serves linearizable reads.
    ///
    /// # Errors
    /// [`ServerError::Timeout`] after `within`.
    pub async fn wait_serving(&self, within: Duration) -> Result<(), ServerError> {
        let what = format!("{} serves", self.process.name());
        let serves = until(&what, within, || async { self.serves().await.then_some(()) });
        serves.await.map_err(|error| error.with_log(|| self.process.log_tail()))
    }

    /// Writes a key past every proxy; gives the revision.
    ///
    /// # Errors
    /// [`ServerError::Refused`], [`ServerError::Timeout`], [`ServerError::Io`]. After the last two it may have been written.
    pub async fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<u64, ServerError> {
        self.control.put(key.as_ref(), value.as_ref()).await
    }

    /// Reads a key past every proxy, linearizably.
    ///
    /// # Errors
    /// [`ServerError::Refused`], [`ServerError::Timeout`], [`ServerError::Io`].
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, ServerError> {
        self.control.get(key.as_ref(), 0).await
    }

    /// Reads a key as it was at `revision`.
    ///
    /// # Errors
    /// [`ServerError::Refused`] if the revision is compacted or still to come; else as [`get`](Self::get).
    pub async fn get_at(&self, key: impl AsRef<[u8]>, revision: u64) -> Result<Option<Vec<u8>>, ServerError> {
        self.control.get(key.as_ref(), revision).await
    }

    /// Removes a key past every proxy.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<(), ServerError> {
        self.control.delete(key.as_ref()).await
    }

    /// Any request of the JSON gateway, such as `/v3/lease/revoke`, past every proxy.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn ask(&self, path: &str, body: serde_json::Value) -> Result<serde_json::Value, ServerError> {
        self.control.ask(path, body).await
    }

    /// Makes a user `root` with `password` and demands users from now on. Requests of this type are then root's. In a cluster, use
    /// [`EtcdCluster::enable_auth`](super::EtcdCluster::enable_auth).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn enable_auth(&self, password: &str) -> Result<(), ServerError> {
        self.control.enable_auth(password).await?;
        self.knows_root(password);
        Ok(())
    }

    pub(super) fn knows_root(&self, password: &str) {
        self.control.set_root(Some(password.to_owned()));
    }

    /// Starts the process and waits until it serves.
    pub(super) async fn start_process(&self) -> Result<(), ServerError> {
        if self.is_lost() {
            let request = format!("starting {}", self.process.name());
            return Err(ServerError::refused(request, "its data are lost; wipe or restore the cluster"));
        }
        self.process.start(self.options.patience, || self.control.serves()).await
    }

    /// The same when the ports are fixed: whatever sits on them is waited out.
    pub(super) async fn start_again(&self) -> Result<(), ServerError> {
        let what = format!("a port of {} becomes free", self.process.name());
        let started = until(&what, self.options.patience * 2, || async {
            match self.start_process().await {
                Err(ServerError::AddressInUse { .. }) => None,
                outcome => Some(outcome),
            }
        });
        started.await?
    }
}
