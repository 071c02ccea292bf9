//! The look-up of a session: live, then from the informer's copy.
//!
//! Live first, because the operator creates the pod right after the session and an informer may be
//! behind: with an old copy a runner would get the workflow of yesterday. The copy is the fallback
//! that keeps sessions starting while the API server answers others but not us.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::time::Instant;

use super::plan::{Lookup, Owner};
use crate::session::{AgenticSession, is_object_name};

/// Timeout of one attempt.
pub const ATTEMPT: Duration = Duration::from_secs(2);

/// Pause before the second attempt.
const PAUSE: Duration = Duration::from_millis(50);

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The API server does not know the kind: the platform's CRD is not installed, or not yet loaded.
    #[error("the API server does not know the kind AgenticSession")]
    UnknownKind,
    /// Asking again can't help: not permitted, or not decodable.
    #[error("{0}")]
    Settled(String),
    /// It may pass.
    #[error("{0}")]
    Passing(String),
}

/// Reads sessions from the API server.
pub trait Live: Send + Sync {
    /// The session as it is now, none if there is none.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LiveError>>;
}

/// Where sessions are looked up.
pub struct Sessions {
    live: Arc<dyn Live>,
    copies: Option<Store<AgenticSession>>,
}

impl Sessions {
    /// `copies` is the informer's store, absent where there is no informer.
    #[must_use]
    pub fn new(live: Arc<dyn Live>, copies: Option<Store<AgenticSession>>) -> Self {
        Self { live, copies }
    }

    /// Looks up a pod's session until `deadline`. A name that no session can have is not looked up.
    pub async fn find(&self, namespace: &str, owner: Owner<'_>, deadline: Instant) -> Lookup {
        if !is_object_name(owner.name) || !is_object_name(namespace) {
            return Lookup::Missing;
        }
        match self.read(namespace, owner.name, deadline).await {
            Ok(Some(session)) => Lookup::Found(session),
            Ok(None) => Lookup::Missing,
            Err(error) => match self.copy(namespace, owner) {
                Some(session) => {
                    tracing::warn!(
                        namespace,
                        session = owner.name,
                        %error,
                        "session read from the informer's copy"
                    );
                    Lookup::Found(session)
                }
                None if matches!(error, LiveError::UnknownKind) => Lookup::Missing,
                None => Lookup::Unavailable(error.to_string()),
            },
        }
    }

    async fn read(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Arc<AgenticSession>>, LiveError> {
        match self.attempt(namespace, name, deadline).await {
            Err(LiveError::Passing(_)) if Instant::now() + PAUSE < deadline => {
                tokio::time::sleep(PAUSE).await;
                self.attempt(namespace, name, deadline).await
            }
            settled => settled,
        }
    }

    async fn attempt(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Arc<AgenticSession>>, LiveError> {
        let deadline = deadline.min(Instant::now() + ATTEMPT);
        tokio::time::timeout_at(deadline, self.live.read(namespace, name))
            .await
            .unwrap_or_else(|_| Err(LiveError::Passing("the API server did not answer in time".to_owned())))
    }

    /// The informer's copy, if it is of the very session that controls the pod.
    fn copy(&self, namespace: &str, owner: Owner<'_>) -> Option<Arc<AgenticSession>> {
        let key = ObjectRef::new(owner.name).within(namespace);
        let copy = self.copies.as_ref()?.get(&key)?;
        (copy.metadata.uid.as_deref() == Some(owner.uid)).then_some(copy)
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

    /// Answers with what it was given, in order; hangs when there is nothing left.
    #[derive(Default)]
    struct Script(Mutex<Vec<Result<Option<Arc<AgenticSession>>, LiveError>>>);

    impl Live for Script {
        fn read<'a>(
            &'a self,
            _namespace: &'a str,
            _name: &'a str,
        ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LiveError>> {
            let mut left = self.0.lock().unwrap();
            let next = if left.is_empty() { None } else { Some(left.remove(0)) };
            Box::pin(async move {
                match next {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                }
            })
        }
    }

    fn passing() -> Result<Option<Arc<AgenticSession>>, LiveError> {
        Err(LiveError::Passing("reset".into()))
    }

    async fn find(
        script: Vec<Result<Option<Arc<AgenticSession>>, LiveError>>,
        copy: Option<&str>,
        owner: Owner<'_>,
    ) -> Lookup {
        let (store, mut writer) = reflector::store();
        if let Some(uid) = copy {
            writer.apply_watcher_event(&Event::Apply(session(uid)));
        }
        Sessions::new(Arc::new(Script(Mutex::new(script))), Some(store))
            .find("n", owner, Instant::now() + Duration::from_secs(5))
            .await
    }

    const OWNER: Owner<'static> = Owner { name: "s", uid: "u" };

    #[tokio::test(start_paused = true)]
    async fn the_live_session_wins_over_the_copy() {
        let found = find(vec![Ok(Some(session("new").into()))], Some("u"), OWNER).await;
        assert!(matches!(found, Lookup::Found(s) if s.metadata.uid.as_deref() == Some("new")));
        assert!(matches!(find(vec![Ok(None)], Some("u"), OWNER).await, Lookup::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_failure_is_tried_once_more() {
        let found = find(vec![passing(), Ok(Some(session("u").into()))], None, OWNER).await;
        assert!(matches!(found, Lookup::Found(_)));
        let found = find(vec![passing(), passing(), Ok(Some(session("u").into()))], None, OWNER).await;
        assert!(matches!(found, Lookup::Unavailable(why) if why == "reset"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_settled_failure_is_not_tried_again() {
        let settled = Err(LiveError::Settled("forbidden".into()));
        let found = find(vec![settled, Ok(Some(session("u").into()))], None, OWNER).await;
        assert!(matches!(found, Lookup::Unavailable(why) if why == "forbidden"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_crd_a_session_is_missing_unless_there_is_a_copy() {
        let unknown = || vec![Err(LiveError::UnknownKind)];
        assert!(matches!(find(unknown(), None, OWNER).await, Lookup::Missing));
        // A CRD that is not loaded yet, as while an API server starts, is no session gone.
        assert!(matches!(find(unknown(), Some("u"), OWNER).await, Lookup::Found(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_api_server_leaves_time_for_the_copy() {
        let start = tokio::time::Instant::now();
        assert!(matches!(find(vec![], Some("u"), OWNER).await, Lookup::Found(_)));
        assert!(start.elapsed() < Duration::from_millis(4500));
    }

    #[tokio::test(start_paused = true)]
    async fn the_copy_of_another_session_of_that_name_is_not_used() {
        assert!(matches!(find(vec![], Some("old"), OWNER).await, Lookup::Unavailable(_)));
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_not_asked_for() {
        for name in ["", "../../pods/x", "a/b", "A", "a?b", "..", &"x".repeat(254)] {
            let owner = Owner { name, uid: "u" };
            assert!(
                matches!(find(vec![Ok(Some(session("u").into()))], None, owner).await, Lookup::Missing),
                "{name}"
            );
        }
    }
}
