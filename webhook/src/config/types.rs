//! Values of config.yaml, checked while they are decoded, so that an error carries its line.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};
use serde_saphyr::Spanned;
use url::Url;
use workflow_contract::policy::{self, HostPattern};
use workflow_contract::{LogFormat, Scheme, Submodules, UnsafeLinks, limits, text};

use super::Proxy;
use crate::session::is_object_name;

/// A scalar or a list of scalars, in which `{name: X}` counts as `X`; a list is joined with commas.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number or a list of strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.trim().to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Text, E> {
        Ok(Text(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Text, A::Error> {
        let mut items = Vec::new();
        while let Some(Text(item)) = list.next_element()? {
            items.push(item);
        }
        Ok(Text(items.join(",")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        let (mut name, mut members) = (Text(String::new()), 0);
        while let Some(key) = map.next_key::<String>()? {
            if key != "name" {
                return Err(A::Error::unknown_field(&key, &["name"]));
            }
            (name, members) = (map.next_value()?, members + 1);
        }
        if members == 1 { Ok(name) } else { Err(A::Error::missing_field("name")) }
    }
}

fn checked<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let Text(text) = Text::deserialize(deserializer)?;
    read(&text).map_err(D::Error::custom)
}

/// An image reference: not empty, without white space.
pub(super) fn image<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |image| {
        let unusable = image.is_empty() || image.contains(char::is_whitespace);
        if unusable {
            Err(format!("`{}` is not an image name", text::sanitize(image)))
        } else {
            Ok(image.into())
        }
    })
}

/// One of Kubernetes' pull policies.
pub(super) fn pull_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |policy| match policy {
        "" => Ok(None),
        "Always" | "IfNotPresent" | "Never" => Ok(Some(policy.to_owned())),
        other => Err(format!("`{}` is none of Always, IfNotPresent, Never", text::sanitize(other))),
    })
}

pub(super) fn secret_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    checked(deserializer, |list| {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(secret_name_of).collect()
    })
}

/// The name of a Secret; empty means none.
pub(super) fn secret_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |name| if name.is_empty() { Ok(None) } else { secret_name_of(name).map(Some) })
}

fn secret_name_of(name: &str) -> Result<String, String> {
    if is_object_name(name) {
        Ok(name.to_owned())
    } else {
        Err(format!("`{}` is not a valid Secret name", text::sanitize(name)))
    }
}

/// A duration such as `90s`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |text| {
        limits::parse_duration(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
    })
}

/// A number of bytes such as `512Mi`.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |text| {
        limits::parse_bytes(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
    })
}

/// A whole number above zero.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |text| {
        limits::parse_count(text).map(|count| count.to_string()).map_err(|error| error.to_string())
    })
}

/// Exact host names and `*.suffix` patterns.
pub(super) fn host_patterns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<HostPattern>, D::Error> {
    checked(deserializer, |list| policy::parse_hosts(list).map_err(|error| error.to_string()))
}

/// A host that cannot exist (RFC 2606).
const NO_HOST: &str = "none.invalid";

/// Exact host names, joined with commas. An empty list becomes [`NO_HOST`], because init-fetcher reads an
/// empty value as its default.
pub(super) fn exact_hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |list| {
        let hosts = policy::parse_exact_hosts(list).map_err(|error| error.to_string())?;
        Ok(if hosts.is_empty() { NO_HOST.to_owned() } else { hosts.join(",") })
    })
}

/// Schemes; at least one, because init-fetcher reads an empty value as its default.
pub(super) fn schemes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Scheme>, D::Error> {
    checked(deserializer, |list| {
        let schemes = policy::parse_schemes(list).map_err(|error| error.to_string())?;
        if schemes.is_empty() { Err("at least one scheme is needed".into()) } else { Ok(schemes) }
    })
}

/// `none` or `recursive`.
pub(super) fn submodules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Submodules, D::Error> {
    checked(deserializer, |word| {
        Submodules::from_name(word)
            .ok_or_else(|| format!("`{}` is neither none nor recursive", text::sanitize(word)))
    })
}

/// `skip` or `refuse`.
pub(super) fn unsafe_links<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnsafeLinks, D::Error> {
    checked(deserializer, |word| {
        UnsafeLinks::from_name(word)
            .ok_or_else(|| format!("`{}` is neither skip nor refuse", text::sanitize(word)))
    })
}

/// `text` or `json`.
pub(super) fn log_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogFormat, D::Error> {
    checked(deserializer, |word| {
        LogFormat::from_name(word)
            .ok_or_else(|| format!("`{}` is neither text nor json", text::sanitize(word)))
    })
}

/// A proxy's URL; empty means none. Errors do not show the value, which may contain a password.
pub(super) fn proxy_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |url| if url.is_empty() { Ok(None) } else { proxy_url_of(url).map(Some) })
}

fn proxy_url_of(url: &str) -> Result<String, String> {
    let unusable = |why: &str| Err(format!("the proxy's URL cannot be used: {why}"));
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return unusable("it contains white space");
    }
    // Without a scheme it is an http proxy, as for curl.
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    match Url::parse(&whole) {
        Err(error) => unusable(&error.to_string()),
        Ok(parsed) if !["http", "https", "socks5"].contains(&parsed.scheme()) => unusable(&format!(
            "its scheme is `{}`; use http, https or socks5",
            text::sanitize(parsed.scheme())
        )),
        Ok(parsed) if parsed.host_str().is_none_or(str::is_empty) => unusable("it has no host"),
        Ok(parsed) if parsed.port() == Some(0) => unusable("its port is 0"),
        Ok(_) => Ok(url.to_owned()),
    }
}

/// Hosts for which no proxy is used; empty means none.
pub(super) fn no_proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    checked(deserializer, |hosts| Ok((!hosts.is_empty()).then(|| hosts.to_owned())))
}

/// `proxy`, in which `null` counts as absent.
pub(super) fn proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Proxy, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `resources` merged over the defaults; a request above its limit would make every pod invalid.
pub(super) fn resources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let mut merged = super::default_resources();
    let given = Option::<Resources>::deserialize(deserializer)?.unwrap_or_default();
    for (kind, quantities) in [("requests", &given.requests), ("limits", &given.limits)] {
        for (name, quantity) in quantities {
            merged[kind][name] = json!(quantity.value.text);
        }
    }
    for (name, request) in merged["requests"].as_object().into_iter().flatten() {
        let Some(limit) = merged["limits"][name].as_str() else { continue };
        let request = request.as_str().unwrap_or_default();
        if nanos(request) > nanos(limit) {
            let place = given.requests.get(name).or_else(|| given.limits.get(name));
            let line = place.map_or(0, |quantity| quantity.referenced.line());
            return Err(D::Error::custom(format!(
                "line {line}: the request of {name} ({request}) exceeds its limit ({limit}); set both"
            )));
        }
    }
    Ok(merged)
}

#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Resources {
    requests: BTreeMap<String, Spanned<Quantity>>,
    limits: BTreeMap<String, Spanned<Quantity>>,
}

/// A Kubernetes quantity such as `500m` or `1.5Gi`.
struct Quantity {
    text: String,
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        checked(deserializer, |quantity| match nanos(quantity) {
            Some(_) => Ok(Self { text: quantity.to_owned() }),
            None => Err(format!("`{}` is not a quantity such as 500m or 512Mi", text::sanitize(quantity))),
        })
    }
}

/// The value of a quantity in billionths.
fn nanos(quantity: &str) -> Option<i128> {
    let number = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: i128 = match &quantity[number.len()..] {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        suffix => {
            let power = |base: i128, of: &str| Some(base.pow(u32::try_from("kMGTPE".find(of)?).ok()? + 1));
            let units = match suffix {
                "" => 1,
                "Ki" => 1 << 10,
                "k" | "M" | "G" | "T" | "P" | "E" => power(1000, suffix)?,
                "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => power(1024, &suffix[..1])?,
                _ => return None,
            };
            units * 1_000_000_000
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) || fraction.len() > 18 {
        return None;
    }
    let value = digits.parse::<i128>().ok()?.checked_mul(factor)?;
    Some(value / 10_i128.pow(u32::try_from(fraction.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_compare_by_value() {
        for (one, other) in
            [("1", "1000m"), ("1.5Gi", "1536Mi"), ("1k", "1000"), ("0.5", "500m"), ("1000000n", "1m")]
        {
            assert_eq!(nanos(one), nanos(other), "{one} {other}");
        }
        assert!(nanos("1Gi") > nanos("1G") && nanos("1E") < nanos("1Ei"));
        for wrong in ["", ".", "x", "1.2.3", "-1", "1e", "1Q", "99999999999999999999999999999999999999E"] {
            assert_eq!(nanos(wrong), None, "{wrong}");
        }
    }
}
