//! Where a service lies in Redis, and how. Pure.

pub(crate) mod json;

use redis::{Cmd, cmd};
use registry_core::ServiceName;

/// The keys of one service, all in one slot.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) head: String,
    pub(crate) instances: String,
    pub(crate) deadlines: String,
    /// Also the name of the channel.
    pub(crate) log: String,
    pub(crate) slot: u16,
}

impl Keys {
    pub(crate) fn of(prefix: &str, service: &ServiceName) -> Self {
        let key = |part: &str| format!("{prefix}:{{{service}}}:{part}");
        Self {
            head: key("head"),
            instances: key("instances"),
            deadlines: key("deadlines"),
            log: key("log"),
            slot: slot(service.as_str().as_bytes()),
        }
    }

    /// `HSCAN` of the instances.
    pub(crate) fn scan(&self, cursor: &[u8], count: usize) -> Cmd {
        let mut scan = cmd("HSCAN");
        scan.arg(&self.instances).arg(cursor).arg("COUNT").arg(count);
        scan
    }

    /// `XRANGE` of the log from a revision on.
    pub(crate) fn changes(&self, from: u64, count: usize) -> Cmd {
        let mut range = cmd("XRANGE");
        range.arg(&self.log).arg(format!("{from}-0")).arg("+").arg("COUNT").arg(count);
        range
    }
}

/// Where the names of all services lie.
pub(crate) fn index(prefix: &str) -> String {
    format!("{prefix}:services")
}

/// The slot of a key without braces, or of what stands between its braces: CRC16 (XMODEM) modulo 16384, as the specification of Redis
/// Cluster has it.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // "123456789" is the check value of the specification: 0x31C3.
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
    }

    #[test]
    fn no_key_of_a_service_is_one_of_another_or_the_index() {
        let keys = |name: &str| Keys::of("registry", &ServiceName::new(name).unwrap());
        let names = ["user", "user.rpc", "user:x", "services"].map(|name| ServiceName::new(name).ok());
        let mut all: Vec<String> = vec![index("registry")];
        for name in names.into_iter().flatten() {
            let keys = keys(name.as_str());
            all.extend([keys.head, keys.instances, keys.deadlines, keys.log]);
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
