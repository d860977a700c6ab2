//! Where an etcd is and who we are to it, as go-zero says it: its `discov.EtcdConf`.

use std::borrow::Cow;

use registry_core::{Error, Result};

use super::keys::any_case;
use super::{Secret, given};
use crate::target::go_zero::{self, Key};
use crate::target::url::{encode, encode_path};
use crate::target::{RegistryUrl, Target};

/// go-zero's `Etcd: {Hosts, Key, ID, User, Pass, CertFile, CertKeyFile, CACertFile, InsecureSkipVerify}`: an etcd, and the key of a
/// service in it, in the layout of go-zero.
///
/// | field | means |
/// | --- | --- |
/// | `Hosts` | the members of the etcd, `host` or `host:port` each; with `http://` or `https://` in front as well |
/// | `Key` | the key of the service. After its last `/` comes the name of the service, before it what is shared with others |
/// | `User`, `Pass` | who we are; both or none |
/// | `CACertFile` | a PEM file with the certificate authorities to trust; with any of the files, or `https://`, TLS is spoken. go-zero wants all three |
/// | `CertFile`, `CertKeyFile` | PEM files with our certificate and its key; both or none |
/// | `ID` | no effect: in go-zero a server's own number in its key, instead of the lease's; here it is derived from lease and address, and clients of neither kind read it |
/// | `InsecureSkipVerify` | whether to trust every server: refused when true |
///
/// Another field, such as one that is misspelt, has no effect, and is told with those. A password is never printed.
#[derive(Clone, Debug, Default)]
pub struct EtcdConfig {
    hosts: Vec<String>,
    key: Option<String>,
    id: Option<i64>,
    user: Option<String>,
    pass: Option<Secret>,
    cert_file: Option<String>,
    cert_key_file: Option<String>,
    ca_cert_file: Option<String>,
    insecure_skip_verify: Option<bool>,
    others: Vec<String>,
}

any_case! { EtcdConfig {
    "Hosts" => hosts,
    "Key" => key,
    "ID" => id,
    "User" => user,
    "Pass" => pass,
    "CertFile" => cert_file,
    "CertKeyFile" => cert_key_file,
    "CACertFile" => ca_cert_file,
    "InsecureSkipVerify" => insecure_skip_verify,
    .. => others
} }

impl EtcdConfig {
    /// The service in its registry.
    ///
    /// # Errors
    /// [`InvalidInput`](registry_core::ErrorKind::InvalidInput), with the field, such as `Etcd.Hosts`, and the reason.
    pub fn target(&self) -> Result<Target> {
        if self.insecure_skip_verify == Some(true) {
            let reason = "is true, and a server that anybody may be is not spoken to: name its authority in CACertFile";
            return Err(Error::invalid("Etcd.InsecureSkipVerify", reason));
        }
        let (hosts, https) = self.hosts()?;
        let key = given(self.key.as_ref()).ok_or_else(|| Error::invalid("Etcd.Key", "is missing"))?;
        let Key { prefix, service } = Key::parse(key).map_err(|why| Error::invalid("Etcd.Key", why))?;
        let files = self.files()?;
        let tls = https || !files.is_empty();
        let parameters: Vec<String> =
            files.iter().map(|(name, path)| format!("{name}={}", encode_path(path))).collect();
        let url: RegistryUrl = go_zero::url(tls, &self.login()?, &hosts, prefix, &parameters.join("&"));
        Ok(Target::Registry { url, service })
    }

    /// Takes from `other` what is not given here, as go-zero does with an `Etcd` further up in the configuration.
    pub fn inherit(&mut self, other: &Self) {
        fn fill<T: Clone>(own: &mut Option<T>, other: &Option<T>) {
            if own.is_none() {
                own.clone_from(other);
            }
        }
        if self.hosts.is_empty() {
            self.hosts.clone_from(&other.hosts);
        }
        fill(&mut self.key, &other.key);
        fill(&mut self.id, &other.id);
        fill(&mut self.user, &other.user);
        fill(&mut self.pass, &other.pass);
        fill(&mut self.cert_file, &other.cert_file);
        fill(&mut self.cert_key_file, &other.cert_key_file);
        fill(&mut self.ca_cert_file, &other.ca_cert_file);
        fill(&mut self.insecure_skip_verify, &other.insecure_skip_verify);
    }

    /// Whether it says nothing of where the service is, as with `Etcd: {Hosts: [], Key: ""}`.
    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty() && given(self.key.as_ref()).is_none()
    }

    /// The number of one's own, where one is given.
    fn id(&self) -> Option<i64> {
        self.id.filter(|id| *id > 0)
    }

    /// What is given and has no effect, as seen from outside.
    pub(super) fn without_effect(&self) -> impl Iterator<Item = Cow<'static, str>> {
        let id = self.id().map(|_| "Etcd.ID".into());
        id.into_iter().chain(self.others.iter().map(|other| format!("Etcd.{other}").into()))
    }

    /// The hosts as a URL has them, and whether they want TLS.
    fn hosts(&self) -> Result<(String, bool)> {
        const FIELD: &str = "Etcd.Hosts";
        let (mut http, mut https) = (false, false);
        let bare = self.hosts.iter().flat_map(|hosts| hosts.split(',')).map(|host| {
            let host = host.trim().trim_end_matches('/');
            if let Some(host) = host.strip_prefix("https://") {
                https = true;
                host
            } else if let Some(host) = host.strip_prefix("http://") {
                http = true;
                host
            } else {
                host
            }
        });
        let hosts = go_zero::hosts(bare).map_err(|why| Error::invalid(FIELD, why))?;
        if http && https {
            return Err(Error::invalid(
                FIELD,
                "has http:// and https://; either all members have TLS, or none",
            ));
        }
        Ok((hosts, https))
    }

    fn login(&self) -> Result<String> {
        let pass = given(self.pass.as_ref().map(|Secret(pass)| pass));
        match (given(self.user.as_ref()), pass) {
            (None, None) => Ok(String::new()),
            (Some(user), Some(pass)) => Ok(format!("{}:{}@", encode(user), encode(pass))),
            (Some(_), None) => Err(Error::invalid("Etcd.Pass", "is missing, and there is a User")),
            (None, Some(_)) => Err(Error::invalid("Etcd.User", "is missing, and there is a Pass")),
        }
    }

    /// The parameters of a URL that name files.
    fn files(&self) -> Result<Vec<(&'static str, &str)>> {
        let mut files = Vec::new();
        if let Some(ca) = given(self.ca_cert_file.as_ref()) {
            files.push(("ca", ca));
        }
        match (given(self.cert_file.as_ref()), given(self.cert_key_file.as_ref())) {
            (None, None) => {}
            (Some(cert), Some(key)) => files.extend([("cert", cert), ("key", key)]),
            (Some(_), None) => {
                return Err(Error::invalid("Etcd.CertKeyFile", "is missing, and there is a CertFile"));
            }
            (None, Some(_)) => {
                return Err(Error::invalid("Etcd.CertFile", "is missing, and there is a CertKeyFile"));
            }
        }
        Ok(files)
    }
}
