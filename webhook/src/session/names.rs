//! The names in a map whose values are discarded.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Names of the author's own variables. The values may be secrets and are never kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Box<[Box<str>]>);

impl Names {
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|known| **known == *name)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Names;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names: Vec<Box<str>> = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            names.push(name);
        }
        Ok(Names(names.into()))
    }
}
