//! Which files are to be trusted: those that nobody but the user can have written.

#[cfg(not(unix))]
pub(super) use self::elsewhere::{check, create, make, open};
#[cfg(unix)]
pub(super) use self::unix::{check, create, make, open};

/// Who may write a file, beside the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trusted {
    Nobody,
    Group,
}

#[cfg(unix)]
mod unix {
    use std::fs::{DirBuilder, File, Metadata};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use rustix::fs::OFlags;

    use super::Trusted;

    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;

    pub(in super::super) fn make(folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    pub(in super::super) fn create(path: &Path) -> io::Result<File> {
        File::options().write(true).create_new(true).mode(0o600).open(path)
    }

    /// Never waits, as a pipe would have one do, and follows no link.
    pub(in super::super) fn open(path: &Path) -> io::Result<File> {
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
        File::options().read(true).custom_flags(i32::from_ne_bytes(flags.bits().to_ne_bytes())).open(path)
    }

    pub(in super::super) fn check(about: &Metadata, trusted: Trusted) -> io::Result<()> {
        let refused = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        if !about.is_file() {
            return refused("is no regular file");
        }
        if about.uid() != rustix::process::geteuid().as_raw() {
            return refused("belongs to another user");
        }
        if about.mode() & OTHERS_WRITE != 0 {
            return refused("can be written by others");
        }
        if trusted == Trusted::Nobody && about.mode() & GROUP_WRITES != 0 {
            return refused("can be written by its group, which is not trusted");
        }
        Ok(())
    }
}

/// Where the rights of files come from their folder.
#[cfg(not(unix))]
mod elsewhere {
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::path::Path;

    use super::Trusted;

    pub(in super::super) fn make(folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    pub(in super::super) fn create(path: &Path) -> io::Result<File> {
        File::options().write(true).create_new(true).open(path)
    }

    pub(in super::super) fn open(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(in super::super) fn check(about: &Metadata, _: Trusted) -> io::Result<()> {
        if about.is_file() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "is no regular file"))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_of_another_user_is_not_the_users_own() {
        let name = format!("registry-core-whose-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(create(&path).unwrap());
        check(&fs::metadata(&path).unwrap(), Trusted::Nobody).unwrap();
        // Only root may give a file away; to everybody else root's are another user's.
        let foreign = match std::os::unix::fs::chown(&path, Some(65_534), None) {
            Ok(()) => fs::metadata(&path).unwrap(),
            Err(_) => fs::metadata("/etc/passwd").unwrap(),
        };
        fs::remove_file(&path).unwrap();
        for trusted in [Trusted::Nobody, Trusted::Group] {
            assert_eq!(check(&foreign, trusted).unwrap_err().to_string(), "belongs to another user");
        }
    }
}
