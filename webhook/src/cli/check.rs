//! `check`: is the installation sound? One line each, with the remedy; only what was looked at.
//!
//! ```text
//!  API server (dry-run pod, registration, Secret, pods, rights, sessions) -> gather -> judge (pure) -> lines
//! ```
//!
//! The first line is the one that counts: a pod like a session's, created with `dryRun`, takes the
//! real path through selectors, Service, certificate and the handler's own rights. The others say
//! why that fails, or what would go wrong later.

pub mod evidence;
pub mod gather;
pub mod judge;
pub mod rights;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;

use judge::Finding;

/// How much is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What must hold before the registration is applied: no registration, no admission, no sessions.
    BeforeRegistration,
    /// The installation, but not what became of sessions: an old failure is no reason not to install.
    Installation,
    /// The installation, and the sessions whose workflow failed.
    Everything,
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Namespace of the dry-run pod: any that sessions may live in. Nothing is created there.
    pub namespace: String,
    /// How much is judged.
    pub scope: Scope,
}

/// Looks at the installation in the client's cluster and prints one line for each finding.
///
/// # Errors
/// What could not be looked at, such as for lack of rights; that is no verdict.
pub async fn run(client: Client, options: &Options, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let evidence = gather::gather(&client, options).await?;
    let findings = judge::judge(&evidence, Timestamp::now());
    for finding in &findings {
        writeln!(out, "{finding}").context("failed to write the findings")?;
    }
    let sound = findings.iter().all(Finding::is_ok);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
