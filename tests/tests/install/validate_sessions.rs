//! The optional components `validate-sessions` and `validate-sessions-deny`, on an API server of the process; no replica
//! runs.

use anyhow::ensure;
use http::Request;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};
use workflow_contract::names::{SESSION_GROUP, SESSION_KIND, SESSION_PLURAL, SESSION_VERSION};
use workflow_tests::api_server;
use workflow_tests::manifests::{Kubectl, render};
use workflow_tests::manual_operator::ManualOperator;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::session::SessionBuilder;
use workflow_tests::wait::until_so;

const NAMESPACE: &str = "validate";
const WARN: &str = "components/validate-sessions";
const DENY: &str = "components/validate-sessions-deny";
/// The table that the parsers of `contract` are tested with, too.
const SOURCES: &str = include_str!("../../../contract/testdata/sources.json");

#[derive(Deserialize)]
struct Case {
    /// Part of the policy's message, where it denies the source.
    denied: Option<String>,
    /// The fields of `activeWorkflow`, and `valid`, which is the parsers' result.
    #[serde(flatten)]
    workflow: Value,
}

fn cases() -> anyhow::Result<Vec<Case>> {
    let mut cases: Vec<Case> = serde_json::from_str(SOURCES)?;
    for case in &mut cases {
        if let Some(workflow) = case.workflow.as_object_mut() {
            workflow.remove("valid");
        }
    }
    Ok(cases)
}

fn session(workflow: &Value) -> Value {
    json!({
        "apiVersion": format!("{SESSION_GROUP}/{SESSION_VERSION}"), "kind": SESSION_KIND,
        "metadata": {"name": "s"}, "spec": {"activeWorkflow": workflow},
    })
}

/// Result of a dry-run creation.
#[derive(Debug)]
struct Created {
    /// Message of the denial.
    denial: Option<String>,
    warnings: String,
}

async fn create(client: &Client, session: &Value) -> anyhow::Result<Created> {
    let path = format!("/apis/{SESSION_GROUP}/{SESSION_VERSION}/namespaces/{NAMESPACE}/{SESSION_PLURAL}");
    let request = Request::post(format!("{path}?dryRun=All"))
        .header("content-type", "application/json")
        .body(Body::from(serde_json::to_vec(session)?))?;
    let response = client.send(request).await?;
    let status = response.status();
    let warnings: Vec<_> = response.headers().get_all("warning").iter().map(|one| one.to_str()).collect();
    let warnings = warnings.into_iter().collect::<Result<Vec<_>, _>>()?.join("\n");
    let body = response.into_body().collect_bytes().await?;
    let response: Value = serde_json::from_slice(&body)?;
    let denial = (!status.is_success()).then(|| response["message"].as_str().unwrap_or_default().to_owned());
    Ok(Created { denial, warnings })
}

/// Waits until the policy warns of, or denies, a source that is not valid.
async fn until_in_force(client: &Client, denies: bool) -> anyhow::Result<()> {
    let invalid = session(&json!({"gitUrl": "repo"}));
    until_so("the policy to be in force", || async {
        let created = create(client, &invalid).await?;
        Ok(if denies { created.denial.is_some() } else { !created.warnings.is_empty() })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn warns_of_or_denies_only_sources_that_the_parsers_reject() -> anyhow::Result<()> {
    let (cluster, _turn) = api_server::exclusive().await?;
    let client = cluster.client.clone();
    let kubectl = Kubectl::with(&api_server::server()?.admin_kubeconfig_file()?);
    let manual = ManualOperator::new(TestNamespace::named(cluster, NAMESPACE).await?);
    let change = async |name: &str, change: Value| {
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        let patched = manual.sessions().patch(name, &params, &Patch::Merge(change)).await;
        patched.map(drop).map_err(|error| error.to_string())
    };

    kubectl.run(&["apply", "-f", "-"], Some(&render(WARN)?))?;
    until_in_force(&client, false).await?;
    // From before the policy, as far as that matters: a warning does not prevent it.
    manual.create(SessionBuilder::new("old").workflow("repo", "main").build()).await?;
    for Case { denied, workflow } in cases()? {
        let created = create(&client, &session(&workflow)).await?;
        ensure!(created.denial.is_none(), "{workflow}: {created:?}");
        let expected =
            denied.as_deref().map_or(created.warnings.is_empty(), |part| created.warnings.contains(part));
        ensure!(expected, "{workflow}: {created:?}");
        ensure!(!created.warnings.contains("expression '"), "{workflow}: an evaluation failed: {created:?}");
    }

    kubectl.run(&["apply", "-f", "-"], Some(&render(DENY)?))?;
    until_in_force(&client, true).await?;
    for Case { denied, workflow } in cases()? {
        let created = create(&client, &session(&workflow)).await?;
        match &denied {
            Some(part) => {
                ensure!(created.denial.as_ref().is_some_and(|d| d.contains(part)), "{workflow}: {created:?}");
            }
            None => ensure!(created.denial.is_none(), "{workflow}: {created:?}"),
        }
    }

    // Sessions without a workflow, and those that are left to the platform.
    for admitted in [json!(null), json!({}), json!({"gitUrl": ""}), json!({"branch": "a b"})] {
        let created = create(&client, &session(&admitted)).await?;
        ensure!(created.denial.is_none_or(|d| !d.contains("ValidatingAdmissionPolicy")), "{admitted}");
    }
    let mut opted_out = session(&json!({"gitUrl": "file:///srv/r"}));
    opted_out["metadata"]["annotations"] = json!({"workflow.ambient-code.io/inject": "false"});
    ensure!(create(&client, &opted_out).await?.denial.is_none(), "opted out");

    // Updates: only those that change the source.
    assert_eq!(change("old", json!({"spec": {"initialPrompt": "other"}})).await, Ok(()));
    assert_eq!(change("old", json!({"metadata": {"annotations": {"a": "b"}}})).await, Ok(()));
    assert_eq!(change("old", json!({"spec": {"activeWorkflow": {"gitUrl": "https://h/o/r"}}})).await, Ok(()));
    let denial = change("old", json!({"spec": {"activeWorkflow": {"branch": "other"}}})).await.unwrap_err();
    assert!(denial.contains("is not the URL of a git repository"), "{denial}");
    manual.set_status("old", json!({"phase": "Pending"})).await?;

    kubectl.run(&["delete", "-f", "-"], Some(&render(DENY)?))?;
    Ok(())
}
