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
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;

use judge::Finding;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

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
    /// How long to look again while something is wrong: after an installation, endpoints and
    /// registration take a moment to get everywhere.
    pub wait: Duration,
}

/// Looks at the installation in the client's cluster and prints one line for each finding.
///
/// # Errors
/// What could not be looked at, such as for lack of rights; that is no verdict.
pub async fn run(client: Client, options: &Options, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let patience = Instant::now() + options.wait;
    let findings = loop {
        let evidence = gather::gather(&client, options).await?;
        let findings = judge::judge(&evidence, Timestamp::now());
        if findings.iter().all(Finding::is_ok) || Instant::now() >= patience {
            break findings;
        }
        tokio::time::sleep(LOOK).await;
    };
    for finding in &findings {
        writeln!(out, "{finding}").context("failed to write the findings")?;
    }
    let sound = findings.iter().all(Finding::is_ok);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
