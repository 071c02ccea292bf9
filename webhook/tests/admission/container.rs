//! The init container as a whole, and the stamp.

use serde_json::{Value, json};
use workflow_contract::Stamp;
use workflow_injector::config::{Config, parse};

use crate::fixtures::{init, injected, injected_by, pod, pod_with_existing_container, session, with};

fn names(pod: &Value) -> Vec<&str> {
    let containers = pod["spec"]["initContainers"].as_array().unwrap();
    containers.iter().map(|container| container["name"].as_str().unwrap()).collect()
}

#[test]
fn init_container_is_last() {
    assert_eq!(names(&injected(&pod(), &session())), ["init-hydrate", "init-workflow"]);
    for none in [Value::Null, json!([])] {
        let pod = with(pod(), [("/spec/initContainers", none)]);
        assert_eq!(names(&injected(&pod, &session())), ["init-workflow"]);
    }
    let hydrate = pod()["spec"]["initContainers"][0].clone();
    let many: Vec<Value> = (0..30).map(|n| json!({"name": format!("c{n}"), "image": "i"})).collect();
    let pod = with(pod(), [("/spec/initContainers", json!([many, vec![hydrate]].concat()))]);
    assert_eq!(names(&injected(&pod, &session())).last(), Some(&"init-workflow"));
}

#[test]
fn init_container_is_last_again_after_another_injector() {
    let mut pod = injected(&pod(), &session());
    pod["spec"]["initContainers"].as_array_mut().unwrap().push(json!({"name": "late", "image": "i"}));
    pod["spec"]["initContainers"].as_array_mut().unwrap().insert(0, json!({"name": "early", "image": "i"}));
    assert_eq!(names(&injected(&pod, &session())), ["early", "init-hydrate", "late", "init-workflow"]);
}

#[test]
fn image_pull_policy_and_resources_come_from_the_config() {
    let config =
        parse("image: r.example/f:2\nimagePullPolicy: Never\nresources: {limits: {memory: 1Gi}}").unwrap();
    for pod in [pod(), pod_with_existing_container()] {
        let pod = injected_by(&pod, &session(), &config);
        let ours = init(&pod);
        assert_eq!((&ours["image"], &ours["imagePullPolicy"]), (&json!("r.example/f:2"), &json!("Never")));
        assert_eq!(ours["resources"]["limits"], json!({"cpu": "1", "memory": "1Gi"}));
        assert_eq!(ours["terminationMessagePolicy"], "FallbackToLogsOnError");
    }
}

#[test]
fn resources_are_always_set() {
    let pod = injected(&pod(), &session());
    assert_eq!(
        init(&pod)["resources"],
        json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}})
    );
}

#[test]
fn resources_of_others_stay() {
    let set = json!({"limits": {"memory": "32Mi"}});
    let pod = with(pod_with_existing_container(), [("/spec/initContainers/0/resources", set.clone())]);
    assert_eq!(init(&injected(&pod, &session()))["resources"], set);
}

#[test]
fn existing_container_gets_our_settings_and_keeps_additions_of_others() {
    let before = pod_with_existing_container();
    let pod = injected(&before, &session());
    assert_eq!(names(&pod), ["mesh-proxy", "init-workflow"]);
    let ours = init(&pod);
    for gone in ["command", "args", "restartPolicy", "startupProbe"] {
        assert!(ours[gone].is_null(), "{gone}");
    }
    assert_eq!(ours["image"], Config::default().image);
    assert_eq!(ours["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(ours["envFrom"], before["spec"]["initContainers"][0]["envFrom"]);
    assert_eq!(ours["imagePullPolicy"], "Always");
    assert_eq!(pod["spec"]["initContainers"][0], before["spec"]["initContainers"][1]);
}

#[test]
fn second_call_after_the_api_servers_defaults_changes_nothing() {
    let mut pod = injected(&pod(), &session());
    let ours = pod["spec"]["initContainers"][1].as_object_mut().unwrap();
    ours.insert("imagePullPolicy".into(), json!("IfNotPresent"));
    ours.insert("terminationMessagePath".into(), json!("/dev/termination-log"));
    for volume in pod["spec"]["volumes"].as_array_mut().unwrap() {
        if volume["name"] == "workflow-credentials" {
            volume["secret"]["defaultMode"] = json!(420);
        }
    }
    // `injected` asserts that its result is not patched again, so the pod must be unchanged.
    assert_eq!(injected(&pod, &session()), pod);
}

#[test]
fn stamp_records_what_was_injected_without_userinfo() {
    let url = json!("https://user:s3cret@git.example/org/flows.git");
    let session = with(session(), [("/spec/activeWorkflow/gitUrl", url)]);
    for annotations in [Value::Null, json!({}), json!({"a/b": "c"})] {
        let pod = injected(&with(pod(), [("/metadata/annotations", annotations.clone())]), &session);
        let stamp = pod["metadata"]["annotations"]["workflow.ambient-code.io/injected"].as_str().unwrap();
        assert!(!stamp.contains("s3cret"));
        let stamp = Stamp::from_annotation(stamp).unwrap();
        assert_eq!(stamp.source.git_url, "https://git.example/org/flows.git");
        assert_eq!((stamp.generation, stamp.image), (3, Config::default().image));
        assert_eq!(pod["metadata"]["annotations"]["a/b"], annotations["a/b"]);
    }
}

#[test]
fn forged_stamp_is_replaced() {
    let forged = json!({"workflow.ambient-code.io/injected": "{}"});
    let pod = injected(&with(pod(), [("/metadata/annotations", forged)]), &session());
    let stamp = pod["metadata"]["annotations"]["workflow.ambient-code.io/injected"].as_str().unwrap();
    assert_eq!(Stamp::from_annotation(stamp).unwrap().session_uid, session()["metadata"]["uid"]);
}

#[test]
fn no_finalizer_is_added() {
    assert!(injected(&pod(), &session())["metadata"]["finalizers"].is_null());
}
