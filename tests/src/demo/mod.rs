//! The demo: sessions on a real cluster, printed while they run.
//!
//! (a) a session without the injector; (b) the same session with the injector; (c) a session with a misspelt branch;
//! (d) a repository whose commits must be signed; (e) another workflow in a running session. Git server and operator are
//! part of this program and end with it. It prints what it observes, not what it expects.

mod acts;
mod follow;
mod live;
mod moments;
mod screen;
mod signed;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use kube::runtime::wait::{await_condition, conditions};

use crate::cluster::Cluster;
use crate::env::TestEnv;
use crate::namespace::{OWNED, TestNamespace};
use crate::operator::Mode;

use acts::DemoWorkflow;
use screen::Screen;

/// The demo's namespace; a later run replaces an earlier one's.
const NAMESPACE: &str = "workflow-demo";

/// The workflow; without a URL the demo creates a repository of its own.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
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

/// Runs the demo. Fails if a session does not end as it should.
pub async fn run(source: DemoArgs, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
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
        DemoWorkflow { url: source.url, branch: source.branch, path: source.path }
    };
    screen.line(&format!("workflow: {workflow}"))?;
    acts::without_the_injector(&env, &workflow, &mut screen).await?;
    acts::with_the_injector(&env, &workflow, &mut screen).await?;
    acts::a_misspelt_branch(&env, &workflow, &mut screen).await?;
    signed::a_signed_workflow(&env, &mut screen).await?;
    live::another_workflow(&env, &mut screen).await?;
    epilogue(&cluster, &mut screen)
}

async fn remove_last_run(cluster: &Cluster, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let Some(last) = namespaces.get_opt(NAMESPACE).await? else { return Ok(()) };
    if !last.labels().contains_key(OWNED) {
        bail!("the namespace {NAMESPACE} was not created by the demo; rename or delete it");
    }
    screen.line(&format!("deleting namespace {NAMESPACE} of the last run (some seconds)"))?;
    let uid = last.metadata.uid.unwrap_or_default();
    namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    let gone = await_condition(namespaces, NAMESPACE, conditions::is_deleted(&uid));
    tokio::time::timeout(Duration::from_mins(2), gone)
        .await
        .with_context(|| format!("delete namespace {NAMESPACE} of the last run"))??;
    Ok(())
}

fn epilogue(cluster: &Cluster, screen: &mut Screen<'_>) -> anyhow::Result<()> {
    let kubectl = format!("{} -n {NAMESPACE}", cluster.kubectl());
    screen.heading("What remains")?;
    screen.line(&format!(
        "Still running: the injector, and in namespace {NAMESPACE} the pods of the sessions {} and {}, which request 40m of CPU.",
        acts::OLD_WAY,
        acts::DELIVERED
    ))?;
    screen.line(
        "Ended with this program: the fake operator and the demo's git server, so nothing restarts there.",
    )?;
    screen.line("Next steps")?;
    screen.line(&format!("  {kubectl} get as"))?;
    screen.line(&format!("  {kubectl} describe as {}", acts::MISSPELT))?;
    let pod = workflow_contract::names::runner_pod(acts::DELIVERED);
    screen.line(&format!("  {kubectl} exec {pod} -c ambient-code-runner -- /session-runner ls"))?;
    screen.line("Delete it with")?;
    screen.line(&format!("  {} delete namespace {NAMESPACE}", cluster.kubectl()))?;
    Ok(())
}
