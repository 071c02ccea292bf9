//! A namespace for each test, as the platform's operator manages it, deleted after the test.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use anyhow::Context;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::cluster::Cluster;
use crate::{dump, operator};

/// Variable that keeps the namespaces of tests if set.
const KEEP: &str = "KEEP_NAMESPACES";
/// Label of every namespace that is created here.
pub const OWNED: &str = "workflow-tests/owned";
/// Label that names the machine on which a test runs.
const MACHINE: &str = "workflow-tests/machine";
/// Label that names the process in which a test runs.
const PROCESS: &str = "workflow-tests/process";
/// Requests of the session pods' containers. The platform's LimitRange sets 250m and 256Mi; these leave capacity for
/// other people's pods on a small node.
const CPU_REQUEST: &str = "10m";
const MEMORY_REQUEST: &str = "16Mi";

/// A namespace of a test's own.
#[derive(Clone)]
pub struct TestNamespace {
    pub cluster: Cluster,
    pub name: String,
}

/// Runs `test` in a namespace of its own and deletes it afterwards. On failure the panic's message lists pods, sessions and
/// recent events.
///
/// Namespaces of earlier test processes that were killed are deleted first: their pods use resources of the nodes.
///
/// # Panics
/// When the test fails, or its namespace can't be created.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub async fn with_namespace<F, Fut>(test: F)
where
    F: FnOnce(TestNamespace) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let namespace = match TestNamespace::of_test().await {
        Ok(namespace) => namespace,
        Err(error) => panic!("create a namespace for the test: {error:#}"),
    };
    // A task of its own, so that a failed assertion does not keep the namespace from being removed.
    let failure = match tokio::spawn(test(namespace.clone())).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(panicked) => Some(panicked.to_string()),
    };
    let report = match &failure {
        Some(_) => dump::namespace(&namespace.cluster.client, &namespace.name).await,
        None => String::new(),
    };
    if std::env::var_os(KEEP).is_none() {
        // The next run deletes a namespace that can't be deleted now.
        let _ = namespace.remove().await;
    }
    if let Some(failure) = failure {
        panic!("{failure}\n\nin namespace {}:\n{report}", namespace.name);
    }
}

impl TestNamespace {
    /// Creates a namespace named after the test.
    async fn of_test() -> anyhow::Result<Self> {
        let thread = std::thread::current();
        Self::temporary(Cluster::connect().await?, thread.name().unwrap_or("test")).await
    }

    /// Creates a namespace with a unique name that begins with `name`. Later runs delete it if this process was killed.
    pub async fn temporary(cluster: Cluster, name: &str) -> anyhow::Result<Self> {
        sweep(&cluster.client).await.context("delete namespaces of earlier runs")?;
        let name = unique_name(name, RandomState::new().hash_one(0));
        let mut labels = json!({});
        if std::env::var_os(KEEP).is_none() {
            labels = json!({ MACHINE: machine(), PROCESS: std::process::id().to_string() });
        }
        Self::make(cluster, &name, labels).await
    }

    /// Creates the namespace called `name`, which stays until it is deleted explicitly.
    pub async fn named(cluster: Cluster, name: &str) -> anyhow::Result<Self> {
        Self::make(cluster, name, json!({})).await
    }

    async fn make(cluster: Cluster, name: &str, mut labels: serde_json::Value) -> anyhow::Result<Self> {
        labels["ambient-code.io/managed"] = json!("true");
        labels[OWNED] = json!("true");
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } }))?;
        let client = cluster.client.clone();
        let post = PostParams::default();
        Api::all(client.clone()).create(&post, &namespace).await.context("create the namespace")?;
        let mut limits = operator::limit_range();
        limits["spec"]["limits"][0]["defaultRequest"] =
            json!({ "cpu": CPU_REQUEST, "memory": MEMORY_REQUEST });
        let limits: LimitRange = serde_json::from_value(limits)?;
        Api::namespaced(client.clone(), name)
            .create(&post, &limits)
            .await
            .context("create the LimitRange")?;
        // Pods are rejected until the namespace has this account; creating it saves the wait for its controller.
        let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "default" } }))?;
        match Api::namespaced(client, name).create(&post, &account).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => (),
            made => drop(made.context("create the default service account")?),
        }
        Ok(Self { cluster, name: name.to_owned() })
    }

    /// Makes the session pods of this namespace trust `ca`, as the platform does.
    pub async fn trust(&self, ca: &str) -> anyhow::Result<()> {
        let bundle: ConfigMap = serde_json::from_value(json!({
            "metadata": { "name": operator::TRUSTED_CA },
            "data": { operator::TRUSTED_CA_KEY: ca },
        }))?;
        self.api().create(&PostParams::default(), &bundle).await.context("create the CA bundle")?;
        Ok(())
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    pub async fn remove(&self) -> kube::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        namespaces.delete(&self.name, &DeleteParams::default()).await.map(drop)
    }
}

/// Deletes the namespaces of test processes of this machine that have ended.
async fn sweep(client: &Client) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ours = ListParams::default().labels(&format!("{MACHINE}={}", machine()));
    for namespace in namespaces.list(&ours).await? {
        let process = namespace.labels().get(PROCESS).map(String::as_str).unwrap_or_default();
        let runs = Path::new("/proc").join(process).exists();
        if !runs && namespace.metadata.deletion_timestamp.is_none() {
            match namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await {
                // Another test may have deleted it.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => (),
                other => drop(other?),
            }
        }
    }
    Ok(())
}

/// Identifies this machine among those that use the same cluster; a label's value.
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// `wf-`, the last part of the test's name, truncated, and six random digits.
fn unique_name(test: &str, random: u64) -> String {
    let test = test.rsplit("::").next().unwrap_or(test);
    let clean: String = test
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .take(40)
        .collect();
    format!("wf-{}-{:06x}", clean.trim_matches('-'), random & 0x00ff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_the_name_from_the_test() {
        assert_eq!(unique_name("delivers_a_directory", 0xabc), "wf-delivers-a-directory-000abc");
        assert_eq!(unique_name("mod::it_works", u64::MAX), "wf-it-works-ffffff");
    }

    #[test]
    fn names_fit_a_label() {
        let name = unique_name(&"long_".repeat(30), 1);
        assert!(name.len() <= 63, "{name}");
        assert!(!name.contains("--"), "{name}");
    }
}
