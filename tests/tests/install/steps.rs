//! What the tests of other issuers do on a node and without one: the scripts of `manifests/`, and what is looked at.

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
use workflow_tests::manifests::{Kubectl, STAND_INS};

use crate::issuer::{Issuer, MANAGER};

/// Time between two looks.
pub const LOOK: Duration = Duration::from_millis(200);
/// Marks CRDs that tests made.
const STAND_IN: &str = "workflow-tests/stand-in";
/// Names of the objects of our manifests, and of those that the injector makes.
const OURS: [&str; 7] = [
    INJECTOR,
    TLS_SECRET,
    "workflow-injector-bootstrap",
    "workflow-injector-ca",
    "workflow-injector-freeze-running",
    "workflow-injector-metrics",
    "workflow-injector-serving",
];

/// Where things are installed.
pub struct Place {
    pub client: Client,
    pub kubectl: Kubectl,
    /// Of the scripts; `None`: the environment's own.
    pub kubeconfig: Option<PathBuf>,
}

impl Place {
    /// Runs a script of `manifests/` and waits for its end beside `meanwhile`, which is called again and again.
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
                () = tokio::time::sleep(LOOK) => meanwhile().await?,
            }
        };
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "manifests/{name} with {environment:?} failed:\n{said}");
        Ok(())
    }

    /// Returns the name of a CRD of the issuers or of Prometheus' operator that the cluster's owner has installed.
    pub async fn foreign_crd(&self) -> anyhow::Result<Option<String>> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for text in STAND_INS {
            for crd in serde_saphyr::from_multiple::<CustomResourceDefinition>(text)? {
                let found = crds.get_opt(&crd.name_any()).await?;
                if found.is_some_and(|found| !found.annotations().contains_key(STAND_IN)) {
                    return Ok(Some(crd.name_any()));
                }
            }
        }
        Ok(None)
    }

    /// Serves the CRDs of the issuers and of Prometheus' operator, where they are not served.
    pub async fn stand_ins(&self) -> anyhow::Result<()> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for text in STAND_INS {
            for crd in serde_saphyr::from_multiple::<CustomResourceDefinition>(text)? {
                let name = crd.name_any();
                match crds.get_opt(&name).await? {
                    Some(theirs) if !theirs.annotations().contains_key(STAND_IN) => {
                        bail!("this cluster has a {name} of its own: this test would get into its way")
                    }
                    Some(_) => (),
                    None => drop(crds.create(&PostParams::default(), &crd).await?),
                }
                await_condition(crds.clone(), &name, conditions::is_crd_established()).await?;
            }
        }
        Ok(())
    }

    /// Takes them away again.
    pub async fn remove_stand_ins(&self) -> anyhow::Result<()> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let ours = |crd: &CustomResourceDefinition| crd.annotations().contains_key(STAND_IN);
        for crd in crds.list(&ListParams::default()).await?.into_iter().filter(ours) {
            crds.delete(&crd.name_any(), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// A pod as the operator makes it for a session that does not exist: we refuse it, if we are asked and trusted.
    pub async fn answered_by_us(&self) -> anyhow::Result<()> {
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
            other => bail!("not our answer: {other:?}"),
        }
    }

    /// Who wrote a caBundle of the registration, and what each entry holds.
    pub async fn bundles(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let found = Api::<MutatingWebhookConfiguration>::all(self.client.clone()).get(INJECTOR).await?;
        let mut writers = Vec::new();
        for entry in found.managed_fields() {
            if json!(entry.fields_v1).to_string().contains("f:caBundle") {
                writers.extend(entry.manager.clone());
            }
        }
        let held = found.webhooks.into_iter().flatten().filter_map(|webhook| webhook.client_config.ca_bundle);
        Ok((writers, held.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned()).collect()))
    }

    /// Whether the injector's account may.
    pub async fn may(&self, verb: &str, resource: &str, name: &str) -> anyhow::Result<bool> {
        let asked: SubjectAccessReview = serde_json::from_value(json!({ "metadata": {}, "spec": {
            "user": format!("system:serviceaccount:{INJECTOR}:{INJECTOR}"),
            "resourceAttributes": { "namespace": INJECTOR, "verb": verb, "resource": resource, "name": name },
        } }))?;
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &asked).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Fails unless the installation is whole, and as little as can be, with the certificates of this issuer.
    pub async fn is_installed_by(&self, issuer: &Issuer) -> anyhow::Result<()> {
        self.answered_by_us().await?;
        issuer.tend().await?;
        let (writers, held) = self.bundles().await?;
        ensure!(
            !held.is_empty() && held.iter().all(|bundle| bundle == issuer.bundle()),
            "caBundle is {held:?}"
        );
        // The first one is written by `install`.
        let by_us = |writer: &String| writer != MANAGER && !writer.starts_with("kubectl");
        ensure!(!writers.iter().any(by_us), "caBundle was written by {writers:?}");
        for verb in ["get", "list", "watch", "create", "update"] {
            ensure!(!self.may(verb, "secrets", "workflow-injector-tls").await?, "may {verb} secrets");
        }
        ensure!(self.may("get", "namespaces", INJECTOR).await?, "may not even do what it has to");
        self.kubectl.run(&["-n", INJECTOR, "get", "servicemonitor,prometheusrule", INJECTOR], None).map(drop)
    }

    /// Fails unless caBundle is what the issuer wrote last.
    pub async fn has_what_was_renewed_by(&self, issuer: &Issuer) -> anyhow::Result<()> {
        let (writers, held) = self.bundles().await?;
        ensure!(held.iter().all(|bundle| bundle == issuer.bundle()), "a renewed authority was taken back");
        ensure!(writers.iter().any(|writer| writer == MANAGER), "caBundle was written by {writers:?}");
        Ok(())
    }

    /// Objects of any kind that have the injector's name; other people's objects may have similar names.
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

/// Does nothing meanwhile.
pub async fn nothing() -> anyhow::Result<()> {
    Ok(())
}
