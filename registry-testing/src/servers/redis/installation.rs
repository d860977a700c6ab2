//! Installations of Redis, and of Valkey, beside the one in `PATH`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::ServerError;

/// The program `redis-server` of an installation of Redis 8: in the folder that the environment variable `REDIS_8` names, or else where
/// `make setup` of this workspace has put it. For [`RedisOptions::with_program`](super::RedisOptions::with_program).
///
/// # Errors
/// [`ServerError::Missing`] with what to do.
pub fn redis_8() -> Result<PathBuf, ServerError> {
    find("REDIS_8", std::env::var_os("REDIS_8"), "redis-8/redis-server", "8")
}

/// The program `valkey-server` of an installation of Valkey 8.1, the same way, by `VALKEY_81`.
///
/// # Errors
/// [`ServerError::Missing`] with what to do.
pub fn valkey_8_1() -> Result<PathBuf, ServerError> {
    find("VALKEY_81", std::env::var_os("VALKEY_81"), "valkey-8.1/valkey-server", "8.1")
}

/// `named` is what the variable says; `of_setup` is where else it is, in the folder of tools.
fn find(
    variable: &str,
    named: Option<OsString>,
    of_setup: &str,
    release: &str,
) -> Result<PathBuf, ServerError> {
    let of_setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(of_setup);
    let name = of_setup.file_name().map(PathBuf::from).unwrap_or_default();
    let named = named.filter(|folder| !folder.is_empty()).map(|folder| PathBuf::from(folder).join(&name));
    let program = named.unwrap_or(of_setup);
    if program.is_file() {
        return Ok(program);
    }
    let hint = format!(
        "run `make setup`, or let {variable} name a folder with {} of a release {release}",
        name.display()
    );
    Err(ServerError::Missing { program: program.display().to_string(), hint })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_folder_without_a_server_is_missing_and_says_what_to_do() {
        let error =
            find("REDIS_8", Some("/nowhere".into()), "redis-8/redis-server", "8").unwrap_err().to_string();
        assert!(error.contains("/nowhere/redis-server") && error.contains("REDIS_8"), "{error}");
    }
}
