//! Sessions of the fake operator whose spec, pod or name changes while the controller watches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use axum::body::Body;
use http::{Request, StatusCode};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tower::ServiceExt;
use workflow_contract::names::runner_pod;
use workflow_contract::termination::Details;
use workflow_contract::{Exit, Termination};
use workflow_git_server::{GitServer, Settings as GitSettings};
use workflow_tests::kubelet::{self, NO_SCHEDULER, init_failed};
use workflow_tests::manual_operator::{self, ManualOperator};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::operator::{FakeOperator, Mode, Post, PostHandler, Settings, TOKEN_HEADER};
use workflow_tests::session::{Condition, DESIRED_PHASE, Phase, Session, SessionBuilder, SessionView};
use workflow_tests::wait::{self, TIMEOUT};

use crate::env::{COMMIT, Replica, StatusEnv};

const URL: &str = "https://git.invalid/acme/flow.git";

/// Note in the condition on the platform's own update.
const UPDATED: &str = "the platform has updated the running session itself";

/// Denies pods if set. One test runs at a time.
static DENY: AtomicBool = AtomicBool::new(false);

fn admit(session: &Session, pod: &mut Value) -> anyhow::Result<()> {
    ensure!(!DENY.load(Ordering::SeqCst), "denied");
    if session.workflow().is_some() { manual_operator::inject(session, pod) } else { Ok(()) }
}

/// A namespace with a fake operator and one replica of the controller; its session is called `s`.
struct Platform {
    env: StatusEnv,
    replica: Replica,
    /// A namespace without the operator.
    other: ManualOperator,
    _operator: FakeOperator,
}

impl Platform {
    async fn new(
        name: &str,
        mode: Mode,
        runner: PostHandler,
        conflict_retry: Duration,
    ) -> anyhow::Result<Self> {
        DENY.store(false, Ordering::SeqCst);
        let env = StatusEnv::new(name).await?;
        env.until_younger_than_registration().await?;
        let settings = Settings {
            scheduler: Some(NO_SCHEDULER.to_owned()),
            admission: Some(admit),
            runner: Some(runner),
            repost_after: Some(Duration::from_millis(100)),
            condition_delay: Duration::from_millis(20),
            conflict_retry,
            ..Settings::new("none")
        };
        let replica = env.replica(true).await?;
        let operator = FakeOperator::start(env.client.clone(), name, mode, settings);
        let other = TestNamespace::named(env.manual.cluster().clone(), &format!("{name}-other")).await?;
        Ok(Self { env, replica, other: ManualOperator::new(other), _operator: operator })
    }

    async fn until(&self, what: &str, holds: impl FnMut(&Session) -> bool) -> anyhow::Result<Session> {
        wait::until_exists(&self.env.manual.sessions(), "s", what, TIMEOUT, holds).await
    }

    async fn phase(&self, phase: Phase) -> anyhow::Result<Session> {
        self.until(&format!("phase {phase:?}"), |session| session.phase() == Some(phase)).await
    }

    /// Creates the session and waits for its pod.
    async fn create(&self, session: SessionBuilder) -> anyhow::Result<Session> {
        self.env.manual.create(session.build()).await?;
        self.phase(Phase::Creating).await
    }

    /// Ends the init container with 0, having delivered this branch of this repository.
    async fn deliver(&self, url: &str, branch: &str) -> anyhow::Result<()> {
        let details = Details {
            url: Some(url.to_owned()),
            reference: Some(branch.to_owned()),
            commit: Some(COMMIT.to_owned()),
            ..Details::new(Exit::Reconciled)
        };
        let message = Termination { message: "delivered".to_owned(), details: Some(details) }.render();
        self.env.manual.end("s", 0, "Completed", &message).await
    }

    async fn run(&self) -> anyhow::Result<()> {
        kubelet::report(&self.env.manual.pods(), &runner_pod("s"), &kubelet::running()).await?;
        self.phase(Phase::Running).await.map(drop)
    }

    async fn patch(&self, patch: Value) -> anyhow::Result<()> {
        self.env.manual.sessions().patch("s", &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn select(&self, url: &str, branch: &str) -> anyhow::Result<()> {
        self.patch(json!({ "spec": { "activeWorkflow": { "gitUrl": url, "branch": branch } } })).await
    }

    async fn desire(&self, phase: &str) -> anyhow::Result<()> {
        self.patch(json!({ "metadata": { "annotations": { DESIRED_PHASE: phase } } })).await
    }

    /// Selects this branch and waits for the operator's condition while no replica leads.
    async fn switched_by_operator(&self, url: &str, branch: &str) -> anyhow::Result<()> {
        self.replica.lead(false);
        self.select(url, branch).await?;
        let holds = |session: &Session| {
            let recorded = session.reconciled_workflow().unwrap_or_default().branch == branch;
            recorded && session.workflow_reconciled().unwrap_or_default().status == "True"
        };
        self.until(&format!("the operator's switch to {branch}"), holds).await?;
        self.replica.lead(true);
        Ok(())
    }

    /// Waits for RestartRequired with a record of this branch.
    async fn restart_required(&self, branch: &str) -> anyhow::Result<Condition> {
        let holds = |session: &Session| {
            let recorded = session.reconciled_workflow().unwrap_or_default().branch == branch;
            recorded && session.workflow_reconciled().unwrap_or_default().reason == "RestartRequired"
        };
        let session = self.until(&format!("RestartRequired for {branch}"), holds).await?;
        Ok(session.workflow_reconciled().unwrap_or_default())
    }

    /// Has the operator check the running session once more.
    async fn check_again(&self) -> anyhow::Result<()> {
        self.desire("Running").await?;
        let cleared = |session: &Session| !session.annotations().contains_key(DESIRED_PHASE);
        self.until("the operator's next check", cleared).await.map(drop)
    }

    /// Waits for the condition of a new session elsewhere: all earlier writes have been made by then.
    async fn sync(&self) -> anyhow::Result<()> {
        self.other.begin(crate::env::session("marker")).await?;
        let holds = |session: &Session| session.workflow_reconciled().is_some();
        wait::until_exists(&self.other.sessions(), "marker", "the marker", TIMEOUT, holds).await.map(drop)
    }

    /// Deletes pod and session, and creates the session again while its pod, on a node, does not end.
    async fn recreate(&self, session: SessionBuilder) -> anyhow::Result<()> {
        let pod = runner_pod("s");
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/binding", self.env.manual.namespace().name);
        let target = json!({ "kind": "Node", "name": "none" });
        let binding = json!({ "metadata": { "name": pod }, "target": target }).to_string().into_bytes();
        let request = Request::post(path).header("Content-Type", "application/json").body(binding)?;
        self.env.client.request::<Value>(request).await?;
        self.env.manual.pods().delete(&pod, &DeleteParams::default()).await?;
        self.env.manual.sessions().delete("s", &DeleteParams::default()).await?;
        self.env.manual.create(session.build()).await.map(drop)
    }
}

/// A runner that responds to every POST that has the token with 200, and counts POSTs.
fn responding() -> (PostHandler, Arc<AtomicUsize>) {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    let handler: PostHandler = Arc::new(move |post: Post| {
        counted.fetch_add(1, Ordering::SeqCst);
        let status = if post.token.is_some() { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        Box::pin(async move { Ok(status) })
    });
    (handler, posts)
}

fn refusing_connections() -> PostHandler {
    Arc::new(|_| Box::pin(async { Err("connect: connection refused".to_owned()) }))
}

/// The fake runner, with its real clones below a directory of the test.
fn cloning(settings: session_runner::Settings) -> PostHandler {
    let routers = Mutex::new(HashMap::new());
    Arc::new(move |post: Post| {
        let mut routers = routers.lock().unwrap_or_else(PoisonError::into_inner);
        let router = routers.entry(post.session.clone()).or_insert_with(|| {
            session_runner::router(
                session_runner::take(&settings.directory, std::iter::empty()),
                settings.clone(),
            )
        });
        let router = router.clone();
        Box::pin(async move {
            let request = Request::post("/workflow").header(TOKEN_HEADER, post.token.unwrap_or_default());
            let request = request.body(Body::from(post.body)).map_err(|error| error.to_string())?;
            let Ok(response) = router.oneshot(request).await;
            Ok(response.status())
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn switching_back_after_the_platform_replaced_the_directory_requires_a_restart() -> anyhow::Result<()> {
    let git = GitServer::start(&GitSettings::on([127, 0, 0, 1].into()))?;
    let repository = git
        .repository("acme/flow")
        .file("README.md", "main\n")
        .branch("dev")
        .file("README.md", "dev\n")
        .create()?;
    let url = repository.url();
    let root = tempfile::tempdir()?;
    let settings = session_runner::Settings {
        directory: root.path().join("workflows"),
        token: None,
        ca: Some(git.ca_file()),
    };
    let readme = settings.directory.join("flow/README.md");
    let platform =
        Platform::new("switch-back", Mode::PostRunning, cloning(settings), Duration::from_millis(50)).await?;
    platform.create(SessionBuilder::new("s").workflow(url, "main")).await?;
    platform.deliver(url, "main").await?;
    platform.run().await?;
    platform.env.reason("s", "Reconciled").await?;

    platform.switched_by_operator(url, "dev").await?;
    assert_eq!(std::fs::read_to_string(&readme)?, "dev\n");
    let condition = platform.restart_required("dev").await?;
    assert_eq!(condition.observed_generation, Some(1));
    assert!(condition.message.contains(UPDATED), "{condition}");

    // The clone of the first branch fails, and the runner responds with 200 all the same.
    drop(git);
    platform.switched_by_operator(url, "main").await?;
    assert_eq!(platform.restart_required("main").await?.observed_generation, Some(1));
    platform.check_again().await?;
    platform.sync().await?;
    platform.restart_required("main").await?;
    assert_eq!(std::fs::read_to_string(&readme)?, "dev\n");
    Ok(())
}

/// Selects a workflow in a running session and requires that the operator's POSTs end, of which it sends `repeated`
/// without the controller.
async fn selected_while_running(name: &str, mode: Mode, repeated: usize) -> anyhow::Result<()> {
    let (runner, posts) = responding();
    let platform = Platform::new(name, mode, runner, Duration::from_millis(50)).await?;
    platform.create(SessionBuilder::new("s")).await?;
    platform.run().await?;
    platform.replica.lead(false);
    platform.select(URL, "main").await?;
    wait::until_so("the operator's POSTs", || async { Ok(posts.load(Ordering::SeqCst) >= repeated) }).await?;
    platform.replica.lead(true);
    platform.restart_required("main").await?;
    platform.check_again().await?;
    let before = posts.load(Ordering::SeqCst);
    for _ in 0..3 {
        platform.check_again().await?;
    }
    platform.sync().await?;
    assert_eq!(posts.load(Ordering::SeqCst), before, "no POST after the record is written");
    platform.restart_required("main").await?;
    let events = platform.env.until_event("s", "WorkflowRestartRequired").await?;
    assert!(!events.contains(&"WorkflowNotInjected".to_owned()), "{events:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workflow_selected_while_running_requires_a_restart_and_ends_early_posts() -> anyhow::Result<()> {
    selected_while_running("selected-early", Mode::PostEarly, 3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn workflow_selected_while_running_requires_a_restart_and_ends_running_posts() -> anyhow::Result<()> {
    selected_while_running("selected-running", Mode::PostRunning, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn write_after_a_spec_change_follows_the_operators_and_names_its_update() -> anyhow::Result<()> {
    // After a conflict the operator's condition would not be written within the test.
    let (runner, _) = responding();
    let platform = Platform::new("no-conflict", Mode::PostRunning, runner, 4 * TIMEOUT).await?;
    platform.create(SessionBuilder::new("s").workflow(URL, "main")).await?;
    platform.deliver(URL, "main").await?;
    // Both writers would otherwise write at the same time here, too.
    platform.env.reason("s", "Reconciled").await?;
    platform.run().await?;
    platform.select(URL, "dev").await?;
    let condition = platform.restart_required("dev").await?;
    assert!(condition.message.contains(UPDATED), "{condition}");
    platform.select(URL, "main").await?;
    platform.restart_required("main").await?;
    platform.check_again().await?;
    platform.sync().await?;
    platform.restart_required("main").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prompt_that_the_next_start_skips_is_reported() -> anyhow::Result<()> {
    let platform =
        Platform::new("lost-prompt", Mode::PostRunning, refusing_connections(), Duration::from_millis(50))
            .await?;
    platform.create(SessionBuilder::new("s").workflow(URL, "mian")).await?;
    let message = crate::env::message(Exit::RefNotFound, "no such branch");
    let failed = init_failed("init-workflow", 22, &message);
    kubelet::report(&platform.env.manual.pods(), &runner_pod("s"), &failed).await?;
    platform.phase(Phase::Failed).await?;
    platform.env.reason("s", "RefNotFound").await?;

    DENY.store(true, Ordering::SeqCst);
    platform.desire("Running").await?;
    platform
        .until("a denied pod", |session| {
            session.condition("PodCreated").is_some_and(|condition| condition.reason == "CreateFailed")
        })
        .await?;
    platform.desire("Stopped").await?;
    platform.phase(Phase::Stopped).await?;
    platform.env.until_event("s", "InitialPromptSkipped").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn session_recreated_while_fetching_is_interrupted_with_one_write() -> anyhow::Result<()> {
    let platform =
        Platform::new("recreated", Mode::PostRunning, refusing_connections(), Duration::from_millis(50))
            .await?;
    let session = || SessionBuilder::new("s").workflow(URL, "main");
    platform.create(session()).await?;
    platform.env.reason("s", "Fetching").await?;
    platform.recreate(session()).await?;
    platform.phase(Phase::Creating).await?;
    // Without a termination message the kubelet takes the end of the log.
    let failed = init_failed("init-workflow", 143, "2026-11-26T20:00:00Z INFO fetching");
    kubelet::report(&platform.env.manual.pods(), &runner_pod("s"), &failed).await?;
    platform.phase(Phase::Failed).await?;
    let condition = platform.env.reason("s", "Interrupted").await?;
    assert_eq!(condition.status, "False");
    assert!(!condition.message.contains("INFO"), "{condition}");
    platform.env.manual.delete_pod("s").await?;
    platform.sync().await?;
    assert_eq!(platform.replica.written_by_now(3).await, 3, "Fetching, Interrupted and the marker");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn recreated_session_is_not_written_while_the_old_pod_runs() -> anyhow::Result<()> {
    let platform =
        Platform::new("old-pod", Mode::PostRunning, refusing_connections(), Duration::from_millis(50))
            .await?;
    let session = || SessionBuilder::new("s").workflow(URL, "main");
    platform.create(session()).await?;
    platform.env.reason("s", "Fetching").await?;
    platform.deliver(URL, "main").await?;
    platform.run().await?;
    platform.env.reason("s", "Reconciled").await?;
    platform.recreate(session()).await?;
    platform.phase(Phase::Running).await?;
    platform.env.reason("s", "UpdateFailed").await?;
    platform.check_again().await?;
    platform.sync().await?;
    assert_eq!(platform.replica.written_by_now(3).await, 3, "Fetching, Reconciled and the marker");

    platform.env.manual.delete_pod("s").await?;
    platform.env.reason("s", "Fetching").await?;
    assert_eq!(platform.replica.written_by_now(4).await, 4, "Fetching of the session's own pod");
    Ok(())
}
