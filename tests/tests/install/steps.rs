//! Steps of the tests of other issuers, with and without a node: scripts of `manifests/` and assertions about the result.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::json;
use workflow_contract::names::{DENIAL_PREFIX, INJECTOR, TLS_SECRET};
use workflow_tests::manifests::{Kubectl, TEST_CRD, other_crds};
use workflow_tests::wait::until_so;

use crate::issuer::Issuer;

/// Polling interval.
pub const POLL: Duration = Duration::from_millis(200);
/// Names of the objects of our manifests, and of those that the injector creates.
const OURS: [&str; 9] = [
    INJECTOR,
    TLS_SECRET,
    "workflow-injector-bootstrap",
    "workflow-injector-ca",
    "workflow-injector-freeze-running",
    "workflow-injector-live-delivery",
    "workflow-injector-metrics",
    "workflow-injector-serving",
    "workflow-injector-validate-sessions",
];

/// The cluster that is installed to.
pub struct Target {
    pub client: Client,
    pub kubectl: Kubectl,
    /// For the scripts; `None`: the environment's own.
    pub kubeconfig: Option<PathBuf>,
}

impl Target {
    /// Runs a script of `manifests/` to its end, calling `meanwhile` at each interval.
    pub async fn script(
        &self,
        name: &str,
        environment: &[(&str, &str)],
        mut meanwhile: impl AsyncFnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut command = Command::new(root.join("manifests").join(name));
        command.envs(environment.iter().copied());
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let mut ended = tokio::task::spawn_blocking(move || command.output());
        let output = loop {
            tokio::select! {
                output = &mut ended => break output??,
                () = tokio::time::sleep(POLL) => meanwhile().await?,
            }
        };
        let output_text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "manifests/{name} with {environment:?} failed:\n{output_text}");
        Ok(())
    }

    /// Creates the CRDs of cert-manager and of Prometheus' operator, unless they exist.
    pub async fn create_crds(&self) -> anyhow::Result<()> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in other_crds()? {
            let name = crd.name_any();
            match crds.get_opt(&name).await? {
                Some(theirs) if !theirs.annotations().contains_key(TEST_CRD) => {
                    bail!("this cluster has a {name} of its own, which this test must not change")
                }
                Some(_) => (),
                None => drop(crds.create(&PostParams::default(), &crd).await?),
            }
            await_condition(crds.clone(), &name, conditions::is_crd_established()).await?;
        }
        Ok(())
    }

    /// Deletes the CRDs that tests created.
    pub async fn delete_crds(&self) -> anyhow::Result<()> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let ours = |crd: &CustomResourceDefinition| crd.annotations().contains_key(TEST_CRD);
        for crd in crds.list(&ListParams::default()).await?.into_iter().filter(ours) {
            crds.delete(&crd.name_any(), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Fails unless the injector denies a pod of a session that does not exist, so is called and trusted.
    pub async fn expect_denial(&self) -> anyhow::Result<()> {
        let owner = json!({
            "apiVersion": "vteam.ambient-code/v1alpha1", "kind": "AgenticSession", "name": "none",
            "uid": "00000000-0000-0000-0000-000000000000", "controller": true,
        });
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "none-runner", "ownerReferences": [owner],
                "labels": { "app": "ambient-code-runner", "agentic-session": "none" },
            },
            "spec": { "containers": [{
                "name": "ambient-code-runner", "image": "none",
                "env": [{ "name": "ACTIVE_WORKFLOW_GIT_URL", "value": "https://git.invalid/o/r.git" }],
            }] },
        }))?;
        let params = PostParams { dry_run: true, ..PostParams::default() };
        match Api::<Pod>::namespaced(self.client.clone(), "default").create(&params, &pod).await {
            Err(kube::Error::Api(status)) if status.message.contains(DENIAL_PREFIX) => Ok(()),
            other => bail!("not denied by the injector: {other:?}"),
        }
    }

    /// The field managers of caBundle, and the bundle of each entry of the registration.
    pub async fn bundles(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let found = Api::<MutatingWebhookConfiguration>::all(self.client.clone()).get(INJECTOR).await?;
        let mut writers = Vec::new();
        for entry in found.managed_fields() {
            if json!(entry.fields_v1).to_string().contains("f:caBundle") {
                writers.extend(entry.manager.clone());
            }
        }
        let bundles =
            found.webhooks.into_iter().flatten().filter_map(|webhook| webhook.client_config.ca_bundle);
        Ok((writers, bundles.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned()).collect()))
    }

    /// Reports whether RBAC allows a request of the injector's account.
    pub async fn allows(&self, verb: &str, resource: &str, name: &str) -> anyhow::Result<bool> {
        let review: SubjectAccessReview = serde_json::from_value(json!({ "metadata": {}, "spec": {
            "user": format!("system:serviceaccount:{INJECTOR}:{INJECTOR}"),
            "resourceAttributes": { "namespace": INJECTOR, "verb": verb, "resource": resource, "name": name },
        } }))?;
        let review = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        Ok(review.status.is_some_and(|status| status.allowed))
    }

    /// Fails unless the installation works with the certificates of this issuer and has no right to change them.
    pub async fn expect_installed_with(&self, issuer: &Issuer) -> anyhow::Result<()> {
        self.expect_denial().await?;
        issuer.reconcile().await?;
        let (writers, bundles) = self.bundles().await?;
        let expected = issuer.bundle().await?;
        ensure!(
            !bundles.is_empty() && bundles.iter().all(|bundle| bundle.contains(&expected)),
            "caBundle is {bundles:?}"
        );
        // The first one is written by `install`.
        let by_us = |writer: &String| writer != issuer.manager() && !writer.starts_with("kubectl");
        ensure!(!writers.iter().any(by_us), "caBundle was written by {writers:?}");
        for verb in ["get", "list", "watch", "create", "update"] {
            ensure!(!self.allows(verb, "secrets", "workflow-injector-tls").await?, "allowed: {verb} secrets");
        }
        ensure!(self.allows("get", "namespaces", INJECTOR).await?, "not allowed: get namespaces");
        self.kubectl.run(&["-n", INJECTOR, "get", "servicemonitor,prometheusrule", INJECTOR], None).map(drop)
    }

    /// Waits until the issuer has written its latest CA to caBundle.
    pub async fn until_bundle_of(&self, issuer: &Issuer) -> anyhow::Result<()> {
        let expected = issuer.bundle().await?;
        until_so("the latest CA in caBundle", || async {
            let (writers, bundles) = self.bundles().await?;
            ensure!(bundles.iter().all(|bundle| bundle.contains(&expected)), "caBundle is {bundles:?}");
            ensure!(writers.iter().any(|writer| writer == issuer.manager()), "written by {writers:?}");
            Ok(true)
        })
        .await
    }

    /// Names of all remaining objects of the installation, of any kind.
    pub fn leftovers(&self) -> anyhow::Result<Vec<String>> {
        let kinds = self.kubectl.run(&["api-resources", "--verbs=list", "-o", "name"], None)?;
        let kinds: Vec<_> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
        let found =
            self.kubectl.run(&["get", &kinds.join(","), "-A", "-o", "name", "--ignore-not-found"], None)?;
        Ok(found
            .lines()
            .filter(|name| {
                let name = name.rsplit('/').next().unwrap_or_default();
                OURS.contains(&name)
            })
            .map(str::to_owned)
            .collect())
    }
}

/// For scripts during which nothing else has to happen.
pub async fn nothing() -> anyhow::Result<()> {
    Ok(())
}
