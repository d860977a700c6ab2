//! The start of a cluster.

use std::net::SocketAddr;

use futures_util::future::try_join_all;

use super::super::super::ServerError;
use super::super::super::ports::Port;
use super::super::network::{Fronts, Network, source_args};
use super::super::node::Launch;
use super::super::nodes::{Member, Nodes};
use super::super::role::Role;
use super::view::SLOTS;
use super::{ClusterOptions, RedisCluster};

/// How often a start is tried with other ports.
const TRIES: usize = 5;

/// Starts all nodes, introduces them to each other, deals the slots out, and waits until all agree.
pub(super) async fn start<L: Launch>(
    launcher: &L,
    options: &ClusterOptions,
) -> Result<RedisCluster<L::Node>, ServerError> {
    for last in (0..TRIES).map(|tried| tried + 1 == TRIES) {
        match launch(launcher, options).await {
            Err(ServerError::AddressInUse { .. }) if !last => {}
            Err(error) => return Err(error),
            Ok((nodes, buses)) => {
                let cluster = form(nodes, &buses, options).await?;
                cluster.wait_ok().await?;
                cluster.wait_in_sync().await?;
                return Ok(cluster);
            }
        }
    }
    unreachable!("the last try returns")
}

/// Nodes that do not know each other, and where each listens to others.
async fn launch<L: Launch>(
    launcher: &L,
    options: &ClusterOptions,
) -> Result<(Nodes<L::Node>, Vec<SocketAddr>), ServerError> {
    let size = options.primaries * (1 + options.replicas);
    let ports = || (0..size).map(|_| Port::free()).collect::<Result<Vec<_>, _>>();
    let (clients, buses) = (ports()?, ports()?);
    let addresses = |ports: &[Port]| ports.iter().map(Port::address).collect::<Vec<_>>();
    let (direct, direct_buses) = (addresses(&clients), addresses(&buses));

    let fronts = Fronts { clients: options.node.client_proxy, pairs: options.peer_proxies };
    let network = Network::start(&direct, size, fronts)?;
    let bus_network = Network::start(&direct_buses, size, Fronts { clients: false, ..fronts })?;
    let announced = |network: Option<&Network>, direct: &[SocketAddr]| {
        let of =
            |(index, direct): (usize, &SocketAddr)| network.map_or(*direct, |network| network.address(index));
        direct.iter().enumerate().map(of).collect::<Vec<_>>()
    };
    let announced_buses = announced(bus_network.as_ref(), &direct_buses);
    let announced = announced(network.as_ref(), &direct);

    let nodes = clients.into_iter().zip(buses).enumerate().map(|(index, (port, bus))| {
        let mut args = node_args(options, bus.number(), announced[index], announced_buses[index]);
        args.extend(network.iter().flat_map(|_| source_args(index)));
        let (name, announced) = (format!("redis {index}"), Some(announced[index]));
        launcher.launch(Role { name, announced, args, bus: Some(bus), ..Role::alone(port) })
    });
    let nodes = try_join_all(nodes).await?.into_iter().enumerate();
    let members = nodes.map(|(index, node)| Member::new(node, direct[index], announced[index])).collect();
    let networks = [network, bus_network].into_iter().flatten().collect();
    Ok((Nodes::new(members, networks, options.node.patience), announced_buses))
}

fn node_args(options: &ClusterOptions, bus: u16, client_at: SocketAddr, bus_at: SocketAddr) -> Vec<String> {
    let timeout = options.node_timeout.as_millis().to_string();
    let coverage = if options.full_coverage { "yes" } else { "no" };
    let (bus, client_at, bus_at) = (bus.to_string(), client_at.port().to_string(), bus_at.port().to_string());
    let args = [
        ["--cluster-enabled", "yes"],
        ["--cluster-port", &bus],
        ["--cluster-announce-ip", "127.0.0.1"],
        ["--cluster-announce-port", &client_at],
        ["--cluster-announce-bus-port", &bus_at],
        ["--cluster-node-timeout", &timeout],
        ["--cluster-require-full-coverage", coverage],
        // Who is whose replica changes only by fail-overs, and none is too old for one.
        ["--cluster-allow-replica-migration", "no"],
        ["--cluster-replica-validity-factor", "0"],
        ["--repl-diskless-sync-delay", "0"],
    ];
    args.into_iter().flatten().map(str::to_owned).collect()
}

async fn form<N: super::Node>(
    nodes: Nodes<N>,
    buses: &[SocketAddr],
    options: &ClusterOptions,
) -> Result<RedisCluster<N>, ServerError> {
    let size = nodes.members().len();
    let mut ids = Vec::new();
    for index in 0..size {
        // Before they know each other, or they would have to find out that no two have the same.
        nodes.command(index, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
        ids.push(nodes.command(index, &["CLUSTER", "MYID"]).await?.text());
    }
    let cluster = RedisCluster { nodes, ids };
    for (index, first) in (0..options.primaries).map(|index| (index, first_slot(index, options.primaries))) {
        let last = first_slot(index + 1, options.primaries) - 1;
        let deal = ["CLUSTER".to_owned(), "ADDSLOTSRANGE".to_owned(), first.to_string(), last.to_string()];
        cluster.command(index, &deal).await?;
    }
    // Each to each, since it takes them longer to spread the word.
    let addresses = cluster.addresses();
    for (index, other) in (0..size).flat_map(|index| (0..index).map(move |other| (index, other))) {
        let at = |address: SocketAddr| address.port().to_string();
        let meet = ["CLUSTER", "MEET", "127.0.0.1", &at(addresses[other]), &at(buses[other])];
        cluster.command(index, &meet).await?;
    }
    cluster.wait_acquainted().await?;
    for replica in options.primaries..size {
        let primary = cluster.ids[(replica - options.primaries) % options.primaries].clone();
        cluster.command(replica, &["CLUSTER", "REPLICATE", &primary]).await?;
    }
    Ok(cluster)
}

/// The first slot of the primary of that number.
fn first_slot(index: usize, primaries: usize) -> usize {
    usize::from(SLOTS) * index / primaries
}
