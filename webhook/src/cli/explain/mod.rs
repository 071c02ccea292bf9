//! `explain`: the history of one session's workflow, in order and with times, and what to do.
//!
//! [`gather`] reads the objects from the API server; [`report::report`] is a function of them. The condition that the session
//! should have is computed as the status controller does, so the report is right also while no leader writes.

mod conclusion;
mod objects;
mod report;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod as CorePod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use workflow_contract::names::{INJECTOR, runner_pod};

use super::untyped::untyped;
use crate::session::{AgenticSession, is_object_name};
use objects::{Event, Gathered, Pod, Registration};

/// Events of each object that are read.
const EVENTS: u32 = 500;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Namespace of the session; by default that of the current context
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Name of the AgenticSession
    pub session: String,
}

/// Prints the report about a session. Exits 0 if its workflow is delivered or none is to be delivered, else 1.
///
/// An error means that the session could not be read; that is no verdict.
pub async fn run(client: Client, args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let namespace = args.namespace.as_deref().unwrap_or_else(|| client.default_namespace()).to_owned();
    let gathered = gather(&client, &namespace, &args.session).await?;
    let report = report::report(&gathered, Timestamp::now());
    for line in &report.lines {
        writeln!(out, "{line}").context("failed to write the report")?;
    }
    Ok(if report.settled { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads all that the report needs. Objects other than the session that the user may not read are left out and named.
async fn gather(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Gathered> {
    if !is_object_name(name) || !is_object_name(namespace) {
        bail!("`{namespace}/{name}` cannot be the name of a session");
    }
    let sessions: Api<AgenticSession> = Api::namespaced(client.clone(), namespace);
    let session = sessions.get_opt(name).await.context("failed to read the session")?.with_context(|| {
        format!(
            "there is no session {namespace}/{name}; `kubectl -n {namespace} get agenticsessions` lists them"
        )
    })?;
    let mut unreadable = Vec::new();

    let registrations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let found =
        permitted(registrations.get_metadata_opt(INJECTOR).await, "the registration", &mut unreadable)?;
    let registration = match found {
        None => Registration::Unknown,
        Some(None) => Registration::Absent,
        Some(Some(found)) => {
            found.creation_timestamp().map_or(Registration::Unknown, |time| Registration::Since(time.0))
        }
    };

    let pod_name = runner_pod(name);
    let pods = untyped::<CorePod>(client, namespace);
    let pod = permitted(pods.get_opt(&pod_name).await, "pods", &mut unreadable)?.flatten();
    let pod = pod.map(|pod| Pod::from_json(&serde_json::to_value(pod)?)).transpose();

    let events = untyped::<CoreEvent>(client, namespace);
    let mut all = Vec::new();
    for object in [name, &pod_name] {
        let about = ListParams::default().fields(&format!("involvedObject.name={object}")).limit(EVENTS);
        let Some(list) = permitted(events.list(&about).await, "Events", &mut unreadable)? else { break };
        for event in list {
            all.push(Event::from_json(&event.data).context("failed to decode an Event")?);
        }
    }
    let pod = pod.context("failed to decode the pod")?;
    Ok(Gathered { session, registration, pod, events: all, unreadable })
}

/// The result, or none if the user lacks the permission.
fn permitted<T>(
    result: kube::Result<T>,
    objects: &'static str,
    unreadable: &mut Vec<&'static str>,
) -> anyhow::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            unreadable.push(objects);
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("failed to read {objects}")),
    }
}

#[cfg(test)]
mod tests;
