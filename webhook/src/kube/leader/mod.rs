//! Leader election through a Lease.
//!
//! Timestamps in a Lease are of other machines' clocks and are never compared with ours: a replica takes the Lease over
//! when it has observed no renewal for the whole lease duration, by its own monotonic clock. The leader counts from
//! before the request of its last renewal, and gives up earlier than any other may take over; a renewal that hangs or
//! fails ends its leadership by time alone.

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

/// Time that others wait for a leader that does not renew.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Time that a leader relies on its last renewal; shorter, so that two never lead at a time.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two attempts.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Timeout of one attempt.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The Lease as this replica observed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Empty or `None` once it was released.
    pub holder: Option<String>,
    pub duration: Duration,
    /// The resourceVersion, which changes with every renewal.
    pub version: Option<String>,
    /// When this replica first observed this version.
    pub since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionStep {
    Acquire,
    Renew,
    /// Another replica holds it for at least this long.
    Wait(Duration),
}

/// Decides what the replica `identity` may do with the Lease at `now`.
#[must_use]
pub fn step(observed: Option<&Observed>, now: Instant, identity: &str) -> ElectionStep {
    let Some(observed) = observed else { return ElectionStep::Acquire };
    match observed.holder.as_deref() {
        None | Some("") => ElectionStep::Acquire,
        Some(holder) if holder == identity => ElectionStep::Renew,
        Some(_) => match observed.duration.saturating_sub(now.saturating_duration_since(observed.since)) {
            Duration::ZERO => ElectionStep::Acquire,
            left => ElectionStep::Wait(left),
        },
    }
}

/// Merges a Lease read at `now` with the last observation: an unchanged one keeps its age.
#[must_use]
pub fn observe(before: Option<&Observed>, lease: &Lease, now: Instant) -> Observed {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|n| u64::try_from(n).ok());
    let version = lease.metadata.resource_version.clone();
    let unchanged = before.filter(|before| before.version == version);
    Observed {
        holder: spec.and_then(|spec| spec.holder_identity.clone()),
        duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
        since: unchanged.map_or(now, |before| before.since),
        version,
    }
}

/// Takes part in the election in `namespace` as `identity` (the pod's name) until `shutdown`.
///
/// The receiver holds whether this replica leads. The task ends once the Lease is released, so that another replica
/// takes over within seconds.
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
        observed: None,
        lease: None,
        deadline: None,
    };
    (receiver, tokio::spawn(candidate.run(shutdown)))
}

struct Candidate {
    api: Api<Lease>,
    identity: String,
    leading: watch::Sender<bool>,
    observed: Option<Observed>,
    lease: Option<Lease>,
    deadline: Option<Instant>,
}

impl Candidate {
    async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        tokio::pin!(shutdown);
        loop {
            let start = Instant::now();
            let limit = self.deadline.map_or(start + TIMEOUT, |ends| ends.min(start + TIMEOUT));
            let outcome = tokio::select! {
                () = &mut shutdown => break,
                outcome = tokio::time::timeout_at(limit, self.try_hold(start)) => outcome,
            };
            match outcome {
                Ok(Ok(held)) => self.deadline = held.then(|| start + RENEW_DEADLINE),
                Ok(Err(error)) => warn!(error = %error, lease = INJECTOR, "failed to renew lease"),
                Err(_) => warn!(lease = INJECTOR, "failed to renew lease: timed out"),
            }
            let now = Instant::now();
            self.deadline = self.deadline.filter(|ends| now < *ends);
            self.publish();
            let pause = self.deadline.map_or(now + RETRY_PERIOD, |ends| ends.min(now + RETRY_PERIOD));
            tokio::select! {
                () = &mut shutdown => break,
                () = tokio::time::sleep_until(pause) => {}
            }
        }
        self.release().await;
    }

    fn publish(&self) {
        let leads = self.deadline.is_some();
        let identity = &self.identity;
        self.leading.send_if_modified(|leading| {
            let changed = std::mem::replace(leading, leads) != leads;
            if changed {
                let message = if leads { "leadership acquired" } else { "leadership lost" };
                info!(identity, "{message}");
            }
            changed
        });
    }

    /// Acquires or renews the Lease if possible; returns whether it is held.
    async fn try_hold(&mut self, now: Instant) -> Result<bool, kube::Error> {
        let lease = self.api.get_opt(INJECTOR).await?;
        self.observed = lease.as_ref().map(|lease| observe(self.observed.as_ref(), lease, now));
        let written = match step(self.observed.as_ref(), now, &self.identity) {
            ElectionStep::Wait(_) => return Ok(false),
            step => self.write(lease, step).await,
        };
        match written {
            Ok(lease) => {
                self.lease = Some(lease);
                Ok(true)
            }
            // Another replica was faster.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, lease: Option<Lease>, step: ElectionStep) -> Result<Lease, kube::Error> {
        let params = PostParams::default();
        let time = MicroTime(Timestamp::now());
        match lease {
            None => {
                let metadata = ObjectMeta { name: Some(INJECTOR.to_owned()), ..ObjectMeta::default() };
                let spec = Some(held_spec(LeaseSpec::default(), &self.identity, &time, step));
                self.api.create(&params, &Lease { metadata, spec }).await
            }
            // With the resourceVersion that was read, one of two writers conflicts.
            Some(mut lease) => {
                lease.spec = Some(held_spec(lease.spec.unwrap_or_default(), &self.identity, &time, step));
                self.api.replace(INJECTOR, &params, &lease).await
            }
        }
    }

    /// Releases the Lease if it is held; a Lease that is not released expires.
    async fn release(mut self) {
        let held = self.deadline.take().is_some();
        self.publish();
        let Some(mut lease) = self.lease.filter(|_| held) else { return };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        let params = PostParams::default();
        let replace = self.api.replace(INJECTOR, &params, &lease);
        match tokio::time::timeout(TIMEOUT, replace).await {
            Ok(Ok(_)) => info!(lease = INJECTOR, "lease released"),
            Ok(Err(error)) => warn!(error = %error, lease = INJECTOR, "failed to release lease"),
            Err(_) => warn!(lease = INJECTOR, "failed to release lease: timed out"),
        }
    }
}

fn held_spec(mut spec: LeaseSpec, identity: &str, time: &MicroTime, step: ElectionStep) -> LeaseSpec {
    if step == ElectionStep::Acquire {
        spec.acquire_time = Some(time.clone());
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
    }
    spec.holder_identity = Some(identity.to_owned());
    spec.lease_duration_seconds = i32::try_from(LEASE_DURATION.as_secs()).ok();
    spec.renew_time = Some(time.clone());
    spec
}

#[cfg(test)]
mod tests;
