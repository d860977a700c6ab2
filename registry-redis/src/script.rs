//! The scripts, as they are sent.

use std::io::Write;
use std::sync::LazyLock;

use redis::{Cmd, RedisWrite};

const COMMON: &str = include_str!("scripts/common.lua");

/// A script: its text, and the name under which Redis keeps it.
pub(crate) struct Script {
    text: String,
    sha: String,
    /// Whether it changes nothing.
    pub(crate) reads: bool,
}

macro_rules! scripts {
    ($($constant:ident = $name:literal;)*) => {$(
        pub(crate) static $constant: LazyLock<Script> =
            LazyLock::new(|| Script::of_service(include_str!(concat!("scripts/", $name, ".lua"))));
    )*};
}

scripts! {
    READ = "read";
    SWEEP = "sweep";
    REGISTER = "register";
    KEEPALIVE = "keepalive";
    UPDATE = "update";
    DEREGISTER = "deregister";
    SCRUB = "scrub";
    BEGIN_EPOCH = "begin_epoch";
}

/// The one that is not about a service.
pub(crate) static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/forget.lua").to_owned()));

impl Script {
    /// What all scripts of a service have in common follows the first line, which must stay the first.
    fn of_service(text: &'static str) -> Self {
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        Self::new(format!("{first}\n{COMMON}\n{rest}"))
    }

    fn new(text: String) -> Self {
        let sha = crate::sum::sum(text.as_bytes());
        let reads = text.lines().next().is_some_and(|line| line.contains("no-writes"));
        Self { text, sha, reads }
    }

    /// The call by name, which fails with `NOSCRIPT` where the script is not known. Its arguments are to be added.
    pub(crate) fn call<const PARTS: usize>(&self, keys: &[[&str; PARTS]]) -> Cmd {
        Self::with("EVALSHA", &self.sha, keys)
    }

    /// The call with the text, after which the script is known. Its arguments are to be added.
    pub(crate) fn call_with_text<const PARTS: usize>(&self, keys: &[[&str; PARTS]]) -> Cmd {
        Self::with("EVAL", &self.text, keys)
    }

    /// Each key is given in parts.
    fn with<const PARTS: usize>(command: &str, script: &str, keys: &[[&str; PARTS]]) -> Cmd {
        // There is room for the arguments of most calls by name, in no more than what an allocator has ready: glibc up to 1,032 bytes.
        let mut call = Cmd::with_capacity(32, script.len() + 900);
        call.arg(command).arg(script).arg(keys.len());
        for key in keys {
            let mut writer = call.writer_for_next_arg();
            for part in key {
                // Writing to memory does not fail.
                let _ = writer.write_all(part.as_bytes());
            }
        }
        call
    }
}
