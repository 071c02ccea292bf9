//! Proxies of a run: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, lower case too.
//!
//! ssh uses the proxy for https. A value is parsed when a connection needs it, so that a malformed value of a proxy that
//! the run does not use is ignored. The HTTP library would read these variables itself, but with a narrower `NO_PROXY`
//! (no subdomains, no CIDR blocks).

use std::net::IpAddr;

use workflow_contract::{Scheme, Secret};

/// A proxy variable that cannot be used. The value is not shown: it may contain a password.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {why}")]
pub struct ProxyError {
    name: &'static str,
    why: &'static str,
}

const MALFORMED: &str = "it is not the URL of a proxy; write it like http://proxy.example.com:3128 or socks5://proxy.example.com:1080";
const TLS_FOR_SSH: &str = "ssh cannot use a proxy over TLS; use http:// or socks5://";

/// The protocol spoken with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    Http,
    Https,
    /// The proxy resolves names.
    Socks5,
}

/// User name and password for a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLogin {
    pub username: Secret,
    pub password: Secret,
}

/// A proxy's address. Its `Display` is host and port, without the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    pub protocol: ProxyProtocol,
    /// IPv6 in brackets.
    pub host: String,
    pub port: u16,
    pub login: Option<ProxyLogin>,
}

impl std::fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", workflow_contract::text::sanitize(&self.host), self.port)
    }
}

impl ProxyUrl {
    /// Parses a URL; without a scheme it is an http proxy, as for curl.
    fn parse(value: &str) -> Option<Self> {
        let whole = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url = url::Url::parse(&whole).ok()?;
        let (protocol, default_port) = match url.scheme() {
            "http" => (ProxyProtocol::Http, 80),
            "https" => (ProxyProtocol::Https, 443),
            "socks5" | "socks5h" => (ProxyProtocol::Socks5, 1080),
            _ => return None,
        };
        let host = url.host_str().filter(|host| !host.is_empty())?.to_owned();
        let port = url.port().unwrap_or(default_port);
        let decode = |text: &str| {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
            Secret::new(decoded.as_deref().unwrap_or(text))
        };
        let login = (!url.username().is_empty()).then(|| ProxyLogin {
            username: decode(url.username()),
            password: decode(url.password().unwrap_or_default()),
        });
        (port != 0).then_some(Self { protocol, host, port, login })
    }
}

/// The proxies that apply to this run.
#[derive(Clone, Default)]
pub struct Proxies {
    https: Option<Variable>,
    http: Option<Variable>,
    exceptions: Vec<String>,
}

#[derive(Clone)]
struct Variable {
    name: &'static str,
    value: Secret,
}

impl Proxies {
    /// Reads the variables; lower case takes precedence, as for curl.
    pub fn read(var: &dyn Fn(&str) -> Option<String>) -> Self {
        let either = |lower: &'static str, upper: &'static str| {
            let variable = |name| var(name).map(|value| Variable { name, value: Secret::trimmed(&value) });
            variable(lower).or_else(|| variable(upper))
        };
        let no_proxy = var("no_proxy").or_else(|| var("NO_PROXY")).unwrap_or_default();
        Self {
            https: either("https_proxy", "HTTPS_PROXY"),
            http: either("http_proxy", "HTTP_PROXY"),
            exceptions: no_proxy
                .split([',', ' '])
                .map(|item| item.trim().to_ascii_lowercase())
                .filter(|item| !item.is_empty())
                .collect(),
        }
    }

    /// Returns the proxy for connections to this host, IPv6 in brackets.
    ///
    /// # Errors
    /// [`ProxyError`] if the variable for it cannot be used.
    pub fn of(&self, scheme: Scheme, host: &str, port: u16) -> Result<Option<ProxyUrl>, ProxyError> {
        let variable = match scheme {
            Scheme::Https | Scheme::Ssh => self.https.as_ref(),
            Scheme::Http => self.http.as_ref(),
        };
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let excepted = self.exceptions.iter().any(|item| excepts(item, &host, port));
        let Some(Variable { name, value }) = variable.filter(|_| !excepted) else { return Ok(None) };
        let unusable = |why| ProxyError { name, why };
        let proxy = ProxyUrl::parse(value.expose()).ok_or_else(|| unusable(MALFORMED))?;
        if scheme == Scheme::Ssh && proxy.protocol == ProxyProtocol::Https {
            return Err(unusable(TLS_FOR_SSH));
        }
        Ok(Some(proxy))
    }
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("https", &self.https.is_some())
            .field("http", &self.http.is_some())
            .field("exceptions", &self.exceptions)
            .finish()
    }
}

/// Reports whether an item of `NO_PROXY` covers a host: `*`, a name and all below it (with or without a leading `.` or
/// `*.`), an address, a CIDR block; a port may follow.
fn excepts(item: &str, host: &str, port: u16) -> bool {
    if item == "*" {
        return true;
    }
    let address = host.parse::<IpAddr>().ok();
    if let (Some(address), Some((network, bits))) = (address, item.split_once('/')) {
        return in_block(address, network, bits);
    }
    let (name, wanted_port) = match item.rsplit_once(':') {
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => (name, digits.parse().ok()),
        _ => (item, None),
    };
    if wanted_port.is_some_and(|wanted: u16| wanted != port) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    let name = name.strip_prefix('*').unwrap_or(name);
    let below = name.strip_prefix('.').unwrap_or(name);
    let exact = host == below && !name.starts_with('.');
    exact || (address.is_none() && host.ends_with(below) && host[..host.len() - below.len()].ends_with('.'))
}

fn in_block(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (a.to_bits() ^ n.to_bits()) & mask == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (a.to_bits() ^ n.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_covers_names_addresses_and_blocks() {
        for (item, host, covered) in [
            ("*", "h", true),
            ("example.com", "example.com", true),
            ("example.com", "a.example.com", true),
            ("example.com", "badexample.com", false),
            (".example.com", "a.example.com", true),
            (".example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", true),
            ("h:8443", "h", true),
            ("h:8444", "h", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("2.3", "10.1.2.3", false),
            ("fd00::/8", "fd12::1", true),
            ("::1", "::1", true),
            ("[::1]:8443", "::1", true),
            ("svc.cluster.local", "b.ns.svc.cluster.local", true),
        ] {
            assert_eq!(excepts(item, host, 8443), covered, "{item} {host}");
        }
    }

    #[test]
    fn each_scheme_has_its_own_proxy_and_lower_case_takes_precedence() {
        let vars = [
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://user:s3cret@lower:2"),
            ("NO_PROXY", "direct"),
        ];
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let proxies = Proxies::read(&var);
        let proxy = proxies.of(Scheme::Https, "h", 443).unwrap().unwrap();
        assert_eq!((proxy.to_string().as_str(), proxy.protocol), ("lower:2", ProxyProtocol::Http));
        assert_eq!(
            proxies.of(Scheme::Ssh, "h", 22).unwrap(),
            Some(proxy.clone()),
            "ssh uses the proxy for https"
        );
        assert_eq!(proxies.of(Scheme::Http, "h", 80).unwrap(), None);
        assert_eq!(proxies.of(Scheme::Https, "direct", 443).unwrap(), None);
        assert!(!format!("{proxies:?} {proxy:?} {proxy}").contains("s3cret"));
    }

    #[test]
    fn parses_every_kind_of_proxy() {
        for (value, shown, protocol, login) in [
            ("http://p:3128", "p:3128", ProxyProtocol::Http, false),
            ("p:3128", "p:3128", ProxyProtocol::Http, false),
            ("http://p", "p:80", ProxyProtocol::Http, false),
            ("https://u:p%40@p", "p:443", ProxyProtocol::Https, true),
            ("socks5://u@[::1]", "[::1]:1080", ProxyProtocol::Socks5, true),
            ("socks5h://p:1", "p:1", ProxyProtocol::Socks5, false),
        ] {
            let proxy = ProxyUrl::parse(value).unwrap();
            assert_eq!((proxy.to_string().as_str(), proxy.protocol), (shown, protocol), "{value}");
            assert_eq!(proxy.login.is_some(), login, "{value}");
        }
        for value in ["socks9://h", "http://", "http://h:0", "http://h:x", "ftp://h"] {
            assert_eq!(ProxyUrl::parse(value), None, "{value}");
        }
    }

    #[test]
    fn rejects_a_malformed_proxy_only_where_it_is_used() {
        let var = |name: &str| match name {
            "HTTPS_PROXY" => Some("socks9://u:s3cret@h".to_owned()),
            "NO_PROXY" => Some("direct".to_owned()),
            _ => None,
        };
        let proxies = Proxies::read(&var);
        let error = proxies.of(Scheme::Https, "h", 443).unwrap_err().to_string();
        assert!(error.starts_with("HTTPS_PROXY: ") && !error.contains("s3cret"), "{error}");
        assert_eq!(proxies.of(Scheme::Http, "h", 80).unwrap(), None);
        assert_eq!(proxies.of(Scheme::Https, "direct", 443).unwrap(), None);
        let tls = Proxies::read(&|name| (name == "https_proxy").then(|| "https://p".to_owned()));
        assert!(tls.of(Scheme::Ssh, "h", 22).unwrap_err().to_string().contains("socks5://"));
        assert!(tls.of(Scheme::Https, "h", 443).is_ok());
    }
}
