//! Installs and removes the injector with the scripts of the checkout, as an admin does, and restores the checkout's own
//! build afterwards. No other test may use the injector at the same time.

use std::panic::AssertUnwindSafe;

use anyhow::{Context, ensure};
use futures::FutureExt;
use tokio::process::Command;

use crate::cluster::{Cluster, checkout};
use crate::images::Build;

/// File with the names of the other build's images.
const OTHER_IMAGES: &str = "target/other-images.env";

/// Runs the checkout's scripts.
pub struct Installer {
    cluster: Cluster,
}

impl Installer {
    pub fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone() }
    }

    /// Installs this build, or upgrades to it.
    pub async fn install(&self, build: &Build) -> anyhow::Result<String> {
        let images =
            [("WORKFLOW_INJECTOR_IMAGE", build.injector.as_str()), ("INIT_FETCHER_IMAGE", &build.fetcher)];
        self.run("manifests/install", &[], &images).await
    }

    /// Removes everything.
    pub async fn uninstall(&self) -> anyhow::Result<String> {
        self.run("manifests/uninstall", &[], &[]).await
    }

    /// Runs `kubectl` and returns its output.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run("target/cluster/bin/kubectl", args, &[]).await
    }

    /// Builds images of another build and loads them into the cluster.
    pub async fn other_build(&self) -> anyhow::Result<Build> {
        self.run("tests/cluster/images", &["--other"], &[]).await?;
        Build::of(OTHER_IMAGES)
    }

    /// Runs `work` and restores the checkout's own build afterwards.
    pub async fn put_back_after(&self, work: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let done = AssertUnwindSafe(work()).catch_unwind().await;
        let back = self.install(&Build::current()?).await.context("restore the checkout's own build");
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
