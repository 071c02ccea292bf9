//! All that is kept of a pod.

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use workflow_contract::names::{INIT_CONTAINER, live_container};
use workflow_contract::{Exit, Stamp};

use crate::session::AgenticSession;

/// State of the init container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The pod has no init container that was injected for its session.
    NotInjected,
    /// Waiting or running.
    Fetching,
    /// Exit 0, and message and image are those of the stamp. `commit` is a full object id; `signer` is there if a
    /// signature was demanded.
    Delivered { commit: String, signer: Option<String> },
    /// Not delivered; some failures can pass.
    Undelivered(ContainerFailure),
}

/// The reason for a failed delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerFailure {
    /// An exit code of init-fetcher; `message` is line 1 of its termination message, possibly empty.
    Exit {
        exit: Exit,
        message: String,
    },
    /// Any other exit code; `message` is the termination message or the end of the log.
    OtherExit {
        code: i32,
        message: String,
    },
    /// Exit 0, but the termination message or the image is not the expected one.
    Unconfirmed {
        why: &'static str,
    },
    OutOfMemory,
    /// The image can't be pulled.
    NoImage {
        image: String,
    },
    /// The container could not be created or started.
    NoContainer {
        why: String,
    },
    /// The pod ended before the init container did.
    Interrupted {
        why: String,
    },
}

/// Existence of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Exists,
    /// Deleted; its last state was observed.
    Deleted,
    /// Gone; its last state may have been missed.
    Vanished,
}

/// All that is kept of a session pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Namespace of pod and session.
    pub namespace: String,
    /// Name of the session that controls the pod.
    pub session: String,
    pub session_uid: String,
    /// The pod's own uid.
    pub uid: String,
    /// Creation time, by the API server's clock.
    pub created: Timestamp,
    pub stamp: Option<Stamp>,
    /// Number of the runner's variables with the name by which the operator passes the workflow's URL.
    pub workflow_variables: usize,
    pub outcome: Outcome,
    /// End of the init container, by the node's clock.
    pub ended: Option<Timestamp>,
    /// Deliveries into the running session, in the order of their generations.
    pub live: Vec<LiveAttempt>,
    pub runner: RunnerState,
    /// The pod is being deleted.
    pub is_ending: bool,
    /// Duration of the delivery, by the termination message.
    pub took: Option<Duration>,
    pub presence: Presence,
}

/// A delivery that was tried: by the init container, or by an ephemeral one.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryAttempt<'p> {
    pub stamp: &'p Stamp,
    pub outcome: &'p Outcome,
    /// End of the container, by the node's clock.
    pub ended: Option<Timestamp>,
    /// The ephemeral container; none for the init container.
    pub live: Option<&'p LiveAttempt>,
}

impl DeliveryAttempt<'_> {
    #[must_use]
    pub fn container(&self) -> String {
        self.live.map_or_else(|| INIT_CONTAINER.to_owned(), LiveAttempt::container)
    }
}

impl PodFacts {
    #[must_use]
    pub fn session_ref(&self) -> ObjectRef<AgenticSession> {
        ObjectRef::new(&self.session).within(&self.namespace)
    }

    /// All attempts, in the order of their generations.
    fn attempts(&self) -> impl DoubleEndedIterator<Item = DeliveryAttempt<'_>> {
        let (outcome, ended) = (&self.outcome, self.ended);
        let init = self.stamp.iter().map(move |stamp| DeliveryAttempt { stamp, outcome, ended, live: None });
        init.chain(self.live.iter().map(LiveAttempt::attempt))
    }

    /// The attempt of the latest generation, which decides about the workflow on disk.
    #[must_use]
    pub fn last_attempt(&self) -> Option<DeliveryAttempt<'_>> {
        self.attempts().next_back()
    }

    /// The last successful delivery of a generation below this one.
    #[must_use]
    pub fn delivered_before(&self, generation: i64) -> Option<DeliveryAttempt<'_>> {
        let is_delivered = |one: &DeliveryAttempt<'_>| matches!(one.outcome, Outcome::Delivered { .. });
        self.attempts().rfind(|one| one.stamp.generation < generation && is_delivered(one))
    }
}

/// State of the runner's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunnerState {
    /// Not started yet.
    #[default]
    Waiting,
    Running,
    /// Over; session pods are never restarted.
    Ended,
}

/// A delivery by an ephemeral container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveAttempt {
    pub stamp: Stamp,
    pub outcome: Outcome,
    /// End of the container, by the node's clock. Without one the container may still publish.
    pub ended: Option<Timestamp>,
    /// True if the pod has the volume of the Secret with git credentials.
    pub has_credentials: bool,
}

impl LiveAttempt {
    fn attempt(&self) -> DeliveryAttempt<'_> {
        DeliveryAttempt { stamp: &self.stamp, outcome: &self.outcome, ended: self.ended, live: Some(self) }
    }

    #[must_use]
    pub fn container(&self) -> String {
        live_container(self.stamp.generation)
    }

    /// Keeps the outcome that the same end had when it was first observed.
    pub fn keep_end(&mut self, known: &[Self]) {
        let same = |one: &&Self| one.stamp == self.stamp && one.ended.is_some() && one.ended == self.ended;
        if let Some(known) = known.iter().find(same) {
            self.outcome = known.outcome.clone();
        }
    }
}
