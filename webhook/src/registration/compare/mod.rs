//! Compares the live webhook entries with the shipped ones. Pure.
//!
//! Cloud platforms add entries to selectors, admins raise the timeout or add conditions: whatever only narrows an entry
//! is a remark. A change that widens it (other pods depend on the injector), weakens it (session pods are admitted
//! without their workflow) or breaks it is a problem, and so is a narrowing that excludes every session pod.

mod selector;
#[cfg(test)]
mod tests;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, RuleWithOperations, WebhookClientConfig};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use workflow_contract::names::{APP_LABEL, APP_LABEL_VALUE, SESSION_LABEL};

use self::selector::{KnownLabels, Label, requirements};

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
