//! On what records were made.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use registry_testing::servers::process::Program;
use rustix::fs::fdatasync;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::experiment::Trouble;
use crate::lab::{Lab, Scale};
use crate::report::format::runs;
use crate::results::{Again, Results};

/// On what, and with what, records were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The day, in UTC.
    pub date: String,
    /// The commit of this program, with a `+` if files were changed since.
    pub commit: String,
    /// `optimized`, or `not optimized`, with which figures of time mean little.
    pub build: String,
    /// `quick` or `full`.
    pub scale: String,
    /// What all random choices come from.
    pub seed: u64,
    /// The version of etcd.
    pub etcd: String,
    /// The version of Redis.
    pub redis: String,
    /// The reader's own servers, if it was they.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theirs: Option<String>,
    /// The name and release of the system.
    pub system: String,
    /// The processor.
    pub processor: String,
    /// How many of them.
    pub cores: usize,
    /// In all.
    pub memory_gib: f64,
    /// Of the folder for data that are meant to be durable.
    pub file_system: String,
    /// The median time to write 4 KiB there and sync them.
    pub fsync_us: f64,
    /// Over the last minute, at the start.
    pub load: f64,
}

impl Environment {
    /// What is here. Takes some 100 ms.
    ///
    /// # Errors
    /// If a server is missing, or the folder for data is not to be written to.
    pub async fn read(lab: &Lab) -> Result<Self, Trouble> {
        let (etcd, redis) = match &lab.theirs {
            Some(theirs) => theirs.versions().await?,
            None => (version_of_etcd(&lab.etcd).await?, version_of_redis(&lab.redis).await?),
        };
        Self::with_servers(lab, etcd, redis).await
    }

    /// The same where a server may be missing, which is said in the place of its version: for what does not need all of them.
    ///
    /// # Errors
    /// If the folder for data is not to be written to.
    pub async fn read_what_is_there(lab: &Lab) -> Result<Self, Trouble> {
        let missing = |_| "missing".to_owned();
        let etcd = version_of_etcd(&lab.etcd).await.unwrap_or_else(missing);
        let redis = version_of_redis(&lab.redis).await.unwrap_or_else(missing);
        Self::with_servers(lab, etcd, redis).await
    }

    async fn with_servers(lab: &Lab, etcd: String, redis: String) -> Result<Self, Trouble> {
        let theirs = lab.theirs.as_ref().map(crate::theirs::Theirs::shown);
        Ok(Self {
            date: printed("date", &["-u", "+%F"]).await.unwrap_or_default(),
            commit: commit().await,
            build: if cfg!(debug_assertions) { "not optimized" } else { "optimized" }.to_owned(),
            scale: match lab.scale {
                Scale::Quick => "quick",
                Scale::Full => "full",
            }
            .to_owned(),
            seed: lab.seed,
            etcd,
            redis,
            theirs,
            system: printed("uname", &["-sr"]).await.unwrap_or_default(),
            processor: value_of("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_gib(),
            file_system: if lab.theirs.is_some() { String::new() } else { file_system(&lab.disk) },
            fsync_us: if lab.theirs.is_some() { 0.0 } else { fsync_us(&lab.disk)? },
            load: first_number("/proc/loadavg").unwrap_or_default(),
        })
    }

    /// Why records of the one and the other do not belong into one file, if they do not.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        let pairs = [
            ("scale", &self.scale, &other.scale),
            ("etcd", &self.etcd, &other.etcd),
            ("Redis", &self.redis, &other.redis),
            ("processor", &self.processor, &other.processor),
            ("build", &self.build, &other.build),
            ("disk", &self.file_system, &other.file_system),
        ];
        let of_text = pairs.into_iter().find(|(_, one, other)| one != other);
        let seed =
            (self.seed != other.seed).then(|| format!("seed {} there, {} here", self.seed, other.seed));
        let theirs = (self.theirs != other.theirs).then(|| "servers of the reader there or here".to_owned());
        of_text.map(|(what, one, other)| format!("{what} {one} there, {other} here")).or(seed).or(theirs)
    }
}

/// For a table: what it was made on. What may differ between goes is told of each, with the experiments that it holds, and so is what was
/// measured again.
#[must_use]
pub fn rows(results: &Results) -> Vec<(String, String)> {
    let Some(last) = results.environments.last() else { return Vec::new() };
    let all = |of_one: fn(&Environment) -> String| {
        let mut values = Vec::new();
        for value in results.environments.iter().map(of_one) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values.join(", ")
    };
    let is_one = results.environments.len() == 1;
    let only = |of_one: fn(&Environment) -> String| if is_one { of_one(last) } else { String::new() };
    let rows = [
        ("date", only(|one| one.date.clone())),
        ("commit", only(|one| one.commit.clone())),
        ("build", all(|one| one.build.clone())),
        ("scale", last.scale.clone()),
        ("seed", last.seed.to_string()),
        ("etcd", last.etcd.clone()),
        ("Redis", last.redis.clone()),
        ("servers of the reader", last.theirs.clone().unwrap_or_default()),
        ("system", all(|one| one.system.clone())),
        ("processor", format!("{}, {} cores", last.processor, last.cores)),
        ("memory", format!("{:.0} GiB", last.memory_gib)),
        ("disk", if is_one { disk(last) } else { last.file_system.clone() }),
        ("load at the start", only(|one| format!("{:.2}", one.load))),
    ];
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    let rows = rows.map(|(name, value)| (name.to_owned(), value));
    let again = results.again.iter().map(|again| ("measured again".to_owned(), told_again(again)));
    rows.chain(if is_one { Vec::new() } else { goes(results) }).chain(again).collect()
}

/// In a sentence: what it was made on; empty if that is not known.
#[must_use]
pub fn in_a_sentence(results: &Results) -> String {
    let Some(last) = results.environments.last() else { return String::new() };
    let by: BTreeSet<String> =
        results.environments.iter().map(|one| format!("{} by commit {}", one.date, one.commit)).collect();
    let place = match &last.theirs {
        Some(theirs) => format!("on servers of the reader ({theirs})"),
        None => "all servers and clients on one machine, where the network costs nothing".to_owned(),
    };
    let parts = [
        format!("etcd {} and Redis {}", last.etcd, last.redis),
        place,
        format!("{}, {} cores", last.processor, last.cores),
        if last.file_system.is_empty() { String::new() } else { format!("disk with {}", last.file_system) },
        by.into_iter().collect::<Vec<_>>().join(", "),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("Run with {}.", parts.join("; "))
}

/// One for each go.
fn goes(results: &Results) -> Vec<(String, String)> {
    let is_kept = results.done.iter().all(|done| done.go.is_some());
    let row = |(go, one): (usize, &Environment)| {
        let ids: Vec<&str> = results.done_in(go).into_iter().collect();
        let holds = match (ids.is_empty(), is_kept) {
            (false, _) => format!("holds {}", ids.join(", ")),
            (true, true) => "holds nothing any more: all of it was measured again".to_owned(),
            (true, false) => "which experiments it holds was not kept".to_owned(),
        };
        let parts = [
            one.date.clone(),
            format!("commit {}", one.commit),
            disk(one),
            format!("load {:.2}", one.load),
            holds,
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (format!("go {} of {}", go + 1, results.environments.len()), parts.join("; "))
    };
    results.environments.iter().enumerate().map(row).collect()
}

fn disk(one: &Environment) -> String {
    if one.file_system.is_empty() {
        return String::new();
    }
    format!("{}, 4 KiB written and synced in {:.0} µs (median)", one.file_system, one.fsync_us)
}

fn told_again(again: &Again) -> String {
    let before = match again.commits_before.as_slice() {
        [] => String::new(),
        commits => format!(", measured by commit {}", commits.join(", ")),
    };
    let broken_off = match again.broken_off {
        0 => String::new(),
        some => format!(", {some} of them broken off or not run"),
    };
    format!(
        "{}, on {}, by commit {}; before{before}: {} in {} {}{broken_off}; {}: {}",
        again.experiment,
        again.date,
        again.commit,
        runs(again.runs),
        again.steps,
        if again.steps == 1 { "step" } else { "steps" },
        again.verdict,
        again.figure,
    )
}

pub(crate) async fn printed(program: &str, args: &[&str]) -> Option<String> {
    let printed = Program::new(program, "part of every system").with_args(args).run().await;
    printed.ok().map(|text| text.trim().to_owned())
}

pub(crate) async fn commit() -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    let Some(commit) = printed("git", &["-C", folder, "rev-parse", "--short=12", "HEAD"]).await else {
        return "unknown".to_owned();
    };
    // What is recorded and generated is no change of the program.
    let recorded = [":!results", ":!../benches/results", ":!*.md"];
    let status = ["-C", folder, "status", "--porcelain", "--", ".."];
    let changed = [&status[..], &recorded].concat();
    let is_changed = printed("git", &changed).await.is_none_or(|changed| !changed.is_empty());
    if is_changed { commit + "+" } else { commit }
}

pub(crate) async fn version_of_etcd(program: &Path) -> Result<String, Trouble> {
    let printed =
        Program::new(program, "`apt-get install etcd-server`").with_args(["--version"]).run().await?;
    let version = printed.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(version.unwrap_or("unknown").to_owned())
}

pub(crate) async fn version_of_redis(program: &Path) -> Result<String, Trouble> {
    let printed =
        Program::new(program, "`apt-get install redis-server`").with_args(["--version"]).run().await?;
    let version = printed.split_whitespace().find_map(|word| word.strip_prefix("v="));
    Ok(version.unwrap_or("unknown").to_owned())
}

/// Of `name : value`.
pub(crate) fn value_of(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn first_number(file: &str) -> Option<f64> {
    fs::read_to_string(file).ok()?.split_whitespace().next()?.parse().ok()
}

pub(crate) fn memory_gib() -> f64 {
    let kib = value_of("/proc/meminfo", "MemTotal");
    let kib = kib.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / f64::from(1 << 20)
}

/// The type of the file system that holds a folder: of the mount whose path is the longest that begins the folder's.
fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or(folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((PathBuf::from(words.next()?), words.next()?.to_owned()))
    });
    let holds = mounts.filter(|(path, _)| folder.starts_with(path));
    holds.max_by_key(|(path, _)| path.components().count()).map_or("unknown".to_owned(), |(_, kind)| kind)
}

fn fsync_us(folder: &Path) -> Result<f64, Trouble> {
    let path = folder.join(format!("fsync-{}", std::process::id()));
    let measure = || {
        let mut file = File::create(&path)?;
        let mut times = Vec::new();
        for _ in 0..50 {
            let start = Instant::now();
            file.write_all(&[7; 4096])?;
            fdatasync(&file)?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        Ok(crate::measure::median(&times).unwrap_or_default())
    };
    let measured: std::io::Result<f64> = measure();
    let _ = fs::remove_file(&path);
    measured.map_err(|error| Trouble::failed(format!("--data {}: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::{Environment, rows};
    use crate::results::{Again, Done, Results};

    #[test]
    fn records_of_different_servers_or_seeds_do_not_mix() {
        let one = Environment { seed: 1, etcd: "3.4".to_owned(), ..Environment::default() };
        assert_eq!(one.differs(&one), None);
        let seed = Environment { seed: 2, ..one.clone() };
        assert!(one.differs(&seed).is_some_and(|why| why.contains("seed 1")));
        let etcd = Environment { etcd: "3.5".to_owned(), ..one.clone() };
        assert!(one.differs(&etcd).is_some_and(|why| why.contains("3.4 there, 3.5 here")));
        let later = Environment { date: "tomorrow".to_owned(), load: 3.0, ..one.clone() };
        assert_eq!(one.differs(&later), None);
    }

    fn go(commit: &str, fsync_us: f64) -> Environment {
        let commit = commit.to_owned();
        Environment { commit, fsync_us, file_system: "ext4".to_owned(), ..Environment::default() }
    }

    fn done(experiment: &str, go: Option<usize>) -> Done {
        let (experiment, step) = (experiment.to_owned(), "a".to_owned());
        Done { experiment, step, seconds: 1.0, complete: true, rule: String::new(), go }
    }

    fn texts(results: &Results) -> Vec<String> {
        rows(results).into_iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }

    #[test]
    fn each_go_tells_its_commit_its_disk_and_what_it_holds() {
        let environments = vec![go("abc", 151.0), go("def", 2_946.0)];
        let done_by_both = vec![done("1a", Some(0)), done("3a", Some(1)), done("3b", Some(1))];
        let both = Results { environments, done: done_by_both, ..Results::default() };
        let told = texts(&both);
        let first = told.iter().find(|row| row.starts_with("go 1 of 2")).unwrap();
        assert!(first.contains("abc") && first.contains("151 µs") && first.ends_with("holds 1a"), "{first}");
        let second = told.iter().find(|row| row.starts_with("go 2 of 2")).unwrap();
        assert!(second.contains("2946 µs") && second.ends_with("holds 3a, 3b"), "{second}");
        let old = Results { done: vec![done("1a", None)], ..both };
        assert!(texts(&old).iter().any(|row| row.ends_with("was not kept")));
    }

    #[test]
    fn one_go_is_told_in_the_rows_of_all() {
        let one = Results {
            environments: vec![go("abc", 151.0)],
            done: vec![done("1a", Some(0))],
            ..Results::default()
        };
        let told = texts(&one);
        assert!(told.contains(&"commit: abc".to_owned()) && !told.iter().any(|row| row.starts_with("go ")));
        assert!(told.iter().any(|row| row.starts_with("disk: ext4") && row.contains("151 µs")), "{told:?}");
    }

    #[test]
    fn what_was_measured_again_is_told_with_what_it_had_said() {
        let again = Again {
            experiment: "3a".to_owned(),
            date: "2026-11-28".to_owned(),
            commit: "def".to_owned(),
            commits_before: vec!["abc".to_owned()],
            steps: 2,
            broken_off: 0,
            runs: 40,
            verdict: "undecided".to_owned(),
            figure: "0.96 (0.80 to 1.20)".to_owned(),
        };
        let results =
            Results { environments: vec![go("def", 1.0)], again: vec![again], ..Results::default() };
        let told = texts(&results).pop().unwrap();
        let expected = "measured again: 3a, on 2026-11-28, by commit def; before, measured by commit abc: 40 runs in 2 steps; \
                        undecided: 0.96 (0.80 to 1.20)";
        assert_eq!(told, expected);
    }
}
