//! Which files are to be trusted: those that nobody but the user can have written, or put there.

#[cfg(not(unix))]
pub(super) use self::elsewhere::{check, check_folder, create, make, open};
#[cfg(unix)]
pub(super) use self::unix::{check, check_folder, create, make, open};

/// Who may write files and their folder, beside the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trusted {
    Nobody,
    Group,
}

#[cfg(unix)]
mod unix {
    use std::fs::{self, DirBuilder, File, Metadata};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use rustix::fs::OFlags;

    use super::Trusted;

    const GROUP_WRITES: u32 = 0o020;
    const OTHERS_WRITE: u32 = 0o002;
    /// In a folder with it, such as `/tmp`, nobody removes or renames what is another user's.
    const STICKY: u32 = 0o1000;
    const ROOT: u32 = 0;

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
        let (mode, user) = (about.mode(), rustix::process::geteuid().as_raw());
        if !about.is_file() {
            refused("is no regular file")
        } else if about.uid() != user {
            refused("belongs to another user")
        } else if mode & OTHERS_WRITE != 0 {
            refused("can be written by others")
        } else if trusted == Trusted::Nobody && mode & GROUP_WRITES != 0 {
            refused("can be written by its group, which is not trusted")
        } else {
            Ok(())
        }
    }

    /// Whether nobody else can put back an older file, or take one away.
    pub(in super::super) fn check_folder(folder: &Path, trusted: Trusted) -> io::Result<()> {
        let about = fs::metadata(folder)?;
        judge_folder(about.uid(), about.mode(), rustix::process::geteuid().as_raw(), trusted)
    }

    pub(super) fn judge_folder(owner: u32, mode: u32, user: u32, trusted: Trusted) -> io::Result<()> {
        if ![user, ROOT].contains(&owner) {
            refused("its folder belongs to another user")
        } else if mode & STICKY != 0 {
            Ok(())
        } else if mode & OTHERS_WRITE != 0 {
            refused("its folder can be written by others")
        } else if trusted == Trusted::Nobody && mode & GROUP_WRITES != 0 {
            refused("its folder can be written by its group, which is not trusted")
        } else {
            Ok(())
        }
    }

    fn refused(why: &str) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
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

    pub(in super::super) fn check_folder(folder: &Path, _: Trusted) -> io::Result<()> {
        fs::metadata(folder).map(drop)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::unix::judge_folder;
    use super::*;

    #[test]
    fn a_folder_is_the_users_or_roots_and_nobody_else_can_rename_what_is_in_it() {
        const USER: u32 = 1_000;
        let whose = |owner, mode, trusted| judge_folder(owner, mode, USER, trusted).is_ok();
        for (owner, mode, trusting_nobody, trusting_group) in [
            (USER, 0o700, true, true),
            (USER, 0o755, true, true),
            (USER, 0o2770, false, true),
            (USER, 0o777, false, false),
            (0, 0o755, true, true),
            (0, 0o1777, true, true),
            (0, 0o777, false, false),
            (1_001, 0o755, false, false),
            (1_001, 0o1777, false, false),
        ] {
            let found = (whose(owner, mode, Trusted::Nobody), whose(owner, mode, Trusted::Group));
            assert_eq!(found, (trusting_nobody, trusting_group), "{owner} {mode:o}");
        }
    }

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
