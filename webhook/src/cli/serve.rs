//! `serve`: connects the parts and runs them until SIGTERM. It decides nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use workflow_certs::{Clock, Lifetimes};
use workflow_contract::LogFormat;
use workflow_contract::limits::parse_duration;
use workflow_contract::names::CONFIG_FILE;

use crate::admission::Admission;
use crate::admission::lookup::SessionLookup;
use crate::config::{self, Config};
use crate::kube::client;
use crate::metrics::Metrics;
use crate::replica::{Identity, Issuer, Replica};
use crate::server::{self, Ops, ServerPhase, TlsSettings};
use crate::telemetry;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Config file; re-read when it changes
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    /// Directory with tls.crt, tls.key and ca.crt of another issuer; without it, certificates are self-managed
    /// in a Secret
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// CA certificates in PEM form; clients of the HTTPS port must have a certificate of one of them.
    /// Re-read when it changes. The API server needs a kubeConfigFile for webhooks then
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Lifetime of self-managed serving certificates, which are renewed at two thirds of it
    #[arg(long, value_name = "TIME", default_value = "720h", value_parser = parse_duration, conflicts_with = "tls_dir")]
    leaf_lifetime: Duration,
    /// Lifetime of the self-managed CA
    #[arg(long, value_name = "TIME", default_value = "8760h", value_parser = parse_duration, conflicts_with = "tls_dir")]
    ca_lifetime: Duration,
    /// Time for which a new CA is in every caBundle before it signs the serving certificate
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration, conflicts_with = "tls_dir")]
    settle: Duration,
    /// Address for HTTPS: /mutate
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Address for HTTP: /healthz, /readyz, /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    listen_ops: SocketAddr,
    /// Grace period after SIGTERM during which requests are still served
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    drain: Duration,
    /// Log format
    #[arg(long, value_name = "FORMAT", env = "LOG_FORMAT", default_value = "text", value_parser = log_format())]
    log_format: LogFormat,
}

fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    let names = [LogFormat::Text, LogFormat::Json].map(LogFormat::as_str);
    PossibleValuesParser::new(names).map(|name| LogFormat::from_name(&name).unwrap_or_default())
}

impl Args {
    /// Returns the lifetimes of self-managed certificates, or names the flags under which no rotation can succeed.
    fn lifetimes(&self) -> anyhow::Result<Lifetimes> {
        let (serving, ca, settle) = (self.leaf_lifetime, self.ca_lifetime, self.settle);
        Lifetimes::new(ca, serving, settle).with_context(|| {
            format!(
                "--leaf-lifetime {serving:?}, --ca-lifetime {ca:?} and --settle {settle:?} don't fit together"
            )
        })
    }
}

#[must_use]
pub fn run(args: Args) -> ExitCode {
    telemetry::start(args.log_format);
    let ended = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the async runtime")
        .and_then(|runtime| runtime.block_on(serve(args)));
    match ended {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "failed to start the webhook");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    let lifetimes = args.lifetimes()?;
    let Args { config, tls_dir, client_ca, listen, listen_ops, drain, .. } = args;
    let issuer = tls_dir.map_or(Issuer::SelfManaged(lifetimes), Issuer::Other);
    let mut tasks = JoinSet::new();
    // First, so that a signal during the start is handled.
    let mut signals = signals(&mut tasks)?;
    let metrics = Arc::new(Metrics::default());
    let config = watch_config(&config, &metrics, &mut tasks)?;
    let clock = Clock::default();
    let client = client::with(client::config().await?, &clock)?;

    let (phase, phases) = watch::channel(ServerPhase::Serving);
    let identity = Identity::from_environment();
    let replica = Replica::start(
        &client,
        &clock,
        &identity,
        issuer,
        Arc::clone(&config),
        Arc::clone(&metrics),
        phases.clone(),
    )?;
    let sessions = SessionLookup::new(Arc::new(client.clone()), Some(replica.status.sessions.clone()));
    let admission = Admission::new(sessions, config, Arc::clone(&metrics)).router();
    let ops = ops(&metrics, &replica, &phases).router();
    let tls = tls(client_ca.as_deref(), &replica, &mut tasks)?;
    let (https, http) = (bind(listen).await?, bind(listen_ops).await?);
    let (listen, listen_ops) = (https.local_addr()?, http.local_addr()?);
    tracing::info!(%listen, %listen_ops, version = env!("CARGO_PKG_VERSION"), "serving");
    let servers = async {
        tokio::join!(
            server::serve(https, Some(tls), admission, phases.clone()),
            server::serve(http, None, ops, phases.clone()),
        )
    };
    tokio::pin!(servers);
    let graceful = tokio::select! {
        graceful = server::drained(&phase, drain, &mut signals) => graceful,
        _ = &mut servers => false,
    };
    if !graceful {
        tracing::warn!("second signal, not waiting for open connections");
        return Ok(ExitCode::FAILURE);
    }
    servers.await;
    replica.shutdown().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Starts to follow the config file. At its default path it may be absent; then the defaults apply.
fn watch_config(
    path: &Path,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Arc<ArcSwap<Config>>> {
    if path == Path::new(CONFIG_FILE) && !path.exists() {
        tracing::warn!(path = CONFIG_FILE, "no config file, using defaults");
        return Ok(Arc::default());
    }
    let file =
        config::open(path).with_context(|| format!("failed to use the config file `{}`", path.display()))?;
    let (current, metrics) = (file.current(), Arc::clone(metrics));
    tasks.spawn(file.follow(move |valid| metrics.config_is_current(valid)));
    Ok(current)
}

/// Sets up TLS; with a client CA, clients must have a certificate of it.
fn tls(client_ca: Option<&Path>, replica: &Replica, tasks: &mut JoinSet<()>) -> anyhow::Result<TlsSettings> {
    let Some(path) = client_ca else { return Ok(server::tls_config(replica.resolver.clone())?) };
    let file = server::open_client_ca(path, replica.resolver.clone())
        .with_context(|| format!("failed to use the client CA file `{}`", path.display()))?;
    let settings = file.current();
    tasks.spawn(file.follow(|_| ()));
    Ok(settings)
}

/// Returns the probes and metrics of a replica.
#[must_use]
pub fn ops(metrics: &Arc<Metrics>, replica: &Replica, phases: &watch::Receiver<ServerPhase>) -> Ops {
    let (ready, current, expiry) =
        (replica.certificates.clone(), replica.certificates.clone(), Arc::clone(&replica.resolver));
    let (phases, synced) = (phases.clone(), replica.status.synced.clone());
    let (fetching, leading) = (replica.status.fetching_gauge(), replica.leading.clone());
    let trust = replica.trust.clone();
    Ops::new(Arc::clone(metrics))
        .ready_when(move || (*phases.borrow() != ServerPhase::Serving).then(|| "draining".to_owned()))
        .ready_when(move || ready.error())
        .ready_when(move || trust.error())
        .ready_when(move || {
            (!synced.borrow().is_complete()).then(|| "sessions and pods not read yet".to_owned())
        })
        .before_metrics(move |metrics| {
            metrics.certificate_expires(expiry.info().map(|info| info.not_after));
            metrics.certificate_is_current(current.is_current());
            metrics.fetching(fetching());
            metrics.leads(*leading.borrow());
        })
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("failed to listen on {address}"))
}

/// Receives SIGTERM (from the kubelet) and SIGINT (from a terminal).
fn signals(tasks: &mut JoinSet<()>) -> anyhow::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(2);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("failed to listen for signals")?;
        let sender = sender.clone();
        tasks.spawn(async move {
            while signals.recv().await.is_some() {
                if sender.send(()).await.is_err() {
                    break;
                }
            }
        });
    }
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn lifetimes(flags: &[&str]) -> Result<Lifetimes, String> {
        let all = ["serve"].iter().chain(flags);
        let args = Cli::try_parse_from(all).map_err(|error| error.to_string())?.args;
        args.lifetimes().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn lifetimes_have_the_defaults_of_rotation() {
        assert_eq!(lifetimes(&[]), Ok(Lifetimes::default()));
        let short = lifetimes(&["--leaf-lifetime", "4s", "--ca-lifetime", "20s", "--settle", "3s"]).unwrap();
        let seconds = [short.serving, short.ca, short.settle].map(|life| life.as_secs());
        assert_eq!(seconds, [4, 20, 3]);
    }

    #[test]
    fn rejects_lifetimes_under_which_no_rotation_succeeds() {
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
            let error = lifetimes(flags).unwrap_err();
            assert!(error.contains(reason), "{flags:?}: {error}");
        }
    }

    #[test]
    fn listens_on_the_ports_of_the_manifests() {
        let args = Cli::parse_from(["serve"]).args;
        assert_eq!((args.listen.port(), args.listen_ops.port()), (8443, 8080));
        assert_eq!(args.config, PathBuf::from("/etc/workflow-injector/config.yaml"));
    }
}
