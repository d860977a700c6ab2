//! Cores of their own for a server and for who calls it.
//!
//! Where the kernel places the threads of both, a block long, is a matter of chance, and says more of what a call takes than the client does: on two cores,
//! two raw clients that are alike differed by 15 % (standard deviation of the ratio of two blocks).

#[cfg(target_os = "linux")]
pub(super) use linux::Apart;
#[cfg(not(target_os = "linux"))]
pub(super) use nothing::Apart;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeSet;
    use std::{fs, io};

    use rustix::process::{Pid, getpid};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// For as long as this lives, this process has half of the cores it may use, and the server the others.
    pub(in super::super) struct Apart {
        usual: CpuSet,
    }

    impl std::fmt::Debug for Apart {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Apart").finish_non_exhaustive()
        }
    }

    impl Apart {
        /// Parts them. None on a machine with a single core.
        ///
        /// # Errors
        /// What the kernel does not allow.
        pub(in super::super) fn from(server: Option<u32>) -> io::Result<Option<Self>> {
            let usual = sched_getaffinity(None)?;
            let Some((here, there)) = halves(&usual) else { return Ok(None) };
            let server = server.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            let server = server.ok_or_else(|| io::Error::other("the server does not run"))?;
            let apart = Self { usual };
            place(server, &there)?;
            place(getpid(), &here)?;
            Ok(Some(apart))
        }
    }

    impl Drop for Apart {
        fn drop(&mut self) {
            // What comes next is no worse off than before if that fails: it has fewer cores, as the record of it says.
            let _ = place(getpid(), &self.usual);
        }
    }

    /// The cores of `all`, in two halves; the first has one more if they are odd.
    fn halves(all: &CpuSet) -> Option<(CpuSet, CpuSet)> {
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let (here, there) = cores.split_at(cores.len().div_ceil(2));
        let set = |cores: &[usize]| {
            let mut set = CpuSet::new();
            cores.iter().for_each(|core| set.set(*core));
            set
        };
        (!there.is_empty()).then(|| (set(here), set(there)))
    }

    /// Places all threads of a process. What a thread starts later is placed where it is itself.
    fn place(process: Pid, cores: &CpuSet) -> io::Result<()> {
        let mut placed = BTreeSet::new();
        // One may have been started by another before that was placed.
        loop {
            let before = placed.len();
            for thread in fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()))? {
                let id = thread?.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
                let Some(id) = id.filter(|id| !placed.contains(&id.as_raw_nonzero())) else { continue };
                match sched_setaffinity(Some(id), cores) {
                    Ok(()) => _ = placed.insert(id.as_raw_nonzero()),
                    // It has ended.
                    Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if placed.len() == before {
                return Ok(());
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use rustix::thread::{CpuSet, sched_getaffinity};

        use super::{Apart, halves};

        fn cores(set: &CpuSet) -> Vec<usize> {
            (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
        }

        #[test]
        fn each_half_has_cores_of_its_own_and_a_single_core_is_not_halved() {
            let set = |cores: &[usize]| {
                let mut set = CpuSet::new();
                cores.iter().for_each(|core| set.set(*core));
                set
            };
            let (here, there) = halves(&set(&[1, 4, 6])).unwrap();
            assert_eq!((cores(&here), cores(&there)), (vec![1, 4], vec![6]));
            assert!(halves(&set(&[3])).is_none());
        }

        #[test]
        fn all_threads_of_both_are_placed_and_those_here_are_let_go_again() {
            let usual = cores(&sched_getaffinity(None).unwrap());
            let mut server = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let apart = Apart::from(Some(server.id())).unwrap();
            let there = rustix::process::Pid::from_child(&server);
            let (there, here) = (sched_getaffinity(Some(there)), sched_getaffinity(None));
            let in_a_new_one = std::thread::spawn(|| sched_getaffinity(None)).join().unwrap();
            server.kill().unwrap();
            server.wait().unwrap();
            let (there, here) = (cores(&there.unwrap()), cores(&here.unwrap()));
            if usual.len() > 1 {
                assert!(apart.is_some() && there.iter().all(|core| !here.contains(core)));
                assert_eq!(here.len() + there.len(), usual.len());
                assert_eq!(cores(&in_a_new_one.unwrap()), here);
            }
            drop(apart);
            assert_eq!(cores(&sched_getaffinity(None).unwrap()), usual);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nothing {
    /// Other systems do not let a process choose its cores.
    #[derive(Debug)]
    pub(in super::super) struct Apart;

    impl Apart {
        pub(in super::super) fn from(_: Option<u32>) -> std::io::Result<Option<Self>> {
            Ok(None)
        }
    }
}
