//! The demo: one story in three acts, told while it happens on a real cluster.
//!
//! (a) a session that the platform delivers to by itself, so never; (b) the same session with the injector; (c) a
//! session with a misspelt branch. Git server and operator live in this program, so they end with it; the story says
//! so. It prints what it sees, never what it expects.

mod acts;
mod follow;
mod moments;
mod screen;

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::{await_condition, conditions};

use crate::cluster::Cluster;
use crate::env::TestEnv;
use crate::namespace::TestNamespace;
use crate::operator::Mode;

use acts::Workflow;
use screen::Screen;

/// The demo's namespace; a later run replaces an earlier one's.
const NAMESPACE: &str = "workflow-demo";

/// Which workflow to show; without a URL the demo makes a repository of its own.
#[derive(Clone, Debug, clap::Args)]
pub struct Source {
    /// Repository to deliver instead of the demo's own.
    #[arg(long, env = "WORKFLOW_URL", default_value = "")]
    pub url: String,
    /// Branch of that repository.
    #[arg(long, env = "WORKFLOW_BRANCH", default_value = "")]
    pub branch: String,
    /// Directory in that repository; all of it if empty.
    #[arg(long, env = "WORKFLOW_PATH", default_value = "")]
    pub path: String,
}

/// Tells the story on `out`. It fails when the cluster or the injector does not do its part.
pub async fn run(source: Source, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    let mut screen = Screen::new(out);
    let cluster = Cluster::connect().await?;
    cluster.require_injector().await?;
    screen.heading(&format!("workflow-injector on the cluster at {}", cluster.url()))?;
    remove_last_run(&cluster, &mut screen).await?;

    let namespace = TestNamespace::named(cluster.clone(), NAMESPACE).await?;
    let env = TestEnv::new(namespace, Mode::PostEarly).await?;
    let workflow = if source.url.is_empty() {
        acts::own_workflow(&env.git)?
    } else {
        Workflow { url: source.url, branch: source.branch, path: source.path }
    };
    screen.line(&format!("workflow: {workflow}"))?;
    acts::the_old_way(&env, &workflow, &mut screen).await?;
    acts::with_the_injector(&env, &workflow, &mut screen).await?;
    acts::a_misspelt_branch(&env, &workflow, &mut screen).await?;
    epilogue(&cluster, &mut screen)
}

async fn remove_last_run(cluster: &Cluster, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let Some(last) = namespaces.get_opt(NAMESPACE).await? else { return Ok(()) };
    screen.line(&format!("removing namespace {NAMESPACE} of the last run (some seconds)"))?;
    let uid = last.metadata.uid.unwrap_or_default();
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    let gone = await_condition(namespaces, NAMESPACE, conditions::is_deleted(&uid));
    tokio::time::timeout(Duration::from_mins(2), gone)
        .await
        .with_context(|| format!("namespace {NAMESPACE} of the last run does not go away"))??;
    Ok(())
}

fn epilogue(cluster: &Cluster, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    let kubectl = format!("{} -n {NAMESPACE}", cluster.kubectl());
    screen.heading("What is left")?;
    screen.line(&format!(
        "Still running: the injector, and in namespace {NAMESPACE} the pods of the sessions {} and {}.",
        acts::OLD_WAY,
        acts::DELIVERED
    ))?;
    screen.line(
        "Gone with this program: the stand-in operator and the demo's git server, so nothing restarts there.",
    )?;
    screen.line("Look next at")?;
    screen.line(&format!("  {kubectl} get as"))?;
    screen.line(&format!("  {kubectl} describe as {}", acts::MISSPELT))?;
    let pod = workflow_contract::names::runner_pod(acts::DELIVERED);
    screen.line(&format!("  {kubectl} exec {pod} -c ambient-code-runner -- /session-runner ls"))?;
    screen.line("Remove it with")?;
    screen.line(&format!("  {} delete namespace {NAMESPACE}", cluster.kubectl()))?;
    Ok(())
}
