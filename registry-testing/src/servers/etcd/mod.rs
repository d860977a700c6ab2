//! etcd, one node or a cluster: 3.4 and later, as installed; [`etcd_3_5`] finds a second installation.
//!
//! [`Etcd`] is one server; [`EtcdCluster`] is several, and each member is an [`Etcd`] again. Control goes past every proxy, over a plain port of
//! its own that nobody else knows, so it works while clients are cut off and when clients must use TLS.

mod caller;
mod cluster;
mod control;
mod installation;
mod network;
mod options;
mod server;
mod space;

pub use cluster::EtcdCluster;
pub use control::{EtcdControl, EtcdStatus};
pub use installation::etcd_3_5;
pub use options::{ClientTls, EtcdOptions};
pub use server::{Etcd, Snapshot};
