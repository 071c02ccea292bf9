//! The command line: one module per command, with its arguments.

pub mod check;
pub mod cleanup;
pub mod render;
pub mod serve;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use k8s_openapi::NamespaceResourceScope;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};

use crate::kube::client;

/// Exit code of a command that failed; 1 is a negative result.
const FAILED: u8 = 2;

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
    /// Remove everything that the injector created at run time, registration first
    ///
    /// Uses KUBECONFIG, which must be an admin's. Stops the replicas; sessions stay as they are.
    Cleanup,
}

/// Runs the command of the command line.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Render(args) => render::run(&args),
        Command::Check(args) => {
            on_cluster(async move |client, out| check::run(client, &args.into(), out).await)
        }
        Command::Cleanup => {
            on_cluster(async |client, out| cleanup::run(client, out).await.map(|()| ExitCode::SUCCESS))
        }
    }
}

/// Returns an API of untyped objects, for large types of which few fields are read: decoding pods in full is half a
/// megabyte of program.
fn untyped<K>(client: &Client, namespace: &str) -> Api<DynamicObject>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
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
    }
}
