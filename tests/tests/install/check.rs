//! `check` on installations that are broken, one way at a time: it ends with 1 and says in one line what to do. On the
//! sound one it ends with 0.

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
use workflow_tests::wait::PATIENCE;

use crate::installation::{Installation, apply, register};

fn as_patch(operations: Value) -> anyhow::Result<Patch<()>> {
    Ok(Patch::Json(serde_json::from_value(operations)?))
}

/// Takes a verb away from the rule for this resource.
fn without(rules: &mut [PolicyRule], resource: &str, verb: &str) {
    let about = |rule: &&mut PolicyRule| rule.resources.iter().flatten().any(|name| name == resource);
    rules.iter_mut().filter(about).for_each(|rule| rule.verbs.retain(|allowed| allowed != verb));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_installation_passes_and_nothing_is_left_behind() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    installation.check_says(Scope::Installation, true, &[]).await?;
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
    installation.check_says(Scope::Everything, true, &lines).await?;
    let pods: Api<Pod> = Api::namespaced(installation.client.clone(), "default");
    assert_eq!(pods.list(&ListParams::default()).await?.items.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mended_while_check_waits_is_sound() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    installation.replicas_ready(1).await?;
    installation.check_says(Scope::Installation, false, &[("FAILED  replicas ", "1 of 2")]).await?;
    let options = Options { namespace: "default".to_owned(), scope: Scope::Installation, wait: PATIENCE };
    let mut out = Vec::new();
    let waits = check::run(installation.client.clone(), &options, &mut out);
    let (code, mended) = tokio::join!(waits, installation.replicas_ready(2));
    mended?;
    assert_eq!(code?, ExitCode::SUCCESS);
    assert!(!String::from_utf8(out)?.contains("FAILED"), "only the last look is printed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_ca_bundle_that_the_leader_may_not_mend() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    let roles: Api<ClusterRole> = Api::all(installation.client.clone());
    let mut role = roles.get(INJECTOR).await?;
    without(role.rules.as_deref_mut().unwrap_or_default(), "mutatingwebhookconfigurations", "patch");
    roles.replace(INJECTOR, &PostParams::default(), &role).await?;
    installation
        .check_says(
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
    installation.check_says(Scope::Everything, false, &lines).await?;

    apply("manifests/overlays/self-managed")?;
    installation.check_says(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_ready_while_the_registration_trusts_it_and_mends_that_when_it_is_not()
-> anyhow::Result<()> {
    let installation = Installation::unregistered(async |_| Ok(())).await?;
    // The registration comes after the replicas are ready.
    installation.until_ready_says("ok").await?;
    register()?;
    installation.check_says(Scope::Everything, true, &[]).await?;
    assert_eq!(installation.readiness().await?, "ok");

    let roles: Api<ClusterRole> = Api::all(installation.client.clone());
    let whole = roles.get(INJECTOR).await?;
    let mut role = whole.clone();
    without(role.rules.as_deref_mut().unwrap_or_default(), "mutatingwebhookconfigurations", "patch");
    roles.replace(INJECTOR, &PostParams::default(), &role).await?;
    installation.check_says(Scope::Installation, false, &[("FAILED  rights ", "")]).await?;
    let other = rcgen::generate_simple_self_signed(["other.test".to_owned()])?.cert.pem();
    for (value, words) in [(other, "does not trust the certificate"), (String::new(), "has no caBundle yet")]
    {
        let value = ByteString(value.into_bytes());
        let bundle = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": value}]);
        installation.registrations().patch(INJECTOR, &PatchParams::default(), &as_patch(bundle)?).await?;
        installation.until_ready_says(words).await?;
    }

    // While it is not ready it leads, and completes the registration as soon as it may.
    apply("manifests/overlays/self-managed")?;
    installation.until_ready_says("ok").await?;
    installation.check_says(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_that_the_leader_may_not_renew() -> anyhow::Result<()> {
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
            without(role.rules.as_deref_mut().unwrap_or_default(), "secrets", "update");
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
    installation.check_says(Scope::Everything, false, &lines).await?;

    apply("manifests/overlays/self-managed")?;
    installation.check_says(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(installation.client.clone());
    bindings.delete(INJECTOR, &DeleteParams::default()).await?;
    let lines = [
        ("FAILED  admission ", "can't look up sessions"),
        ("FAILED  rights ", "may not get agenticsessions.vteam.ambient-code (and "),
    ];
    installation.check_says(Scope::Everything, false, &lines).await?;

    apply("manifests/overlays/self-managed")?;
    installation.check_says(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cant_be_pulled() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    installation.pod_waits("second", "ImagePullBackOff").await?;
    installation.replicas_ready(1).await?;
    let line = ("FAILED  replicas ", "1 of 2 are ready; second waits with ImagePullBackOff: its image");
    installation.check_says(Scope::Everything, false, &[line]).await?;
    installation.replicas_ready(2).await?;

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
    installation.check_says(Scope::Installation, false, &[line]).await?;

    pods.delete("s-runner", &DeleteParams::default().grace_period(0)).await?;
    installation.check_says(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_endpoints_and_none_at_all() -> anyhow::Result<()> {
    let mut installation = Installation::sound().await?;
    endpoints::set(&installation.client, &[]).await?;
    // An API server of 1.34 keeps asking by the connections that it has.
    installation.end_replica();
    let lines = [
        ("FAILED  admission ", "see the line `service`"),
        ("FAILED  service ", "its selector or port does not fit them; `make install` puts it back"),
    ];
    installation.check_says(Scope::Everything, false, &lines).await?;

    let services = installation.api::<k8s_openapi::api::core::v1::Service>();
    services.delete(INJECTOR, &DeleteParams::default()).await?;
    let line = ("FAILED  service ", "there is no Service workflow-injector; `make install` creates it");
    installation
        .check_says(Scope::Everything, false, &[("FAILED  admission ", "the Service is missing"), line])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_removed_or_changed() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    let registrations = installation.registrations();
    registrations.delete(INJECTOR, &DeleteParams::default()).await?;
    let lines = [
        ("FAILED  admission ", "see the line `registration`"),
        ("FAILED  registration ", "there is none, no pod is injected; `make install` registers the webhook"),
    ];
    installation.check_says(Scope::Everything, false, &lines).await?;
    register()?;
    installation.check_says(Scope::Everything, true, &[]).await?;

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
        installation.check_says(Scope::Everything, false, &lines).await?;
        register()?;
        installation.check_says(Scope::Everything, true, &[]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_narrowed_or_annotated() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
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
        installation.check_says(Scope::Installation, true, &lines).await
    };
    narrow().await?;
    // Applied again, as `make install` does, and narrowed again at once, as AKS does.
    register()?;
    narrow().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_the_injector_did_not_create() -> anyhow::Result<()> {
    let foreign = async |client: Client| {
        let pair = rcgen::generate_simple_self_signed(["other.test".to_owned()])?;
        let secret = json!({
            "metadata": {"name": TLS_SECRET}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": pair.cert.pem(), "tls.key": pair.signing_key.serialize_pem()},
        });
        let secrets: Api<Secret> = Api::namespaced(client, INJECTOR);
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
        Ok(())
    };
    let installation = Installation::unregistered(foreign).await?;
    installation.until_ready_says("its type is kubernetes.io/tls").await?;
    let line =
        ("FAILED  certificate ", "was not created by workflow-injector (its type is kubernetes.io/tls)");
    installation.check_says(Scope::BeforeRegistration, false, &[line]).await?;

    let secrets = installation.api::<Secret>();
    secrets.delete(TLS_SECRET, &DeleteParams::default()).await?;
    installation.until_ready_says("ok").await?;
    installation.check_says(Scope::BeforeRegistration, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_from_the_future_is_replaced_once() -> anyhow::Result<()> {
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
    installation.until_ready_says("ok").await?;
    let served = installation.served();
    register()?;
    installation.check_says(Scope::Everything, true, &[]).await?;
    assert_eq!(installation.served(), served);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_at_once() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    let pods = installation.api::<Pod>();
    let other =
        json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "workflow-injector:other"}]);
    pods.patch("second", &PatchParams::default(), &as_patch(other)?).await?;
    let line = (
        "FAILED  versions ",
        "two versions serve at once: 1 of workflow-injector:0.1.0, 1 of workflow-injector:other",
    );
    installation.check_says(Scope::Everything, false, &[line, ("FAILED  versions ", "rollout undo")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_refused() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    let broken = Patch::Merge(json!({"data": {"config.yaml": "image: x\ntimeuot: 1s\n"}}));
    installation.api::<ConfigMap>().patch(INJECTOR, &PatchParams::default(), &broken).await?;
    let line = ("FAILED  config ", "kubectl -n workflow-injector edit configmap workflow-injector");
    installation.check_says(Scope::Everything, false, &[("FAILED  config ", "timeuot"), line]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_sessions_are_told_and_are_no_fault_of_the_installation() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    let manual = ManualOperator::new(TestNamespace::named(installation.cluster.clone(), "failed").await?);
    let session =
        |name: &str| SessionBuilder::new(name).workflow("https://git.invalid/o/r.git", "mian").build();
    manual.begin(session("s")).await?;
    let message = "no branch `mian`; did you mean `main`?";
    let code = i32::from(Exit::RefNotFound.code());
    manual.end("s", code, "Error", &format!("{message}\n{{\"v\":1}}")).await?;
    let line = format!("failed/s: RefNotFound: {message}");
    installation.check_says(Scope::Everything, false, &[("FAILED  sessions ", &line)]).await?;
    installation.check_says(Scope::Installation, true, &[]).await?;

    let failed = manual.sessions().get("s").await?;
    manual.sessions().delete(&failed.name_any(), &DeleteParams::default()).await?;
    manual.delete_pod("s").await?;
    installation.check_says(Scope::Everything, true, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_platform_is_there_no_session_has_failed() -> anyhow::Result<()> {
    let installation = Installation::sound().await?;
    let kinds: Api<CustomResourceDefinition> = Api::all(installation.client.clone());
    let kind = format!("agenticsessions.{SESSION_GROUP}");
    let uid = kinds.get(&kind).await?.metadata.uid.unwrap_or_default();
    kinds.delete(&kind, &DeleteParams::default()).await?;
    tokio::time::timeout(PATIENCE, await_condition(kinds, &kind, conditions::is_deleted(&uid))).await??;
    let line = ("ok      sessions ", "no session's workflow failed");
    let said = installation.check_says(Scope::Everything, true, &[line]).await;
    installation.cluster.ensure_crd().await?;
    said
}
