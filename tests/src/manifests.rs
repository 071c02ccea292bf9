//! Renders `manifests/` with kubectl's kustomize, the program that `manifests/install` calls, and runs kubectl for tests.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use serde_json::Value;

use crate::cluster::checkout;

/// CRDs of the Prometheus operator, as far as our manifests use them.
const MONITORING_CRDS: &str = include_str!("../crds/monitoring.yaml");
/// The annotation of CRDs that tests created.
pub const TEST_CRD: &str = "workflow-tests/test-crd";

/// The CRDs of other projects for which there are objects in our manifests, with the annotation [`TEST_CRD`].
pub fn other_crds() -> anyhow::Result<Vec<CustomResourceDefinition>> {
    let path = checkout().join("target/cluster/bin/cert-manager-crds.yaml");
    let cert_manager = fs::read_to_string(&path)
        .with_context(|| format!("{} can't be read: run tests/cluster/cert-manager/build", path.display()))?;
    let mut crds: Vec<CustomResourceDefinition> = serde_saphyr::from_multiple(&cert_manager)?;
    crds.extend(serde_saphyr::from_multiple::<CustomResourceDefinition>(MONITORING_CRDS)?);
    for crd in &mut crds {
        crd.annotations_mut().insert(TEST_CRD.to_owned(), "true".to_owned());
    }
    Ok(crds)
}

/// Directories below `manifests/` that render to objects; components that only patch are left out.
pub fn directories() -> anyhow::Result<Vec<String>> {
    let root = checkout().join("manifests");
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)?.collect::<Result<Vec<_>, _>>()? {
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else if entry.file_name() == "kustomization.yaml" {
                let name = directory.strip_prefix(&root)?.display().to_string();
                if fs::read_to_string(entry.path())?.contains("\nresources:") {
                    found.push(name);
                }
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Renders a directory to YAML.
pub fn render(directory: &str) -> anyhow::Result<String> {
    let path = checkout().join("manifests").join(directory);
    let output = Kubectl::anywhere().output(&["kustomize", &path.display().to_string()], None)?;
    succeeded(&output, &format!("kustomize can't render manifests/{directory}"))?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The objects that this directory renders to.
pub fn objects(directory: &str) -> anyhow::Result<Vec<Value>> {
    serde_saphyr::from_multiple(&render(directory)?)
        .with_context(|| format!("manifests/{directory} does not render to YAML"))
}

/// The objects of this kind among `objects`.
pub fn of_kind<'o>(objects: &'o [Value], kind: &str) -> Vec<&'o Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// kubectl, from the local cluster's programs if built.
pub struct Kubectl {
    kubeconfig: Option<PathBuf>,
}

impl Kubectl {
    /// Without a cluster.
    pub fn anywhere() -> Self {
        Self { kubeconfig: None }
    }

    /// For the cluster that [`Cluster::connect`](crate::cluster::Cluster::connect) leads to.
    pub fn local() -> Self {
        let current = std::env::var("CLUSTER").is_ok_and(|cluster| cluster == "current");
        Self { kubeconfig: (!current).then(|| checkout().join("target/cluster/kubeconfig")) }
    }

    /// For the cluster of this kubeconfig.
    pub fn with(kubeconfig: &Path) -> Self {
        Self { kubeconfig: Some(kubeconfig.to_owned()) }
    }

    /// Runs it with this input and returns its output; fails if it does.
    pub fn run(&self, arguments: &[&str], input: Option<&str>) -> anyhow::Result<String> {
        let output = self.output(arguments, input)?;
        succeeded(&output, &format!("kubectl {} failed", arguments.join(" ")))?;
        Ok(String::from_utf8(output.stdout)?)
    }

    fn output(&self, arguments: &[&str], input: Option<&str>) -> anyhow::Result<Output> {
        let own = checkout().join("target/cluster/bin/kubectl");
        let mut command = Command::new(if own.exists() { own.as_path() } else { Path::new("kubectl") });
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        let mut child = command
            .args(arguments)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl could not be started: run tests/cluster/build-tools")?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            pipe.write_all(input.as_bytes())?;
        }
        Ok(child.wait_with_output()?)
    }
}

fn succeeded(output: &Output, failure: &str) -> anyhow::Result<()> {
    ensure!(output.status.success(), "{failure}:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
    Ok(())
}
