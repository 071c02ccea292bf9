//! Tells of conditions by Events, also where it takes several attempts, and also of what another
//! replica wrote and may not have come to tell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::PostParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use workflow_contract::condition::WORKFLOW_RECONCILED;

use super::write::{WriteError, call, is_status};
use super::{Observe, condition, events};
use crate::session::{AgenticSession, Condition};

/// Creates the Events that are owed.
pub struct Teller {
    client: Client,
    /// Signs the Events.
    instance: String,
    observe: Arc<dyn Observe>,
    /// By session uid; the last news only.
    untold: Mutex<HashMap<String, Event>>,
}

impl Teller {
    /// Owes nothing yet.
    #[must_use]
    pub fn new(client: Client, instance: String, observe: Arc<dyn Observe>) -> Self {
        Self { client, instance, observe, untold: Mutex::default() }
    }

    /// Notes the Event of what the session says already, where another replica may have ended
    /// between writing and telling. Returns whether there is one.
    pub fn owe_recent(&self, session: &AgenticSession) -> bool {
        let news = condition::recent_news(session, Timestamp::now());
        let Some((reason, condition)) = news.zip(session.condition(WORKFLOW_RECONCILED)) else {
            return false;
        };
        self.owe(session, reason, condition);
        true
    }

    /// Notes an Event with this reason, about this condition.
    pub fn owe(&self, session: &AgenticSession, reason: &str, condition: &Condition) {
        let event = events::event(reason, condition, session, &self.instance, Timestamp::now());
        self.with_untold(|all| all.insert(session.uid().unwrap_or_default(), event));
    }

    /// Creates the Event that is owed to the session, if one is. What the API server refuses for good,
    /// as it does in a namespace that is being deleted, is not tried again.
    pub async fn tell(&self, uid: &str) -> Result<(), WriteError> {
        // Whether it still leads does not matter: the next leader may not know of a write this late.
        let Some(event) = self.with_untold(|all| all.remove(uid)) else { return Ok(()) };
        let events: Api<Event> =
            Api::namespaced(self.client.clone(), event.metadata.namespace.as_deref().unwrap_or_default());
        match call("create the Event", events.create(&PostParams::default(), &event)).await {
            Ok(_) => Ok(()),
            // Told before, by this name.
            Err(WriteError::Api { source, .. }) if is_status(&source, 409) => Ok(()),
            Err(WriteError::Api { source, .. }) if is_refusal(&source) => {
                self.observe.write_failed();
                tracing::warn!(
                    namespace = event.metadata.namespace,
                    event = event.metadata.name,
                    reason = event.reason,
                    error = %source,
                    "the Event was refused; the condition says the same",
                );
                Ok(())
            }
            Err(error) => {
                self.with_untold(|all| {
                    all.entry(uid.to_owned()).or_insert(event);
                });
                Err(error)
            }
        }
    }

    /// Forgets what is owed to sessions that are no more.
    pub fn prune(&self, is_there: impl Fn(&ObjectRef<AgenticSession>) -> bool) {
        self.with_untold(|all| {
            all.retain(|_, event| {
                let session = event.regarding.clone().unwrap_or_default();
                let namespace = session.namespace.unwrap_or_default();
                is_there(&ObjectRef::new(&session.name.unwrap_or_default()).within(&namespace))
            });
        });
    }

    fn with_untold<T>(&self, work: impl FnOnce(&mut HashMap<String, Event>) -> T) -> T {
        work(&mut self.untold.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether asking again would be answered the same.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}
