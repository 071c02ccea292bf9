//! The scp-like form of an ssh address.

use super::{RepoUrl, Scheme, UrlError, UserInfo, is_user, names_on_disk, redacted};
use crate::secret::Secret;

const EXAMPLE: &str = "write it like https://host/owner/repository or git@host:owner/repository";

impl RepoUrl {
    /// Parses `user@host:path`, `user@[::1]:path`, `user@[host:port]:path` and `[user@host:port]:path`, as git does.
    pub(super) fn parse_scp(text: &str) -> Result<Self, UrlError> {
        Self::from_scp(text).map_err(|why| UrlError::Malformed { url: redacted(text), why })
    }

    fn from_scp(text: &str) -> Result<Self, &'static str> {
        let (user, address, path) = split(text).ok_or(EXAMPLE)?;
        if user.is_empty() || user.contains(['/', ':']) || !is_user(user) {
            return Err("the part before @ is not a user name");
        }
        let (host, port) = host_and_port(address)?;
        if path.starts_with('-') {
            return Err("its path must not start with `-`");
        }
        let (name, _) = names_on_disk(path)?;
        Ok(Self {
            scheme: Scheme::Ssh,
            host,
            port,
            path: path.to_owned(),
            remote_path: path.to_owned(),
            userinfo: Some(UserInfo { username: Secret::new(user), password: Secret::new("") }),
            shown: redacted(text),
            name,
            alias: None,
        })
    }
}

/// Host part of an scp-like address.
#[derive(Clone, Copy)]
enum Address<'a> {
    Plain(&'a str),
    Bracketed(&'a str),
}

/// Splits into user, address and path.
fn split(text: &str) -> Option<(&str, Address<'_>, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, path) = rest.split_once("]:")?;
        let (user, address) = inner.split_once('@')?;
        return Some((user, Address::Bracketed(address), path));
    }
    let (user, rest) = text.split_once('@')?;
    match rest.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").map(|(inner, path)| (user, Address::Bracketed(inner), path)),
        None => rest.split_once(':').map(|(host, path)| (user, Address::Plain(host), path)),
    }
}

fn host_and_port(address: Address<'_>) -> Result<(String, u16), &'static str> {
    let (host, port) = match address {
        Address::Plain(host) => (host.to_owned(), None),
        Address::Bracketed(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => {
            (format!("[{inner}]"), None)
        }
        Address::Bracketed(inner) => match inner.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (inner.to_owned(), None),
        },
    };
    let parsed = ::url::Host::parse(&host).ok().filter(|_| !host.starts_with('-'));
    let host = parsed.ok_or("the host is not valid")?.to_string().to_ascii_lowercase();
    let port = match port {
        None => Scheme::Ssh.default_port(),
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("the port is not valid")?,
    };
    Ok((host, port))
}
