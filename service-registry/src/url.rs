//! The parts that the URLs of servers have in common: who, where, which path, which parameters. Pure.
//!
//! No error repeats any of it. Where a password with a bare `/` or `?` in it moves the borders between the parts, anything may be a piece of it.

use std::fmt;
use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;
use registry_core::{Error, Operation, Result};

/// What comes after `://`: `[user[:password]@]host[:port],…[/path][?name=value&…]`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    /// `host:port`, at least one; IPv6 in brackets.
    pub(crate) hosts: Vec<String>,
    /// All after the hosts, with the leading `/`; empty if there is none.
    pub(crate) path: String,
    pub(crate) parameters: Parameters<'a>,
}

/// Text that is not printed.
#[derive(PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The parameters, each name once; what is taken is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameters<'a>(Vec<(&'a str, String)>);

impl<'a> Parts<'a> {
    /// `known` are the names of all parameters there are.
    pub(crate) fn parse(rest: &'a str, default_port: u16, known: &[&str]) -> Result<Self> {
        let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if after.contains('@') {
            return Err(invalid(
                "has an '@' after its hosts; in a user or password '/', '?' and '#' are written %2F, %3F and %23, in a path or a parameter '@' is written %40",
            ));
        }
        if rest.contains('#') {
            return Err(invalid("has a '#', which is written %23"));
        }
        let (login, hosts) = match authority.split_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        if hosts.contains('@') {
            return Err(invalid(
                "has more than one '@' before its hosts; in a user or password it is written %40",
            ));
        }
        let (user, password) =
            match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
                Some((user, password)) => (user, password),
                None => ("", None),
            };
        let (path, query) = match after.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (after, None),
        };
        let password = password.map(|password| decode(password, "password")).transpose()?;
        if password.as_ref().is_some_and(String::is_empty) {
            return Err(invalid("has an empty password"));
        }
        if login.is_some() && user.is_empty() && password.is_none() {
            return Err(invalid("has an '@' and no user before it"));
        }
        Ok(Self {
            user: if user.is_empty() { None } else { Some(decode(user, "user")?) },
            password: password.map(Secret),
            hosts: hosts_of(hosts, default_port)?,
            path: decode(path, "path")?,
            parameters: Parameters::parse(query, known)?,
        })
    }
}

fn hosts_of(text: &str, default_port: u16) -> Result<Vec<String>> {
    if text.is_empty() {
        return Err(invalid(format!("has no host; after :// comes one, such as 127.0.0.1:{default_port}")));
    }
    let number_of =
        |(at, text)| host(text, default_port).map_err(|why| invalid(format!("{why} (host {})", at + 1)));
    text.split(',').enumerate().map(number_of).collect()
}

/// `host:port` of a host with or without a port.
fn host(text: &str, default_port: u16) -> Result<String, &'static str> {
    if text.is_empty() {
        return Err("has an empty host; there is one before, between and after commas");
    }
    let (name, port) = if let Some(text) = text.strip_prefix('[') {
        let (address, port) = text.split_once(']').ok_or("has a '[' without its ']'")?;
        address.parse::<Ipv6Addr>().map_err(|_| "has something else than an IPv6 address in brackets")?;
        if !port.is_empty() && !port.starts_with(':') {
            return Err("has something else than :port after an IPv6 address");
        }
        (format!("[{address}]"), port.strip_prefix(':'))
    } else {
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        if port.is_some_and(|port| port.contains(':')) {
            return Err("has a host with several ':'; an IPv6 address is written in brackets, as [::1]:port");
        }
        if name.is_empty() {
            return Err("has a port without a host");
        }
        if name.len() > 253 || !name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) {
            return Err("has a host with a character that no host has");
        }
        (name.to_owned(), port)
    };
    let port = match port {
        None => default_port,
        Some(digits) => number(digits)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0)
            .ok_or("has a port that is no number from 1 to 65535")?,
    };
    Ok(format!("{name}:{port}"))
}

impl<'a> Parameters<'a> {
    fn parse(query: Option<&'a str>, known: &[&str]) -> Result<Self> {
        let mut all: Vec<(&str, String)> = Vec::new();
        for part in query.into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let Some(name) = known.iter().find(|one| **one == name).map(|_| name) else {
                // Not even a name is repeated that no parameter could have: it may be a value in the wrong place.
                let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
                let what = if plain {
                    format!("the unknown parameter {name:?}")
                } else {
                    "a parameter without a known name".into()
                };
                return Err(invalid(format!("has {what}; there are {}", known.join(", "))));
            };
            if value.is_empty() {
                return Err(invalid(format!(
                    "has the parameter {name} without a value; it is written {name}=VALUE"
                )));
            }
            if all.iter().any(|(other, _)| *other == name) {
                return Err(invalid(format!("has the parameter {name} more than once")));
            }
            all.push((name, decode(value, name)?));
        }
        Ok(Self(all))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| *other == name)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| *other == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// A number of digits alone: no sign, no spaces.
pub(crate) fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn decode(text: &str, what: &str) -> Result<String> {
    let hex = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_hexdigit());
    for (at, _) in text.match_indices('%') {
        let mut digits = text.bytes().skip(at + 1);
        if !hex(digits.next()) || !hex(digits.next()) {
            return Err(invalid(format!(
                "has a '%' without two hexadecimal digits after it in its {what}; '%' itself is written %25"
            )));
        }
    }
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| invalid(format!("has a {what} that is not UTF-8 when decoded")))?;
    if text.chars().any(char::is_control) {
        return Err(invalid(format!("has a control character in its {what}")));
    }
    Ok(text.into_owned())
}

pub(crate) fn invalid(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::invalid("url", reason).with_operation(Operation::Connect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<Parts<'_>> {
        Parts::parse(rest, 2379, &["ca", "server-name"])
    }

    #[test]
    fn hosts_are_told_apart_and_get_the_default_port() {
        for (text, hosts) in [
            ("localhost", &["localhost:2379"][..]),
            ("10.0.0.1:1", &["10.0.0.1:1"]),
            ("a_b-c.internal:65535,b", &["a_b-c.internal:65535", "b:2379"]),
            ("[::1],[2001:db8::7]:80", &["[::1]:2379", "[2001:db8::7]:80"]),
            ("h/", &["h:2379"]),
            ("h?ca=/x", &["h:2379"]),
            ("u:p,q@h,i:1/p", &["h:2379", "i:1"]),
        ] {
            assert_eq!(parse(text).unwrap().hosts, hosts, "{text}");
        }
    }

    #[test]
    fn users_passwords_and_paths_are_decoded() {
        for (text, user, password, path) in [
            ("h", None, None, ""),
            ("h/", None, None, "/"),
            ("h/a/b?ca=x", None, None, "/a/b"),
            ("root@h", Some("root"), None, ""),
            ("root:a:b@h", Some("root"), Some("a:b"), ""),
            (":secret@h", None, Some("secret"), ""),
            ("r%40x:%2F%3f%23%25+ü%C3%BC@h/%7Ea%20b", Some("r@x"), Some("/?#%+üü"), "/~a b"),
        ] {
            let parts = parse(text).unwrap();
            assert_eq!(parts.user.as_deref(), user, "{text}");
            assert_eq!(parts.password.as_ref().map(|secret| secret.0.as_str()), password, "{text}");
            assert_eq!(parts.path, path, "{text}");
            assert!(!format!("{parts:?}").contains("secret"), "{parts:?}");
        }
    }

    #[test]
    fn parameters_are_decoded_and_taken_once() {
        let mut parameters = parse("h?ca=/a%26b%3D%40+c=d&server-name=x").unwrap().parameters;
        assert!(parameters.has("ca"));
        assert_eq!(parameters.take("ca").as_deref(), Some("/a&b=@+c=d"));
        assert_eq!(parameters.take("ca"), None);
        assert_eq!(parameters.take("server-name").as_deref(), Some("x"));
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_of_it_is_repeated() {
        for (text, why) in [
            ("", "no host"),
            ("/prefix", "no host"),
            ("?ca=x", "no host"),
            ("u:secret@", "no host"),
            ("h,", "empty host; there is one before, between and after commas (host 2)"),
            (",h", "empty host"),
            ("h,,i", "(host 2)"),
            ("h:", "from 1 to 65535"),
            ("h:0", "from 1 to 65535"),
            ("h:65536", "from 1 to 65535"),
            ("h:+1", "from 1 to 65535"),
            ("h:secret", "from 1 to 65535"),
            (":2379", "port without a host"),
            ("::1", "written in brackets"),
            ("[::1", "without its ']'"),
            ("[secret]", "IPv6 address in brackets"),
            ("[::1]2379", ":port after an IPv6 address"),
            ("[::1]:", "from 1 to 65535"),
            ("se cret", "that no host has"),
            ("h%2Ex", "that no host has"),
            ("user:sec/ret@h", "'/', '?' and '#' are written %2F"),
            ("user:1?secret=1@h", "'/', '?' and '#' are written %2F"),
            ("user:1#secret@h", "'/', '?' and '#' are written %2F"),
            ("user:sec@ret@h", "more than one '@'"),
            ("@h", "no user before it"),
            ("u:@h", "empty password"),
            ("u:secret%@h", "'%' itself is written %25"),
            ("u:secret%4@h", "in its password"),
            ("u:secret%zz@h", "in its password"),
            ("u:secret%ff@h", "password that is not UTF-8"),
            ("u:secret%00@h", "control character in its password"),
            ("%0a@h", "control character in its user"),
            ("h/%ff", "path that is not UTF-8"),
            ("h#secret", "written %23"),
            ("h?", "without a known name; there are ca, server-name"),
            ("h?ca=x&", "without a known name"),
            ("h?Secret", "without a known name"),
            ("h?password=secret", "the unknown parameter \"password\"; there are ca, server-name"),
            ("h?ca", "ca=VALUE"),
            ("h?ca=", "ca=VALUE"),
            ("h?ca=secret&ca=x", "ca more than once"),
            ("h?ca=secret%", "in its ca"),
        ] {
            let error = parse(text).err().unwrap_or_else(|| panic!("{text} must be refused"));
            assert_eq!(error.field(), Some("url"), "{text}");
            assert!(error.message().contains(why), "{text}: {error}");
            assert!(!format!("{error} {error:?}").to_lowercase().contains("secret"), "{text}: {error}");
        }
    }
}
