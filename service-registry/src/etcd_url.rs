//! What an `etcd://` or `etcds://` URL asks for: parsed, nothing opened, no file read.

use std::time::Duration;

use registry_core::Result;
use registry_etcd::{EtcdOptions, Layout};

use crate::url::{Parts, Secret, invalid};
use crate::values::{Password, TlsFiles, count, duration};

const PORT: u16 = 2379;

/// The names of the parameters, as the documentation of [`connect`](crate::connect) lists them.
const PARAMETERS: [&str; 11] = [
    "layout",
    "password-file",
    "ca",
    "cert",
    "key",
    "server-name",
    "connect-timeout",
    "request-timeout",
    "hedge-after",
    "probe-interval",
    "page",
];

/// An etcd, as a URL names it. What is `None` is as [`EtcdOptions`] has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EtcdUrl {
    endpoints: Vec<String>,
    layout: Layout,
    prefix: Option<String>,
    user: Option<(String, Password)>,
    tls: Option<TlsFiles>,
    connect_timeout: Option<Duration>,
    request_timeout: Option<Duration>,
    hedge_after: Option<Duration>,
    probe_interval: Option<Duration>,
    page: Option<u32>,
}

impl EtcdUrl {
    /// `rest` is all after `etcd://` or, with `tls`, `etcds://`.
    pub(crate) fn parse(rest: &str, tls: bool) -> Result<Self> {
        let Parts { user, password, hosts, path, mut parameters } = Parts::parse(rest, PORT, &PARAMETERS)?;
        let used = if tls { "etcds" } else { "etcd" };
        let files = TlsFiles::take(&mut parameters, used, "etcd", "etcds")?;
        let layout = match parameters.take("layout").as_deref() {
            None | Some("json") => Layout::Json,
            Some("go-zero") => Layout::GoZero,
            Some(_) => return Err(invalid("has an unknown layout; there are json and go-zero")),
        };
        let scheme = if tls { "https" } else { "http" };
        Ok(Self {
            endpoints: hosts.iter().map(|host| format!("{scheme}://{host}")).collect(),
            layout,
            prefix: prefix(&path, layout),
            user: login(user, password, parameters.take("password-file"))?,
            tls: files,
            connect_timeout: duration(&mut parameters, "connect-timeout")?,
            request_timeout: duration(&mut parameters, "request-timeout")?,
            hedge_after: duration(&mut parameters, "hedge-after")?,
            probe_interval: duration(&mut parameters, "probe-interval")?,
            page: count(&mut parameters, "page", "keys", 1..=u32::MAX)?,
        })
    }

    pub(crate) fn into_options(self) -> EtcdOptions {
        let mut options = EtcdOptions::new(self.endpoints).with_layout(self.layout);
        if let Some(prefix) = self.prefix {
            options = options.with_prefix(prefix);
        }
        if let Some((user, password)) = self.user {
            options = options.with_user(user, password.into_material());
        }
        if let Some(tls) = self.tls {
            options = options.with_tls(tls.into_tls());
        }
        options.connect_timeout = self.connect_timeout.unwrap_or(options.connect_timeout);
        options.request_timeout = self.request_timeout.unwrap_or(options.request_timeout);
        options.hedge_after = self.hedge_after.unwrap_or(options.hedge_after);
        options.probe_interval = self.probe_interval.unwrap_or(options.probe_interval);
        options.page = self.page.and_then(|page| usize::try_from(page).ok()).unwrap_or(options.page);
        options
    }
}

/// The keys of our own layout begin with a slash, those of go-zero do not.
fn prefix(path: &str, layout: Layout) -> Option<String> {
    let path = path.trim_end_matches('/');
    let prefix = if layout == Layout::GoZero { path.strip_prefix('/').unwrap_or(path) } else { path };
    (!prefix.is_empty()).then(|| prefix.to_owned())
}

fn login(
    user: Option<String>,
    password: Option<Secret>,
    file: Option<String>,
) -> Result<Option<(String, Password)>> {
    match (user, Password::of(password, file)?) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => Ok(Some((user, password))),
        (Some(_), None) => Err(invalid(
            "has a user without a password; it is written user:password@, or in a file: password-file=PATH",
        )),
        (None, Some(_)) => {
            Err(invalid("has a password without a user; the user is written before the hosts: user@"))
        }
    }
}

#[cfg(test)]
mod tests {
    use registry_core::{Material, Tls};

    use super::*;

    fn bare(endpoints: &[&str]) -> EtcdUrl {
        EtcdUrl {
            endpoints: endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect(),
            layout: Layout::Json,
            prefix: None,
            user: None,
            tls: None,
            connect_timeout: None,
            request_timeout: None,
            hedge_after: None,
            probe_interval: None,
            page: None,
        }
    }

    fn parse(url: &str) -> Result<EtcdUrl> {
        let (scheme, rest) = url.split_once("://").unwrap();
        EtcdUrl::parse(rest, scheme == "etcds")
    }

    #[test]
    fn every_part_of_a_url_arrives() {
        let one = || bare(&["http://h:2379"]);
        let secure = |tls| EtcdUrl { tls: Some(tls), ..bare(&["https://h:2379"]) };
        let given = |password: &str| Password::Given(Secret(password.into()));
        let ms = |milliseconds| Some(Duration::from_millis(milliseconds));
        for (url, expected) in [
            ("etcd://h", one()),
            ("etcd://h/", one()),
            ("etcd://h:1,[::1]", bare(&["http://h:1", "http://[::1]:2379"])),
            ("etcd://h?layout=json", one()),
            ("etcd://h/team/a/", EtcdUrl { prefix: Some("/team/a".into()), ..one() }),
            ("etcd://h?layout=go-zero", EtcdUrl { layout: Layout::GoZero, ..one() }),
            (
                "etcd://h/team%2Fa?layout=go-zero",
                EtcdUrl { layout: Layout::GoZero, prefix: Some("team/a".into()), ..one() },
            ),
            ("etcd://root:p%40ss@h", EtcdUrl { user: Some(("root".into(), given("p@ss"))), ..one() }),
            (
                "etcd://root@h?password-file=/run/secrets/a%20b",
                EtcdUrl { user: Some(("root".into(), Password::File("/run/secrets/a b".into()))), ..one() },
            ),
            (
                "etcd://h?connect-timeout=250ms&request-timeout=60m&hedge-after=1ms&probe-interval=2s&page=50",
                EtcdUrl {
                    connect_timeout: ms(250),
                    request_timeout: ms(3_600_000),
                    hedge_after: ms(1),
                    probe_interval: ms(2_000),
                    page: Some(50),
                    ..one()
                },
            ),
            ("etcds://h", secure(TlsFiles::default())),
            (
                "etcds://h?ca=ca.pem&key=/k&cert=/c&server-name=etcd.internal",
                secure(TlsFiles {
                    ca: Some("ca.pem".into()),
                    identity: Some(("/c".into(), "/k".into())),
                    server_name: Some("etcd.internal".into()),
                }),
            ),
        ] {
            assert_eq!(parse(url).unwrap(), expected, "{url}");
        }
    }

    /// All but the seed, which is drawn.
    fn printed(options: &EtcdOptions) -> String {
        let text = format!("{options:?}");
        text.split_once(", resume").unwrap().0.to_owned()
    }

    #[test]
    fn what_a_url_leaves_out_is_as_in_the_options_of_the_backend() {
        let options = |url| printed(&parse(url).unwrap().into_options());
        let default = EtcdOptions::new(["http://h:2379"]);
        assert_eq!(options("etcd://h"), printed(&default));
        let secure = EtcdOptions::new(["https://h:2379"]).with_tls(Tls::new());
        assert_eq!(options("etcds://h"), printed(&secure));
        let go_zero = default.with_layout(Layout::GoZero);
        assert_eq!(options("etcd://h?layout=go-zero"), printed(&go_zero));
    }

    #[test]
    fn what_a_url_says_reaches_the_options_of_the_backend() {
        let url = "etcds://u:p@h/team?ca=/ca&cert=/c&key=/k&server-name=n&page=2\
             &connect-timeout=1ms&request-timeout=2ms&hedge-after=3ms&probe-interval=4ms";
        let tls = Tls::new()
            .with_ca(Material::file("/ca"))
            .with_identity(Material::file("/c"), Material::file("/k"))
            .with_server_name("n");
        let expected = EtcdOptions::new(["https://h:2379"])
            .with_prefix("/team")
            .with_user("u", "p")
            .with_tls(tls)
            .with_page(2)
            .with_connect_timeout(Duration::from_millis(1))
            .with_request_timeout(Duration::from_millis(2))
            .with_hedge_after(Duration::from_millis(3))
            .with_probe_interval(Duration::from_millis(4));
        assert_eq!(printed(&parse(url).unwrap().into_options()), printed(&expected));
        let file = parse("etcd://u@h?password-file=/p").unwrap().into_options();
        assert!(format!("{file:?}").contains("Material(/p)"), "{file:?}");
    }

    #[test]
    fn what_does_not_fit_together_is_said_and_no_value_is_repeated() {
        for (url, why) in [
            ("etcd://", "no host"),
            ("etcd://h?layout=secret", "json and go-zero"),
            ("etcd://h?leyout=json", "unknown parameter \"leyout\"; there are layout, password-file"),
            ("etcd://u@h", "user:password@, or in a file"),
            ("etcd://:secret@h", "password without a user"),
            ("etcd://h?password-file=/secret", "password without a user"),
            ("etcd://u:secret@h?password-file=/p", "one of them is enough"),
            ("etcd://h?ca=/secret", "ca, which needs TLS: etcds://"),
            ("etcd://h?cert=/secret&key=/k", "cert, which needs TLS"),
            ("etcd://h?server-name=secret", "server-name, which needs TLS"),
            ("etcds://h?cert=/secret", "cert without its key"),
            ("etcds://h?key=/secret", "key without its cert"),
            ("etcd://h?page=0", "1 or more"),
            ("etcd://h?page=-1", "1 or more"),
            ("etcd://h?page=99999999999999999999", "1 or more"),
            ("etcd://h?connect-timeout=0ms", "connect-timeout that is no duration from 1ms to 60m"),
            ("etcd://h?request-timeout=5", "such as 500ms, 2s or 1m"),
            ("etcd://h?hedge-after=1.5s", "hedge-after that is no duration"),
            ("etcd://h?probe-interval=1h", "probe-interval that is no duration"),
            ("etcd://h?probe-interval=s", "no duration"),
            ("etcd://h?probe-interval=+1s", "no duration"),
            ("etcd://h?probe-interval=61m", "no duration"),
            ("etcd://h?probe-interval=99999999999999999999m", "no duration"),
            ("etcd://h?probe-interval=999999999999999999m", "no duration"),
        ] {
            let error = parse(url).err().unwrap_or_else(|| panic!("{url} must be refused"));
            assert_eq!(error.field(), Some("url"), "{url}");
            assert!(error.message().contains(why), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn a_parsed_url_does_not_print_its_password() {
        let url = parse("etcd://root:secret@h").unwrap();
        assert!(!format!("{url:?}").contains("secret"), "{url:?}");
        assert!(!format!("{:?}", url.into_options()).contains("secret"));
    }
}
