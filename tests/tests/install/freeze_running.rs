//! The optional component `freeze-running`, on an API server of the process; no replica runs.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use workflow_tests::api_server;
use workflow_tests::manifests::{Kubectl, render};
use workflow_tests::manual_operator::ManualOperator;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::session::{Phase, SessionBuilder};
use workflow_tests::wait::until_so;

const PHASES: [Phase; 7] = [
    Phase::Pending,
    Phase::Creating,
    Phase::Running,
    Phase::Stopping,
    Phase::Stopped,
    Phase::Completed,
    Phase::Failed,
];
const URL: &str = "https://git.invalid/o/r.git";

struct Sessions {
    manual: ManualOperator,
}

impl Sessions {
    /// The API server's response to a dry-run change of a session.
    async fn change(&self, name: &str, change: &Value) -> Result<(), String> {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let response = self.manual.sessions().patch(name, &params, &Patch::Merge(change)).await;
        response.map(drop).map_err(|error| error.to_string())
    }

    async fn until_denied(&self, name: &str, change: &Value) -> anyhow::Result<()> {
        until_so("the policy to be in force", || async { Ok(self.change(name, change).await.is_err()) }).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn denies_changes_of_a_running_sessions_workflow_and_nothing_else() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let kubectl = Kubectl::with(&api_server::server()?.admin_kubeconfig_file()?);
    let sessions = Sessions { manual: ManualOperator::new(TestNamespace::named(cluster, "freeze").await?) };
    sessions.manual.create(SessionBuilder::new("with").workflow_path(URL, "main", "flows/a").build()).await?;
    sessions.manual.create(SessionBuilder::new("without").build()).await?;

    let workflow = |url: &str, branch: &str, path: &str| json!({ "spec": { "activeWorkflow": { "gitUrl": url, "branch": branch, "path": path } } });
    let other = workflow("https://git.invalid/o/other.git", "main", "flows/a");
    let removed = json!({ "spec": { "activeWorkflow": null } });
    let switches = [
        ("with", other.clone()),
        ("with", workflow(URL, "dev", "flows/a")),
        ("with", workflow(URL, "main", "flows/b")),
        ("with", json!({ "spec": { "activeWorkflow": { "path": null } } })),
        ("with", removed.clone()),
        ("without", workflow(URL, "main", "")),
    ];
    let others = [
        ("with", workflow(URL, "main", "flows/a")),
        ("with", json!({ "spec": { "initialPrompt": "other" } })),
        ("with", json!({ "metadata": { "annotations": { "ambient-code.io/desired-phase": "Stopped" } } })),
        ("without", removed),
        ("without", json!({ "spec": { "initialPrompt": "other" } })),
    ];

    for name in ["with", "without"] {
        sessions.manual.set_status(name, json!({ "phase": "Running" })).await?;
    }
    kubectl.run(&["apply", "-f", "-"], Some(&render("components/freeze-running")?))?;
    sessions.until_denied("with", &other).await?;

    for phase in PHASES {
        // Status updates are admitted, also from Running to another phase.
        for name in ["with", "without"] {
            sessions.manual.set_status(name, json!({ "phase": phase })).await?;
        }
        for (name, change) in &switches {
            let response = sessions.change(name, change).await;
            if phase == Phase::Running {
                let denial = response.err().unwrap_or_default();
                let message =
                    format!("the workflow of the running session {name} can't be changed: stop the session");
                assert!(denial.contains(&message), "{change}: {denial}");
            } else {
                assert_eq!(response, Ok(()), "{phase:?}: {change}");
            }
        }
        for (name, change) in &others {
            assert_eq!(sessions.change(name, change).await, Ok(()), "{phase:?}: {change}");
        }
    }

    // A session without status.
    sessions.manual.create(SessionBuilder::new("new").build()).await?;
    assert_eq!(sessions.change("new", &workflow(URL, "main", "")).await, Ok(()));
    kubectl.run(&["delete", "-f", "-"], Some(&render("components/freeze-running")?))?;
    Ok(())
}
