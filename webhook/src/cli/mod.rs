//! Commands for a person at a terminal.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use k8s_openapi::NamespaceResourceScope;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};

use crate::args::Check;
use crate::kube::client;

pub mod check;
pub mod cleanup;
pub mod render;

/// Exit code of a command that could not do its work; 1 is a verdict.
const FAILED: u8 = 2;

/// Runs `check`.
pub(crate) fn check(args: Check) -> ExitCode {
    let scope = match (args.before_registration, args.installation) {
        (true, _) => check::Scope::BeforeRegistration,
        (false, true) => check::Scope::Installation,
        (false, false) => check::Scope::Everything,
    };
    let wait = args.wait.unwrap_or_default();
    let options = check::Options { namespace: args.namespace, scope, wait };
    on_cluster(async move |client, out| check::run(client, &options, out).await)
}

/// Runs `cleanup`.
pub(crate) fn cleanup() -> ExitCode {
    on_cluster(async |client, out| cleanup::run(client, out).await.map(|()| ExitCode::SUCCESS))
}

/// Objects whose types are large and of which little is looked at, as JSON: decoding pods in full is half a megabyte of
/// program.
fn untyped<K>(client: &Client, namespace: &str) -> Api<DynamicObject>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

/// Runs a command with the cluster of KUBECONFIG; what it could not do is said on stderr.
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
        // With stderr closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{error:#}");
        ExitCode::from(FAILED)
    })
}
