//! What either side needs to speak TLS: certificates and keys, read again and again, so that they can be replaced.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use registry_core::Material;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::blocking::blocking;
use crate::text::chain;

/// What HTTP/2 is called where the protocol is agreed on.
pub(crate) const H2: &[u8] = b"h2";

/// How long what was read is good for. Where thousands of connections are made at once, reading it for each would take longer than they have.
const FRESH: Duration = Duration::from_secs(1);

/// How long the log hears nothing more of what cannot be used.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What was made of certificates and keys as they are now, or were a moment ago. Who asks first reads them, once for all; while that takes long, and where they
/// cannot be used, what was made last goes on: files that are replaced one after the other, or a disk that does not answer, must not
/// turn away those whose certificates are still good.
pub(crate) struct Fresh<T> {
    make: Arc<dyn Fn() -> io::Result<T> + Send + Sync>,
    /// Who reads.
    turns: Arc<Semaphore>,
    made: Mutex<Made<T>>,
}

struct Made<T> {
    last: Option<Arc<T>>,
    /// When that was begun which was read last, and what is wrong with it.
    read: Option<(Instant, Option<Arc<str>>)>,
    reading: Option<Reading<T>>,
    /// When the log was told last that what is there cannot be used; `None` once it can be.
    told: Option<Instant>,
}

struct Reading<T> {
    since: Instant,
    made: Shared<BoxFuture<'static, Result<Arc<T>, Arc<str>>>>,
}

impl<T> Clone for Reading<T> {
    fn clone(&self) -> Self {
        Self { since: self.since, made: self.made.clone() }
    }
}

impl<T: Send + Sync + 'static> Fresh<T> {
    /// Of what `make` makes, which may block.
    pub(crate) fn new(make: impl Fn() -> io::Result<T> + Send + Sync + 'static) -> Self {
        let made = Made { last: None, read: None, reading: None, told: None };
        Self { make: Arc::new(make), turns: Arc::new(Semaphore::new(1)), made: Mutex::new(made) }
    }

    /// An error only where nothing was ever made. Waits for what is being read, but not long if there is something already.
    pub(crate) async fn get(&self) -> io::Result<Arc<T>> {
        let (reading, known) = {
            let mut made = self.made();
            let reading = self.reading(&mut made);
            (reading, made.last.is_some())
        };
        if let Some(Reading { since, made }) = reading {
            let read = if known { timeout_at(since + FRESH, made).await.ok() } else { Some(made.await) };
            let mut made = self.made();
            match read {
                Some(read) => made.settle(since, read),
                None => made.tell("they cannot be read in time"),
            }
        }
        self.made().get()
    }

    /// What is being read; `None` while what was read last is good.
    fn reading(&self, made: &mut Made<T>) -> Option<Reading<T>> {
        // Nobody may have waited until it was read.
        if let Some(Reading { since, made: reading }) = made.reading.clone()
            && let Some(read) = reading.now_or_never()
        {
            made.settle(since, read);
        }
        let now = Instant::now();
        if made.reading.is_none() && made.read.as_ref().is_none_or(|(read, _)| *read + FRESH <= now) {
            let (make, turns) = (Arc::clone(&self.make), Arc::clone(&self.turns));
            let reading = async move {
                let made = blocking(&turns, move || make()).await;
                made.map(Arc::new).map_err(|error| Arc::from(error.to_string()))
            };
            made.reading = Some(Reading { since: now, made: reading.boxed().shared() });
        }
        made.reading.clone()
    }

    fn made(&self) -> MutexGuard<'_, Made<T>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Made<T> {
    /// What was begun at `since` is read. Whoever waited says so; once is enough.
    fn settle(&mut self, since: Instant, read: Result<Arc<T>, Arc<str>>) {
        if self.reading.take_if(|reading| reading.since == since).is_none() {
            return;
        }
        match read {
            Ok(made) => {
                self.last = Some(made);
                self.read = Some((since, None));
                self.told = None;
            }
            Err(wrong) => {
                self.tell(&wrong);
                self.read = Some((since, Some(wrong)));
            }
        }
    }

    /// Tells the log, at once and then no more than once a minute. Without anything that could go on, who asks is told.
    fn tell(&mut self, wrong: &str) {
        let now = Instant::now();
        if self.last.is_none() || self.told.is_some_and(|told| now < told + SAY_AGAIN) {
            return;
        }
        self.told = Some(now);
        tracing::warn!(wrong, "certificates or keys cannot be used; those that were read last go on");
    }

    fn get(&self) -> io::Result<Arc<T>> {
        if let Some(last) = &self.last {
            return Ok(Arc::clone(last));
        }
        let wrong = self.read.as_ref().and_then(|(_, wrong)| wrong.as_deref());
        Err(io::Error::other(wrong.unwrap_or("TLS: nothing was read").to_owned()))
    }
}

impl<T> fmt::Debug for Fresh<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh").finish_non_exhaustive()
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authorities in a PEM text.
pub(crate) fn authorities(ca: &Material) -> io::Result<RootCertStore> {
    const CA: &str = "the certificate authority";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&read(ca, CA)?, CA)? {
        roots.add(certificate).map_err(|error| unusable(CA, &error))?;
    }
    Ok(roots)
}

/// A certificate, with its chain, and its key; `whose` is for errors.
pub(crate) fn identity(
    certificate: &Material,
    key: &Material,
    whose: Identity,
) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates(&read(certificate, whose.certificate)?, whose.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(key, whose.key)?);
    Ok((chain, key.map_err(|error| unusable(whose.key, &error))?))
}

/// What an identity is called in errors.
#[derive(Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) certificate: &'static str,
    pub(crate) key: &'static str,
}

fn read(material: &Material, what: &'static str) -> io::Result<Vec<u8>> {
    material.read(what).map_err(|error| io::Error::other(chain(&error)))
}

fn certificates(pem: &[u8], what: &'static str) -> io::Result<Vec<CertificateDer<'static>>> {
    let parsed = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let parsed = parsed.map_err(|error| unusable(what, &error))?;
    if parsed.is_empty() {
        return Err(io::Error::other(format!("TLS: {what} holds no certificate")));
    }
    Ok(parsed)
}

pub(crate) fn unusable(what: &str, error: &dyn std::error::Error) -> io::Error {
    io::Error::other(format!("TLS: {what} cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    /// Makes 1, 2, 3 …, each once it is let.
    struct Made {
        fresh: Arc<Fresh<u32>>,
        begun: Arc<AtomicU32>,
        go: mpsc::Sender<io::Result<()>>,
    }

    impl Made {
        fn new() -> Self {
            let ((go, gone), begun) = (mpsc::channel::<io::Result<()>>(), Arc::new(AtomicU32::new(0)));
            let (gone, counted) = (Mutex::new(gone), Arc::clone(&begun));
            let fresh = Fresh::new(move || {
                let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                gone.lock().unwrap().recv().map_err(io::Error::other)?.map(|()| number)
            });
            Self { fresh: Arc::new(fresh), begun, go }
        }

        fn begun(&self) -> u32 {
            self.begun.load(Ordering::SeqCst)
        }

        /// What is there, without a wait.
        fn now(&self) -> Option<u32> {
            self.fresh.get().now_or_never().map(|made| *made.unwrap())
        }

        /// One who asks, and waits already.
        async fn asked(&self) -> tokio::task::JoinHandle<io::Result<Arc<u32>>> {
            let fresh = Arc::clone(&self.fresh);
            let asked = tokio::spawn(async move { fresh.get().await });
            tokio::task::yield_now().await;
            asked
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_read_anew_and_not_for_each_of_many_connections() {
        let made = Made::new();
        made.go.send(Ok(())).unwrap();
        let (first, second) = tokio::join!(made.fresh.get(), made.fresh.get());
        assert_eq!([*first.unwrap(), *second.unwrap()], [1, 1]);
        assert_eq!(made.now(), Some(1));
        tokio::time::advance(FRESH).await;
        made.go.send(Ok(())).unwrap();
        assert_eq!(*made.fresh.get().await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn while_reading_takes_long_one_reads_and_all_go_on_with_what_was_read_last() {
        let made = Made::new();
        made.go.send(Ok(())).unwrap();
        assert_eq!(*made.fresh.get().await.unwrap(), 1);
        tokio::time::advance(FRESH).await;

        let waiting = [made.asked().await, made.asked().await];
        tokio::time::advance(FRESH).await;
        for waiting in waiting {
            assert_eq!(*waiting.await.unwrap().unwrap(), 1);
        }
        // From then on nobody waits.
        for _ in 0..100 {
            assert_eq!(made.now(), Some(1));
            tokio::time::advance(FRESH).await;
        }

        // What is read in the end may be old, and is read anew.
        made.go.send(Ok(())).unwrap();
        made.go.send(Ok(())).unwrap();
        while *made.fresh.get().await.unwrap() != 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(made.begun(), 3, "one read for all, and one more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_used_changes_nothing_and_is_tried_once_a_second() {
        let made = Made::new();
        made.go.send(Err(io::Error::other("half of a file"))).unwrap();
        let error = made.fresh.get().await.unwrap_err();
        assert_eq!(error.to_string(), "half of a file");
        tokio::time::advance(FRESH).await;
        made.go.send(Ok(())).unwrap();
        assert_eq!(*made.fresh.get().await.unwrap(), 2);
        for failed in 1..=5 {
            tokio::time::advance(FRESH).await;
            made.go.send(Err(io::Error::other("none"))).unwrap();
            for _ in 0..10 {
                assert_eq!(*made.fresh.get().await.unwrap(), 2);
            }
            assert_eq!(made.begun(), 2 + failed);
        }
    }
}
