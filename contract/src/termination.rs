//! The termination message of init-fetcher: a line for people and a line of JSON for the status controller.
//!
//! The kubelet keeps at most 4096 bytes. The platform shows the whole message as "Init container init-workflow failed (exit N): …".

use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::source::Source;
use crate::text;

/// Maximum length of a termination message, in bytes; the kubelet truncates longer ones.
pub const MAX_MESSAGE: usize = 4096;

/// Format version of the second line.
pub const VERSION: u32 = 1;

/// The second line; absent values are omitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    pub v: u32,
    pub reason: Exit,
    /// Repository URL without userinfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Requested branch, tag or commit.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Directory inside the repository, absent for the whole of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Delivered commit: 40 or 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Verified signer and key, if a signature was demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// Files written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Bytes written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Wall-clock time of the run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}

impl Details {
    #[must_use]
    pub fn new(reason: Exit) -> Self {
        Self {
            v: VERSION,
            reason,
            url: None,
            reference: None,
            path: None,
            commit: None,
            signer: None,
            files: None,
            bytes: None,
            ms: None,
            attempts: None,
        }
    }

    /// Returns the source, if the line names it.
    #[must_use]
    pub fn source(&self) -> Option<Source> {
        let path = self.path.as_deref().unwrap_or_default();
        Some(Source::new(self.url.as_deref()?, self.reference.as_deref()?, path))
    }
}

/// A parsed or composed termination message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// Line 1, for people: the result, and on failure the remedy.
    pub message: String,
    /// Line 2; absent in messages that init-fetcher did not write.
    pub details: Option<Details>,
}

impl Termination {
    /// Formats the message in at most [`MAX_MESSAGE`] bytes. Line 1 is truncated where needed, never the JSON.
    #[must_use]
    pub fn render(&self) -> String {
        let details = self.details.as_ref().and_then(|details| serde_json::to_string(details).ok());
        let available = MAX_MESSAGE - 1;
        let details = details.filter(|json| json.len() < available);
        let message = text::one_line(&self.message);
        match details {
            Some(json) => format!("{}\n{json}", text::cut(&message, available - json.len())),
            None => text::cut(&message, MAX_MESSAGE),
        }
    }

    /// Parses a message. Text without our second line, such as the end of a log, becomes line 1 as a whole.
    #[must_use]
    pub fn parse(message: &str) -> Self {
        let message = message.trim_end();
        let split = message.rsplit_once('\n').and_then(|(message, json)| {
            let details = serde_json::from_str(json).ok()?;
            Some((message, details))
        });
        match split {
            Some((message, details)) => {
                Self { message: text::one_line(message.trim_end()), details: Some(details) }
            }
            None => Self { message: text::one_line(message), details: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn details() -> Details {
        Details {
            url: Some("https://h/o/r.git".into()),
            reference: Some("main".into()),
            path: Some("a".into()),
            commit: Some("0".repeat(40)),
            files: Some(2),
            bytes: Some(10),
            ms: Some(120),
            attempts: Some(1),
            ..Details::new(Exit::Reconciled)
        }
    }

    #[test]
    fn formats_the_documented_json() {
        let message = Termination { message: "delivered".into(), details: Some(details()) }.render();
        let json = format!(
            r#"{{"v":1,"reason":"Reconciled","url":"https://h/o/r.git","ref":"main","path":"a","commit":"{}","files":2,"bytes":10,"ms":120,"attempts":1}}"#,
            "0".repeat(40)
        );
        assert_eq!(message, format!("delivered\n{json}"));
    }

    #[test]
    fn omits_absent_values() {
        let details = Some(Details::new(Exit::InternalError));
        let message = Termination { message: "x".into(), details }.render();
        assert_eq!(message, "x\n{\"v\":1,\"reason\":\"InternalError\"}");
    }

    #[test]
    fn text_without_our_json_becomes_the_message() {
        let parsed = Termination::parse("panicked at x\nnote: y\n");
        assert_eq!(parsed, Termination { message: r"panicked at x\nnote: y".into(), details: None });
    }

    #[test]
    fn details_lead_back_to_the_source() {
        assert_eq!(details().source(), Some(Source::new("https://h/o/r.git", "main", "a")));
        assert_eq!(Details::new(Exit::Timeout).source(), None);
    }

    proptest! {
        #[test]
        fn a_message_fits_keeps_its_json_and_reads_back(message in "(?s).{0,6000}", url in "[^\\x00-\\x1f]{0,500}") {
            let details = Details { url: Some(url), ..details() };
            let message = Termination { message: message.clone(), details: Some(details.clone()) }.render();
            prop_assert!(message.len() <= MAX_MESSAGE);
            prop_assert_eq!(message.matches('\n').count(), 1);
            let parsed = Termination::parse(&message);
            prop_assert_eq!(parsed.details, Some(details));
            let shown = text::one_line(&message);
            prop_assert!(shown.starts_with(parsed.message.trim_end_matches('…').trim_end()));
        }
    }
}
