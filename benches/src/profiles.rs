//! Where the time of arms goes, as it is kept: samples by whose code was running, and by function. Pure, but for its file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use comparisons::environment::Environment;
use serde::{Deserialize, Serialize};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The file of profiles within a folder of records.
pub const FILE: &str = "profiles.json";

/// So many functions of an arm are kept, those with the most samples.
const FUNCTIONS: usize = 40;

/// The profiles of a run, by topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profiles(pub BTreeMap<String, Profile>);

/// Of one topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// On what it was made.
    pub environment: Environment,
    /// The arms, ours first.
    pub arms: Vec<Profiled>,
}

impl Profile {
    /// Whether all of these arms have played.
    #[must_use]
    pub fn has(&self, mut arms: impl Iterator<Item = &'static str>) -> bool {
        arms.all(|name| self.arms.iter().any(|there| there.arm == name))
    }
}

/// An arm that has played alone for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profiled {
    /// Its name.
    pub arm: String,
    /// How many samples there are.
    pub samples: u64,
    /// How many of them were in whose code: a crate, `libc` or `kernel`.
    pub owners: BTreeMap<String, u64>,
    /// How many were in which function, those with the most first.
    pub functions: Vec<(String, u64)>,
}

impl Profiled {
    /// Of samples that are counted by the file of the program and by function.
    #[must_use]
    pub fn new(arm: &str, counted: &[Counted]) -> Self {
        let (mut owners, mut functions) = (BTreeMap::new(), BTreeMap::new());
        for Counted { samples, object, function } in counted {
            *owners.entry(owner(object, function)).or_default() += samples;
            *functions.entry(function.clone()).or_default() += samples;
        }
        let mut functions: Vec<(String, u64)> = functions.into_iter().collect();
        functions.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        functions.truncate(FUNCTIONS);
        let samples = counted.iter().map(|counted| counted.samples).sum();
        Self { arm: arm.to_owned(), samples, owners, functions }
    }

    /// The share of `samples` in all that there are, as a percentage.
    #[must_use]
    pub fn percentage(&self, samples: u64) -> f64 {
        samples as f64 * 100.0 / self.samples.max(1) as f64
    }
}

/// A line of what `perf report` says, its fields separated by `|`.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// How many samples there are.
    pub samples: u64,
    /// The program, a library of the system, or the kernel.
    pub object: String,
    /// The function in it.
    pub function: String,
}

impl Counted {
    /// What a line says; none where it is no such line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(3, '|').map(str::trim);
        let (samples, object, function) = (fields.next()?, fields.next()?, fields.next()?);
        // `[.]` or `[k]`: in which half of the memory it is.
        let function = function.split_once("] ").map_or(function, |(_, function)| function);
        Some(Self {
            samples: samples.parse().ok()?,
            object: object.to_owned(),
            function: without_hash(function).to_owned(),
        })
    }
}

/// Two builds of the same code differ in it.
fn without_hash(function: &str) -> &str {
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    function.rsplit_once("::h").filter(|(_, hash)| is_hash(hash)).map_or(function, |(name, _)| name)
}

/// Whose code a function is: the crate of the type that it belongs to.
fn owner(object: &str, function: &str) -> String {
    if object.starts_with("[kernel") || object.starts_with("[guest.kernel") || object.ends_with(".ko") {
        return "kernel".to_owned();
    }
    if object.starts_with("libc.") || object.starts_with("libc-") || object == "[vdso]" {
        return "libc".to_owned();
    }
    if object.starts_with('[') || object.contains(".so") {
        return "other".to_owned();
    }
    let path = function.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '_');
    let path =
        ["dyn ", "mut ", "impl "].iter().fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    match path.split_once("::") {
        Some((first, _)) if first.chars().all(|c| c.is_alphanumeric() || c == '_') => first.to_owned(),
        _ => "other".to_owned(),
    }
}

impl Profiles {
    /// What is kept in a folder; none if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join(FILE);
        match fs::read(&file) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()).into())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", file.display()).into()),
        }
    }

    /// Keeps them in a folder, in the place of those that are there.
    ///
    /// # Errors
    /// If the system does not take it.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let file = folder.join(FILE);
        if self.0.is_empty() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        fs::write(file, serde_json::to_string_pretty(self)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_by_whose_code_was_running() {
        let printed = "\
            700|benches|[.] registry_redis::load::Loader::load::{{closure}}::h0123456789abcdef\n\
            50|benches|[.] <alloc::boxed::Box<F,A> as core::future::future::Future>::poll\n\
            40|benches|[.] <&mut redis::parser::Parser as core::iter::Iterator>::next\n\
            30|benches|[.] _mi_page_malloc\n\
            100|libc.so.6|[.] malloc\n\
            80|[kernel.kallsyms]|[k] tcp_sendmsg\n\
            5|[vdso]|[.] __vdso_clock_gettime\n\
            3|libcrypto.so.3|[.] SHA1_Update\n\
            \n# a remark\n";
        let counted: Vec<Counted> = printed.lines().filter_map(Counted::parse).collect();
        assert_eq!(counted.len(), 8, "{counted:?}");
        let profiled = Profiled::new("ours", &counted);
        let owners: Vec<(&str, u64)> =
            profiled.owners.iter().map(|(owner, samples)| (owner.as_str(), *samples)).collect();
        let expected = [
            ("alloc", 50),
            ("kernel", 80),
            ("libc", 105),
            ("other", 33),
            ("redis", 40),
            ("registry_redis", 700),
        ];
        assert_eq!(owners, expected);
        assert_eq!(profiled.samples, 1_008);
        assert_eq!(
            profiled.functions[0],
            ("registry_redis::load::Loader::load::{{closure}}".to_owned(), 700)
        );
        assert!((profiled.percentage(252) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_kept_is_read_again_and_without_any_there_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Profiles::read(folder.path()).unwrap(), Profiles::default());
        let arms = vec![Profiled::new("ours", &[Counted::parse("7|benches|[.] a::b").unwrap()])];
        let profile = Profile { environment: Environment::default(), arms };
        let profiles = Profiles(BTreeMap::from([("pick-alone".to_owned(), profile)]));
        profiles.write(folder.path()).unwrap();
        assert_eq!(Profiles::read(folder.path()).unwrap(), profiles);
        Profiles::default().write(folder.path()).unwrap();
        assert!(!folder.path().join(FILE).exists());
        fs::write(folder.path().join(FILE), "[]").unwrap();
        let refused = Profiles::read(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(FILE), "{refused}");
    }
}
