//! The registration exists, is as shipped or narrower, is complete, and is deleted with our namespace.

use anyhow::Context;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use workflow_contract::names::INJECTOR;

use super::result::CheckResult;
use crate::registration::ca_bundle::filled_by_other;
use crate::registration::compare::{Differences, compare};

/// The registration of this version.
const SHIPPED: &str = include_str!("../../../../manifests/registration/mutatingwebhookconfiguration.yaml");

/// `make install` does not remove what other field managers added, hence the second half.
const REMEDY: &str = "`make install` puts it back; what it leaves: kubectl edit mutatingwebhookconfiguration";

pub async fn read(client: &Client) -> anyhow::Result<Option<MutatingWebhookConfiguration>> {
    Api::all(client.clone()).get_opt(INJECTOR).await.context("failed to read the registration")
}

/// Returns the uid of our namespace, empty if there is none.
pub async fn owner_uid(client: &Client) -> anyhow::Result<String> {
    let namespace: Option<Namespace> =
        Api::all(client.clone()).get_opt(INJECTOR).await.context("failed to read the namespace")?;
    Ok(namespace.and_then(|found| found.uid()).unwrap_or_default())
}

pub fn judge(found: Option<&MutatingWebhookConfiguration>, namespace_uid: &str) -> CheckResult {
    let Some(found) = found else {
        return Err("there is none, no pod is injected; `make install` registers the webhook".to_owned());
    };
    let webhooks = found.webhooks.as_deref().unwrap_or_default();
    let shipped: MutatingWebhookConfiguration = serde_saphyr::from_str(SHIPPED)
        .map_err(|error| format!("the shipped registration can't be read: {error}"))?;
    let Differences { problems, remarks } =
        compare(webhooks, shipped.webhooks.as_deref().unwrap_or_default());
    if !problems.is_empty() {
        return Err(format!("{}; {REMEDY} {INJECTOR}", problems.join("; ")));
    }
    let bare = |webhook: &&MutatingWebhook| {
        webhook.client_config.ca_bundle.as_ref().is_none_or(|bundle| bundle.0.is_empty())
    };
    if let Some(MutatingWebhook { name, .. }) = webhooks.iter().find(bare) {
        return Err(match filled_by_other(found) {
            Some(other) => format!("{name} has no caBundle; {other} fills it, see its logs"),
            None => format!("{name} has no caBundle; the leader fills it within a minute, see its logs"),
        });
    }
    if !found.owner_references().iter().any(|owner| owner.uid == namespace_uid) {
        return Err("our namespace does not own it, it would stay when the namespace is deleted; \
             the leader adds that within a minute, see its logs"
            .to_owned());
    }
    let sound = "as shipped, every entry has a caBundle, and it goes with our namespace";
    Ok(if remarks.is_empty() {
        sound.to_owned()
    } else {
        format!("{sound}; changed without harm: {}", remarks.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn judged(change: impl FnOnce(&mut Value)) -> CheckResult {
        let mut registration: Value = serde_saphyr::from_str(SHIPPED).unwrap();
        registration["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Namespace", "name": INJECTOR, "uid": "u"}]);
        registration["webhooks"][0]["clientConfig"]["caBundle"] = json!("QQ==");
        change(&mut registration);
        judge(Some(&serde_json::from_value(registration).unwrap()), "u")
    }

    #[test]
    fn must_exist_be_as_shipped_complete_and_owned() {
        type Edit = fn(&mut Value);

        assert!(judged(|_| ()).is_ok_and(|line| line.ends_with("goes with our namespace")));
        let raised = judged(|found| found["webhooks"][0]["timeoutSeconds"] = json!(10));
        assert!(raised.is_ok_and(|line| line.ends_with("changed without harm: timeoutSeconds is 10")));
        assert!(judge(None, "u").unwrap_err().contains("there is none"));
        let table: [(Edit, &str); 5] = [
            (|found| found["webhooks"][0]["failurePolicy"] = json!("Ignore"), "failurePolicy is Ignore"),
            (|found| found["webhooks"] = json!([]), "is missing, no pod is injected"),
            (
                |found| found["webhooks"][0]["clientConfig"]["caBundle"] = json!(""),
                "has no caBundle; the leader fills it within a minute",
            ),
            (
                |found| {
                    found["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
                    found["metadata"]["annotations"] =
                        json!({"cert-manager.io/inject-ca-from": "workflow-injector/workflow-injector"});
                },
                "has no caBundle; cert-manager's cainjector fills it",
            ),
            (|found| found["metadata"]["ownerReferences"][0]["uid"] = json!("old"), "does not own it"),
        ];
        for (change, words) in table {
            let problem = judged(change).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
