//! Looks up a session: live, then in the informer's cache.
//!
//! Live first, because the operator creates the pod right after the session and an informer may be behind: with a stale
//! copy a runner would get an earlier workflow. The cache lets sessions start while the API server does not respond.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout_at};

use super::plan::{Lookup, Owner};
use crate::session::{AgenticSession, is_object_name};

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause before the second attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// Errors of one attempt. Their texts are part of denials, and contain nothing that the API server sent.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The platform's CRD is not installed, or not loaded yet.
    #[error("the API server does not serve AgenticSessions")]
    UnknownKind,
    /// Retrying cannot help: not permitted, or not decodable.
    #[error("{0}")]
    Permanent(String),
    #[error("{0}")]
    Transient(String),
}

/// Reads sessions from the API server.
pub trait SessionReader: Send + Sync {
    /// Returns the current session, or none if there is none of that name.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LookupError>>;
}

impl SessionReader for Client {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LookupError>> {
        Box::pin(async move {
            let found = Api::<AgenticSession>::namespaced(self.clone(), namespace).get(name).await;
            found.map(|session| Some(Arc::new(session))).or_else(|error| classify(&error))
        })
    }
}

/// Distinguishes a missing session from errors; the API server's message is only logged.
fn classify(error: &kube::Error) -> Result<Option<Arc<AgenticSession>>, LookupError> {
    let kube::Error::Api(status) = error else {
        tracing::warn!(error = error as &dyn std::error::Error, "failed to look up session");
        return Err(match error {
            kube::Error::SerdeError(_) => {
                LookupError::Permanent("the API server's response cannot be decoded".to_owned())
            }
            other => LookupError::Transient(root_cause(other)),
        });
    };
    match (status.code, status.reason.as_str()) {
        (404, "NotFound") => return Ok(None),
        // The path does not exist.
        (404, _) => return Err(LookupError::UnknownKind),
        _ => tracing::warn!(code = status.code, message = status.message, "failed to look up session"),
    }
    let text = format!("the API server responded with status {}", status.code);
    let permanent = (400..500).contains(&status.code) && status.code != 429;
    Err(if permanent { LookupError::Permanent(text) } else { LookupError::Transient(text) })
}

/// The innermost cause, such as "connection refused".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Looks up sessions for admission.
pub struct SessionLookup {
    live: Arc<dyn SessionReader>,
    cache: Option<Store<AgenticSession>>,
}

impl SessionLookup {
    /// `cache` is the informer's store, absent if there is no informer.
    #[must_use]
    pub fn new(live: Arc<dyn SessionReader>, cache: Option<Store<AgenticSession>>) -> Self {
        Self { live, cache }
    }

    /// Looks up a pod's session until `deadline`. A name that no session can have is not looked up.
    pub async fn find(&self, namespace: &str, owner: Owner<'_>, deadline: Instant) -> Lookup {
        if !is_object_name(owner.name) || !is_object_name(namespace) {
            return Lookup::Missing;
        }
        match self.read(namespace, owner.name, deadline).await {
            Ok(Some(session)) => Lookup::Found(session),
            Ok(None) => Lookup::Missing,
            Err(error) => match self.cached(namespace, owner) {
                Some(session) => {
                    tracing::warn!(namespace, session = owner.name, %error, "session read from the cache");
                    Lookup::Found(session)
                }
                None if matches!(error, LookupError::UnknownKind) => Lookup::Missing,
                None => Lookup::Unavailable(error.to_string()),
            },
        }
    }

    async fn read(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Arc<AgenticSession>>, LookupError> {
        match self.attempt(namespace, name, deadline).await {
            Err(LookupError::Transient(_)) if Instant::now() + PAUSE < deadline => {
                sleep(PAUSE).await;
                self.attempt(namespace, name, deadline).await
            }
            result => result,
        }
    }

    async fn attempt(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Arc<AgenticSession>>, LookupError> {
        let deadline = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
        timeout_at(deadline, self.live.read(namespace, name)).await.unwrap_or_else(|_| {
            Err(LookupError::Transient("the API server did not respond in time".to_owned()))
        })
    }

    /// The cached session, if its uid is that of the pod's owner.
    fn cached(&self, namespace: &str, owner: Owner<'_>) -> Option<Arc<AgenticSession>> {
        let key = ObjectRef::new(owner.name).within(namespace);
        let cached = self.cache.as_ref()?.get(&key)?;
        (cached.metadata.uid.as_deref() == Some(owner.uid)).then_some(cached)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;

    fn session(uid: &str) -> AgenticSession {
        serde_json::from_value(json!({
            "apiVersion": "vteam.ambient-code/v1alpha1",
            "kind": "AgenticSession",
            "metadata": {"name": "s", "namespace": "n", "uid": uid},
            "spec": {},
        }))
        .unwrap()
    }

    /// Returns the given results in order, then hangs.
    #[derive(Default)]
    struct ScriptedReader(Mutex<Vec<Result<Option<Arc<AgenticSession>>, LookupError>>>);

    impl SessionReader for ScriptedReader {
        fn read<'a>(
            &'a self,
            _namespace: &'a str,
            _name: &'a str,
        ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LookupError>> {
            let mut left = self.0.lock().unwrap();
            let next = if left.is_empty() { None } else { Some(left.remove(0)) };
            Box::pin(async move {
                match next {
                    Some(response) => response,
                    None => std::future::pending().await,
                }
            })
        }
    }

    fn transient() -> Result<Option<Arc<AgenticSession>>, LookupError> {
        Err(LookupError::Transient("reset".into()))
    }

    async fn find(
        script: Vec<Result<Option<Arc<AgenticSession>>, LookupError>>,
        copy: Option<&str>,
        owner: Owner<'_>,
    ) -> Lookup {
        let (store, mut writer) = reflector::store();
        if let Some(uid) = copy {
            writer.apply_watcher_event(&Event::Apply(session(uid)));
        }
        SessionLookup::new(Arc::new(ScriptedReader(Mutex::new(script))), Some(store))
            .find("n", owner, Instant::now() + Duration::from_secs(5))
            .await
    }

    const OWNER: Owner<'static> = Owner { name: "s", uid: "u" };

    #[tokio::test(start_paused = true)]
    async fn live_session_wins_over_cached_one() {
        let found = find(vec![Ok(Some(session("new").into()))], Some("u"), OWNER).await;
        assert!(matches!(found, Lookup::Found(s) if s.metadata.uid.as_deref() == Some("new")));
        assert!(matches!(find(vec![Ok(None)], Some("u"), OWNER).await, Lookup::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_transient_failure_once() {
        let found = find(vec![transient(), Ok(Some(session("u").into()))], None, OWNER).await;
        assert!(matches!(found, Lookup::Found(_)));
        let found = find(vec![transient(), transient(), Ok(Some(session("u").into()))], None, OWNER).await;
        assert!(matches!(found, Lookup::Unavailable(why) if why == "reset"));
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_retry_permanent_failure() {
        let permanent = Err(LookupError::Permanent("forbidden".into()));
        let found = find(vec![permanent, Ok(Some(session("u").into()))], None, OWNER).await;
        assert!(matches!(found, Lookup::Unavailable(why) if why == "forbidden"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_crd_a_session_is_missing_unless_it_is_cached() {
        let unknown = || vec![Err(LookupError::UnknownKind)];
        assert!(matches!(find(unknown(), None, OWNER).await, Lookup::Missing));
        // While an API server starts, its CRDs are not loaded yet.
        assert!(matches!(find(unknown(), Some("u"), OWNER).await, Lookup::Found(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_api_server_leaves_time_for_the_cache() {
        let start = Instant::now();
        assert!(matches!(find(vec![], Some("u"), OWNER).await, Lookup::Found(_)));
        assert!(start.elapsed() < Duration::from_millis(4500));
    }

    #[tokio::test(start_paused = true)]
    async fn cached_session_of_another_uid_is_not_used() {
        assert!(matches!(find(vec![], Some("old"), OWNER).await, Lookup::Unavailable(_)));
    }

    #[tokio::test]
    async fn does_not_look_up_invalid_names() {
        for name in ["", "../../pods/x", "a/b", "A", "a?b", "..", &"x".repeat(254)] {
            let owner = Owner { name, uid: "u" };
            assert!(
                matches!(find(vec![Ok(Some(session("u").into()))], None, owner).await, Lookup::Missing),
                "{name}"
            );
        }
    }

    fn status(code: u16, reason: &str) -> kube::Error {
        let status = json!({"kind": "Status", "code": code, "reason": reason, "message": "in words", "status": "Failure"});
        kube::Error::Api(serde_json::from_value(status).unwrap())
    }

    #[test]
    fn distinguishes_missing_sessions_from_errors_and_hides_the_response() {
        assert!(matches!(classify(&status(404, "NotFound")), Ok(None)));
        assert!(matches!(
            classify(&status(404, "Failed to parse error data")),
            Err(LookupError::UnknownKind)
        ));
        for code in [429, 500, 502, 503] {
            let Err(LookupError::Transient(text)) = classify(&status(code, "")) else {
                unreachable!("{code}")
            };
            assert_eq!(text, format!("the API server responded with status {code}"));
        }
        for code in [401, 403] {
            let Err(LookupError::Permanent(text)) = classify(&status(code, "Forbidden")) else {
                unreachable!("{code}")
            };
            assert!(!text.contains("in words"), "{text}");
        }
        let broken =
            serde_json::from_str::<AgenticSession>(r#"{"spec":{"activeWorkflow":"https://u:s3cret@h/r"}}"#);
        let error = kube::Error::SerdeError(broken.unwrap_err());
        let Err(LookupError::Permanent(text)) = classify(&error) else { unreachable!("not decodable") };
        assert!(!text.contains("s3cret"), "{text}");
    }
}
