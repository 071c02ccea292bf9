//! The stamp: the pod annotation that records what was injected, and for which session.

use serde::{Deserialize, Serialize};

use crate::source::Source;

/// Value of the annotation [`crate::names::STAMP_ANNOTATION`], as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    #[serde(flatten)]
    pub source: Source,
    /// `metadata.generation` of the session at the time of injection.
    pub generation: i64,
    /// `metadata.uid` of the session.
    pub session_uid: String,
    /// Image of the init container.
    pub image: String,
}

impl Stamp {
    /// Serializes to the annotation's value.
    ///
    /// # Errors
    /// None in practice: strings and an integer always serialize.
    pub fn to_annotation(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Parses the annotation's value.
    ///
    /// # Errors
    /// The serde error for any other text.
    pub fn from_annotation(value: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_is_flat_camel_case_json_and_reads_back() {
        let stamp = Stamp {
            source: Source::new("https://h/o/r.git", "", "a/b"),
            generation: 3,
            session_uid: "u-1".into(),
            image: "i:1".into(),
        };
        let value = stamp.to_annotation().unwrap();
        assert_eq!(
            value,
            r#"{"gitUrl":"https://h/o/r.git","branch":"main","path":"a/b","generation":3,"sessionUid":"u-1","image":"i:1"}"#
        );
        assert_eq!(Stamp::from_annotation(&value).unwrap(), stamp);
        assert!(Stamp::from_annotation("{}").is_err());
    }
}
