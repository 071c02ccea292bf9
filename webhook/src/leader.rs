//! One replica leads: the Lease, who may take it, and for how long it may be relied upon.
//!
//! The time stamps in a Lease are other machines' clocks, so they are never compared with ours: a
//! replica takes the Lease over when it has not seen it change for its whole duration. The leader
//! itself counts from before it asked for its last renewal, and gives up earlier than anyone may
//! take over; a renewal that hangs or fails ends its term by time alone.

use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};
use workflow_contract::names::INJECTOR;

/// How long others wait for a leader that does not renew.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader relies on its last renewal; shorter, so that two never lead at a time.
const TERM: Duration = Duration::from_secs(10);
/// Time between two looks at the Lease.
const RETRY: Duration = Duration::from_secs(2);
/// How long one look may take.
const CALL: Duration = Duration::from_secs(5);

/// The Lease as one replica has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who holds it; `None` when it was released.
    pub holder: Option<String>,
    /// How long it holds without a renewal.
    pub duration: Duration,
    /// Changes with every renewal.
    pub version: Option<String>,
    /// When this replica first saw this version.
    pub since: Instant,
}

/// What a replica may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Take the Lease: nobody holds it.
    Acquire,
    /// Renew it: it is ours.
    Renew,
    /// Leave it alone for at least this long.
    Wait(Duration),
}

/// Decides what `identity` may do with the Lease at `now`.
#[must_use]
pub fn step(seen: Option<&Seen>, now: Instant, identity: &str) -> Step {
    let Some(seen) = seen else { return Step::Acquire };
    match seen.holder.as_deref() {
        None | Some("") => Step::Acquire,
        Some(holder) if holder == identity => Step::Renew,
        Some(_) => match seen.duration.saturating_sub(now.saturating_duration_since(seen.since)) {
            Duration::ZERO => Step::Acquire,
            left => Step::Wait(left),
        },
    }
}

/// The Lease as seen at `now`: one that did not change is as old as it was.
#[must_use]
pub fn observe(before: Option<&Seen>, lease: &Lease, now: Instant) -> Seen {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|n| u64::try_from(n).ok());
    let version = lease.metadata.resource_version.clone();
    let unchanged = before.filter(|before| before.version == version);
    Seen {
        holder: spec.and_then(|spec| spec.holder_identity.clone()),
        duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
        since: unchanged.map_or(now, |before| before.since),
        version,
    }
}

/// Takes part in the election in `namespace` until `shutdown`, as `identity` (the pod's name). The
/// receiver tells whether this replica leads. The task ends once the Lease is given back, so that
/// another replica takes over within seconds.
pub fn spawn(
    client: Client,
    namespace: &str,
    identity: &str,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> (watch::Receiver<bool>, JoinHandle<()>) {
    let (leading, receiver) = watch::channel(false);
    let candidate = Candidate {
        api: Api::namespaced(client, namespace),
        identity: identity.to_owned(),
        leading,
        seen: None,
        lease: None,
        term_ends: None,
    };
    (receiver, tokio::spawn(candidate.run(shutdown)))
}

struct Candidate {
    api: Api<Lease>,
    identity: String,
    leading: watch::Sender<bool>,
    seen: Option<Seen>,
    lease: Option<Lease>,
    term_ends: Option<Instant>,
}

impl Candidate {
    async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        tokio::pin!(shutdown);
        loop {
            let asked = Instant::now();
            let limit = self.term_ends.map_or(asked + CALL, |ends| ends.min(asked + CALL));
            let outcome = tokio::select! {
                () = &mut shutdown => break,
                outcome = tokio::time::timeout_at(limit, self.look(asked)) => outcome,
            };
            match outcome {
                Ok(Ok(held)) => self.term_ends = held.then(|| asked + TERM),
                Ok(Err(error)) => warn!(error = %error, lease = INJECTOR, "a look at the Lease failed"),
                Err(_) => warn!(lease = INJECTOR, "a look at the Lease took too long"),
            }
            let now = Instant::now();
            self.term_ends = self.term_ends.filter(|ends| now < *ends);
            self.tell();
            let pause = self.term_ends.map_or(now + RETRY, |ends| ends.min(now + RETRY));
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep_until(pause) => {}
            }
        }
        self.release().await;
    }

    fn tell(&self) {
        let leads = self.term_ends.is_some();
        let identity = &self.identity;
        self.leading.send_if_modified(|leading| {
            if *leading != leads {
                info!(leads, identity, "the leader changed");
            }
            std::mem::replace(leading, leads) != leads
        });
    }

    /// One look; whether the Lease is held after it.
    async fn look(&mut self, now: Instant) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(INJECTOR).await?;
        self.seen = lease.as_ref().map(|lease| observe(self.seen.as_ref(), lease, now));
        let held = match step(self.seen.as_ref(), now, &self.identity) {
            Step::Wait(_) => return Ok(false),
            step => self.write(lease, step).await,
        };
        match held {
            Ok(lease) => {
                self.lease = Some(lease);
                Ok(true)
            }
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, lease: Option<Lease>, step: Step) -> Result<Lease, kube::Error> {
        let params = PostParams::default();
        let time = MicroTime(Timestamp::now());
        match lease {
            None => {
                let metadata = ObjectMeta { name: Some(INJECTOR.to_owned()), ..ObjectMeta::default() };
                let spec = Some(held(LeaseSpec::default(), &self.identity, &time, step));
                self.api.create(&params, &Lease { metadata, spec }).await
            }
            // The resourceVersion that was read goes back with it: of two writers one is refused.
            Some(mut lease) => {
                lease.spec = Some(held(lease.spec.unwrap_or_default(), &self.identity, &time, step));
                self.api.replace(INJECTOR, &params, &lease).await
            }
        }
    }

    /// Gives the Lease back, if it is held. What can't be given back runs out by itself.
    async fn release(mut self) {
        let held = self.term_ends.take().is_some();
        self.tell();
        let Some(mut lease) = self.lease.filter(|_| held) else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        let params = PostParams::default();
        let replace = self.api.replace(INJECTOR, &params, &lease);
        match tokio::time::timeout(CALL, replace).await {
            Ok(Ok(_)) => info!(lease = INJECTOR, "the Lease was given back"),
            Ok(Err(error)) => warn!(error = %error, lease = INJECTOR, "the Lease could not be given back"),
            Err(_) => warn!(lease = INJECTOR, "giving the Lease back took too long"),
        }
    }
}

/// The Lease's spec once `identity` holds it.
fn held(mut spec: LeaseSpec, identity: &str, time: &MicroTime, step: Step) -> LeaseSpec {
    if step == Step::Acquire {
        spec.acquire_time = Some(time.clone());
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
    }
    spec.holder_identity = Some(identity.to_owned());
    spec.lease_duration_seconds = i32::try_from(LEASE_DURATION.as_secs()).ok();
    spec.renew_time = Some(time.clone());
    spec
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
