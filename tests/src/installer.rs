//! Installs and removes the injector as an admin does, by the scripts of the checkout, on the cluster that the tests
//! use; and puts the checkout's own build back after a test that did so. Such a test has a file of its own.

use std::panic::AssertUnwindSafe;

use anyhow::{Context, ensure};
use futures::FutureExt;
use tokio::process::Command;

use crate::cluster::{Cluster, checkout};
use crate::images::Build;

/// Where the names of the other build's images are.
const OTHER_IMAGES: &str = "target/other-images.env";

/// Runs the checkout's scripts.
pub struct Installer {
    cluster: Cluster,
}

impl Installer {
    /// One for this cluster.
    pub fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone() }
    }

    /// Installs this build, or goes over to it.
    pub async fn install(&self, build: &Build) -> anyhow::Result<String> {
        let images =
            [("WORKFLOW_INJECTOR_IMAGE", build.injector.as_str()), ("INIT_FETCHER_IMAGE", &build.fetcher)];
        self.run("manifests/install", &[], &images).await
    }

    /// Removes everything.
    pub async fn uninstall(&self) -> anyhow::Result<String> {
        self.run("manifests/uninstall", &[], &[]).await
    }

    /// `kubectl` with these arguments, and what it prints.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run("target/cluster/bin/kubectl", args, &[]).await
    }

    /// Makes images of another build, which the cluster then has, too.
    pub async fn other_build(&self) -> anyhow::Result<Build> {
        self.run("tests/cluster/images", &["--other"], &[]).await?;
        Build::of(OTHER_IMAGES)
    }

    /// Runs `work`, and puts the checkout's own build back afterwards, whatever came of it.
    pub async fn put_back_after(&self, work: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let done = AssertUnwindSafe(work()).catch_unwind().await;
        let back = self.install(&Build::current()?).await.context("put the checkout's own build back");
        done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))?;
        back.map(drop)
    }

    async fn run(&self, program: &str, args: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut command = Command::new(checkout().join(program));
        command.current_dir(checkout()).args(args).envs(variables.iter().copied()).kill_on_drop(true);
        if self.cluster.is_local() {
            command.env("KUBECONFIG", checkout().join("target/cluster/kubeconfig"));
        }
        let output = command.output().await.with_context(|| format!("{program} could not be started"))?;
        let [out, error] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        ensure!(output.status.success(), "{program} {args:?} failed:\n{out}\n{error}");
        Ok(out)
    }
}
