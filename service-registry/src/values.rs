//! What the parameters of the URLs of servers mean, where several backends have the same. Pure; no file is read.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use registry_core::{Material, Result, Tls};

use crate::url::{Parameters, Secret, invalid, number};

/// The parameters that only TLS has a use for.
const OF_TLS: [&str; 4] = ["ca", "cert", "key", "server-name"];

/// A password in the URL or in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Password {
    Given(Secret),
    File(PathBuf),
}

impl Password {
    pub(crate) fn of(given: Option<Secret>, file: Option<String>) -> Result<Option<Self>> {
        match (given, file) {
            (Some(_), Some(_)) => Err(invalid("has a password and a password-file; one of them is enough")),
            (Some(given), None) => Ok(Some(Self::Given(given))),
            (None, Some(path)) => Ok(Some(Self::File(path.into()))),
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn into_material(self) -> Material {
        match self {
            Self::Given(Secret(password)) => Material::given(password),
            Self::File(path) => Material::file(path),
        }
    }
}

/// How TLS is spoken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    /// The certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) server_name: Option<String>,
}

impl TlsFiles {
    /// `plain` and `secure` are the schemes without and with TLS; `used` is the URL's.
    pub(crate) fn take(
        parameters: &mut Parameters<'_>,
        used: &str,
        plain: &str,
        secure: &str,
    ) -> Result<Option<Self>> {
        if used != secure {
            return match OF_TLS.iter().find(|name| parameters.has(name)) {
                None => Ok(None),
                Some(name) => Err(invalid(format!(
                    "has the parameter {name}, which needs TLS: {secure}:// instead of {plain}://"
                ))),
            };
        }
        let identity = match (parameters.take("cert"), parameters.take("key")) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (Some(_), None) => {
                return Err(invalid("has the parameter cert without its key; they go together"));
            }
            (None, Some(_)) => {
                return Err(invalid("has the parameter key without its cert; they go together"));
            }
        };
        Ok(Some(Self {
            ca: parameters.take("ca").map(Into::into),
            identity,
            server_name: parameters.take("server-name"),
        }))
    }

    pub(crate) fn into_tls(self) -> Tls {
        let mut tls = Tls::new();
        if let Some(path) = self.ca {
            tls = tls.with_ca(Material::file(path));
        }
        if let Some((certificate, key)) = self.identity {
            tls = tls.with_identity(Material::file(certificate), Material::file(key));
        }
        if let Some(name) = self.server_name {
            tls = tls.with_server_name(name);
        }
        tls
    }
}

/// A whole number with its unit.
pub(crate) fn duration(parameters: &mut Parameters<'_>, name: &str) -> Result<Option<Duration>> {
    const MAX: Duration = Duration::from_secs(3600);
    let Some(text) = parameters.take(name) else { return Ok(None) };
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let taken = milliseconds.and_then(|unit| number(digits)?.checked_mul(unit)).map(Duration::from_millis);
    match taken.filter(|taken| (Duration::from_millis(1)..=MAX).contains(taken)) {
        Some(taken) => Ok(Some(taken)),
        None => {
            Err(invalid(format!("has a {name} that is no duration from 1ms to 60m, such as 500ms, 2s or 1m")))
        }
    }
}

/// A whole number of `what`, within bounds.
pub(crate) fn count(
    parameters: &mut Parameters<'_>,
    name: &str,
    what: &str,
    bounds: RangeInclusive<u32>,
) -> Result<Option<u32>> {
    let Some(text) = parameters.take(name) else { return Ok(None) };
    let count = number(&text).and_then(|count| u32::try_from(count).ok());
    match count.filter(|count| bounds.contains(count)) {
        Some(count) => Ok(Some(count)),
        None => {
            let (least, most) = (bounds.start(), bounds.end());
            let bounds = match (*least, *most) {
                (least, u32::MAX) => format!("{least} or more"),
                (least, most) => format!("from {least} to {most}"),
            };
            Err(invalid(format!("has a {name} that is no number of {what}, {bounds}")))
        }
    }
}
