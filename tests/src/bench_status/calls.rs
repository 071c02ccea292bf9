//! The injector's requests to the API server, read from its audit log.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

/// The audit log from one moment on.
pub struct Calls {
    log: PathBuf,
    from: u64,
}

impl Calls {
    /// Counts from now on.
    pub fn begin(log: PathBuf) -> anyhow::Result<Self> {
        let from = std::fs::metadata(&log).context("there is no audit log")?.len();
        Ok(Self { log, from })
    }

    /// The calls for sessions so far, by verb and resource. What goes on without them (the Lease, certificates, the
    /// registration, watches that are taken up again) is left out.
    pub fn for_sessions(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut log = std::fs::File::open(&self.log)?;
        log.seek(SeekFrom::Start(self.from))?;
        let mut calls = BTreeMap::new();
        for line in BufReader::new(log).lines() {
            if let Some(call) = call(&line?) {
                *calls.entry(call).or_default() += 1;
            }
        }
        Ok(calls)
    }
}

/// `VERB RESOURCE` of a line, if it is about a session. A line that is not whole yet is none.
fn call(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok()?;
    let (verb, object) = (event["verb"].as_str()?, &event["objectRef"]);
    let resource = object["resource"].as_str()?;
    let of_sessions = matches!(resource, "agenticsessions" | "pods" | "events");
    let subresource = object["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
    (of_sessions && !matches!(verb, "list" | "watch")).then(|| format!("{verb} {resource}{subresource}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_requests_for_sessions_without_watches() {
        let line = |verb: &str, object: &str| call(&format!(r#"{{"verb":"{verb}","objectRef":{object}}}"#));
        assert_eq!(
            line("update", r#"{"resource":"agenticsessions","subresource":"status"}"#).as_deref(),
            Some("update agenticsessions/status")
        );
        assert_eq!(line("create", r#"{"resource":"events"}"#).as_deref(), Some("create events"));
        assert_eq!(line("watch", r#"{"resource":"pods"}"#), None);
        assert_eq!(line("update", r#"{"resource":"leases"}"#), None);
        assert_eq!(call("{\"verb\":\"get"), None);
    }
}
