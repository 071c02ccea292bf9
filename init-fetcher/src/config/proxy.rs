//! Which proxy a request goes through: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, lower case too.
//!
//! The HTTP library reads these variables itself, but from the process environment and with a narrower
//! idea of `NO_PROXY` (no sub-domains, no CIDR blocks) than the programs that people know.

use std::net::IpAddr;

use workflow_contract::Scheme;

/// A proxy variable that is not the URL of a proxy. The value is not shown: it may contain a password.
#[derive(Debug, thiserror::Error)]
#[error("{name}: it is not the URL of a proxy; write it like http://proxy.example.com:3128")]
pub struct ProxyError {
    name: &'static str,
}

/// The proxies that apply to this run.
#[derive(Clone, Default)]
pub struct Proxies {
    https: Option<ureq::Proxy>,
    http: Option<ureq::Proxy>,
    exceptions: Vec<String>,
}

impl Proxies {
    /// Reads the variables.
    ///
    /// # Errors
    /// [`ProxyError`] where a proxy is not a URL. Its value is not shown: it may hold a password.
    pub fn read(var: &dyn Fn(&str) -> Option<String>) -> Result<Self, ProxyError> {
        let either = |lower: &'static str, upper: &'static str| {
            var(lower).map(|value| (lower, value)).or_else(|| var(upper).map(|value| (upper, value)))
        };
        let proxy =
            |lower, upper| either(lower, upper).map(|(name, value)| parse(name, value.trim())).transpose();
        let no_proxy = either("no_proxy", "NO_PROXY").map(|(_, value)| value).unwrap_or_default();
        Ok(Self {
            https: proxy("https_proxy", "HTTPS_PROXY")?,
            http: proxy("http_proxy", "HTTP_PROXY")?,
            exceptions: no_proxy
                .split([',', ' '])
                .map(|item| item.trim().to_ascii_lowercase())
                .filter(|item| !item.is_empty())
                .collect(),
        })
    }

    /// The proxy for requests to this host, if any. `host` is as in a URL: IPv6 in brackets.
    pub fn of(&self, scheme: Scheme, host: &str, port: u16) -> Option<ureq::Proxy> {
        let proxy = match scheme {
            Scheme::Https => self.https.as_ref(),
            Scheme::Http => self.http.as_ref(),
            Scheme::Ssh => None,
        }?;
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        let excepted = self.exceptions.iter().any(|item| excepts(item, &host, port));
        (!excepted).then(|| proxy.clone())
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

fn parse(name: &'static str, value: &str) -> Result<ureq::Proxy, ProxyError> {
    let bad = || ProxyError { name };
    let proxy = ureq::Proxy::new(value).map_err(|_| bad())?;
    let http = matches!(proxy.protocol(), ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https);
    if http { Ok(proxy) } else { Err(bad()) }
}

/// Whether an item of `NO_PROXY` covers a host: `*`, a name and all below it (with or without a
/// leading `.` or `*.`), an address, a CIDR block; a port may follow.
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
    fn each_scheme_has_its_own_proxy_and_lower_case_wins() {
        let vars = [
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://user:pass@lower:2"),
            ("NO_PROXY", "direct"),
        ];
        let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let proxies = Proxies::read(&var).unwrap();
        assert_eq!(proxies.of(Scheme::Https, "h", 443).unwrap().host(), "lower");
        assert!(proxies.of(Scheme::Http, "h", 80).is_none());
        assert!(proxies.of(Scheme::Https, "direct", 443).is_none());
        assert!(!format!("{proxies:?}").contains("pass"));
    }

    #[test]
    fn a_malformed_proxy_is_refused_without_showing_it() {
        let var = |name: &str| (name == "HTTPS_PROXY").then(|| "socks9://u:s3cret@h".to_owned());
        let error = Proxies::read(&var).unwrap_err().to_string();
        assert!(error.starts_with("HTTPS_PROXY: ") && !error.contains("s3cret"), "{error}");
    }
}
