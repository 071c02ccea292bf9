//! The injector's admission as it is, with its server, logs and metrics, but for one thing: sessions come from a file
//! instead of an API server. What is left is what admission itself costs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use futures::future::{BoxFuture, ready};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use workflow_certs::{Pair, Resolver};
use workflow_contract::{LogFormat, Secret};
use workflow_injector::admission::Admission;
use workflow_injector::admission::lookup::{LookupError, SessionLookup, SessionReader};
use workflow_injector::server::{self, ServerPhase};
use workflow_injector::session::AgenticSession;
use workflow_injector::telemetry;

/// Responds to reviews of pods whose sessions are in a file.
#[derive(Parser)]
struct Args {
    /// Address for HTTPS: /mutate.
    #[arg(long)]
    listen: SocketAddr,
    /// Directory with tls.crt and tls.key.
    #[arg(long)]
    tls_dir: PathBuf,
    /// File with a JSON list of AgenticSessions, all of one namespace.
    #[arg(long)]
    sessions: PathBuf,
}

struct Fixed(HashMap<String, Arc<AgenticSession>>);

impl SessionReader for Fixed {
    fn read<'a>(
        &'a self,
        _namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<AgenticSession>>, LookupError>> {
        Box::pin(ready(Ok(self.0.get(name).cloned())))
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    telemetry::start(LogFormat::Text);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let Args { listen, tls_dir, sessions } = args;
    let sessions = std::fs::read(&sessions).context("the sessions can't be read")?;
    let sessions: Vec<AgenticSession> = serde_json::from_slice(&sessions)?;
    let named =
        |session: AgenticSession| (session.metadata.name.clone().unwrap_or_default(), Arc::new(session));
    let fixed = Fixed(sessions.into_iter().map(named).collect());
    let router =
        Admission::new(SessionLookup::new(Arc::new(fixed), None), Arc::default(), Arc::default()).router();

    let read = |name: &str| std::fs::read_to_string(tls_dir.join(name)).with_context(|| format!("no {name}"));
    let pair = Pair { certificate: read("tls.crt")?, key: Secret::new(&read("tls.key")?) };
    let resolver = Arc::new(Resolver::default());
    resolver.swap(&pair, Timestamp::now())?;
    // The sender is kept: without it the phase is final.
    let (_phase, phases) = watch::channel(ServerPhase::Serving);
    let listener = TcpListener::bind(listen).await?;
    server::serve(listener, Some(server::tls_config(resolver)?), router, phases).await;
    Ok(())
}
