//! The program as a plugin of the real kubectl.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use workflow_tests::api_server;
use workflow_tests::manual_operator::ManualOperator;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::released;
use workflow_tests::session::SessionBuilder;

use crate::installation::{CHECKOUT, admin_kubeconfig};

const NAMESPACE: &str = "plugin";
const SESSION: &str = "s";

/// Runs a program as an admin, with `directory` first on PATH.
fn run(program: &Path, args: &[&str], directory: &Path) -> anyhow::Result<Output> {
    let kubeconfig = admin_kubeconfig()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([directory.to_owned()].into_iter().chain(std::env::split_paths(&path)))?;
    let output = Command::new(program)
        .args(args)
        .env("PATH", path)
        .env("KUBECONFIG", std::path::absolute(kubeconfig.path())?)
        .output();
    output.with_context(|| format!("{} could not be started", program.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_workflow_prints_what_explain_prints() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let manual = ManualOperator::new(TestNamespace::named(cluster, NAMESPACE).await?);
    let session = SessionBuilder::new(SESSION).workflow("https://git.invalid/o/r.git", "main");
    manual.begin(session.build()).await?;

    let program = released::program()?;
    let directory = tempfile::tempdir()?;
    let directory = std::path::absolute(directory.path())?;
    symlink(&program, directory.join("kubectl-workflow"))?;
    let kubectl = Path::new(CHECKOUT).join("target/cluster/bin/kubectl");

    let listed = run(&kubectl, &["plugin", "list"], &directory)?;
    let listed = String::from_utf8(listed.stdout)?;
    ensure!(listed.contains(&directory.join("kubectl-workflow").display().to_string()), "{listed}");

    let explained = run(&program, &["explain", "-n", NAMESPACE, SESSION], &directory)?;
    let plugin = run(&kubectl, &["workflow", "-n", NAMESPACE, SESSION], &directory)?;
    let text = String::from_utf8(plugin.stdout)?;
    ensure!(text.contains("pod s-runner created"), "{text}{}", String::from_utf8_lossy(&plugin.stderr));
    assert_eq!(text, String::from_utf8(explained.stdout)?);
    assert_eq!((plugin.status.code(), explained.status.code()), (Some(1), Some(1)));

    let missing = run(&kubectl, &["workflow", "-n", NAMESPACE, "missing"], &directory)?;
    let error = String::from_utf8(missing.stderr)?;
    ensure!(error.contains("there is no session plugin/missing"), "{error}");
    Ok(())
}
