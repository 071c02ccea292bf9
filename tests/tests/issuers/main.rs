//! The overlays whose certificates come from others, on the real node: installed by `manifests/install`, rotated as the
//! kubelet shows it to the replicas, removed by `manifests/uninstall`. The issuers are played, see `played`.
//!
//! A file of its own: while it runs, nobody else may need the injector, which it puts back at the end.

mod played;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::json;
use workflow_contract::names::{INJECTOR, REFUSAL_PREFIX};
use workflow_tests::cluster::Cluster;
use workflow_tests::manifests::{Kubectl, STAND_INS};
use workflow_tests::wait::PATIENCE;

use played::{Issuer, MANAGER, Way};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Marks CRDs that tests made.
const STAND_IN: &str = "workflow-tests/stand-in";

/// Runs a script of `manifests/` and waits for its end beside `meanwhile`, which is called again and again.
async fn script(
    name: &str,
    environment: &[(&str, &str)],
    mut meanwhile: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(root.join("manifests").join(name));
    command.envs(environment.iter().copied());
    if std::env::var("CLUSTER").as_deref() != Ok("current") {
        command.env("KUBECONFIG", root.join("target/cluster/kubeconfig"));
    }
    let mut ended = tokio::task::spawn_blocking(move || command.output());
    let output = loop {
        tokio::select! {
            output = &mut ended => break output??,
            () = tokio::time::sleep(LOOK) => meanwhile().await?,
        }
    };
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "manifests/{name} with {environment:?} failed:\n{said}");
    Ok(())
}

async fn nothing() -> anyhow::Result<()> {
    Ok(())
}

/// Serves the CRDs of the issuers and of Prometheus' operator, where they are not served.
async fn stand_ins(client: &Client) -> anyhow::Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for text in STAND_INS {
        for crd in serde_saphyr::from_multiple::<CustomResourceDefinition>(text)? {
            let name = crd.name_any();
            match crds.get_opt(&name).await? {
                Some(theirs) if !theirs.annotations().contains_key(STAND_IN) => {
                    bail!("this cluster has a {name} of its own: this test would get into its way")
                }
                Some(_) => (),
                None => drop(crds.create(&PostParams::default(), &crd).await?),
            }
            await_condition(crds.clone(), &name, conditions::is_crd_established()).await?;
        }
    }
    Ok(())
}

async fn remove_stand_ins(client: &Client) -> anyhow::Result<()> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let ours = |crd: &CustomResourceDefinition| crd.annotations().contains_key(STAND_IN);
    for crd in crds.list(&ListParams::default()).await?.into_iter().filter(ours) {
        crds.delete(&crd.name_any(), &DeleteParams::default()).await?;
    }
    Ok(())
}

/// A pod as the operator makes it for a session that does not exist: we refuse it, if we are asked and trusted.
async fn answered_by_us(client: &Client) -> anyhow::Result<()> {
    let owner = json!({
        "apiVersion": "vteam.ambient-code/v1alpha1", "kind": "AgenticSession", "name": "none",
        "uid": "00000000-0000-0000-0000-000000000000", "controller": true,
    });
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "none-runner", "ownerReferences": [owner],
            "labels": { "app": "ambient-code-runner", "agentic-session": "none" },
        },
        "spec": { "containers": [{
            "name": "ambient-code-runner", "image": "none",
            "env": [{ "name": "ACTIVE_WORKFLOW_GIT_URL", "value": "https://git.invalid/o/r.git" }],
        }] },
    }))?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match Api::<Pod>::namespaced(client.clone(), "default").create(&params, &pod).await {
        Err(kube::Error::Api(status)) if status.message.contains(REFUSAL_PREFIX) => Ok(()),
        other => bail!("not our answer: {other:?}"),
    }
}

async fn replicas(client: &Client) -> anyhow::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), INJECTOR);
    let ours = ListParams::default().labels("app.kubernetes.io/name=workflow-injector");
    let running = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
    Ok(pods.list(&ours).await?.into_iter().filter(running).collect())
}

/// When what this pod or Service serves expires, by its own metrics.
async fn expiry(client: &Client, path: &str) -> anyhow::Result<Option<i64>> {
    let path = format!("/api/v1/namespaces/{INJECTOR}/{path}/proxy/metrics");
    let metrics = client.request_text(http::Request::get(path).body(Vec::new())?).await?;
    let mut lines = metrics.lines();
    let value =
        lines.find_map(|line| line.strip_prefix("workflow_injector_certificate_expiry_timestamp_seconds "));
    Ok(value.and_then(|value| value.parse().ok()))
}

/// Has the kubelet look at what it mounted into our pods: a change of a pod makes it, where it else takes a minute.
async fn nudge(client: &Client) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), INJECTOR);
    let annotation = json!({ "metadata": { "annotations": { "workflow-tests/nudged": Timestamp::now() } } });
    for pod in replicas(client).await? {
        pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&annotation)).await?;
    }
    Ok(())
}

/// Waits until every replica serves what expires then; from the change on, each call is answered by us.
async fn until_all_serve(client: &Client, not_after: Timestamp) -> anyhow::Result<()> {
    let (limit, mut calls) = (Instant::now() + PATIENCE, 0_u32);
    loop {
        nudge(client).await?;
        let mut served = Vec::new();
        for pod in replicas(client).await? {
            served.push(expiry(client, &format!("pods/{}:8080", pod.name_any())).await?);
        }
        answered_by_us(client).await.with_context(|| format!("after {calls} calls; served: {served:?}"))?;
        calls += 1;
        if served.len() == 2 && served.iter().all(|at| *at == Some(not_after.as_second())) {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "replicas serve {served:?} instead of {}", not_after.as_second());
        tokio::time::sleep(LOOK).await;
    }
}

/// Who wrote a caBundle of the registration, and what each entry holds.
async fn bundles(client: &Client) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let found = Api::<MutatingWebhookConfiguration>::all(client.clone()).get(INJECTOR).await?;
    let mut writers = Vec::new();
    for entry in found.managed_fields() {
        if json!(entry.fields_v1).to_string().contains("f:caBundle") {
            writers.extend(entry.manager.clone());
        }
    }
    let held = found.webhooks.into_iter().flatten().filter_map(|webhook| webhook.client_config.ca_bundle);
    Ok((writers, held.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned()).collect()))
}

async fn may(client: &Client, verb: &str, resource: &str, name: &str) -> anyhow::Result<bool> {
    let asked: SubjectAccessReview = serde_json::from_value(json!({ "metadata": {}, "spec": {
        "user": format!("system:serviceaccount:{INJECTOR}:{INJECTOR}"),
        "resourceAttributes": { "namespace": INJECTOR, "verb": verb, "resource": resource, "name": name },
    } }))?;
    let answer = Api::all(client.clone()).create(&PostParams::default(), &asked).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Names of objects of any kind that are called after us.
fn leftovers(kubectl: &Kubectl) -> anyhow::Result<Vec<String>> {
    let kinds = kubectl.run(&["api-resources", "--verbs=list", "-o", "name"], None)?;
    let kinds: Vec<_> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    let found = kubectl.run(&["get", &kinds.join(","), "-A", "-o", "name", "--ignore-not-found"], None)?;
    Ok(found.lines().filter(|name| name.contains(INJECTOR)).map(str::to_owned).collect())
}

async fn story(way: Way, client: &Client, kubectl: &Kubectl) -> anyhow::Result<()> {
    let mut issuer = Issuer::new(way, client.clone())?;
    let environment = [("OVERLAY", way.overlay()), ("WITH", "monitoring freeze-running")];
    script("install", &environment, async || issuer.tend().await).await?;
    answered_by_us(client).await?;
    issuer.tend().await?;

    let (writers, held) = bundles(client).await?;
    assert!(held.iter().all(|bundle| bundle == issuer.bundle()), "{held:?}");
    // The first one was written by `install`.
    assert!(writers.iter().all(|writer| writer == MANAGER || writer.starts_with("kubectl")), "{writers:?}");
    for verb in ["get", "list", "watch", "create", "update"] {
        assert!(!may(client, verb, "secrets", "workflow-injector-tls").await?, "{verb} secrets");
    }
    assert!(may(client, "get", "namespaces", INJECTOR).await?, "what it may do");
    let scraped = format!("services/{INJECTOR}-metrics:ops");
    assert!(expiry(client, &scraped).await?.is_some(), "what is scraped has our metrics");
    kubectl.run(&["-n", INJECTOR, "get", "servicemonitor,prometheusrule", INJECTOR], None)?;

    let not_after = issuer.renew().await?;
    until_all_serve(client, not_after).await?;
    let (writers, held) = bundles(client).await?;
    assert!(held.iter().all(|bundle| bundle == issuer.bundle()), "the leader took a renewed authority back");
    assert!(writers.contains(&MANAGER.to_owned()), "{writers:?}");

    // Installed again, as for an upgrade: what the issuer wrote stays.
    script("install", &environment, nothing).await?;
    assert_eq!(bundles(client).await?.1, held);

    script("uninstall", &environment[..1], nothing).await?;
    assert_eq!(leftovers(kubectl)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_rotates_and_goes_with_certificates_of_others() -> anyhow::Result<()> {
    let cluster = Cluster::connect().await?;
    cluster.require_injector().await?;
    let client = cluster.client.clone();
    let kubectl = Kubectl::local();
    stand_ins(&client).await?;
    let stories = async {
        script("uninstall", &[], nothing).await?;
        assert_eq!(leftovers(&kubectl)?, Vec::<String>::new(), "self-managed");
        for way in [Way::CertManager, Way::OpenShift] {
            story(way, &client, &kubectl).await.with_context(|| format!("{way:?}"))?;
        }
        anyhow::Ok(())
    };
    let told = AssertUnwindSafe(stories).catch_unwind().await;
    let removed = script("uninstall", &[], nothing).await;
    let put_back = script("install", &[], nothing).await;
    remove_stand_ins(&client).await.and(removed).and(put_back)?;
    told.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}
