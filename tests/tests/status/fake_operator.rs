//! The fake operator behaves as the platform's was observed to: one table of scripts, on an API server without nodes.
//! The test writes the pods' status itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use http::{Request, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use workflow_contract::env::IS_RESUME;
use workflow_tests::kubelet::{self, NO_SCHEDULER, init_failed, runner_ended, running};
use workflow_tests::namespace::TestNamespace;
use workflow_tests::operator::{FakeOperator, Mode, Settings};
use workflow_tests::session::{self, DESIRED_PHASE, FORCE_PROMPT, Session, SessionBuilder, SessionView};
use workflow_tests::{api_server, wait};

static DENY: AtomicBool = AtomicBool::new(false);

/// One action, after which the words of its expectation must all become true.
enum Do {
    Create,
    /// Another writer's status before the operator starts.
    CreateWithStatus(Value),
    Deny,
    Admit,
    Report(Value),
    Annotate(&'static str, &'static str),
    SwitchTo(&'static str),
    DeletePod,
    /// Deletes the pod on a node that does not end it, and the session; then creates the session again.
    Recreate,
}
use Do::{Admit, Annotate, Create, CreateWithStatus, DeletePod, Deny, Recreate, Report, SwitchTo};

struct TestPlatform {
    client: kube::Client,
    sessions: Api<Session>,
    pods: Api<Pod>,
}

impl TestPlatform {
    async fn act(&self, action: &Do) -> anyhow::Result<()> {
        let session = SessionBuilder::new("s").workflow("https://git.invalid/acme/flow.git", "main").build();
        let merge = PatchParams::default();
        match action {
            Create => drop(self.sessions.create(&PostParams::default(), &session).await?),
            CreateWithStatus(status) => {
                self.sessions.create(&PostParams::default(), &session).await?;
                self.sessions.patch_status("s", &merge, &Patch::Merge(json!({ "status": status }))).await?;
            }
            Deny => DENY.store(true, Ordering::SeqCst),
            Admit => DENY.store(false, Ordering::SeqCst),
            Report(status) => drop(kubelet::report(&self.pods, "s-runner", status).await?),
            Annotate(name, value) => {
                let patch = Patch::Merge(json!({ "metadata": { "annotations": { *name: value } } }));
                self.sessions.patch("s", &merge, &patch).await?;
            }
            SwitchTo(branch) => {
                let patch = Patch::Merge(json!({ "spec": { "activeWorkflow": { "branch": branch } } }));
                self.sessions.patch("s", &merge, &patch).await?;
            }
            DeletePod => drop(self.pods.delete("s-runner", &DeleteParams::default()).await?),
            Recreate => {
                let namespace = self.pods.get("s-runner").await?.metadata.namespace.unwrap_or_default();
                let target = json!({ "kind": "Node", "name": "none" });
                let binding = json!({ "metadata": { "name": "s-runner" }, "target": target });
                let path = format!("/api/v1/namespaces/{namespace}/pods/s-runner/binding");
                let request = Request::post(path).header("Content-Type", "application/json");
                self.client.request::<Value>(request.body(binding.to_string().into_bytes())?).await?;
                self.pods.delete("s-runner", &DeleteParams::default()).await?;
                self.sessions.delete("s", &DeleteParams::default()).await?;
                self.sessions.create(&PostParams::default(), &session).await?;
            }
        }
        Ok(())
    }

    /// The phase, `TYPE=STATUS/REASON` of each condition, `started`, `observed-N` of WorkflowReconciled, and of the pod
    /// `first` or `resume`, or `no-pod`.
    async fn words(&self) -> anyhow::Result<BTreeSet<String>> {
        let Some(session) = self.sessions.get_opt("s").await? else { return Ok(BTreeSet::new()) };
        let conditions = session.conditions();
        let mut words: BTreeSet<String> =
            conditions.iter().map(|c| format!("{}={}/{}", c.r#type, c.status, c.reason)).collect();
        words.extend(session.phase().map(|phase| format!("{phase:?}")));
        words.extend(session.start_time().map(|_| "started".to_owned()));
        let observed = session.workflow_reconciled().and_then(|condition| condition.observed_generation);
        words.extend(observed.map(|observed| format!("observed-{observed}")));
        let pod = self.pods.get_opt("s-runner").await?;
        words.insert(match pod.map(|pod| serde_json::to_string(&pod)).transpose()? {
            None => "no-pod".to_owned(),
            Some(pod) if pod.contains(IS_RESUME) => "resume".to_owned(),
            Some(_) => "first".to_owned(),
        });
        Ok(words)
    }
}

/// Name, mode, and actions with the words that the session must have after each.
type Script = (&'static str, Mode, Vec<(Do, String)>);

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one table")]
async fn takes_sessions_through_the_observed_states() -> anyhow::Result<()> {
    let theirs = |conditions: Value| CreateWithStatus(json!({ "conditions": conditions }));
    let failed = |code| Report(init_failed("init-workflow", code, "m"));
    let up = || Report(running());
    let deny = |status| format!("Pending PodCreated=False/CreateFailed {status}");
    let ours = json!([{ "type": "WorkflowReconciled", "status": "Unknown", "observedGeneration": 7 }]);
    let created = "Creating started first SecretsReady=True/AllSecretsReady S3Available=False/NotConfigured \
                   ReposReconciled=True/Reconciled PodCreated=True/PodCreated";
    let (stop, start) = (|| Annotate(DESIRED_PHASE, "Stopped"), || Annotate(DESIRED_PHASE, "Running"));
    let switched = "WorkflowReconciled=True/Reconciled";
    let update_failed = "WorkflowReconciled=False/UpdateFailed";
    let table: Vec<Script> = vec![
        (
            "completes",
            Mode::Plain,
            vec![
                (Create, created.into()),
                (up(), "Running RunnerStarted=True/ContainerRunning".into()),
                (Report(runner_ended(0)), "Completed no-pod".into()),
            ],
        ),
        (
            "fails and needs only a start",
            Mode::Plain,
            vec![
                (Create, created.into()),
                (failed(22), "Failed Ready=False/PodFailed no-pod".into()),
                (stop(), "Failed".into()),
                (start(), "Creating resume".into()),
            ],
        ),
        (
            "forced prompt",
            Mode::PostRunning,
            vec![
                (Create, created.into()),
                (failed(22), "Failed no-pod".into()),
                (Annotate(FORCE_PROMPT, "true"), "Failed".into()),
                (start(), "Creating first".into()),
            ],
        ),
        (
            "stopped while running",
            Mode::Plain,
            vec![
                (Create, created.into()),
                (up(), "Running".into()),
                (stop(), "Stopped no-pod RunnerStarted=False/UserStopped".into()),
                (start(), "Creating resume".into()),
            ],
        ),
        (
            "stopped while creating",
            Mode::Plain,
            vec![
                (Create, created.into()),
                (stop(), created.into()),
                (up(), "Stopped no-pod RunnerStarted=False/UserStopped".into()),
            ],
        ),
        (
            "denied and admitted",
            Mode::Plain,
            vec![(Deny, String::new()), (Create, deny("no-pod")), (Admit, "Creating resume".into())],
        ),
        (
            "denied, stopped, started",
            Mode::Plain,
            vec![
                (Deny, String::new()),
                (Create, deny("no-pod")),
                (stop(), "Stopped RunnerStarted=False/UserStopped".into()),
                (Admit, "Stopped".into()),
                (start(), "Creating resume".into()),
            ],
        ),
        (
            "pod deleted",
            Mode::Plain,
            vec![(Create, created.into()), (up(), "Running".into()), (DeletePod, "Creating resume".into())],
        ),
        ("others write first", Mode::Plain, vec![(theirs(ours), "Creating first observed-7".into())]),
        (
            "old pod of a recreated session fails it",
            Mode::Plain,
            vec![
                (Create, created.into()),
                (Recreate, "Creating".into()),
                (failed(143), "Failed Ready=False/PodFailed".into()),
            ],
        ),
        (
            "old pod of a recreated session starts it",
            Mode::Plain,
            vec![
                (Create, created.into()),
                (up(), "Running".into()),
                (Recreate, "Running RunnerStarted=True/ContainerRunning".into()),
            ],
        ),
        (
            "posts early",
            Mode::PostEarly,
            vec![(Create, format!("{created} {update_failed}")), (up(), format!("Running {update_failed}"))],
        ),
        (
            "posts when running",
            Mode::PostRunning,
            vec![
                (Create, created.into()),
                (up(), format!("Running {switched}")),
                (SwitchTo("dev"), switched.into()),
            ],
        ),
    ];
    for (at, (name, mode, script)) in table.into_iter().enumerate() {
        let (cluster, _turn) = api_server::exclusive().await?;
        let namespace = TestNamespace::named(cluster, &format!("fake-operator-{at}")).await?;
        let client = namespace.cluster.client.clone();
        let table = TestPlatform {
            sessions: session::api(client.clone(), &namespace.name),
            pods: namespace.api(),
            client: client.clone(),
        };
        let settings = Settings {
            scheduler: Some(NO_SCHEDULER.to_owned()),
            admission: Some(|_, _| {
                ensure!(!DENY.load(Ordering::SeqCst), "denied");
                Ok(())
            }),
            runner: Some(Arc::new(move |_| {
                Box::pin(async move {
                    let refused = Err("connect: connection refused".to_owned());
                    if mode == Mode::PostEarly { refused } else { Ok(StatusCode::OK) }
                })
            })),
            condition_delay: Duration::from_millis(10),
            conflict_retry: Duration::from_millis(50),
            ..Settings::new("none")
        };
        let mut operator = None;
        for (step, (action, expected)) in script.iter().enumerate() {
            table.act(action).await.with_context(|| format!("{name}, step {step}"))?;
            operator.get_or_insert_with(|| {
                FakeOperator::start(client.clone(), &namespace.name, mode, settings.clone())
            });
            wait::until_so(&format!("{name}, step {step}: {expected}"), || async {
                let words = table.words().await?;
                let missing: Vec<_> =
                    expected.split_whitespace().filter(|word| !words.contains(*word)).collect();
                ensure!(missing.is_empty(), "{missing:?} not in {words:?}");
                Ok(true)
            })
            .await?;
        }
    }
    Ok(())
}
