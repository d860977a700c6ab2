//! By what cells were played: the code, the servers and the machine.

use serde::{Deserialize, Serialize};

use super::stand::Programs;
use crate::environment::{commit, memory_gib, printed, value_of, version_of_etcd, version_of_redis};
use crate::experiment::Trouble;

/// By what cells were played.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Go {
    /// The day, in UTC.
    pub date: String,
    /// The commit of this program, with a `+` if files were changed since.
    pub commit: String,
    /// What stands for all files that a verdict depends on: the registries, and what plays and judges. The same for two commits that change nothing of it.
    pub code: String,
    /// `optimized`, or `not optimized`.
    pub build: String,
    /// The version of etcd.
    pub etcd: String,
    /// The version of Redis.
    pub redis: String,
    /// The name and release of the system.
    pub system: String,
    /// The processor.
    pub processor: String,
    /// How many of them.
    pub cores: usize,
    /// In all.
    pub memory_gib: f64,
    /// How many cells were played side by side.
    pub jobs: usize,
    /// The commit of the program that judged the histories again, where that is another run than the one that played them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_by: Option<String>,
}

/// What a verdict depends on, below the root of the repository.
const CODE: [&str; 16] = [
    "Cargo.lock",
    "registry-core/src",
    "registry-memory/src",
    "registry-etcd/src",
    "registry-redis/src",
    "registry-testing/src/servers",
    "service-registry/src",
    "comparisons/src/chaos",
    "comparisons/src/contestants",
    // What keeps and shows it.
    ":!comparisons/src/chaos/record.rs",
    ":!comparisons/src/chaos/coverage.rs",
    ":!comparisons/src/chaos/run.rs",
    ":!comparisons/src/chaos/go.rs",
    ":!comparisons/src/chaos/course.rs",
    ":!comparisons/src/chaos/excerpt.rs",
    ":!comparisons/src/chaos/judging.rs",
];

impl Go {
    /// What is here, with so many `jobs`.
    ///
    /// # Errors
    /// If a server is missing.
    pub async fn read(programs: &Programs, jobs: usize) -> Result<Self, Trouble> {
        Ok(Self {
            date: printed("date", &["-u", "+%F"]).await.unwrap_or_default(),
            commit: commit().await,
            code: code().await.unwrap_or_else(|| UNKNOWN.to_owned()),
            build: if cfg!(debug_assertions) { "not optimized" } else { "optimized" }.to_owned(),
            etcd: version_of_etcd(&programs.etcd).await?,
            redis: version_of_redis(&programs.redis).await?,
            system: printed("uname", &["-sr"]).await.unwrap_or_default(),
            processor: value_of("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_gib(),
            jobs,
            judged_by: None,
        })
    }

    /// Why what was played in the one says nothing about the other, if it does not.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        let pairs = [
            ("code", &self.code, &other.code),
            ("etcd", &self.etcd, &other.etcd),
            ("Redis", &self.redis, &other.redis),
            ("build", &self.build, &other.build),
        ];
        let pair = pairs.into_iter().find(|(_, one, other)| one != other);
        pair.map(|(what, one, other)| format!("{what} {one} there, {other} here"))
    }

    /// Why it is not to be cited, if it is not.
    #[must_use]
    pub fn unfit(&self) -> Option<String> {
        if self.build != "optimized" {
            Some("the build was not optimized (use --release)".to_owned())
        } else if is_in_no_commit(&self.commit) || self.code == UNKNOWN {
            Some("it was played by a program that is in no commit".to_owned())
        } else if self.judged_by.as_deref().is_some_and(is_in_no_commit) {
            Some("it was judged by a program that is in no commit".to_owned())
        } else {
            None
        }
    }
}

const UNKNOWN: &str = "unknown";

fn is_in_no_commit(commit: &str) -> bool {
    commit.ends_with('+') || commit == UNKNOWN
}

/// Stands for the files as they are, committed or not; none outside a repository.
async fn code() -> Option<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let asked = [
        // What is known of each file, what was changed since, and what is new.
        &["ls-files", "--stage", "--"][..],
        &["diff", "--no-ext-diff", "--"][..],
        &["ls-files", "--others", "--exclude-standard", "--"][..],
    ];
    let mut all = String::new();
    for words in asked {
        let words: Vec<&str> = ["-C", root].iter().chain(words).chain(&CODE).copied().collect();
        all.push_str(&printed("git", &words).await?);
    }
    Some(format!("{:016x}", hash(&all)))
}

/// FNV-1a: the same on every machine and with every compiler.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::Go;

    #[test]
    fn results_are_of_the_same_only_with_the_same_code_servers_and_build() {
        let one = Go { code: "a".to_owned(), etcd: "3.5".to_owned(), ..Go::default() };
        assert_eq!(one.differs(&one), None);
        let later = Go { date: "tomorrow".to_owned(), commit: "b".to_owned(), jobs: 7, ..one.clone() };
        assert_eq!(one.differs(&later), None, "another commit of the same code");
        let other = Go { code: "b".to_owned(), ..one.clone() };
        assert!(one.differs(&other).is_some_and(|why| why.contains("code a there, b here")));
        assert!(one.differs(&Go { etcd: "3.4".to_owned(), ..one.clone() }).is_some());
    }

    #[test]
    fn only_what_an_optimized_build_of_a_commit_played_is_cited() {
        let text = |text: &str| text.to_owned();
        let fit = Go { build: text("optimized"), commit: text("a"), code: text("b"), ..Go::default() };
        assert_eq!(fit.unfit(), None);
        assert!(Go { build: text("not optimized"), ..fit.clone() }.unfit().is_some());
        assert!(Go { commit: text("a+"), ..fit.clone() }.unfit().is_some());
        assert!(Go { judged_by: Some(text("b+")), ..fit.clone() }.unfit().is_some());
        assert_eq!(Go { judged_by: Some(text("b")), ..fit.clone() }.unfit(), None);
        assert!(Go { code: text("unknown"), ..fit }.unfit().is_some());
    }

    #[tokio::test]
    async fn the_code_has_a_name_that_stays() {
        let (one, other) = (super::code().await, super::code().await);
        assert!(one.as_ref().is_some_and(|code| code.len() == 16), "{one:?}");
        assert_eq!(one, other);
    }
}
