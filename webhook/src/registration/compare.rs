//! Compares the live webhook entries with the shipped ones. Pure.
//!
//! Cloud platforms add entries to selectors, admins raise the timeout or add conditions: whatever only narrows an entry
//! is a remark. A change that widens it (other pods depend on the injector), weakens it (session pods are admitted
//! without their workflow) or breaks it is a problem, and so is a narrowing that excludes every session pod.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, RuleWithOperations, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use workflow_contract::names::{APP_LABEL, APP_LABEL_VALUE, SESSION_LABEL};

/// Label of the namespaces in which the platform creates sessions, and its value.
const MANAGED: (&str, &str) = ("ambient-code.io/managed", "true");

/// The differences between live and shipped entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    pub problems: Vec<String>,
    pub remarks: Vec<String>,
}

pub fn compare(live: &[MutatingWebhook], shipped: &[MutatingWebhook]) -> Differences {
    let mut found = Differences::default();
    for entry in live.iter().filter(|live| shipped.iter().all(|entry| entry.name != live.name)) {
        found.problems.push(format!("the entry {} is not one of ours", entry.name));
    }
    for entry in shipped {
        match live.iter().find(|live| live.name == entry.name) {
            Some(live) => found.compare_entry(live, entry),
            None => found.problems.push(format!("the entry {} is missing, no pod is injected", entry.name)),
        }
    }
    found
}

impl Differences {
    fn compare_entry(&mut self, live: &MutatingWebhook, shipped: &MutatingWebhook) {
        self.compare_client(&live.client_config, &shipped.client_config);
        if live.admission_review_versions.first() != shipped.admission_review_versions.first() {
            self.problem("admissionReviewVersions must start with v1, no pod is injected");
        }
        self.compare_rules(live, shipped);
        self.compare_policies(live, shipped);
        self.compare_timeout(live, shipped);
        let session_pod = [(APP_LABEL, Label::Value(APP_LABEL_VALUE)), (SESSION_LABEL, Label::Any)];
        let pods = KnownLabels { labels: &session_pod, complete: true };
        self.compare_selector(
            "objectSelector",
            live.object_selector.as_ref(),
            shipped.object_selector.as_ref(),
            &pods,
        );
        let session_namespace =
            [(MANAGED.0, Label::Value(MANAGED.1)), ("kubernetes.io/metadata.name", Label::Any)];
        let namespaces = KnownLabels { labels: &session_namespace, complete: false };
        let (ours, theirs) = (live.namespace_selector.as_ref(), shipped.namespace_selector.as_ref());
        self.compare_selector("namespaceSelector", ours, theirs, &namespaces);
        self.compare_conditions(live, shipped);
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    fn compare_client(&mut self, live: &WebhookClientConfig, shipped: &WebhookClientConfig) {
        let target = |client: &WebhookClientConfig| {
            let service = client.service.as_ref();
            let address = service.map(|service| {
                let port = service.port.unwrap_or(443);
                (service.namespace.clone(), service.name.clone(), service.path.clone(), port)
            });
            (address, client.url.clone())
        };
        if target(live) != target(shipped) {
            self.problem("clientConfig does not name our Service, port and path, no pod is injected");
        }
    }

    fn compare_rules(&mut self, live: &MutatingWebhook, shipped: &MutatingWebhook) {
        let rules = live.rules.as_deref().unwrap_or_default();
        let shipped = shipped.rules.as_deref().unwrap_or_default();
        if !rules.iter().any(matches_pod_creation) {
            self.problem("rules do not match the creation of pods, no pod is injected");
        } else if rules.iter().any(|rule| !shipped.contains(rule)) {
            self.problem("rules match more than the creation of pods, which then depends on the injector");
        }
    }

    fn compare_policies(&mut self, live: &MutatingWebhook, shipped: &MutatingWebhook) {
        let policies = [
            (
                "failurePolicy",
                live.failure_policy.as_deref().unwrap_or("Fail"),
                shipped.failure_policy.as_deref(),
                "session pods start without their workflow while no replica responds",
            ),
            (
                "reinvocationPolicy",
                live.reinvocation_policy.as_deref().unwrap_or("Never"),
                shipped.reinvocation_policy.as_deref(),
                "changes of later webhooks to the pod are not followed",
            ),
            (
                "matchPolicy",
                live.match_policy.as_deref().unwrap_or("Equivalent"),
                shipped.match_policy.as_deref(),
                "pods created through another API version are not injected",
            ),
            (
                "sideEffects",
                live.side_effects.as_str(),
                Some(shipped.side_effects.as_str()),
                "the injector has none",
            ),
        ];
        for (field, live, shipped, effect) in policies {
            if let Some(shipped) = shipped.filter(|shipped| *shipped != live) {
                self.problem(format!("{field} is {live} instead of {shipped}: {effect}"));
            }
        }
    }

    /// The injector's own deadline is below the shipped timeout, so a longer one changes nothing.
    fn compare_timeout(&mut self, live: &MutatingWebhook, shipped: &MutatingWebhook) {
        let (live, shipped) = (live.timeout_seconds.unwrap_or(10), shipped.timeout_seconds.unwrap_or(10));
        if live < shipped {
            self.problem(format!(
                "timeoutSeconds is {live}, below the {shipped} that a slow lookup needs: session pods are denied"
            ));
        } else if live > shipped {
            self.remarks.push(format!("timeoutSeconds is {live}"));
        }
    }

    fn compare_selector(
        &mut self,
        field: &str,
        live: Option<&LabelSelector>,
        shipped: Option<&LabelSelector>,
        known: &KnownLabels<'_>,
    ) {
        let (live, shipped) = (requirements(live), requirements(shipped));
        for lost in shipped.iter().filter(|shipped| !live.iter().any(|live| live.implies(shipped))) {
            self.problem(format!("{field} lacks {lost}: other pods depend on the injector"));
        }
        if let Some(requirement) = known.first_unmet(&live) {
            self.problem(format!("{field} requires {requirement}, which excludes every session pod"));
        }
        for added in live.iter().filter(|live| !shipped.contains(live)) {
            self.remarks.push(format!("{field} also requires {added}"));
        }
    }

    fn compare_conditions(&mut self, live: &MutatingWebhook, shipped: &MutatingWebhook) {
        let conditions = |webhook: &MutatingWebhook| -> Vec<(String, String)> {
            let all = webhook.match_conditions.iter().flatten();
            all.map(|one| (one.name.clone(), one.expression.split_whitespace().collect())).collect()
        };
        let (live, shipped) = (conditions(live), conditions(shipped));
        for (name, lost) in shipped.iter().filter(|(_, shipped)| live.iter().all(|(_, live)| live != shipped))
        {
            let changed = live.iter().any(|(live, expression)| live == name && expression != lost);
            let word = if changed { "changes" } else { "lacks" };
            self.problem(format!(
                "matchConditions {word} `{name}`: other pods depend on the injector, or session pods are not injected"
            ));
        }
        for (name, expression) in &live {
            if expression == "false" {
                self.problem(format!("matchConditions has `{name}`, which excludes every session pod"));
            } else if shipped.iter().all(|(known, shipped)| shipped != expression && known != name) {
                self.remarks.push(format!("matchConditions also has `{name}`"));
            }
        }
    }
}

fn matches_pod_creation(rule: &RuleWithOperations) -> bool {
    let has = |values: &Option<Vec<String>>, wanted: &[&str]| {
        values.iter().flatten().any(|value| value == "*" || wanted.contains(&value.as_str()))
    };
    has(&rule.api_groups, &[""])
        && has(&rule.api_versions, &["v1"])
        && has(&rule.resources, &["pods", "*/*"])
        && has(&rule.operations, &["CREATE"])
        && rule.scope.as_deref() != Some("Cluster")
}

/// One requirement of a label selector; `matchLabels` are requirements with `In`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: String,
    values: BTreeSet<String>,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.operator)?;
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        if values.is_empty() { Ok(()) } else { write!(f, " [{}]", values.join(", ")) }
    }
}

fn requirements(selector: Option<&LabelSelector>) -> Vec<Requirement> {
    let labels = selector.iter().flat_map(|selector| selector.match_labels.iter().flatten());
    let labels = labels.map(|(key, value)| Requirement {
        key: key.clone(),
        operator: "In".to_owned(),
        values: [value.clone()].into(),
    });
    let expressions = selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    let expressions = expressions.map(|expression| Requirement {
        key: expression.key.clone(),
        operator: expression.operator.clone(),
        values: expression.values.iter().flatten().cloned().collect(),
    });
    labels.chain(expressions).collect()
}

impl Requirement {
    /// Reports whether every set of labels that meets this requirement meets `other`.
    fn implies(&self, other: &Self) -> bool {
        self.key == other.key
            && match (self.operator.as_str(), other.operator.as_str()) {
                ("In", "In") => self.values.is_subset(&other.values),
                ("In", "NotIn") => self.values.is_disjoint(&other.values),
                ("NotIn", "NotIn") => self.values.is_superset(&other.values),
                ("In" | "Exists", "Exists") | ("DoesNotExist", "NotIn" | "DoesNotExist") => true,
                _ => false,
            }
    }

    fn is_met_by(&self, value: Option<&str>) -> bool {
        match (self.operator.as_str(), value) {
            ("In", Some(value)) => self.values.contains(value),
            ("NotIn", Some(value)) => !self.values.contains(value),
            ("Exists", Some(_)) | ("NotIn" | "DoesNotExist", None) => true,
            _ => false,
        }
    }
}

enum Label {
    Value(&'static str),
    /// Present, with any value.
    Any,
}

/// The labels of every session pod, or of every namespace with sessions.
struct KnownLabels<'a> {
    labels: &'a [(&'a str, Label)],
    /// True if there are no other labels.
    complete: bool,
}

impl KnownLabels<'_> {
    /// Returns a requirement that no object with these labels meets together with the others.
    fn first_unmet<'r>(&self, requirements: &'r [Requirement]) -> Option<&'r Requirement> {
        let mut by_key: BTreeMap<&str, Vec<&Requirement>> = BTreeMap::new();
        for requirement in requirements {
            by_key.entry(&requirement.key).or_default().push(requirement);
        }
        by_key.into_iter().find_map(|(key, requirements)| {
            let known = self.labels.iter().find(|(label, _)| *label == key).map(|(_, label)| label);
            match known {
                Some(Label::Value(value)) => requirements.into_iter().find(|one| !one.is_met_by(Some(value))),
                Some(Label::Any) => unsatisfiable(&requirements, false),
                None if self.complete => requirements.into_iter().find(|one| !one.is_met_by(None)),
                None => unsatisfiable(&requirements, true),
            }
        })
    }
}

/// Returns one of the requirements on a label if no value (or, if allowed, absence) of it meets them all.
fn unsatisfiable<'r>(requirements: &[&'r Requirement], may_be_absent: bool) -> Option<&'r Requirement> {
    // Any value that is not named stands for all the others.
    let candidates = requirements.iter().flat_map(|one| &one.values).map(|value| Some(value.as_str()));
    let candidates = candidates.chain([Some("\0")]).chain(may_be_absent.then_some(None));
    let met = |value: Option<&str>| requirements.iter().all(|one| one.is_met_by(value));
    let satisfiable = candidates.into_iter().any(met);
    if satisfiable { None } else { requirements.last().copied() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shipped() -> Value {
        let text = include_str!("../../../manifests/registration/mutatingwebhookconfiguration.yaml");
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
                    entry["namespaceSelector"] =
                        json!({"matchLabels": {"kubernetes.io/metadata.name": "team"}});
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
            (
                |entry| entry["objectSelector"] = json!({}),
                "objectSelector lacks app In [ambient-code-runner]",
            ),
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
            (
                |entry| entry["rules"][0]["scope"] = json!("Cluster"),
                "rules do not match the creation of pods",
            ),
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
}
