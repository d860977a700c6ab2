//! What criterion found: read from the folder in which it leaves its results, and kept in one small file.

use std::cmp::Ordering;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use comparisons::environment::Environment;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::left_out::LeftOut;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The file of figures within a folder of records.
pub const FILE: &str = "criterion.json";

/// What a run of the benchmarks found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// On what; none of a plain `cargo bench`, which does not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// What criterion was told beyond what is usual, such as a part of a name: then this is not all, or was made otherwise. Empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// What was measured, in order.
    pub figures: Vec<Figure>,
}

/// How long one thing takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The group, such as `pick`.
    pub group: String,
    /// Of several that are compared in the group, which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// What it was given: mostly a size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The median of all samples, in nanoseconds.
    pub median_ns: Estimate,
    /// Their mean, in nanoseconds.
    pub mean_ns: Estimate,
}

/// A value with its interval, by criterion's bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// How sure it is; 0.95 unless the benchmark says otherwise.
    pub level: f64,
}

impl Figure {
    /// The parameter as a number, if it is one: `100000` or `100_000`.
    #[must_use]
    pub fn size(&self) -> Option<f64> {
        let number = self.parameter.as_ref()?.replace(['_', ','], "").parse().ok();
        number.filter(|size: &f64| size.is_finite() && *size > 0.0)
    }

    /// By group and function, then from small to large.
    fn order(&self, other: &Self) -> Ordering {
        let size = |one: &Self| one.size().unwrap_or(f64::INFINITY);
        (&self.group, &self.function)
            .cmp(&(&other.group, &other.function))
            .then(size(self).total_cmp(&size(other)))
            .then_with(|| self.parameter.cmp(&other.parameter))
    }
}

/// `benchmark.json` of criterion, as far as it is needed.
#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: Option<String>,
    value_str: Option<String>,
}

/// `estimates.json` of criterion, likewise. Times are in nanoseconds.
#[derive(Deserialize)]
struct Estimates {
    mean: Estimated,
    median: Estimated,
}

#[derive(Deserialize)]
struct Estimated {
    confidence_interval: Confidence,
    point_estimate: f64,
}

#[derive(Deserialize)]
struct Confidence {
    confidence_level: f64,
    lower_bound: f64,
    upper_bound: f64,
}

impl From<Estimated> for Estimate {
    fn from(estimated: Estimated) -> Self {
        let Confidence { confidence_level, lower_bound, upper_bound } = estimated.confidence_interval;
        Self { value: estimated.point_estimate, low: lower_bound, high: upper_bound, level: confidence_level }
    }
}

impl Figures {
    /// What they lack of a whole run, a sentence each; nothing where all was measured that there is.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        let asked = (!self.arguments.is_empty()).then(|| {
            format!("Criterion ran with `{}`, so its figures are not all.", self.arguments.join(" "))
        });
        let left_out =
            self.left_out.iter().map(|LeftOut { what, why }| format!("Criterion left out {what}: {why}."));
        asked.into_iter().chain(left_out).collect()
    }

    /// What is in the folder where criterion leaves its results, of the last run of each benchmark; nothing if there is no such folder.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub fn of_criterion(folder: &Path) -> Result<Self, Failure> {
        let mut figures = Vec::new();
        for last in last_runs(folder)? {
            let Benchmark { group_id, function_id, value_str } = parsed(&last.join("benchmark.json"))?;
            let Estimates { mean, median } = parsed(&last.join("estimates.json"))?;
            figures.push(Figure {
                group: group_id,
                function: function_id,
                parameter: value_str,
                median_ns: median.into(),
                mean_ns: mean.into(),
            });
        }
        figures.sort_by(Figure::order);
        Ok(Self { figures, ..Self::default() })
    }

    /// What is kept in a folder of records; nothing if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join(FILE);
        if file.exists() { parsed(&file) } else { Ok(Self::default()) }
    }

    /// Keeps it in a folder of records.
    ///
    /// # Errors
    /// If the system does not take it.
    pub fn write(&self, folder: &Path) -> Result<(), Failure> {
        let file = folder.join(FILE);
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()).into())
    }
}

/// The folders `new` that hold the last run of a benchmark, in order.
fn last_runs(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(told)?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(told)?;
    paths.sort();
    let mut found = Vec::new();
    for path in paths.into_iter().filter(|path| path.is_dir()) {
        if path.file_name().is_some_and(|name| name == "new") && path.join("benchmark.json").exists() {
            found.push(path);
        } else {
            found.extend(last_runs(&path)?);
        }
    }
    Ok(found)
}

fn parsed<T: DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Figures, LeftOut};

    /// As criterion 0.8 writes them.
    fn benchmark(folder: &std::path::Path, group: &str, parameter: &str, median: f64) {
        let folder = folder.join(group).join(parameter).join("new");
        fs::create_dir_all(&folder).unwrap();
        let id = format!("{group}/{parameter}");
        let benchmark = serde_json::json!({
            "group_id": group, "function_id": null, "value_str": parameter, "throughput": { "Elements": 1 },
            "full_id": id, "directory_name": id, "title": id
        });
        let estimate = |value: f64| {
            serde_json::json!({
                "confidence_interval": { "confidence_level": 0.95, "lower_bound": value - 1.0, "upper_bound": value + 1.0 },
                "point_estimate": value, "standard_error": 0.5
            })
        };
        let estimates = serde_json::json!({
            "mean": estimate(median + 5.0), "median": estimate(median), "median_abs_dev": estimate(1.0),
            "slope": null, "std_dev": estimate(1.0)
        });
        fs::write(folder.join("benchmark.json"), benchmark.to_string()).unwrap();
        fs::write(folder.join("estimates.json"), estimates.to_string()).unwrap();
    }

    #[test]
    fn what_criterion_leaves_is_read_from_small_to_large() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Figures::of_criterion(&folder.path().join("none")).unwrap(), Figures::default());
        benchmark(folder.path(), "fold", "100000", 300.0);
        benchmark(folder.path(), "fold", "1000", 200.0);
        // A run before the last one, and the pictures, are no figures.
        fs::create_dir_all(folder.path().join("fold/1000/base")).unwrap();
        fs::write(folder.path().join("fold/1000/base/benchmark.json"), "{}").unwrap();
        fs::create_dir_all(folder.path().join("report")).unwrap();
        let found = Figures::of_criterion(folder.path()).unwrap();
        let told: Vec<_> =
            found.figures.iter().map(|one| (one.size(), one.median_ns.value, one.mean_ns.high)).collect();
        assert_eq!(told, [(Some(1_000.0), 200.0, 206.0), (Some(100_000.0), 300.0, 306.0)]);
        found.write(folder.path()).unwrap();
        assert_eq!(Figures::read(folder.path()).unwrap(), found);
    }

    #[test]
    fn a_part_and_what_was_left_out_are_kept_and_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Figures::default().lacks().is_empty());
        let left_out = vec![LeftOut { what: "etcd".to_owned(), why: "it is not installed".to_owned() }];
        let part = Figures { arguments: vec!["pick".to_owned()], left_out, ..Figures::default() };
        part.write(folder.path()).unwrap();
        let read = Figures::read(folder.path()).unwrap();
        assert_eq!(read, part);
        let said = read.lacks().join(" ");
        assert!(
            said.contains("with `pick`") && said.contains("left out etcd: it is not installed."),
            "{said}"
        );
    }

    #[test]
    fn what_is_no_result_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        benchmark(folder.path(), "fold", "10", 1.0);
        fs::write(folder.path().join("fold/10/new/estimates.json"), "{}").unwrap();
        let error = Figures::of_criterion(folder.path()).unwrap_err().to_string();
        assert!(error.contains("fold/10/new/estimates.json"), "{error}");
    }
}
