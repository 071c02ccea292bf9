//! User, group and privileges of the init container.

use serde_json::{Value, json};

use crate::fixtures::{init, injected, pod, pod_with_existing_container, session, with};

const RUNNER: &str = "/spec/containers/0/securityContext";
const POD: &str = "/spec/securityContext";

fn user_and_group(pod: &Value) -> (Value, Value) {
    let context = &init(pod)["securityContext"];
    (context["runAsUser"].clone(), context["runAsGroup"].clone())
}

#[test]
fn passes_pod_security_restricted() {
    let pod = injected(&pod(), &session());
    assert_eq!(
        init(&pod)["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
}

#[test]
fn user_and_group_are_the_runners_but_never_uid_0() {
    let none = Value::Null;
    let ids = |user: i64, group: i64| json!({"runAsUser": user, "runAsGroup": group});
    for (runner, pod_level, user, group) in [
        (none.clone(), none.clone(), none.clone(), none.clone()),
        (json!({}), json!({"fsGroup": 0}), none.clone(), none.clone()),
        (ids(2000, 3000), none.clone(), json!(2000), json!(3000)),
        (none.clone(), ids(2000, 3000), json!(2000), json!(3000)),
        (ids(2000, 3000), ids(0, 0), json!(2000), json!(3000)),
        (ids(0, 0), none.clone(), json!(1001), json!(0)),
        (ids(0, 0), ids(2000, 3000), json!(1001), json!(0)),
        (none.clone(), ids(0, 0), json!(1001), json!(0)),
        (
            json!({"runAsUser": 1_000_650_000}),
            json!({"fsGroup": 1_000_650_000}),
            json!(1_000_650_000),
            none.clone(),
        ),
    ] {
        let before = with(pod(), [(RUNNER, runner.clone()), (POD, pod_level.clone())]);
        let pod = injected(&before, &session());
        assert_eq!(user_and_group(&pod), (user, group), "{runner} {pod_level}");
    }
}

#[test]
fn existing_context_keeps_only_what_does_not_widen_it() {
    let pod = injected(&pod_with_existing_container(), &session());
    let context = &init(&pod)["securityContext"];
    assert_eq!((&context["privileged"], &context["runAsUser"]), (&Value::Null, &Value::Null));
    assert_eq!(context["seLinuxOptions"], json!({"level": "s0:c1,c2"}));
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
}

#[test]
fn uid_assigned_between_two_calls_stays() {
    let mut pod = injected(&pod(), &session());
    pod["spec"]["initContainers"][1]["securityContext"]["runAsUser"] = json!(1_000_650_000);
    assert_eq!(injected(&pod, &session()), pod);
}
