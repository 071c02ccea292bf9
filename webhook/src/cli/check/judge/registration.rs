//! The registration: whether it is there, what is shipped, complete, and goes with our namespace.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::ResourceExt;
use serde_json::{Map, Value};
use workflow_contract::names::INJECTOR;

use super::Verdict;

/// What is shipped with this very program.
pub(super) const SHIPPED: &str =
    include_str!("../../../../../manifests/registration/mutatingwebhookconfiguration.yaml");

/// What puts a changed registration right. An addition by another hand outlives that, hence the second half.
const REMEDY: &str = "`make install` puts it back; what it leaves: kubectl edit mutatingwebhookconfiguration";

pub fn registration(found: Option<&MutatingWebhookConfiguration>, namespace_uid: Option<&str>) -> Verdict {
    let Some(found) = found else {
        return Err("there is none, no pod is injected; `make install` registers the webhook".to_owned());
    };
    let webhooks = found.webhooks.as_deref().unwrap_or_default();
    if let Some(difference) = difference(webhooks, &shipped()) {
        return Err(format!("{difference}; {REMEDY} {INJECTOR}"));
    }
    let bare = |webhook: &&MutatingWebhook| {
        webhook.client_config.ca_bundle.as_ref().is_none_or(|bundle| bundle.0.is_empty())
    };
    if let Some(MutatingWebhook { name, .. }) = webhooks.iter().find(bare) {
        return Err(format!("{name} has no caBundle; the leader fills it within a minute, see its logs"));
    }
    let owned = found.owner_references().iter().any(|owner| Some(owner.uid.as_str()) == namespace_uid);
    if owned {
        Ok("it is what is shipped, every entry has a caBundle, and it goes with our namespace".to_owned())
    } else {
        Err("our namespace does not own it, it would stay when the namespace goes; \
             the leader adds that within a minute, see its logs"
            .to_owned())
    }
}

/// The entries as they are shipped. A test reads them, so that they can be read here.
fn shipped() -> Vec<Value> {
    let shipped: Value = serde_saphyr::from_str(SHIPPED).unwrap_or_default();
    super::list(&shipped["webhooks"]).to_vec()
}

/// The first entry that is not as it is shipped, in words.
fn difference(webhooks: &[MutatingWebhook], shipped: &[Value]) -> Option<String> {
    let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
    if let Some(added) = webhooks.iter().find(|live| shipped.iter().all(|entry| name(entry) != live.name)) {
        return Some(format!("the entry {} is none of ours", added.name));
    }
    shipped.iter().find_map(|entry| {
        let name = name(entry);
        let Some(live) = webhooks.iter().find(|live| live.name == name) else {
            return Some(format!("the entry {name} is missing, no pod is injected"));
        };
        let live = serde_json::to_value(live).unwrap_or_default();
        let changed = changed(entry.as_object()?, &live);
        (!changed.is_empty()).then(|| {
            format!(
                "{name} is not what is shipped ({}): pods may slip through, or depend on us without need",
                changed.join(", ")
            )
        })
    })
}

/// The fields of an entry that are not as they are shipped. Fields that are not shipped are those of newer API servers.
fn changed<'a>(shipped: &'a Map<String, Value>, live: &Value) -> Vec<&'a str> {
    let differs = |(field, wanted): &(&'a String, &Value)| {
        let mut live = live[field.as_str()].clone();
        if let Some(client) = live.as_object_mut().filter(|_| *field == "clientConfig") {
            client.remove("caBundle");
        }
        live != **wanted
    };
    shipped.iter().filter(differs).map(|(field, _)| field.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entries(change: impl FnOnce(&mut Value)) -> Vec<MutatingWebhook> {
        let mut entries = json!(shipped());
        entries[0]["clientConfig"]["caBundle"] = json!("QQ==");
        change(&mut entries);
        serde_json::from_value(entries).unwrap()
    }

    #[test]
    fn what_is_shipped_can_be_read_and_equals_itself() {
        assert_eq!(shipped().len(), 1);
        assert_eq!(difference(&entries(|_| ()), &shipped()), None);
    }

    #[test]
    fn every_field_that_was_changed_is_named() {
        let fields = shipped()[0].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        for field in fields.iter().filter(|field| *field != "name") {
            let lost = entries(|all| {
                let empty = match &all[0][field.as_str()] {
                    Value::Array(_) => json!([]),
                    Value::Object(_) => json!({}),
                    Value::Number(_) => json!(30),
                    _ => json!("Other"),
                };
                all[0][field.as_str()] = empty;
            });
            let said = difference(&lost, &shipped()).unwrap();
            assert!(said.contains(&format!("({field})")), "{said}");
        }
    }

    #[test]
    fn a_change_deep_within_a_selector_or_a_rule_is_seen() {
        type Change = fn(&mut Value);
        let table: [(Change, &str); 5] = [
            (|all| all[0]["objectSelector"]["matchLabels"]["more"] = json!("x"), "objectSelector"),
            (
                |all| all[0]["namespaceSelector"]["matchExpressions"][0]["values"] = json!(["kube-system"]),
                "namespaceSelector",
            ),
            (|all| all[0]["rules"][0]["operations"] = json!(["CREATE", "UPDATE"]), "rules"),
            (|all| all[0]["matchConditions"][0]["expression"] = json!("false"), "matchConditions"),
            (|all| all[0]["clientConfig"]["service"]["name"] = json!("other"), "clientConfig"),
        ];
        for (change, field) in table {
            let said = difference(&entries(change), &shipped()).unwrap();
            assert!(said.contains(&format!("({field})")), "{said}");
        }
    }

    #[test]
    fn entries_that_are_missing_or_foreign_are_named() {
        let said = difference(&[], &shipped()).unwrap();
        assert!(said.contains("inject.workflow.ambient-code.io is missing"), "{said}");
        let mut two = entries(|_| ());
        two.push(MutatingWebhook { name: "other.test".to_owned(), ..two[0].clone() });
        assert!(difference(&two, &shipped()).unwrap().contains("other.test is none of ours"));
    }
}
