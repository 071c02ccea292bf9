//! `check` on installations with one defect each: it ends with 1 and prints a line with the remedy. Without a defect it
//! ends with 0.

use std::process::ExitCode;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use workflow_certs::rotation::{Action, apply as rotate};
use workflow_certs::{Lifetimes, store};
use workflow_contract::Exit;
use workflow_contract::names::{
    APP_LABEL, APP_LABEL_VALUE, INIT_CONTAINER, INJECTOR, SESSION_GROUP, TLS_SECRET,
};
use workflow_injector::cli::check::{self, Options, Scope};
use workflow_tests::endpoints;
use workflow_tests::manual_operator::ManualOperator;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::session::SessionBuilder;
use workflow_tests::wait::TIMEOUT;

use crate::installation::{Installation, apply, register};

fn as_patch(operations: Value) -> anyhow::Result<Patch<()>> {
    Ok(Patch::Json(serde_json::from_value(operations)?))
}

/// Removes a verb from the rule for this resource.
fn remove_verb(rules: &mut [PolicyRule], resource: &str, verb: &str) {
    let about = |rule: &&mut PolicyRule| rule.resources.iter().flatten().any(|name| name == resource);
    rules.iter_mut().filter(about).for_each(|rule| rule.verbs.retain(|allowed| allowed != verb));
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_a_healthy_installation_and_leaves_no_pod() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    installation.expect_check(Scope::Installation, true, &[]).await?;
    let lines = [
        ("ok      admission ", "by the real path"),
        ("ok      registration ", "goes with our namespace"),
        ("ok      certificate ", "valid until"),
        ("ok      replicas ", "2 of 2"),
        ("ok      service ", "endpoints: 1"),
        ("ok      versions ", env!("CARGO_PKG_VERSION")),
        ("ok      rights ", ""),
        ("ok      config ", "init-fetcher"),
        ("ok      sessions ", ""),
    ];
    installation.expect_check(Scope::Everything, true, &lines).await?;
    let pods: Api<Pod> = Api::namespaced(installation.client.clone(), "default");
    assert_eq!(pods.list(&ListParams::default()).await?.items.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_until_a_defect_is_repaired() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    installation.set_ready_replicas(1).await?;
    installation.expect_check(Scope::Installation, false, &[("FAILED  replicas ", "1 of 2")]).await?;
    let options = Options { namespace: "default".to_owned(), scope: Scope::Installation, wait: TIMEOUT };
    let mut out = Vec::new();
    let waits = check::run(installation.client.clone(), &options, &mut out);
    let (code, repaired) = tokio::join!(waits, installation.set_ready_replicas(2));
    repaired?;
    assert_eq!(code?, ExitCode::SUCCESS);
    assert!(!String::from_utf8(out)?.contains("FAILED"), "only the last result is printed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_wrong_ca_bundle_that_the_leader_may_not_repair() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let roles: Api<ClusterRole> = Api::all(installation.client.clone());
    let mut role = roles.get(INJECTOR).await?;
    remove_verb(role.rules.as_deref_mut().unwrap_or_default(), "mutatingwebhookconfigurations", "patch");
    roles.replace(INJECTOR, &PostParams::default(), &role).await?;
    installation
        .expect_check(
            Scope::Everything,
            false,
            &[("FAILED  rights ", "may not patch mutatingwebhookconfigurations")],
        )
        .await?;

    let other = rcgen::generate_simple_self_signed(["other.test".to_owned()])?.cert.pem();
    let bundle = json!([{
        "op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ByteString(other.into_bytes()),
    }]);
    installation.registrations().patch(INJECTOR, &PatchParams::default(), &as_patch(bundle)?).await?;
    let lines = [
        ("FAILED  admission ", "caBundle does not fit the certificate"),
        ("FAILED  certificate ", "does not trust it"),
        ("FAILED  rights ", "`make install` grants it"),
    ];
    installation.expect_check(Scope::Everything, false, &lines).await?;

    apply("manifests/overlays/self-managed")?;
    installation.expect_check(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_ready_only_while_the_registration_trusts_it_and_repairs_ca_bundle() -> anyhow::Result<()>
{
    let installation = Installation::unregistered(async |_| Ok(())).await?;
    // The webhook is registered once the replicas are ready.
    installation.until_readiness_is("ok").await?;
    register()?;
    installation.expect_check(Scope::Everything, true, &[]).await?;
    assert_eq!(installation.readiness().await?, "ok");

    let roles: Api<ClusterRole> = Api::all(installation.client.clone());
    let mut role = roles.get(INJECTOR).await?;
    remove_verb(role.rules.as_deref_mut().unwrap_or_default(), "mutatingwebhookconfigurations", "patch");
    roles.replace(INJECTOR, &PostParams::default(), &role).await?;
    installation.expect_check(Scope::Installation, false, &[("FAILED  rights ", "")]).await?;
    let other = rcgen::generate_simple_self_signed(["other.test".to_owned()])?.cert.pem();
    for (value, words) in [(other, "does not trust the certificate"), (String::new(), "has no caBundle yet")]
    {
        let value = ByteString(value.into_bytes());
        let bundle = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": value}]);
        installation.registrations().patch(INJECTOR, &PatchParams::default(), &as_patch(bundle)?).await?;
        installation.until_readiness_is(words).await?;
    }

    // It leads while it is not ready, and completes the registration once RBAC allows it.
    apply("manifests/overlays/self-managed")?;
    installation.until_readiness_is("ok").await?;
    installation.expect_check(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_an_expired_certificate_that_the_leader_may_not_renew() -> anyhow::Result<()> {
    let expiring = async |client: Client| {
        let names =
            [format!("{INJECTOR}.{INJECTOR}.svc.cluster.local"), format!("{INJECTOR}.{INJECTOR}.svc")];
        let lifetimes = Lifetimes { serving: SignedDuration::from_secs(8), ..Lifetimes::default() };
        let state = rotate(Action::Start, None, &names, Timestamp::now(), &lifetimes)?;
        let mut secret = Secret { data: Some(store::encode(&state)?), ..Secret::default() };
        secret.metadata.name = Some(TLS_SECRET.to_owned());
        Api::namespaced(client.clone(), INJECTOR).create(&PostParams::default(), &secret).await?;
        let roles: Api<Role> = Api::namespaced(client, INJECTOR);
        for mut role in roles.list(&ListParams::default()).await? {
            remove_verb(role.rules.as_deref_mut().unwrap_or_default(), "secrets", "update");
            roles.replace(&role.name_any(), &PostParams::default(), &role).await?;
        }
        Ok(())
    };
    let installation = Installation::unregistered(expiring).await?;
    register()?;
    let lines = [
        ("FAILED  admission ", "see the line `certificate`"),
        ("FAILED  certificate ", "expired at"),
        ("FAILED  rights ", "may not update secrets"),
    ];
    installation.expect_check(Scope::Everything, false, &lines).await?;

    apply("manifests/overlays/self-managed")?;
    installation.expect_check(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_missing_rights() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(installation.client.clone());
    bindings.delete(INJECTOR, &DeleteParams::default()).await?;
    let lines = [
        ("FAILED  admission ", "can't look up sessions"),
        ("FAILED  rights ", "may not get agenticsessions.vteam.ambient-code (and "),
    ];
    installation.expect_check(Scope::Everything, false, &lines).await?;

    apply("manifests/overlays/self-managed")?;
    installation.expect_check(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_images_that_cant_be_pulled() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    installation.set_waiting("second", "ImagePullBackOff").await?;
    installation.set_ready_replicas(1).await?;
    let line = ("FAILED  replicas ", "1 of 2 are ready; second waits with ImagePullBackOff: its image");
    installation.expect_check(Scope::Everything, false, &[line]).await?;
    installation.set_ready_replicas(2).await?;

    let namespace = TestNamespace::named(installation.cluster.clone(), "unpulled").await?;
    let container = |name: &str| json!({"name": name, "image": "local.test/none:1"});
    let pod = json!({
        "metadata": {"name": "s-runner", "labels": {APP_LABEL: APP_LABEL_VALUE}},
        "spec": {"containers": [container("main")], "initContainers": [container(INIT_CONTAINER)]},
    });
    let pods = namespace.api::<Pod>();
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let status = json!({"status": {"phase": "Pending", "initContainerStatuses": [{
        "name": INIT_CONTAINER, "image": "local.test/none:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
    }]}});
    pods.patch_status("s-runner", &PatchParams::default(), &Patch::Merge(status)).await?;
    let line = (
        "FAILED  image ",
        "local.test/none:1 can't be pulled, 1 pods wait for it, unpulled/s-runner among them",
    );
    installation.expect_check(Scope::Installation, false, &[line]).await?;

    pods.delete("s-runner", &DeleteParams::default().grace_period(0)).await?;
    installation.expect_check(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_missing_service_and_one_without_endpoints() -> anyhow::Result<()> {
    let mut installation = Installation::healthy().await?;
    endpoints::set(&installation.client, &[]).await?;
    // An API server of 1.34 keeps using open connections.
    installation.end_replica();
    let lines = [
        ("FAILED  admission ", "see the line `service`"),
        ("FAILED  service ", "its selector or port does not fit them; `make install` puts it back"),
    ];
    installation.expect_check(Scope::Everything, false, &lines).await?;

    let services = installation.api::<k8s_openapi::api::core::v1::Service>();
    services.delete(INJECTOR, &DeleteParams::default()).await?;
    let line = ("FAILED  service ", "there is no Service workflow-injector; `make install` creates it");
    installation
        .expect_check(Scope::Everything, false, &[("FAILED  admission ", "the Service is missing"), line])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_deleted_or_changed_registration() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let registrations = installation.registrations();
    registrations.delete(INJECTOR, &DeleteParams::default()).await?;
    let lines = [
        ("FAILED  admission ", "see the line `registration`"),
        ("FAILED  registration ", "there is none, no pod is injected; `make install` registers the webhook"),
    ];
    installation.expect_check(Scope::Everything, false, &lines).await?;
    register()?;
    installation.expect_check(Scope::Everything, true, &[]).await?;

    let changes = [
        ("objectSelector", json!({"matchLabels": {"app": "something-else"}}), false),
        ("namespaceSelector", json!({"matchLabels": {"sessions": "yes"}}), false),
        ("matchConditions", json!([{"name": "asks-for-a-workflow", "expression": "false"}]), false),
        ("failurePolicy", json!("Ignore"), true),
        ("timeoutSeconds", json!(1), true),
        ("reinvocationPolicy", json!("Never"), true),
    ];
    for (field, value, is_called) in changes {
        let change = json!([{"op": "replace", "path": format!("/webhooks/0/{field}"), "value": value}]);
        registrations.patch(INJECTOR, &PatchParams::default(), &as_patch(change)?).await?;
        let admission = if is_called { "ok      admission " } else { "FAILED  admission " };
        let lines = [(admission, ""), ("FAILED  registration ", field)];
        installation.expect_check(Scope::Everything, false, &lines).await?;
        register()?;
        installation.expect_check(Scope::Everything, true, &[]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_a_narrowed_or_annotated_registration() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let narrow = || async {
        let exclude = |key: &str, value: &str| {
            let path = "/webhooks/0/namespaceSelector/matchExpressions/-";
            json!({"op": "add", "path": path, "value": {"key": key, "operator": "NotIn", "values": [value]}})
        };
        let changes = json!([
            exclude("control-plane", "true"),
            exclude("kubernetes.azure.com/managedby", "aks"),
            {"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 30},
            {"op": "add", "path": "/metadata/labels/argocd.argoproj.io~1instance", "value": "injector"},
            {"op": "add", "path": "/metadata/annotations", "value": {"kustomize.toolkit.fluxcd.io/checksum": "x"}},
        ]);
        let registrations = installation.registrations();
        registrations.patch(INJECTOR, &PatchParams::default(), &as_patch(changes)?).await?;
        let lines = [
            ("ok      admission ", "by the real path"),
            ("ok      registration ", "namespaceSelector also requires control-plane NotIn [true]"),
            ("ok      registration ", "timeoutSeconds is 30"),
        ];
        installation.expect_check(Scope::Installation, true, &lines).await
    };
    narrow().await?;
    // Applied again by `make install`, and narrowed again at once, as by AKS.
    register()?;
    narrow().await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_secret_that_the_injector_did_not_create() -> anyhow::Result<()> {
    let unmanaged = async |client: Client| {
        let pair = rcgen::generate_simple_self_signed(["other.test".to_owned()])?;
        let secret = json!({
            "metadata": {"name": TLS_SECRET}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": pair.cert.pem(), "tls.key": pair.signing_key.serialize_pem()},
        });
        let secrets: Api<Secret> = Api::namespaced(client, INJECTOR);
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        Ok(())
    };
    let installation = Installation::unregistered(unmanaged).await?;
    installation.until_readiness_is("its type is kubernetes.io/tls").await?;
    let line =
        ("FAILED  certificate ", "was not created by workflow-injector (its type is kubernetes.io/tls)");
    installation.expect_check(Scope::BeforeRegistration, false, &[line]).await?;

    let secrets = installation.api::<Secret>();
    secrets.delete(TLS_SECRET, &DeleteParams::default()).await?;
    installation.until_readiness_is("ok").await?;
    installation.expect_check(Scope::BeforeRegistration, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn replaces_a_ca_from_the_future_once() -> anyhow::Result<()> {
    let from_the_future = async |client: Client| {
        let names = [format!("{INJECTOR}.{INJECTOR}.svc")];
        let later = Timestamp::now() + SignedDuration::from_hours(2 * 365 * 24);
        let state = rotate(Action::Start, None, &names, later, &Lifetimes::default())?;
        let mut secret = Secret { data: Some(store::encode(&state)?), ..Secret::default() };
        secret.metadata.name = Some(TLS_SECRET.to_owned());
        Api::namespaced(client, INJECTOR).create(&PostParams::default(), &secret).await?;
        Ok(())
    };
    let installation = Installation::unregistered(from_the_future).await?;
    installation.until_readiness_is("ok").await?;
    let served = installation.served();
    register()?;
    installation.expect_check(Scope::Everything, true, &[]).await?;
    assert_eq!(installation.served(), served);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_two_versions_at_once() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let pods = installation.api::<Pod>();
    let other =
        json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "workflow-injector:other"}]);
    pods.patch("second", &PatchParams::default(), &as_patch(other)?).await?;
    let line = (
        "FAILED  versions ",
        "two versions serve at once: 1 of workflow-injector:0.2.0, 1 of workflow-injector:other",
    );
    installation.expect_check(Scope::Everything, false, &[line, ("FAILED  versions ", "rollout undo")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_an_invalid_configuration() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let broken = Patch::Merge(json!({"data": {"config.yaml": "image: x\ntimeuot: 1s\n"}}));
    installation.api::<ConfigMap>().patch(INJECTOR, &PatchParams::default(), &broken).await?;
    let line = ("FAILED  config ", "kubectl -n workflow-injector edit configmap workflow-injector");
    installation.expect_check(Scope::Everything, false, &[("FAILED  config ", "timeuot"), line]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_failed_sessions_but_not_as_a_fault_of_the_installation() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let manual = ManualOperator::new(TestNamespace::named(installation.cluster.clone(), "failed").await?);
    let session =
        |name: &str| SessionBuilder::new(name).workflow("https://git.invalid/o/r.git", "mian").build();
    manual.begin(session("s")).await?;
    let message = "no branch `mian`; did you mean `main`?";
    let code = i32::from(Exit::RefNotFound.code());
    manual.end("s", code, "Error", &format!("{message}\n{{\"v\":1}}")).await?;
    let line = format!("failed/s: RefNotFound: {message}");
    installation.expect_check(Scope::Everything, false, &[("FAILED  sessions ", &line)]).await?;
    installation.expect_check(Scope::Installation, true, &[]).await?;

    let failed = manual.sessions().get("s").await?;
    manual.sessions().delete(&failed.name_any(), &DeleteParams::default()).await?;
    manual.delete_pod("s").await?;
    installation.expect_check(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_a_cluster_without_the_platform() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let kinds: Api<CustomResourceDefinition> = Api::all(installation.client.clone());
    let kind = format!("agenticsessions.{SESSION_GROUP}");
    let uid = kinds.get(&kind).await?.metadata.uid.unwrap_or_default();
    kinds.delete(&kind, &DeleteParams::default()).await?;
    tokio::time::timeout(TIMEOUT, await_condition(kinds, &kind, conditions::is_deleted(&uid))).await??;
    let line = ("ok      sessions ", "no session's workflow failed");
    let result = installation.expect_check(Scope::Everything, true, &[line]).await;
    installation.cluster.ensure_crd().await?;
    result
}
