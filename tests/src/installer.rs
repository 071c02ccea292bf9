//! Installs and removes the injector with the scripts of a checkout, as an admin does. No other test may use the injector at
//! the same time.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use futures::FutureExt;
use tokio::process::Command;

use crate::cluster::{Cluster, checkout};
use crate::images::Build;

/// Directory of the released 0.1.0, from `tests/cluster/released`.
const RELEASED: &str = "target/0.1.0";

/// Runs the scripts of a checkout, which install the images of its `target/images.env`.
pub struct Installer {
    cluster: Cluster,
    directory: PathBuf,
}

impl Installer {
    /// Of this checkout.
    pub fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), directory: checkout().to_owned() }
    }

    /// Of the released 0.1.0.
    pub fn of_0_1_0(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), directory: checkout().join(RELEASED) }
    }

    /// The images that it installs.
    pub fn build(&self) -> anyhow::Result<Build> {
        Build::of(&self.directory)
    }

    /// Installs, upgrades or rolls back to this version.
    pub async fn install(&self) -> anyhow::Result<String> {
        self.run(self.directory.join("manifests/install"), &[], "").await
    }

    /// As [`install`](Self::install), with these overlays and components.
    pub async fn install_with(&self, with: &str) -> anyhow::Result<String> {
        self.run(self.directory.join("manifests/install"), &[], with).await
    }

    /// Removes everything.
    pub async fn uninstall(&self) -> anyhow::Result<String> {
        self.run(self.directory.join("manifests/uninstall"), &[], "").await
    }

    /// Runs `kubectl` and returns its output.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.run(checkout().join("target/cluster/bin/kubectl"), args, "").await
    }

    /// Runs `work` and installs this version afterwards.
    pub async fn put_back_after(&self, work: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let done = AssertUnwindSafe(work()).catch_unwind().await;
        let back = self.install().await.context("restore the checkout's own build");
        done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))?;
        back.map(drop)
    }

    async fn run(&self, program: PathBuf, args: &[&str], with: &str) -> anyhow::Result<String> {
        let tools = checkout().join("target/cluster/bin");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(&program);
        command.current_dir(&self.directory).args(args).kill_on_drop(true);
        command.env("PATH", format!("{}:{path}", tools.display())).env("WITH", with);
        if self.directory != checkout() {
            // It has programs of its own, for `check`.
            command.env_remove("CARGO_TARGET_DIR");
        }
        if self.cluster.is_local() {
            command.env("KUBECONFIG", checkout().join("target/cluster/kubeconfig"));
        }
        let program = program.display();
        let output = command.output().await.with_context(|| format!("{program} could not be started"))?;
        let [out, error] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        ensure!(output.status.success(), "{program} {args:?} failed:\n{out}\n{error}");
        Ok(out)
    }
}
