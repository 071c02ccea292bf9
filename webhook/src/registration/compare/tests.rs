use super::*;
use serde_json::{Value, json};

fn shipped() -> Value {
    let text = include_str!("../../../../manifests/registration/mutatingwebhookconfiguration.yaml");
    let registration: Value = serde_saphyr::from_str(text).unwrap();
    registration["webhooks"].clone()
}

fn typed(entries: Value) -> Vec<MutatingWebhook> {
    serde_json::from_value(entries).unwrap()
}

type Edit = fn(&mut Value);

fn changed(change: impl FnOnce(&mut Value)) -> Differences {
    let mut live = shipped();
    live[0]["clientConfig"]["caBundle"] = json!("QQ==");
    change(&mut live[0]);
    compare(&typed(live), &typed(shipped()))
}

fn expression(selector: &str, key: &str, operator: &str, values: &[&str]) -> Differences {
    changed(|entry| {
        let all = entry[selector]["matchExpressions"].as_array_mut().unwrap();
        let mut added = json!({"key": key, "operator": operator});
        if !values.is_empty() {
            added["values"] = json!(values);
        }
        all.push(added);
    })
}

#[test]
fn the_shipped_registration_equals_itself() {
    assert_eq!(changed(|_| ()), Differences::default());
}

#[test]
fn a_narrowing_is_a_remark() {
    let table: [(&str, &str, &str, &[&str]); 9] = [
        ("namespaceSelector", "control-plane", "NotIn", &["true"]),
        ("namespaceSelector", "control-plane", "DoesNotExist", &[]),
        ("namespaceSelector", "kubernetes.azure.com/managedby", "NotIn", &["aks"]),
        ("namespaceSelector", "kubernetes.io/metadata.name", "NotIn", &["default"]),
        ("namespaceSelector", "kubernetes.io/metadata.name", "In", &["team-a", "team-b"]),
        ("namespaceSelector", "ambient-code.io/managed", "In", &["true"]),
        ("namespaceSelector", "sessions", "Exists", &[]),
        ("objectSelector", "control-plane", "NotIn", &["true"]),
        ("objectSelector", "agentic-session", "NotIn", &["legacy"]),
    ];
    for (selector, key, operator, values) in table {
        let found = expression(selector, key, operator, values);
        assert_eq!(found.problems, [""; 0], "{selector} {key} {operator}");
        assert!(
            found.remarks[0].contains(&format!("{selector} also requires {key} {operator}")),
            "{found:?}"
        );
    }
    let table: [(Edit, &str); 4] = [
        (|entry| entry["timeoutSeconds"] = json!(30), "timeoutSeconds is 30"),
        (
            |entry| {
                let more = json!({"name": "not-today", "expression": "request.userInfo.username != 'x'"});
                entry["matchConditions"].as_array_mut().unwrap().push(more);
            },
            "matchConditions also has `not-today`",
        ),
        (
            |entry| {
                entry["namespaceSelector"]["matchExpressions"][0]["values"] =
                    json!(["kube-system", "workflow-injector", "more"]);
            },
            "namespaceSelector also requires kubernetes.io/metadata.name NotIn",
        ),
        (
            |entry| {
                entry["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": "team"}});
            },
            "namespaceSelector also requires kubernetes.io/metadata.name In [team]",
        ),
    ];
    for (change, remark) in table {
        let found = changed(change);
        assert_eq!(found.problems, [""; 0], "{remark}");
        assert!(found.remarks.iter().any(|one| one.contains(remark)), "{found:?}");
    }
}

#[test]
fn another_notation_of_the_same_is_no_difference() {
    let found = changed(|entry| {
        entry["objectSelector"] = json!({"matchExpressions": [
            {"key": "agentic-session", "operator": "Exists"},
            {"key": "app", "operator": "In", "values": ["ambient-code-runner"]},
        ]});
        entry["namespaceSelector"]["matchExpressions"][0]["values"] =
            json!(["workflow-injector", "kube-system"]);
        entry["clientConfig"]["service"].as_object_mut().unwrap().remove("port");
        let text = entry["matchConditions"][0]["expression"].as_str().unwrap().replace(' ', "\n ");
        entry["matchConditions"][0]["expression"] = json!(text);
    });
    assert_eq!(found, Differences::default());
}

#[test]
fn a_narrowing_that_excludes_every_session_pod_is_a_problem() {
    let table: [(&str, &str, &str, &[&str]); 9] = [
        ("objectSelector", "app", "NotIn", &["ambient-code-runner"]),
        ("objectSelector", "app", "In", &["other"]),
        ("objectSelector", "app", "DoesNotExist", &[]),
        ("objectSelector", "agentic-session", "DoesNotExist", &[]),
        ("objectSelector", "more", "In", &["x"]),
        ("objectSelector", "more", "Exists", &[]),
        ("namespaceSelector", "ambient-code.io/managed", "NotIn", &["true"]),
        ("namespaceSelector", "ambient-code.io/managed", "DoesNotExist", &[]),
        ("namespaceSelector", "kubernetes.io/metadata.name", "In", &["kube-system"]),
    ];
    for (selector, key, operator, values) in table {
        let found = expression(selector, key, operator, values);
        assert!(
            found
                .problems
                .iter()
                .any(|one| one.contains(selector) && one.contains("excludes every session pod")),
            "{key} {operator} {found:?}"
        );
    }
    let contradiction = changed(|entry| {
        let all = entry["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap();
        all.push(json!({"key": "tier", "operator": "Exists"}));
        all.push(json!({"key": "tier", "operator": "DoesNotExist"}));
    });
    assert!(contradiction.problems[0].contains("tier"), "{contradiction:?}");
    let never = changed(|entry| {
        let more = json!({"name": "never", "expression": "false"});
        entry["matchConditions"].as_array_mut().unwrap().push(more);
    });
    assert!(never.problems[0].contains("`never`"), "{never:?}");
}

#[test]
fn a_change_that_widens_weakens_or_breaks_is_named() {
    let table: [(Edit, &str); 25] = [
        (|entry| entry["objectSelector"] = json!({}), "objectSelector lacks app In [ambient-code-runner]"),
        (
            |entry| entry["objectSelector"]["matchExpressions"] = json!([]),
            "objectSelector lacks agentic-session Exists",
        ),
        (
            |entry| entry["objectSelector"]["matchLabels"]["app"] = json!("other"),
            "objectSelector lacks app In [ambient-code-runner]",
        ),
        (
            |entry| {
                entry["objectSelector"] = json!({"matchExpressions": [
                    {"key": "agentic-session", "operator": "Exists"},
                    {"key": "app", "operator": "In", "values": ["ambient-code-runner", "other"]},
                ]});
            },
            "objectSelector lacks app In [ambient-code-runner]",
        ),
        (|entry| entry["namespaceSelector"] = json!({}), "namespaceSelector lacks"),
        (
            |entry| entry["namespaceSelector"]["matchExpressions"][0]["values"] = json!(["kube-system"]),
            "namespaceSelector lacks kubernetes.io/metadata.name NotIn [kube-system, workflow-injector]",
        ),
        (
            |entry| entry["namespaceSelector"] = json!({"matchLabels": {"sessions": "yes"}}),
            "namespaceSelector lacks",
        ),
        (|entry| entry["matchConditions"] = json!([]), "matchConditions lacks"),
        (
            |entry| entry["matchConditions"][0]["expression"] = json!("true"),
            "matchConditions changes `asks-for-a-workflow`",
        ),
        (|entry| entry["failurePolicy"] = json!("Ignore"), "failurePolicy is Ignore"),
        (|entry| entry["timeoutSeconds"] = json!(4), "timeoutSeconds is 4"),
        (|entry| entry["reinvocationPolicy"] = json!("Never"), "reinvocationPolicy is Never"),
        (
            |entry| drop(entry.as_object_mut().unwrap().remove("reinvocationPolicy")),
            "reinvocationPolicy is Never",
        ),
        (|entry| entry["matchPolicy"] = json!("Exact"), "matchPolicy is Exact"),
        (|entry| entry["sideEffects"] = json!("NoneOnDryRun"), "sideEffects is NoneOnDryRun"),
        (|entry| entry["rules"][0]["operations"] = json!(["CREATE", "UPDATE"]), "rules match more"),
        (|entry| entry["rules"][0]["operations"] = json!(["*"]), "rules match more"),
        (|entry| entry["rules"][0]["resources"] = json!(["pods", "pods/status"]), "rules match more"),
        (|entry| entry["rules"][0]["scope"] = json!("*"), "rules match more"),
        (|entry| entry["rules"][0]["scope"] = json!("Cluster"), "rules do not match the creation of pods"),
        (|entry| entry["rules"][0]["operations"] = json!(["UPDATE"]), "rules do not match"),
        (|entry| entry["rules"] = json!([]), "rules do not match"),
        (|entry| entry["clientConfig"]["service"]["path"] = json!("/other"), "clientConfig"),
        (
            |entry| entry["clientConfig"] = json!({"url": "https://other.test/mutate"}),
            "clientConfig does not name our Service",
        ),
        (|entry| entry["admissionReviewVersions"] = json!(["v1beta1", "v1"]), "must start with v1"),
    ];
    for (change, words) in table {
        let found = changed(change);
        assert!(found.problems.iter().any(|problem| problem.contains(words)), "{words}: {found:?}");
    }
}

#[test]
fn names_missing_and_additional_entries() {
    let missing = compare(&[], &typed(shipped()));
    assert!(missing.problems[0].contains("inject.workflow.ambient-code.io is missing"), "{missing:?}");
    let mut two = typed(shipped());
    two.push(MutatingWebhook { name: "other.test".to_owned(), ..two[0].clone() });
    let additional = compare(&two, &typed(shipped()));
    assert_eq!(additional.problems, ["the entry other.test is not one of ours"]);
}
