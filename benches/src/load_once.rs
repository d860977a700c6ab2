//! A process that loads a service once and says by how much its memory grew.
//!
//! It is a process of its own, because the kernel counts memory by processes: what the allocator holds is in it, and nothing else that is measured.

use std::fs;
use std::sync::Arc;

use comparisons::experiment::Trouble;
use registry_core::{Directory, Registry, RegistryExt, ServiceName};
use registry_etcd::{EtcdOptions, EtcdRegistry};
use registry_redis::{RedisOptions, RedisRegistry};

/// The name of the command.
pub const COMMAND: &str = "load-once";

/// What is loaded.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// The URL of the server: `http://…` is an etcd, `redis://…` a Redis.
    #[arg(long)]
    at: String,
    /// The service.
    #[arg(long)]
    service: String,
    /// By a view that is opened, not by a lookup.
    #[arg(long)]
    view: bool,
}

/// The arguments of the process that loads by a lookup, or by a view.
#[must_use]
pub fn arguments(url: &str, service: &str, view: bool) -> Vec<String> {
    let arguments = [COMMAND, "--at", url, "--service", service].into_iter();
    arguments.chain(view.then_some("--view")).map(str::to_owned).collect()
}

/// Loads, and gives what the process prints: the growth of its memory in bytes, and the number of instances.
///
/// # Errors
/// What the registry or the kernel does not tell.
pub async fn run(options: &Options) -> Result<String, Trouble> {
    let registry: Arc<dyn Registry> = match options.at.strip_prefix("redis://") {
        Some(server) => RedisRegistry::new(RedisOptions::standalone(server))?.shared(),
        None => EtcdRegistry::new(EtcdOptions::new([options.at.as_str()]))?.shared(),
    };
    // The connection, the runtime's threads and whatever else is made once belong to the process, not to the load.
    registry.lookup(&ServiceName::new("nobody.rpc")?).await?;
    let before = bytes_of("VmRSS")?;
    let service = ServiceName::new(&options.service)?;
    let loaded = if options.view {
        let view = Directory::new(registry).view(&service);
        view.ready().await;
        view.load().snapshot().map_or(0, |snapshot| snapshot.len())
    } else {
        registry.lookup(&service).await?.len()
    };
    let peak = bytes_of("VmHWM")?;
    Ok(format!("{} {loaded}", peak.saturating_sub(before)))
}

/// Reads what [`run`] gave.
#[must_use]
pub fn parse(printed: &str) -> Option<(f64, usize)> {
    let (bytes, instances) = printed.trim().split_once(' ')?;
    Some((bytes.parse().ok()?, instances.parse().ok()?))
}

/// A line of `/proc/self/status`, which counts in KiB.
fn bytes_of(name: &str) -> Result<u64, Trouble> {
    let not_told = || Trouble::NotRun(format!("the system does not tell {name} of a process"));
    let status = fs::read_to_string("/proc/self/status").map_err(|_| not_told())?;
    of_status(&status, name).ok_or_else(not_told)
}

fn of_status(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, of_status, parse};

    #[test]
    fn the_kernel_tells_how_much_memory_there_is_and_was() {
        assert_eq!(of_status("VmPeak:\t 9 kB\nVmHWM:\t  1234 kB\n", "VmHWM"), Some(1234 * 1024));
        assert_eq!(of_status("VmHWM:\t1234\n", "VmHWM"), None);
        assert!(bytes_of("VmHWM").unwrap() > 0 && bytes_of("VmRSS").unwrap() > 0);
    }

    #[test]
    fn what_is_printed_is_read() {
        assert_eq!(parse("4096 100000\n"), Some((4096.0, 100_000)));
        assert_eq!(parse("benches: refused"), None);
    }
}
