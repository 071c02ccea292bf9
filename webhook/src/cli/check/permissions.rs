//! The injector's account has every permission that the shipped manifests grant it.

use anyhow::Context;
use axum::http::Request;
use futures::future::try_join_all;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use workflow_contract::names::INJECTOR;

use super::result::CheckResult;

const BASE: &str = include_str!("../../../../manifests/base/rbac.yaml");
const LIVE_DELIVERY: &str = include_str!("../../../../manifests/components/live-delivery/rbac.yaml");
const SELF_MANAGED: &str = include_str!("../../../../manifests/overlays/self-managed/rbac.yaml");

/// One verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    group: String,
    /// With its subresource after a `/`.
    resource: String,
    /// The only object that it is about; empty for all.
    name: String,
    /// Our own namespace; empty for all.
    namespace: &'static str,
    verb: String,
}

#[derive(Deserialize)]
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

/// The parts of the installation that have permissions of their own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts {
    /// The certificates are the injector's own.
    pub self_managed: bool,
    /// `liveDelivery` is set in config.yaml.
    pub live_delivery: bool,
}

/// Returns the permissions that the manifests grant.
fn granted(parts: Parts) -> anyhow::Result<Vec<Permission>> {
    let mut permissions = Vec::new();
    for (text, _) in [(BASE, true), (SELF_MANAGED, parts.self_managed), (LIVE_DELIVERY, parts.live_delivery)]
        .into_iter()
        .filter(|(_, applies)| *applies)
    {
        let roles: Vec<Role> =
            serde_saphyr::from_multiple(text).context("failed to read the shipped RBAC")?;
        for Role { kind, rules } in roles {
            let namespace = if kind == "Role" { INJECTOR } else { "" };
            for rule in &rules {
                permissions.extend(rule.permissions(namespace));
            }
        }
    }
    Ok(permissions)
}

impl Rule {
    fn permissions(&self, namespace: &'static str) -> Vec<Permission> {
        let all_names = [String::new()];
        let names = if self.resource_names.is_empty() { &all_names[..] } else { &self.resource_names };
        let mut permissions = Vec::new();
        for (group, resource) in
            self.api_groups.iter().flat_map(|group| self.resources.iter().map(move |one| (group, one)))
        {
            for (name, verb) in names.iter().flat_map(|name| self.verbs.iter().map(move |verb| (name, verb)))
            {
                let [group, resource, name, verb] = [group, resource, name, verb].map(Clone::clone);
                permissions.push(Permission { group, resource, name, namespace, verb });
            }
        }
        permissions
    }
}

impl Permission {
    /// Returns a SubjectAccessReview of this permission.
    fn review(&self) -> Value {
        let (resource, subresource) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
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
                    "verb": self.verb,
                    "group": self.group,
                    "resource": resource,
                    "subresource": subresource,
                    "name": self.name,
                    "namespace": self.namespace,
                },
            },
        })
    }

    /// Returns the effect of its absence.
    fn effect(&self) -> &'static str {
        match self.resource.as_str() {
            "agenticsessions" => "session pods are denied",
            "agenticsessions/status" | "pods" => "session status is not updated",
            "events" => "no Events are published",
            "mutatingwebhookconfigurations" | "namespaces" => "the webhook's CA bundle and owner are not set",
            "leases" => "no leader is elected",
            "pods/ephemeralcontainers" => {
                "workflows are not delivered into running sessions (component live-delivery)"
            }
            "secrets" => "no certificate is issued or renewed",
            _ => "a part of the injector fails",
        }
    }
}

/// Returns the permissions that the injector's account lacks.
pub async fn missing(client: &Client, parts: Parts) -> anyhow::Result<Vec<Permission>> {
    let reviews = granted(parts)?.into_iter().map(async |permission| {
        let request = Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header("Content-Type", "application/json")
            .body(permission.review().to_string().into_bytes())
            .context("failed to build a request")?;
        let response: Value = client.request(request).await.context(
            "failed to review the permissions of the injector's account; run this with an admin's KUBECONFIG",
        )?;
        anyhow::Ok((response["status"]["allowed"] != json!(true)).then_some(permission))
    });
    Ok(try_join_all(reviews).await?.into_iter().flatten().collect())
}

pub fn judge(missing: &[Permission]) -> CheckResult {
    let Some(first) = missing.first() else {
        return Ok("the injector's account may do what it needs".to_owned());
    };
    let more = match missing.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let group = if first.group.is_empty() { String::new() } else { format!(".{}", first.group) };
    Err(format!(
        "the account {INJECTOR} may not {} {}{group}{more}: {}; `make install` grants it",
        first.verb,
        first.resource,
        first.effect()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_those_of_the_manifests() {
        let everything = Parts { self_managed: true, live_delivery: true };
        let (base, all) = (granted(Parts::default()).unwrap(), granted(everything).unwrap());
        assert!(base.iter().all(|one| one.resource != "pods/ephemeralcontainers"));
        assert!(base.iter().all(|one| one.resource != "secrets" && !one.verb.contains('*')));
        let find = |resource: &str, verb: &str| {
            all.iter().find(|one| one.resource == resource && one.verb == verb).unwrap().review()
        };
        let status = &find("agenticsessions/status", "update")["spec"]["resourceAttributes"];
        assert_eq!(
            (&status["resource"], &status["subresource"]),
            (&json!("agenticsessions"), &json!("status"))
        );
        let secret = &find("secrets", "update")["spec"]["resourceAttributes"];
        assert_eq!(
            (&secret["namespace"], &secret["name"]),
            (&json!(INJECTOR), &json!("workflow-injector-tls"))
        );
        for permission in &all {
            assert_ne!(permission.effect(), "a part of the injector fails", "{permission:?}");
        }
    }

    #[test]
    fn a_missing_permission_is_named_with_its_effect() {
        let all = granted(Parts { self_managed: true, live_delivery: false }).unwrap();
        let status = all.iter().find(|one| one.resource == "agenticsessions/status").unwrap();
        let words = "may not update agenticsessions/status.vteam.ambient-code (and 1 more): session status is not updated";
        let problem = judge(&[status.clone(), all[0].clone()]).unwrap_err();
        assert!(problem.contains(words), "{problem}");
        assert!(judge(&[]).is_ok());
    }
}
