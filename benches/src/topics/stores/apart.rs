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
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::{fs, io};

    use rustix::process::{Pid, getpid};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// For as long as one of these lives, this process has half of the cores it may use, and the servers the others.
    #[derive(Debug)]
    pub(in super::super) struct Apart(());

    /// How many live, and which cores this process had before the first of them.
    struct Living {
        count: usize,
        usual: Option<CpuSet>,
    }

    static LIVING: Mutex<Living> = Mutex::new(Living { count: 0, usual: None });

    impl Apart {
        /// Before a server is started: whatever is started now finds all cores, as the first server did, and counts them. None on a machine with a
        /// single core.
        ///
        /// # Errors
        /// What the kernel does not allow.
        pub(in super::super) fn begin() -> io::Result<Option<Self>> {
            let mut living = living();
            if living.count == 0 {
                living.usual = Some(sched_getaffinity(None)?);
            }
            let Some(usual) = living.usual.filter(|usual| halves(usual).is_some()) else { return Ok(None) };
            if living.count > 0 {
                place(getpid(), &usual)?;
            }
            living.count += 1;
            Ok(Some(Self(())))
        }

        /// Parts the server and this process.
        ///
        /// # Errors
        /// What the kernel does not allow.
        pub(in super::super) fn part(&self, server: Option<u32>) -> io::Result<()> {
            let server = server.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            let server = server.ok_or_else(|| io::Error::other("the server does not run"))?;
            let living = living();
            let Some((here, there)) = living.usual.as_ref().and_then(halves) else { return Ok(()) };
            place(server, &there)?;
            place(getpid(), &here)
        }
    }

    impl Drop for Apart {
        fn drop(&mut self) {
            let mut living = living();
            living.count -= 1;
            if let Some(cores) = living.usual.and_then(|usual| own(&usual, living.count)) {
                // What comes next is no worse off than before if that fails: it has fewer cores, as the record of it says.
                let _ = place(getpid(), &cores);
            }
        }
    }

    fn living() -> MutexGuard<'static, Living> {
        LIVING.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of its `usual` cores this process has beside so many servers that run.
    fn own(usual: &CpuSet, servers: usize) -> Option<CpuSet> {
        if servers == 0 { Some(*usual) } else { halves(usual).map(|(here, _)| here) }
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
        use std::process::{Child, Command};

        use rustix::process::Pid;
        use rustix::thread::{CpuSet, sched_getaffinity};

        use super::{Apart, halves, own};

        fn cores(set: &CpuSet) -> Vec<usize> {
            (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
        }

        fn set(cores: &[usize]) -> CpuSet {
            let mut set = CpuSet::new();
            cores.iter().for_each(|core| set.set(*core));
            set
        }

        #[test]
        fn each_half_has_cores_of_its_own_and_a_single_core_is_not_halved() {
            let (here, there) = halves(&set(&[1, 4, 6])).unwrap();
            assert_eq!((cores(&here), cores(&there)), (vec![1, 4], vec![6]));
            assert!(halves(&set(&[3])).is_none());
        }

        #[test]
        fn cores_are_given_back_after_the_last_server_and_not_before() {
            let own = |servers| own(&set(&[1, 4, 6]), servers).map(|own| cores(&own));
            assert_eq!((own(0), own(1), own(2)), (Some(vec![1, 4, 6]), Some(vec![1, 4]), Some(vec![1, 4])));
        }

        /// A process that does nothing, as a server is started.
        struct Started {
            process: Child,
            apart: Option<Apart>,
            /// The cores that it found.
            found: Vec<usize>,
        }

        impl Started {
            fn now() -> Self {
                let apart = Apart::begin().unwrap();
                let process = Command::new("sleep").arg("60").spawn().unwrap();
                let found = cores(&sched_getaffinity(Some(Pid::from_child(&process))).unwrap());
                if let Some(apart) = &apart {
                    apart.part(Some(process.id())).unwrap();
                }
                Self { process, apart, found }
            }

            fn cores(&self) -> Vec<usize> {
                cores(&sched_getaffinity(Some(Pid::from_child(&self.process))).unwrap())
            }
        }

        impl Drop for Started {
            fn drop(&mut self) {
                self.process.kill().unwrap();
                self.process.wait().unwrap();
            }
        }

        // One test: the cores are those of the whole process.
        #[test]
        fn all_threads_are_placed_a_second_server_as_the_first_and_those_here_are_let_go_after_the_last() {
            let here = || cores(&sched_getaffinity(None).unwrap());
            let usual = here();
            let mut first = Started::now();
            let second = Started::now();
            if usual.len() > 1 {
                assert!(first.cores().iter().all(|core| !here().contains(core)));
                assert_eq!(here().len() + first.cores().len(), usual.len());
                assert_eq!(std::thread::spawn(here).join().unwrap(), here());
                assert_eq!(second.cores(), first.cores());
                assert_eq!((&first.found, &second.found), (&usual, &usual));
                let parted = here();
                drop(first.apart.take());
                assert_eq!(here(), parted, "the second still runs");
            }
            drop(second);
            drop(first);
            assert_eq!(here(), usual);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nothing {
    /// Other systems do not let a process choose its cores.
    #[derive(Debug)]
    pub(in super::super) struct Apart;

    impl Apart {
        pub(in super::super) fn begin() -> std::io::Result<Option<Self>> {
            Ok(None)
        }

        pub(in super::super) fn part(&self, _: Option<u32>) -> std::io::Result<()> {
            Ok(())
        }
    }
}
