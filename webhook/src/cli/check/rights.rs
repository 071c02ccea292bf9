//! What the injector's account must be allowed to do, and what does not work without it. The same
//! list as in the manifests, where it is granted; a test compares them.

use serde_json::{Value, json};
use workflow_contract::names::{INJECTOR, SESSION_GROUP, SESSION_PLURAL, TLS_SECRET};

/// Verbs of who reads and watches.
const FOLLOW: &[&str] = &["get", "list", "watch"];

/// Verbs on one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, with its subresource after a `/`.
    pub resource: &'static str,
    /// The only object that it is about.
    pub name: Option<&'static str>,
    /// Whether it is about our own namespace only.
    pub own_namespace: bool,
    /// What may be done.
    pub verbs: &'static [&'static str],
    /// What happens without it.
    pub without: &'static str,
}

/// Everything that is needed. What is about the Secret is needed with self-managed certificates only.
pub const RIGHTS: &[Right] = &[
    cluster(SESSION_GROUP, SESSION_PLURAL, FOLLOW, "session pods are refused"),
    cluster(SESSION_GROUP, "agenticsessions/status", &["update"], "no session is told what became of it"),
    cluster("", "pods", FOLLOW, "no session is told what became of it"),
    cluster("events.k8s.io", "events", &["create"], "no Events are written"),
    Right {
        name: Some(INJECTOR),
        ..cluster(
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            &["get", "list", "watch", "patch"],
            "nobody completes the registration",
        )
    },
    own("coordination.k8s.io", "leases", None, &["create"], "no replica leads"),
    own("coordination.k8s.io", "leases", Some(INJECTOR), &["get", "update"], "no replica leads"),
    own("", "secrets", None, &["create"], "no certificate is kept"),
    own("", "secrets", Some(TLS_SECRET), &["get", "list", "watch", "update"], "no certificate is renewed"),
    own("", "namespaces", Some(INJECTOR), &["get"], "nobody completes the registration"),
];

const fn cluster(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    without: &'static str,
) -> Right {
    Right { group, resource, name: None, own_namespace: false, verbs, without }
}

const fn own(
    group: &'static str,
    resource: &'static str,
    name: Option<&'static str>,
    verbs: &'static [&'static str],
    without: &'static str,
) -> Right {
    Right { group, resource, name, own_namespace: true, verbs, without }
}

impl Right {
    /// Whether it is about the Secret of self-managed certificates.
    #[must_use]
    pub fn is_of_own_certificates(&self) -> bool {
        self.resource == "secrets"
    }

    /// The question whether the injector's account may do this, as a SubjectAccessReview.
    #[must_use]
    pub fn question(&self, verb: &str) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{INJECTOR}:{INJECTOR}"),
                "groups": [
                    "system:serviceaccounts",
                    format!("system:serviceaccounts:{INJECTOR}"),
                    "system:authenticated",
                ],
                "resourceAttributes": {
                    "verb": verb,
                    "group": self.group,
                    "resource": resource,
                    "subresource": subresource,
                    "name": self.name.unwrap_or_default(),
                    "namespace": if self.own_namespace { INJECTOR } else { "" },
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// Where rights are granted: all of them, or with those that only self-managed certificates need apart.
    const GRANTED: [&str; 2] = ["base/rbac.yaml", "overlays/self-managed/rbac.yaml"];

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Role {
        kind: String,
        #[serde(default)]
        rules: Vec<Rule>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rule {
        api_groups: Vec<String>,
        resources: Vec<String>,
        #[serde(default)]
        resource_names: Vec<String>,
        verbs: Vec<String>,
    }

    type Granted = BTreeSet<(bool, String, String, String, String)>;

    #[test]
    fn what_is_needed_is_what_the_manifests_grant() {
        let mut granted = Granted::new();
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let texts = GRANTED.iter().filter_map(|file| fs::read_to_string(manifests.join(file)).ok());
        for role in texts.flat_map(|text| serde_saphyr::from_multiple::<Role>(&text).unwrap()) {
            for rule in role.rules {
                let [group, resource] = [&rule.api_groups, &rule.resources].map(|all| all[0].clone());
                assert_eq!((rule.api_groups.len(), rule.resources.len()), (1, 1), "{group} {resource}");
                let name = rule.resource_names.first().cloned().unwrap_or_default();
                for verb in rule.verbs {
                    let own = role.kind == "Role";
                    granted.insert((own, group.clone(), resource.clone(), name.clone(), verb));
                }
            }
        }
        let mut needed = Granted::new();
        for right in RIGHTS {
            for verb in right.verbs {
                let [group, resource, name] =
                    [right.group, right.resource, right.name.unwrap_or_default()].map(str::to_owned);
                needed.insert((right.own_namespace, group, resource, name, (*verb).to_owned()));
            }
        }
        assert_eq!(needed, granted);
    }

    #[test]
    fn the_question_names_the_subresource_apart() {
        let status = RIGHTS.iter().find(|right| right.resource == "agenticsessions/status").unwrap();
        let asked = &status.question("update")["spec"]["resourceAttributes"];
        assert_eq!(
            (&asked["resource"], &asked["subresource"]),
            (&json!("agenticsessions"), &json!("status"))
        );
    }
}
