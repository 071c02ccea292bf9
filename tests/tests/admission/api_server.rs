//! The API server accepts patched pods: validation, defaults, quotas and Pod Security, and another injector before or
//! after ours.

#![allow(clippy::expect_used, reason = "a fixture that fails is a test that fails")]

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, ResourceQuota};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use workflow_contract::names::{HYDRATE_CONTAINER, INIT_CONTAINER, INJECTOR, RUNNER_CONTAINER};
use workflow_tests::api_server;
use workflow_tests::session::SessionBuilder;
use workflow_tests::wait::until_so;

use crate::common::{AdmissionEnv, AdmissionServer, denial, init_containers, operator_pod, serve};

const URL: &str = "https://git.invalid/o/r.git";

fn with_workflow(name: &str) -> SessionBuilder {
    SessionBuilder::new(name).workflow_path(URL, "main", "flows/$(BOT_TOKEN)")
}

fn container<'p>(pod: &'p mut Value, name: &str) -> &'p mut Value {
    let (spec, missing) = (&mut pod["spec"], "the container is there");
    let list = if name == RUNNER_CONTAINER { "containers" } else { "initContainers" };
    spec[list].as_array_mut().and_then(|all| all.iter_mut().find(|one| one["name"] == name)).expect(missing)
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("a list").push(item);
}

type Edit = fn(&mut Value);

/// Shapes of session pods, by the platform or other injectors.
const SHAPES: [(&str, Edit); 12] = [
    ("as the operator creates it", |_| ()),
    ("a native sidecar", |pod| {
        let sidecar = json!({ "name": "mesh", "image": "local.test/none:1", "restartPolicy": "Always" });
        push(&mut pod["spec"]["initContainers"], sidecar);
    }),
    ("twenty init containers", |pod| {
        for at in 0..20 {
            let more = json!({ "name": format!("more-{at}"), "image": "local.test/none:1" });
            push(&mut pod["spec"]["initContainers"], more);
        }
    }),
    ("no init container", |pod| pod["spec"]["initContainers"] = Value::Null),
    ("no workspace", |pod| {
        pod["spec"]["initContainers"] = Value::Null;
        container(pod, RUNNER_CONTAINER)["volumeMounts"] = json!([]);
    }),
    ("a generated name", |pod| {
        pod["metadata"]["name"].take();
        pod["metadata"]["generateName"] = json!("s-runner-");
    }),
    ("a workspace below a subPath", |pod| {
        container(pod, RUNNER_CONTAINER)["volumeMounts"] =
            json!([{ "name": "workspace", "mountPath": "/workspace", "subPath": "s" }]);
    }),
    ("projected volumes and ConfigMaps", |pod| {
        let sources = json!([{ "configMap": { "name": "c" } }, { "downwardAPI": { "items": [
            { "path": "name", "fieldRef": { "fieldPath": "metadata.name" } } ] } }]);
        push(&mut pod["spec"]["volumes"], json!({ "name": "all", "projected": { "sources": sources } }));
        container(pod, RUNNER_CONTAINER)["envFrom"] = json!([{ "configMapRef": { "name": "c" } }]);
    }),
    ("an assigned uid with its group", |pod| {
        pod["spec"]["securityContext"] =
            json!({ "runAsUser": 1_000_650_000, "runAsGroup": 0, "fsGroup": 1_000_650_000 });
    }),
    ("a runner as root", |pod| {
        container(pod, RUNNER_CONTAINER)["securityContext"] = json!({ "runAsUser": 0 });
    }),
    ("a container of our name", |pod| {
        let existing = json!({
            "name": INIT_CONTAINER, "image": "local.test/none:1", "command": ["sh"],
            "securityContext": { "privileged": true },
            "volumeMounts": [{ "name": "workspace", "mountPath": "/elsewhere" }],
        });
        pod["spec"]["initContainers"].as_array_mut().expect("a list").insert(0, existing);
    }),
    ("almost 3 MB", |pod| {
        for at in 0..280 {
            let large = json!({ "name": format!("LARGE_{at}"), "value": "x".repeat(10_000) });
            push(&mut container(pod, RUNNER_CONTAINER)["env"], large);
        }
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn accepts_patched_pods_of_every_shape() -> anyhow::Result<()> {
    let env = AdmissionEnv::new("shapes").await?;
    let _injector = env.injector().await?;
    let session = env.session(with_workflow("s")).await?;
    for (shape, change) in SHAPES {
        let mut pod = operator_pod(&session);
        change(&mut pod);
        let stored = env.dry_run(&pod).await;
        let stored = stored.map_err(|error| anyhow::anyhow!("{shape}: {error}"))?;
        assert_eq!(init_containers(&stored).last().map(String::as_str), Some(INIT_CONTAINER), "{shape}");
        let ours = init_containers(&stored).into_iter().filter(|name| name == INIT_CONTAINER).count();
        assert_eq!(ours, 1, "{shape}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn satisfies_a_quota_on_all_resources_beside_a_limit_range() -> anyhow::Result<()> {
    let env = AdmissionEnv::new("quota").await?;
    let _injector = env.injector().await?;
    let hard = json!({ "requests.cpu": "4", "requests.memory": "8Gi", "limits.cpu": "8", "limits.memory": "16Gi", "pods": "1" });
    let quota: ResourceQuota =
        serde_json::from_value(json!({ "metadata": { "name": "q" }, "spec": { "hard": hard } }))?;
    let quotas: Api<ResourceQuota> = env.namespace.api();
    quotas.create(&PostParams::default(), &quota).await?;
    // In place of the quota controller.
    let used = json!({ "requests.cpu": "0", "requests.memory": "0", "limits.cpu": "0", "limits.memory": "0", "pods": "0" });
    let status = Patch::Merge(json!({ "status": { "hard": hard, "used": used } }));
    quotas.patch_status("q", &PatchParams::default(), &status).await?;

    let session = env.session(with_workflow("s")).await?;
    let mut stored = env.create(&operator_pod(&session), "").await?;
    let wanted = json!({ "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "cpu": "1", "memory": "512Mi" } });
    assert_eq!(container(&mut stored, INIT_CONTAINER)["resources"], wanted);

    let second = env.session(with_workflow("t")).await?;
    let message = denial(env.create(&operator_pod(&second), "").await)?;
    assert!(message.contains("exceeded quota"), "{message}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_restricted_admits_the_init_container() -> anyhow::Result<()> {
    let env = AdmissionEnv::new("restricted").await?;
    let _injector = env.injector().await?;
    let enforced =
        json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    let namespaces: Api<Namespace> = Api::all(env.client());
    namespaces.patch(&env.namespace.name, &PatchParams::default(), &Patch::Merge(enforced)).await?;

    let session = env.session(with_workflow("s")).await?;
    // The platform's own containers are not restricted.
    let message = denial(env.dry_run(&operator_pod(&session)).await)?;
    assert!(message.contains("restricted") && !message.contains(INIT_CONTAINER), "{message}");

    let mut pod = operator_pod(&session);
    pod["spec"]["securityContext"] =
        json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
    assert!(init_containers(&env.dry_run(&pod).await?).contains(&INIT_CONTAINER.to_owned()));
    Ok(())
}

/// Another injector: adds a sidecar, and an init container after all others, unless they exist.
async fn mesh(body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let request = &review["request"];
    let mut response = json!({ "uid": request["uid"], "allowed": true });
    if !init_containers(&request["object"]).contains(&"mesh-init".to_owned()) {
        let added = |name: &str| json!({ "name": name, "image": "local.test/none:1" });
        let patch = json!([
            { "op": "add", "path": "/spec/initContainers/-", "value": added("mesh-init") },
            { "op": "add", "path": "/spec/containers/0", "value": added("mesh-proxy") },
        ]);
        response["patchType"] = json!("JSONPatch");
        response["patch"] =
            serde_json::to_value(ByteString(patch.to_string().into_bytes())).unwrap_or_default();
    }
    let review =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    ([(header::CONTENT_TYPE, "application/json")], review.to_string())
}

async fn expect_last_beside(name: &str) -> anyhow::Result<()> {
    let env = AdmissionEnv::new(&format!("beside-{name}")).await?;
    let injector = AdmissionServer::start(api_server::server()?.config().await?).await?;
    let mesh = serve(Router::new().route("/mutate", post(mesh))).await?;
    env.register(INJECTOR, injector.server.client_config()?).await?;
    env.register(name, mesh.client_config()?).await?;
    let session = env.session(with_workflow("s")).await?;
    let pod = operator_pod(&session);
    let expected = [HYDRATE_CONTAINER, "mesh-init", INIT_CONTAINER];
    until_so("calls of both, and ours to be last", || async {
        Ok(init_containers(&env.dry_run(&pod).await?) == expected)
    })
    .await?;
    let mut stored = env.create(&pod, "").await?;
    assert_eq!(init_containers(&stored), expected);
    let runner = container(&mut stored, RUNNER_CONTAINER);
    assert!(
        runner["env"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|variable| variable["value"] == "flows/$$(BOT_TOKEN)")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn is_last_if_another_injector_is_called_first() -> anyhow::Result<()> {
    expect_last_beside("a-mesh").await
}

#[tokio::test(flavor = "multi_thread")]
async fn is_last_if_another_injector_is_called_later() -> anyhow::Result<()> {
    expect_last_beside("z-mesh").await
}
