//! The command line, and which function each command is.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use workflow_certs::Lifetimes;
use workflow_contract::limits::{LimitError, parse_duration};
use workflow_contract::names::CONFIG_FILE;

use crate::cli::{self, render};
use crate::serve;
use crate::telemetry::LogFormat;

/// Delivers workflows to session pods.
#[derive(Debug, Parser)]
#[command(name = "workflow-injector", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the webhook
    Serve(Serve),
    /// Show what admission would do with a pod, without a cluster
    ///
    /// Exits 0 also when nothing is to be done; 1 where admission would deny the pod, with the
    /// refusal; 2 when an input can't be read.
    Render(Render),
    /// Say what is wrong with the installation, one line each with the remedy
    ///
    /// Uses KUBECONFIG. Exits 1 when anything is wrong, 2 when it could not be looked at.
    Check(Check),
    /// Remove what the injector made at run time, registration first
    ///
    /// Uses KUBECONFIG, which must be an admin's. Ends the replicas; sessions stay as they are.
    Cleanup,
}

/// Arguments of `serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct Serve {
    /// Config file; re-read when it changes
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    pub config: PathBuf,
    /// Directory with tls.crt, tls.key and ca.crt of another issuer; without it, certificates are self-managed
    /// in a Secret
    #[arg(long, value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// CA certificates in PEM form; clients of the HTTPS port must have a certificate of one of them.
    /// Re-read when it changes. The API server needs a kubeConfigFile for webhooks then
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Lifetime of self-managed serving certificates, which are renewed at two thirds of it
    #[arg(long, value_name = "TIME", default_value = "720h", value_parser = duration, conflicts_with = "tls_dir")]
    pub leaf_lifetime: Duration,
    /// Lifetime of the self-managed CA
    #[arg(long, value_name = "TIME", default_value = "8760h", value_parser = duration, conflicts_with = "tls_dir")]
    pub ca_lifetime: Duration,
    /// How long a new CA is in every caBundle before it signs the serving certificate
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, conflicts_with = "tls_dir")]
    pub settle: Duration,
    /// Address for HTTPS: /mutate
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    pub listen: SocketAddr,
    /// Address for HTTP: /healthz, /readyz, /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    pub listen_ops: SocketAddr,
    /// Grace period after SIGTERM during which requests are still served
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration)]
    pub drain: Duration,
    /// Log format
    #[arg(long, value_name = "FORMAT", env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Arguments of `render`.
#[derive(Debug, Clone, clap::Args)]
pub struct Render {
    /// The pod, as JSON or YAML; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub pod: PathBuf,
    /// Its AgenticSession, as JSON or YAML; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub session: PathBuf,
    /// Config file; without it the defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to write, in the form of the pod's file
    #[arg(short, long, value_name = "WHAT", default_value = "pod")]
    pub output: render::Output,
}

/// Arguments of `check`.
#[derive(Debug, Clone, clap::Args)]
pub struct Check {
    /// Namespace for a test pod, which is tried with --dry-run=server only; any that is not excluded
    /// from admission
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub namespace: String,
    /// Judge only what must hold before the registration is applied: replicas, rights, certificate,
    /// configuration
    #[arg(long, conflicts_with = "installation")]
    pub before_registration: bool,
    /// Judge the installation only, not what became of sessions
    #[arg(long)]
    pub installation: bool,
    /// How long to look again while something is wrong; only the last look is printed
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}

impl Serve {
    /// The lifetimes of certificates that we issue.
    ///
    /// # Errors
    /// Those under which a rotation can't succeed, with the flags.
    pub fn lifetimes(&self) -> anyhow::Result<Lifetimes> {
        let (serving, ca, settle) = (self.leaf_lifetime, self.ca_lifetime, self.settle);
        Lifetimes::new(ca, serving, settle).with_context(|| {
            format!(
                "--leaf-lifetime {serving:?}, --ca-lifetime {ca:?} and --settle {settle:?} don't fit together"
            )
        })
    }
}

fn duration(text: &str) -> Result<Duration, LimitError> {
    parse_duration(text)
}

/// Runs what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    match Args::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Render(args) => render::run(&args),
        Command::Check(args) => cli::check(args),
        Command::Cleanup => cli::cleanup(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    fn lifetimes(flags: &[&str]) -> Result<Lifetimes, String> {
        let all = ["workflow-injector", "serve"].iter().chain(flags);
        let Command::Serve(args) = Args::try_parse_from(all).map_err(|error| error.to_string())?.command
        else {
            panic!("serve is a command");
        };
        args.lifetimes().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn lifetimes_are_those_of_the_rotation_unless_flags_say_otherwise() {
        assert_eq!(lifetimes(&[]), Ok(Lifetimes::default()));
        let short = lifetimes(&["--leaf-lifetime", "4s", "--ca-lifetime", "20s", "--settle", "3s"]).unwrap();
        let seconds = [short.serving, short.ca, short.settle].map(|life| life.as_secs());
        assert_eq!(seconds, [4, 20, 3]);
    }

    #[test]
    fn lifetimes_under_which_no_rotation_succeeds_are_refused_with_the_reason() {
        for (flags, reason) in [
            (&["--leaf-lifetime", "8760h"][..], "a third of the CA's lifetime must exceed"),
            (&["--leaf-lifetime", "2h", "--ca-lifetime", "1h"], "a third of the CA's lifetime must exceed"),
            (&["--ca-lifetime", "90s", "--leaf-lifetime", "3s"], "a third of the CA's lifetime must exceed"),
            (&["--leaf-lifetime", "1s"], "must be longer than two seconds"),
            (&["--ca-lifetime", "9999999h"], "a hundred years at most"),
            (&["--settle", "0s"], "is not a duration"),
            (&["--leaf-lifetime", "30d"], "is not a duration"),
            (&["--tls-dir", "/tls", "--settle", "10s"], "cannot be used with"),
        ] {
            let refusal = lifetimes(flags).unwrap_err();
            assert!(refusal.contains(reason), "{flags:?}: {refusal}");
        }
    }

    #[test]
    fn serve_listens_where_the_manifests_say() {
        let Command::Serve(args) = Args::parse_from(["workflow-injector", "serve"]).command else {
            panic!("serve is a command");
        };
        assert_eq!((args.listen.port(), args.listen_ops.port()), (8443, 8080));
        assert_eq!(args.config, PathBuf::from("/etc/workflow-injector/config.yaml"));
    }
}
