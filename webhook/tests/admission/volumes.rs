//! Volumes and mounts: workflow, credentials, CA bundle; and pull secrets.

use serde_json::{Value, json};
use workflow_injector::config::parse;

use crate::fixtures::{
    container, init, injected, injected_by, pod, pod_with_existing_container, session, with,
};

const MOUNTS: &str = "/spec/containers/0/volumeMounts";

fn mount<'p>(container: &'p Value, path: &str) -> Option<&'p Value> {
    let mounts = container["volumeMounts"].as_array()?;
    let found: Vec<&Value> = mounts.iter().filter(|mount| mount["mountPath"] == path).collect();
    assert!(found.len() < 2, "{path} is mounted once, not {found:?}");
    found.first().copied()
}

fn volume<'p>(pod: &'p Value, name: &str) -> Option<&'p Value> {
    pod["spec"]["volumes"].as_array()?.iter().find(|volume| volume["name"] == name)
}

#[test]
fn mounts_the_volume_of_the_runners_workspace() {
    let claude = json!({"name": "workspace", "mountPath": "/app/.claude", "subPath": ".claude"});
    for path in ["/workspace", "/workspace/"] {
        let mounts = json!([claude, {"name": "shared", "mountPath": path, "readOnly": true}]);
        let pod = injected(&with(pod(), [(MOUNTS, mounts)]), &session());
        assert_eq!(
            mount(init(&pod), "/workspace"),
            Some(&json!({"name": "shared", "mountPath": "/workspace"}))
        );
        assert_eq!(mount(init(&pod), "/app/.claude"), None);
        assert_eq!(volume(&pod, "workflows"), None);
    }
}

#[test]
fn mounts_the_same_sub_path_as_the_runner() {
    let mounts = json!([{"name": "shared", "mountPath": "/workspace", "subPath": "demo"}]);
    let pod = injected(&with(pod(), [(MOUNTS, mounts.clone())]), &session());
    assert_eq!(mount(init(&pod), "/workspace"), Some(&mounts[0]));
}

#[test]
fn without_a_workspace_both_get_an_empty_directory_for_workflows() {
    let wanted = json!({"name": "workflows", "mountPath": "/workspace/workflows"});
    for mounts in [
        Value::Null,
        json!([]),
        json!([{"name": "workspace", "mountPath": "/app/.claude"}]),
        json!([{"name": "workspace", "mountPath": "/workspace", "subPathExpr": "$(POD_IP)"}]),
        json!([{"name": "workspace", "mountPath": "/workspaces"}]),
    ] {
        let pod = injected(&with(pod(), [(MOUNTS, mounts)]), &session());
        let runner = container(&pod, "ambient-code-runner");
        for container in [runner, init(&pod)] {
            assert_eq!(mount(container, "/workspace/workflows"), Some(&wanted));
        }
        assert_eq!(volume(&pod, "workflows"), Some(&json!({"name": "workflows", "emptyDir": {}})));
    }
    let pod = injected(&with(pod(), [(MOUNTS, Value::Null), ("/spec/volumes", Value::Null)]), &session());
    assert_eq!(pod["spec"]["volumes"].as_array().map(Vec::len), Some(2));
}

#[test]
fn another_volume_of_that_name_is_not_used() {
    let volumes = json!([
        {"name": "workflows", "configMap": {"name": "x"}},
        {"name": "workflow-credentials", "secret": {"secretName": "of-the-user"}},
    ]);
    let pod = injected(&with(pod(), [(MOUNTS, Value::Null), ("/spec/volumes", volumes.clone())]), &session());
    assert_eq!(mount(init(&pod), "/workspace/workflows").unwrap()["name"], "workflows-2");
    assert_eq!(
        mount(init(&pod), "/var/run/secrets/workflow-credentials").unwrap()["name"],
        "workflow-credentials-2"
    );
    assert_eq!(volume(&pod, "workflows"), Some(&volumes[0]));
}

#[test]
fn shares_the_runners_mount_of_the_workflows_directory() {
    let mounts = json!([
        {"name": "workspace", "mountPath": "/workspace"},
        {"name": "projected", "mountPath": "/workspace/workflows"},
    ]);
    let pod = injected(&with(pod(), [(MOUNTS, mounts.clone())]), &session());
    assert_eq!(mount(init(&pod), "/workspace/workflows"), Some(&mounts[1]));
}

#[test]
fn credentials_are_an_optional_secret_mounted_read_only() {
    for (config, secret) in [("", "workflow-credentials"), ("credentialsSecret: git", "git")] {
        let pod = injected_by(&pod(), &session(), &parse(config).unwrap());
        let dir = crate::fixtures::value(init(&pod), "WORKFLOW_CREDENTIALS_DIR").unwrap();
        let mount = mount(init(&pod), dir).unwrap();
        assert_eq!(mount["readOnly"], true);
        let source = &volume(&pod, mount["name"].as_str().unwrap()).unwrap()["secret"];
        assert_eq!(source, &json!({"secretName": secret, "optional": true}));
    }
    let pod = injected_by(&pod(), &session(), &parse("credentialsSecret: ''").unwrap());
    assert_eq!(volume(&pod, "workflow-credentials"), None);
}

#[test]
fn mounts_the_platforms_ca_bundle() {
    let pod = injected(&pod(), &session());
    let path = "/etc/pki/tls/certs/ca-bundle.crt";
    let of_runner = mount(container(&pod, "ambient-code-runner"), path);
    assert!(of_runner.is_some());
    assert_eq!(mount(init(&pod), path), of_runner);
}

#[test]
fn ca_bundle_with_trailing_slash_is_mounted_once() {
    let path = "/etc/pki/tls/certs/ca-bundle.crt/";
    let mounts = json!([{"name": "trusted-ca-bundle", "mountPath": path, "subPath": "ca-bundle.crt"}]);
    let once = injected(&with(pod(), [(MOUNTS, mounts)]), &session());
    assert!(mount(init(&once), path).is_some());
    assert_eq!(injected(&once, &session()), once);
}

#[test]
fn mount_at_our_path_is_replaced_and_others_stay() {
    let pod = injected(&pod_with_existing_container(), &session());
    let mounts = init(&pod)["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts[0], json!({"name": "workspace", "mountPath": "/workspace"}));
    assert_eq!(mounts[1], json!({"name": "other", "mountPath": "/other"}));
    assert_eq!(mounts.len(), 3);
}

#[test]
fn service_account_token_mount_stays() {
    let mut pod = injected(&pod(), &session());
    let token = json!({"name": "kube-api-access", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"});
    pod["spec"]["initContainers"][1]["volumeMounts"].as_array_mut().unwrap().insert(0, token);
    assert_eq!(injected(&pod, &session()), pod);
}

#[test]
fn configured_pull_secrets_are_added_if_missing() {
    let config = parse("imagePullSecrets: [ours, shared]").unwrap();
    for (before, after) in [
        (Value::Null, json!([{"name": "ours"}, {"name": "shared"}])),
        (json!([]), json!([{"name": "ours"}, {"name": "shared"}])),
        (
            json!([{"name": "theirs"}, {"name": "shared"}]),
            json!([{"name": "theirs"}, {"name": "shared"}, {"name": "ours"}]),
        ),
    ] {
        let pod = injected_by(&with(pod(), [("/spec/imagePullSecrets", before)]), &session(), &config);
        assert_eq!(pod["spec"]["imagePullSecrets"], after);
    }
    assert!(injected(&pod(), &session())["spec"]["imagePullSecrets"].is_null());
}
