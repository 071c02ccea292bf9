//! A namespace for each test, as the platform's operator would manage it, gone when the test is over.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use anyhow::Context;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::cluster::Cluster;
use crate::{dump, operator};

/// Set to keep the namespaces of tests, whatever their outcome.
const KEEP: &str = "KEEP_NAMESPACES";
/// Label that names the machine on which a test runs.
const MACHINE: &str = "workflow-tests/machine";
/// Label that names the process in which a test runs.
const PROCESS: &str = "workflow-tests/process";

/// A namespace of a test's own.
#[derive(Clone)]
pub struct TestNamespace {
    /// The cluster that it is in.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

/// Runs `test` in a namespace of its own and removes it afterwards. On failure the panic's message holds what a person
/// needs to see: pods, sessions and recent events.
///
/// Namespaces of earlier test processes that were killed are removed on the way: their pods would take the room that
/// this run needs.
///
/// # Panics
/// When the test fails, or its namespace can't be made.
#[expect(clippy::panic, reason = "this is how a test fails")]
pub async fn with_namespace<F, Fut>(test: F)
where
    F: FnOnce(TestNamespace) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let namespace = match TestNamespace::create().await {
        Ok(namespace) => namespace,
        Err(error) => panic!("no namespace for the test: {error:#}"),
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
        // A namespace that can't be removed now is swept by the next run.
        let _ = namespace.remove().await;
    }
    if let Some(failure) = failure {
        panic!("{failure}\n\nin namespace {}:\n{report}", namespace.name);
    }
}

impl TestNamespace {
    /// Creates a namespace whose name tells which test it belongs to.
    async fn create() -> anyhow::Result<Self> {
        let cluster = Cluster::connect().await?;
        sweep(&cluster.client).await.context("namespaces of earlier runs could not be removed")?;
        let thread = std::thread::current();
        let name = unique_name(thread.name().unwrap_or("test"), RandomState::new().hash_one(0));
        let mut labels = json!({});
        if std::env::var_os(KEEP).is_none() {
            labels = json!({ MACHINE: machine(), PROCESS: std::process::id().to_string() });
        }
        Self::make(cluster, &name, labels).await
    }

    /// Creates the namespace called `name`, which nobody sweeps.
    pub async fn named(cluster: Cluster, name: &str) -> anyhow::Result<Self> {
        Self::make(cluster, name, json!({})).await
    }

    async fn make(cluster: Cluster, name: &str, mut labels: serde_json::Value) -> anyhow::Result<Self> {
        labels["ambient-code.io/managed"] = json!("true");
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } }))?;
        let client = cluster.client.clone();
        let post = PostParams::default();
        Api::all(client.clone()).create(&post, &namespace).await.context("create the namespace")?;
        let limits: LimitRange = serde_json::from_value(operator::limit_range())?;
        Api::namespaced(client.clone(), name)
            .create(&post, &limits)
            .await
            .context("create the LimitRange")?;
        // Pods are refused until the namespace has this account; no need to wait for the controller that makes it.
        let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "default" } }))?;
        match Api::namespaced(client, name).create(&post, &account).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => (),
            made => drop(made.context("create the default service account")?),
        }
        Ok(Self { cluster, name: name.to_owned() })
    }

    /// Lets the session pods of this namespace trust `ca`, the way the platform does it.
    pub async fn trust(&self, ca: &str) -> anyhow::Result<()> {
        let bundle: ConfigMap = serde_json::from_value(json!({
            "metadata": { "name": operator::TRUSTED_CA },
            "data": { operator::TRUSTED_CA_KEY: ca },
        }))?;
        self.api().create(&PostParams::default(), &bundle).await.context("create the CA bundle")?;
        Ok(())
    }

    /// A client for one kind of object in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    /// Removes it, with all that is in it.
    pub async fn remove(&self) -> kube::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        namespaces.delete(&self.name, &DeleteParams::default()).await.map(drop)
    }
}

/// Removes the namespaces of test processes of this machine that no longer run.
async fn sweep(client: &Client) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let ours = ListParams::default().labels(&format!("{MACHINE}={}", machine()));
    for namespace in namespaces.list(&ours).await? {
        let process = namespace.labels().get(PROCESS).map(String::as_str).unwrap_or_default();
        let runs = Path::new("/proc").join(process).exists();
        if !runs && namespace.metadata.deletion_timestamp.is_none() {
            match namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await {
                // Another test may have been faster.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => (),
                other => drop(other?),
            }
        }
    }
    Ok(())
}

/// What tells this machine from others that use the same cluster; a label's value.
fn machine() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// `wf-` + the last part of the test's name, as far as it fits, + six random digits.
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
    fn names_are_made_of_the_tests_name() {
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
