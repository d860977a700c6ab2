//! What benchmarks of criterion leave out since the machine lacks something: noted by them, collected by `benches criterion`.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The variable of the environment that names the file of notes. Without it, as in a plain `cargo bench`, nothing is noted.
pub const VARIABLE: &str = "BENCHES_LEFT_OUT";

/// Something that was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// A store, or a topic.
    pub what: String,
    /// What the machine lacks.
    pub why: String,
}

impl LeftOut {
    /// Adds it to a file of notes, a line each; does nothing where there is no such file to be kept.
    ///
    /// # Errors
    /// If the system does not take it: what is not noted would pass for measured.
    pub fn note(&self, file: Option<&OsStr>) -> io::Result<()> {
        let Some(file) = file else { return Ok(()) };
        let mut file = fs::OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(file, "{}", serde_json::to_string(self)?)
    }

    /// All that is noted in a file, in order and each once; nothing if there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub fn read(file: &Path) -> io::Result<Vec<Self>> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        let mut all: Vec<Self> = Vec::new();
        for line in text.lines() {
            let one = serde_json::from_str(line)?;
            if !all.contains(&one) {
                all.push(one);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::LeftOut;

    #[test]
    fn what_several_benchmarks_leave_out_is_read_once_each_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("left-out");
        assert_eq!(LeftOut::read(&file).unwrap(), []);
        let [etcd, redis] = ["etcd", "Redis"]
            .map(|what| LeftOut { what: what.to_owned(), why: "it is\nnot installed".to_owned() });
        for one in [&etcd, &redis, &etcd] {
            one.note(Some(file.as_os_str())).unwrap();
        }
        assert_eq!(LeftOut::read(&file).unwrap(), [etcd.clone(), redis]);
        etcd.note(None).unwrap();
        std::fs::write(&file, "{}\n").unwrap();
        assert!(LeftOut::read(&file).is_err());
        assert!(
            etcd.note(Some(folder.path().as_os_str())).is_err(),
            "what is not noted would pass for measured"
        );
    }
}
