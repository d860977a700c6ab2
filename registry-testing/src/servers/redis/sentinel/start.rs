//! The start of a group with sentinels.

use std::net::SocketAddr;

use futures_util::future::try_join_all;

use super::super::super::ServerError;
use super::super::super::ports::Port;
use super::super::super::proxy::Proxy;
use super::super::network::{Fronts, Network, source_args};
use super::super::node::Launch;
use super::super::nodes::{Member, Nodes};
use super::super::role::Role;
use super::{RedisSentinel, SERVICE, SentinelOptions};

/// How often a start is tried with other ports.
const TRIES: usize = 5;

/// Starts all servers and waits until all know each other.
pub(super) async fn start<L: Launch>(
    nodes: &L,
    options: &SentinelOptions,
) -> Result<RedisSentinel<L::Node>, ServerError> {
    for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
        match launch(nodes, options).await {
            Err(ServerError::AddressInUse { .. }) if !last => {}
            outcome => return outcome,
        }
    }
    unreachable!("the last try returns")
}

async fn launch<L: Launch>(
    launcher: &L,
    options: &SentinelOptions,
) -> Result<RedisSentinel<L::Node>, ServerError> {
    let size = 1 + options.replicas;
    let ports = |count| (0..count).map(|_| Port::free()).collect::<Result<Vec<_>, _>>();
    let addresses = |ports: &[Port]| ports.iter().map(Port::address).collect::<Vec<_>>();

    let fronts = Fronts { clients: options.node.client_proxy, pairs: options.replica_proxies };
    let node_ports = ports(size)?;
    let direct = addresses(&node_ports);
    let network = Network::start(&direct, size + options.sentinels, fronts)?;
    let announced = |node: usize| network.as_ref().map_or(direct[node], |network| network.address(node));
    let source = |caller| network.iter().flat_map(move |_| source_args(caller));

    let nodes = node_ports.into_iter().enumerate().map(|(index, port)| {
        let args = node_args(options, announced(index)).into_iter().chain(source(index)).collect();
        let primary = announced(0);
        let follow = format!("replicaof {} {}\n", primary.ip(), primary.port());
        // By the file, since the arguments would make it so again at each start.
        let config = Some(if index == 0 { String::new() } else { follow });
        let (name, announced) = (format!("redis {index}"), Some(announced(index)));
        launcher.launch(Role { name, announced, args, config, ..Role::alone(port) })
    });
    let nodes = try_join_all(nodes).await?;
    let members = nodes.into_iter().enumerate();
    let members = members.map(|(index, node)| Member::new(node, direct[index], announced(index))).collect();
    let primary = announced(0);

    let sentinel_ports = ports(options.sentinels)?;
    let direct_sentinels = addresses(&sentinel_ports);
    let proxies = if fronts.clients { direct_sentinels.as_slice() } else { &[] };
    let sentinel_proxies =
        proxies.iter().map(|sentinel| Proxy::start(*sentinel)).collect::<Result<Vec<_>, _>>()?;
    let sources: Vec<Vec<String>> =
        (0..options.sentinels).map(|index| source(size + index).collect()).collect();
    let nodes = Nodes::new(members, network.into_iter().collect(), options.node.patience);
    // Now, since a sentinel asks a primary for its replicas at once and then not for long.
    nodes.wait("the replicas are in sync", || nodes_in_sync(&nodes)).await?;
    let sentinels = sentinel_ports.into_iter().zip(sources).enumerate().map(|(index, (port, args))| {
        let (name, config) = (format!("sentinel {index}"), Some(sentinel_config(options, primary)));
        let announced = sentinel_proxies.get(index).map(Proxy::address);
        launcher.launch(Role { name, announced, is_sentinel: true, args, config, ..Role::alone(port) })
    });
    let sentinels = try_join_all(sentinels).await?;
    let group =
        RedisSentinel { nodes, sentinels, direct_sentinels, sentinel_proxies, options: options.clone() };
    try_join_all((0..options.sentinels).map(|sentinel| group.hasten(sentinel))).await?;
    group.wait_introduced().await?;
    Ok(group)
}

/// Whether all follow the first.
async fn nodes_in_sync<N: super::Node>(nodes: &Nodes<N>) -> Option<()> {
    let offset = nodes.offset(0).await?;
    for replica in 1..nodes.members().len() {
        if !nodes.follows(replica, 0, offset).await {
            return None;
        }
    }
    Some(())
}

fn node_args(options: &SentinelOptions, announced: SocketAddr) -> Vec<String> {
    let (ip, port) = (announced.ip().to_string(), announced.port().to_string());
    let least = options.min_replicas_to_write.to_string();
    let args =
        ["--replica-announce-ip", &ip, "--replica-announce-port", &port, "--min-replicas-to-write", &least];
    args.into_iter().chain(["--repl-diskless-sync-delay", "0"]).map(str::to_owned).collect()
}

fn sentinel_config(options: &SentinelOptions, primary: SocketAddr) -> String {
    let lines = [
        format!("monitor {SERVICE} {} {} {}", primary.ip(), primary.port(), options.sentinels / 2 + 1),
        format!("down-after-milliseconds {SERVICE} {}", options.down_after.as_millis()),
        format!("failover-timeout {SERVICE} {}", options.failover_timeout.as_millis()),
        format!("parallel-syncs {SERVICE} {}", options.replicas.max(1)),
        "announce-ip 127.0.0.1".to_owned(),
    ];
    lines.map(|line| format!("sentinel {line}\n")).concat()
}
