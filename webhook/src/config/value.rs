//! Values of the config file, each checked where it is read, so that an error carries its line.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use workflow_contract::policy::{self, HostPattern};
use workflow_contract::{Scheme, limits, text};

/// How one kind of value is read from its text.
pub trait Kind {
    /// What comes of it.
    type Value;
    /// Reads and checks.
    ///
    /// # Errors
    /// A message about the value.
    fn read(text: &str) -> Result<Self::Value, String>;
}

/// A scalar or a list of scalars, read as the kind says; a list counts as its items with commas.
#[derive(Debug)]
pub struct Checked<K: Kind>(pub K::Value);

impl<'de, K: Kind> Deserialize<'de> for Checked<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CheckedVisitor(PhantomData::<K>))
    }
}

struct CheckedVisitor<K>(PhantomData<K>);

impl<'de, K: Kind> Visitor<'de> for CheckedVisitor<K> {
    type Value = Checked<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        K::read(text.trim()).map(Checked).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.visit_str(if value { "true" } else { "false" })
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        self.visit_str("")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items: Vec<String> = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        self.visit_str(&items.join(","))
    }
}

/// A text that may stand in a pod: no white space inside, not empty.
#[derive(Debug)]
pub struct Image;

impl Kind for Image {
    type Value = String;
    fn read(image: &str) -> Result<String, String> {
        if image.is_empty() || image.contains(char::is_whitespace) {
            return Err(format!("`{}` is not the name of an image", text::sanitize(image)));
        }
        Ok(image.to_owned())
    }
}

/// One of Kubernetes' pull policies.
#[derive(Debug)]
pub struct PullPolicy;

impl Kind for PullPolicy {
    type Value = String;
    fn read(policy: &str) -> Result<String, String> {
        match policy {
            "Always" | "IfNotPresent" | "Never" => Ok(policy.to_owned()),
            other => Err(format!("`{}` is none of Always, IfNotPresent, Never", text::sanitize(other))),
        }
    }
}

/// A duration such as `90s`.
#[derive(Debug)]
pub struct Duration;

impl Kind for Duration {
    type Value = String;
    fn read(text: &str) -> Result<String, String> {
        limits::parse_duration(text).map_err(|error| error.to_string())?;
        Ok(text.to_owned())
    }
}

/// A number of bytes such as `512Mi`.
#[derive(Debug)]
pub struct Bytes;

impl Kind for Bytes {
    type Value = String;
    fn read(text: &str) -> Result<String, String> {
        limits::parse_bytes(text).map_err(|error| error.to_string())?;
        Ok(text.to_owned())
    }
}

/// A whole number above zero.
#[derive(Debug)]
pub struct Count;

impl Kind for Count {
    type Value = String;
    fn read(text: &str) -> Result<String, String> {
        Ok(limits::parse_count(text).map_err(|error| error.to_string())?.to_string())
    }
}

/// Exact host names and `*.suffix` patterns.
#[derive(Debug)]
pub struct Hosts;

impl Kind for Hosts {
    type Value = Vec<HostPattern>;
    fn read(list: &str) -> Result<Self::Value, String> {
        policy::parse_hosts(list).map_err(|error| error.to_string())
    }
}

/// A host that can't exist (RFC 2606).
const NO_HOST: &str = "none.invalid";

/// Exact host names, kept with commas. An empty list means "no host", and is passed on as a host
/// that can't exist: to init-fetcher an empty value would mean its default.
#[derive(Debug)]
pub struct ExactHosts;

impl Kind for ExactHosts {
    type Value = String;
    fn read(list: &str) -> Result<String, String> {
        let hosts = policy::parse_exact_hosts(list).map_err(|error| error.to_string())?;
        Ok(if hosts.is_empty() { NO_HOST.to_owned() } else { hosts.join(",") })
    }
}

/// Schemes; at least one, because an empty list would mean the default to init-fetcher.
#[derive(Debug)]
pub struct Schemes;

impl Kind for Schemes {
    type Value = Vec<Scheme>;
    fn read(list: &str) -> Result<Self::Value, String> {
        let schemes = policy::parse_schemes(list).map_err(|error| error.to_string())?;
        if schemes.is_empty() { Err("at least one scheme is needed".into()) } else { Ok(schemes) }
    }
}

/// Name of a Secret; empty means none.
#[derive(Debug)]
pub struct SecretName;

impl Kind for SecretName {
    type Value = Option<String>;
    fn read(name: &str) -> Result<Self::Value, String> {
        if name.is_empty() {
            return Ok(None);
        }
        if !crate::session::is_object_name(name) {
            return Err(format!("`{}` can't be the name of a Secret", text::sanitize(name)));
        }
        Ok(Some(name.to_owned()))
    }
}

/// Any text; empty counts as absent.
#[derive(Debug)]
pub struct Text;

impl Kind for Text {
    type Value = Option<String>;
    fn read(text: &str) -> Result<Self::Value, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
}

/// `text` or `json`.
#[derive(Debug)]
pub struct LogFormat;

impl Kind for LogFormat {
    type Value = String;
    fn read(format: &str) -> Result<String, String> {
        match format {
            "text" | "json" => Ok(format.to_owned()),
            other => Err(format!("`{}` is neither text nor json", text::sanitize(other))),
        }
    }
}

/// A Kubernetes quantity such as `500m` or `1.5Gi`.
#[derive(Debug)]
pub struct Quantity;

impl Kind for Quantity {
    type Value = String;
    fn read(quantity: &str) -> Result<String, String> {
        const SUFFIXES: [&str; 14] =
            ["", "n", "u", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"];
        let number = quantity.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let digits = number.replacen('.', "", 1);
        let sound = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty();
        if sound && SUFFIXES.contains(&&quantity[number.len()..]) {
            Ok(quantity.to_owned())
        } else {
            Err(format!("`{}` is not a quantity such as 500m or 512Mi", text::sanitize(quantity)))
        }
    }
}
