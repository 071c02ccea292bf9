//! The command line: one module per command, with its arguments.

pub mod check;
pub mod cleanup;
pub mod explain;
pub mod render;
pub mod serve;
mod untyped;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use kube::Client;

use crate::kube::client;

/// Exit code of a command that failed; 1 is a negative result.
const FAILED: u8 = 2;

/// Program name under which kubectl runs this program as `kubectl workflow`.
const PLUGIN: &str = "kubectl-workflow";

/// Delivers workflows to session pods.
#[derive(Debug, Parser)]
#[command(name = "workflow-injector", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the webhook
    Serve(serve::Args),
    /// Show the result of admission for a pod, without a cluster
    ///
    /// Exits 0 also if nothing is to be done; 1 if admission would deny the pod, with the denial; 2 if an input can't be
    /// read.
    Render(render::Args),
    /// Check the installation, one line per subject with the remedy
    ///
    /// Uses KUBECONFIG. Exits 1 if anything is wrong, 2 if it could not be checked.
    Check(check::Args),
    /// Explain what happened to the workflow of one session, and what to do
    ///
    /// Uses KUBECONFIG. Exits 0 if the workflow is delivered or none is to be delivered, 1 otherwise, 2 if the session
    /// can't be read. Installed as `kubectl-workflow`, the program does the same as `kubectl workflow SESSION`.
    Explain(explain::Args),
    /// Remove everything that the injector created at run time, registration first
    ///
    /// Uses KUBECONFIG, which must be an admin's. Stops the replicas; sessions stay as they are.
    Cleanup,
}

/// Explain what happened to the workflow of one session, and what to do
///
/// Exits 0 if the workflow is delivered or none is to be delivered, 1 otherwise, 2 if the session can't be read.
#[derive(Debug, Parser)]
#[command(name = PLUGIN, bin_name = "kubectl workflow", version)]
struct Plugin {
    #[command(flatten)]
    args: explain::Args,
}

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    match command(std::env::args_os().collect()) {
        Command::Serve(args) => serve::run(args),
        Command::Render(args) => render::run(&args),
        Command::Check(args) => {
            on_cluster(async move |client, out| check::run(client, &args.into(), out).await)
        }
        Command::Explain(args) => on_cluster(async move |client, out| explain::run(client, &args, out).await),
        Command::Cleanup => {
            on_cluster(async |client, out| cleanup::run(client, out).await.map(|()| ExitCode::SUCCESS))
        }
    }
}

/// Parses the arguments, the first of which is the program's own path.
fn command(args: Vec<OsString>) -> Command {
    let name = args.first().and_then(|program| Path::new(program).file_stem());
    if name.is_some_and(|name| name == PLUGIN) {
        Command::Explain(Plugin::parse_from(args).args)
    } else {
        Cli::parse_from(args).command
    }
}

/// Runs a command with a client for the cluster of KUBECONFIG; errors are printed to stderr.
fn on_cluster(
    command: impl AsyncFnOnce(Client, &mut std::io::Stdout) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let work = async {
        let client = client::connect().await?;
        command(client, &mut std::io::stdout()).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done =
        runtime.context("failed to start the async runtime").and_then(|runtime| runtime.block_on(work));
    done.unwrap_or_else(|error| {
        // With stderr closed the error is lost.
        let _ = writeln!(std::io::stderr(), "{error:#}");
        ExitCode::from(FAILED)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
        Plugin::command().debug_assert();
    }

    #[test]
    fn kubectl_plugin_explains() {
        for line in [
            "workflow-injector explain -n team s",
            "kubectl-workflow -n team s",
            "/usr/local/bin/kubectl-workflow s --namespace=team",
        ] {
            let args = line.split(' ').map(OsString::from).collect();
            let Command::Explain(args) = command(args) else { panic!("{line}") };
            assert_eq!(format!("{args:?}"), r#"Args { namespace: Some("team"), session: "s" }"#, "{line}");
        }
    }
}
