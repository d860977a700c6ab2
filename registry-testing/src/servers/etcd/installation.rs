//! Installations of etcd beside the one in `PATH`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::ServerError;

/// The program `etcd` of an installation of 3.5, with its tools beside it: in the folder that the environment variable `ETCD_35` names, or
/// else where `make setup` of this workspace has put it. For [`EtcdOptions::with_program`](super::EtcdOptions::with_program).
///
/// # Errors
/// [`ServerError::Missing`] with what to do.
pub fn etcd_3_5() -> Result<PathBuf, ServerError> {
    find(std::env::var_os("ETCD_35"))
}

/// `named` is what `ETCD_35` says.
fn find(named: Option<OsString>) -> Result<PathBuf, ServerError> {
    let of_setup = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/etcd-3.5");
    let named = named.filter(|folder| !folder.is_empty());
    let program = named.map_or_else(of_setup, PathBuf::from).join("etcd");
    if program.is_file() {
        return Ok(program);
    }
    let hint =
        "run `make setup`, or let ETCD_35 name a folder with etcd, etcdctl and etcdutl of a release 3.5";
    Err(ServerError::Missing { program: program.display().to_string(), hint: hint.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_folder_without_etcd_is_missing_and_says_what_to_do() {
        let error = find(Some("/nowhere".into())).unwrap_err().to_string();
        assert!(error.contains("/nowhere/etcd") && error.contains("ETCD_35"), "{error}");
    }
}
