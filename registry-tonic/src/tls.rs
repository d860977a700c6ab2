//! What either side needs to speak TLS: certificates and keys, read again and again, so that they can be replaced.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use registry_core::Material;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::blocking::blocking;
use crate::text::chain;

/// What HTTP/2 is called where the protocol is agreed on.
pub(crate) const H2: &[u8] = b"h2";

/// How long what was read is good for. Where thousands of connections are made at once, reading it for each would take longer than they have.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// What was made of certificates and keys as they are now, or were a moment ago.
#[derive(Debug)]
pub(crate) struct Fresh<T> {
    made: Mutex<Option<(Instant, Arc<T>)>>,
    /// Who reads.
    turns: Arc<Semaphore>,
}

impl<T: Send + 'static> Fresh<T> {
    pub(crate) fn new() -> Self {
        Self { made: Mutex::new(None), turns: Arc::new(Semaphore::new(1)) }
    }

    /// What `make` makes, which may block, or has made a moment ago.
    pub(crate) async fn get(
        &self,
        make: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<Arc<T>> {
        let mut made = self.made.lock().await;
        if let Some((at, it)) = &*made
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(it));
        }
        let now = Instant::now();
        let new = Arc::new(blocking(&self.turns, make).await?);
        *made = Some((now, Arc::clone(&new)));
        Ok(new)
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

    #[tokio::test(start_paused = true)]
    async fn it_is_read_anew_and_not_for_each_of_many_connections() {
        let fresh = Fresh::new();
        let (first, second) = tokio::join!(fresh.get(|| Ok(1)), fresh.get(|| Ok(2)));
        assert_eq!([*first.unwrap(), *second.unwrap()], [1, 1]);
        tokio::time::advance(FRESH).await;
        assert_eq!(*fresh.get(|| Ok(3)).await.unwrap(), 3);
    }
}
