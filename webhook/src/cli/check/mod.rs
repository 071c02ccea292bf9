//! `check`: checks the installation and prints one line per subject, with the remedy.
//!
//! Each module reads the objects of its lines from the API server and evaluates them with a pure function. The line
//! `admission` is the decisive one: a pod like a session's, created with `dryRun`, takes the real path through selectors,
//! Service, certificate and the handler's permissions. The other lines name the cause if that fails, and further defects.

mod admission;
mod certificate;
mod config;
mod permissions;
mod registration;
mod replicas;
mod result;
mod sessions;

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use kube::Client;
use tokio::time::Instant;
use workflow_contract::limits::parse_duration;
use workflow_contract::text::one_line;

use replicas::InstalledObjects;
use result::CheckResult;

/// Time between two rounds while something fails.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Namespace for a test pod, which is tried with --dry-run=server only; any that is not excluded
    /// from admission
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Check only what must hold before the registration is applied: replicas, permissions, certificate,
    /// configuration
    #[arg(long, conflicts_with = "installation")]
    before_registration: bool,
    /// Check the installation only, not the sessions
    #[arg(long)]
    installation: bool,
    /// Time to repeat the checks while something fails; only the last round is printed
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Conditions for applying the registration: all lines but registration, admission and sessions.
    BeforeRegistration,
    /// The installation without sessions: an old failure is no reason not to install.
    Installation,
    Everything,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Namespace of the dry-run pod: any that sessions may live in. Nothing is created there.
    pub namespace: String,
    pub scope: Scope,
    /// After an installation, endpoints and registration take a moment to propagate.
    pub wait: Duration,
}

impl From<Args> for Options {
    fn from(args: Args) -> Self {
        let scope = match (args.before_registration, args.installation) {
            (true, _) => Scope::BeforeRegistration,
            (false, true) => Scope::Installation,
            (false, false) => Scope::Everything,
        };
        Self { namespace: args.namespace, scope, wait: args.wait.unwrap_or_default() }
    }
}

struct ReportLine {
    subject: &'static str,
    result: CheckResult,
}

impl fmt::Display for ReportLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.result {
            Ok(text) => ("ok", text),
            Err(text) => ("FAILED", text),
        };
        // Text from elsewhere (a message, a name) must not break the line.
        write!(f, "{word:<7} {:<13} {}", self.subject, one_line(text))
    }
}

/// Checks the installation in the client's cluster and prints one line for each subject.
///
/// An error means that an object could not be read, such as for lack of permissions; that is no result.
pub async fn run(client: Client, options: &Options, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + options.wait;
    let lines = loop {
        let lines = check(&client, options).await?;
        if lines.iter().all(|line| line.result.is_ok()) || Instant::now() >= deadline {
            break lines;
        }
        tokio::time::sleep(RETRY).await;
    };
    for line in &lines {
        writeln!(out, "{line}").context("failed to write the result")?;
    }
    let sound = lines.iter().all(|line| line.result.is_ok());
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn check(client: &Client, options: &Options) -> anyhow::Result<Vec<ReportLine>> {
    let mut lines = Vec::new();
    let mut add = |subject, result| lines.push(ReportLine { subject, result });
    let installation = InstalledObjects::read(client).await?;
    let deployment = installation.deployment.as_ref();
    let registered = options.scope != Scope::BeforeRegistration;
    let mut registration = None;
    if registered {
        add("admission", admission::judge(&admission::dry_run(client, &options.namespace).await?));
        registration = registration::read(client).await?;
        add(
            "registration",
            registration::judge(registration.as_ref(), &registration::owner_uid(client).await?),
        );
    }
    let issuer = certificate::CertificateSecret::of(deployment);
    if let Some(issuer) = &issuer {
        let secret = certificate::secret(client, issuer).await?;
        let webhooks = registration.as_ref().and_then(|found| found.webhooks.as_deref()).unwrap_or_default();
        let reports = &installation.reports;
        add("certificate", issuer.judge(secret.as_ref(), webhooks, reports, Timestamp::now()));
    }
    add("replicas", installation.replicas());
    add("service", installation.service());
    add("versions", installation.versions());
    let config = config::read(client).await?;
    let parts = permissions::Parts {
        self_managed: certificate::is_self_managed(deployment),
        live_delivery: config::has_live_delivery(config.as_deref()),
    };
    add("rights", permissions::judge(&permissions::missing(client, parts).await?));
    add("config", config::judge(config.as_deref(), installation.reports.values(), Timestamp::now()));
    if registered && let Some(result) = config::image(&config::unpulled(client).await?) {
        add("image", result);
    }
    if options.scope == Scope::Everything {
        for result in sessions::judge(&sessions::read(client).await?) {
            add("sessions", result);
        }
    }
    Ok(lines)
}
