//! Where a service lies in Redis, and how. Pure.

pub(crate) mod json;

use redis::{Cmd, cmd};
use registry_core::ServiceName;

/// The keys of one service, all in one slot.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// What each begins with.
    start: String,
    pub(crate) slot: u16,
}

const INSTANCES: &str = "instances";
const LOG: &str = "log";

impl Keys {
    pub(crate) fn of(prefix: &str, service: &ServiceName) -> Self {
        // Made for every request, so put together without the machinery of formats.
        let start = [prefix, ":{", service.as_str(), "}:"].concat();
        Self { start, slot: slot(service.as_str().as_bytes()) }
    }

    /// All of them, each in two parts, in the order in which scripts are told them.
    pub(crate) fn all(&self) -> [[&str; 2]; 4] {
        ["head", INSTANCES, "deadlines", LOG].map(|part| [self.start.as_str(), part])
    }

    /// The log, which is also the name of the channel.
    pub(crate) fn log(&self) -> String {
        [&self.start, LOG].concat()
    }

    /// `HSCAN` of the instances.
    pub(crate) fn scan(&self, cursor: &[u8], count: usize) -> Cmd {
        let mut scan = cmd("HSCAN");
        scan.arg([&self.start, INSTANCES].concat()).arg(cursor).arg("COUNT").arg(count);
        scan
    }

    /// `XRANGE` of the log from a revision on.
    pub(crate) fn changes(&self, from: u64, count: usize) -> Cmd {
        let mut range = cmd("XRANGE");
        range.arg(self.log()).arg(format!("{from}-0")).arg("+").arg("COUNT").arg(count);
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
    let step = |crc: u16, byte: &u8| (crc << 8) ^ CRC16[usize::from((crc >> 8) as u8 ^ byte)];
    key.iter().fold(0, step) % 16_384
}

/// What each byte does to a sum of 0.
static CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

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
            all.extend(keys.all().map(|key| key.concat()));
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
