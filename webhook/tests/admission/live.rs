//! The ephemeral container that delivers into a running pod.

use serde_json::{Value, json};
use workflow_contract::Stamp;
use workflow_injector::admission::patch::live_container;
use workflow_injector::admission::plan::Plan;
use workflow_injector::config::{Config, parse};

use crate::fixtures::{entries, init, injected_by, pod, session, value, with};

const MOUNTS: &str = "/spec/containers/0/volumeMounts";

fn live_by(pod: &Value, config: &Config) -> Option<Value> {
    let session = serde_json::from_value(session()).unwrap();
    live_container(pod, &Plan::new(&session).unwrap(), config)
}

fn live(pod: &Value) -> Value {
    live_by(pod, &Config::default()).unwrap()
}

fn mount<'c>(container: &'c Value, path: &str) -> Option<&'c Value> {
    container["volumeMounts"].as_array()?.iter().find(|mount| mount["mountPath"] == path)
}

#[test]
fn equals_the_init_container_but_for_what_an_ephemeral_one_can_not_have() {
    let config =
        parse("{image: 'registry.example/f:1', imagePullPolicy: Always, allowedHosts: [h]}").unwrap();
    let injected = injected_by(&pod(), &session(), &config);
    let (init, live) = (init(&injected), live_by(&injected, &config).unwrap());
    let generation = session()["metadata"]["generation"].as_i64().unwrap();
    assert_eq!(live["name"], format!("deliver-workflow-{generation}"));
    for same in ["image", "imagePullPolicy", "securityContext", "terminationMessagePolicy"] {
        assert_eq!(live[same], init[same], "{same}");
    }
    assert_eq!(live["resources"], Value::Null);
    assert!(live["volumeMounts"].as_array().unwrap().iter().all(|mount| mount["subPath"].is_null()));
    let own = ["WORKFLOW_STAMP", "WORKFLOW_SETTLE"];
    let others = |container: &Value| {
        let env = container["env"].as_array().unwrap().iter();
        env.filter(|entry| own.iter().all(|own| entry["name"] != *own)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(&live), others(init));
    let stamp = value(&live, "WORKFLOW_STAMP").unwrap();
    let stamp = Stamp::from_annotation(stamp).unwrap();
    assert_eq!((stamp.generation, stamp.image.as_str()), (generation, "registry.example/f:1"));
}

#[test]
fn a_pod_that_was_not_injected_gets_the_same_but_for_the_secrets_volume() {
    let bare = live(&pod());
    let injected = live(&injected_by(&pod(), &session(), &Config::default()));
    assert_eq!(value(&bare, "WORKFLOW_CREDENTIALS_DIR"), None);
    assert_eq!(value(&injected, "WORKFLOW_CREDENTIALS_DIR"), Some("/var/run/secrets/workflow-credentials"));
    assert_eq!(mount(&bare, "/var/run/secrets/workflow-credentials"), None);
    assert!(mount(&injected, "/var/run/secrets/workflow-credentials").is_some());
    assert_eq!(mount(&bare, "/workspace"), mount(&injected, "/workspace"));
    assert_eq!(entries(&bare, "BOT_TOKEN"), entries(&injected, "BOT_TOKEN"));
}

#[test]
fn the_ca_bundle_is_mounted_whole_at_the_directory_of_its_file() {
    let mounts = |sub_path: &str| {
        json!([
            {"name": "workspace", "mountPath": "/workspace"},
            {"name": "ca", "mountPath": "/etc/pki/tls/certs/ca-bundle.crt", "subPath": sub_path, "readOnly": true},
        ])
    };
    let wanted = json!({"name": "ca", "readOnly": true, "mountPath": "/etc/pki/tls/certs"});
    for (sub_path, file) in
        [("ca-bundle.crt", None), ("certs/ours.pem", Some("/etc/pki/tls/certs/certs/ours.pem"))]
    {
        let live = live(&with(pod(), [(MOUNTS, mounts(sub_path))]));
        assert_eq!(mount(&live, "/etc/pki/tls/certs"), Some(&wanted));
        assert_eq!(value(&live, "SSL_CERT_FILE"), file, "{sub_path}");
    }
}

#[test]
fn publishes_to_the_part_of_a_volume_that_the_runner_mounts() {
    for (mounts, mounted, root) in [
        (json!([{"name": "w", "mountPath": "/workspace/"}]), "/workspace", "/workspace/workflows"),
        (
            json!([{"name": "w", "mountPath": "/workspace"}, {"name": "f", "mountPath": "/workspace/workflows"}]),
            "/workspace/workflows",
            "/workspace/workflows",
        ),
        (
            json!([{"name": "w", "mountPath": "/workspace", "subPath": "a/b"}]),
            "/volume",
            "/volume/a/b/workflows",
        ),
        (json!([{"name": "w", "mountPath": "/workspace/workflows", "subPath": "c"}]), "/volume", "/volume/c"),
    ] {
        let live = live(&with(pod(), [(MOUNTS, mounts.clone())]));
        assert!(mount(&live, mounted).is_some(), "{mounts}");
        assert_eq!(value(&live, "WORKFLOW_ROOT"), Some(root), "{mounts}");
    }
}

#[test]
fn a_pod_without_a_shared_volume_gets_none() {
    for mounts in [
        Value::Null,
        json!([{"name": "w", "mountPath": "/app"}]),
        json!([{"name": "w", "mountPath": "/workspace", "subPathExpr": "$(X)"}]),
    ] {
        assert_eq!(live_by(&with(pod(), [(MOUNTS, mounts)]), &Config::default()), None);
    }
    assert_eq!(live_by(&json!({"spec": {"containers": []}}), &Config::default()), None);
}

#[test]
fn runs_as_the_user_of_the_runner_or_as_the_image_says() {
    for (user, wanted) in
        [(Value::Null, Value::Null), (json!(1_000_650_000), json!(1_000_650_000)), (json!(0), json!(1001))]
    {
        let pod = with(pod(), [("/spec/containers/0/securityContext/runAsUser", user)]);
        assert_eq!(live(&pod)["securityContext"]["runAsUser"], wanted);
        assert_eq!(live(&pod)["securityContext"]["runAsNonRoot"], true);
    }
}
