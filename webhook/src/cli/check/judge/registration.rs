//! The registration: it exists, equals the shipped one but for what narrows it, is complete, and ends with our namespace.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration};
use kube::ResourceExt;
use workflow_contract::names::INJECTOR;

use super::Verdict;
use crate::registration::compare::{Differences, compare};

/// The registration of this version.
pub(super) const SHIPPED: &str =
    include_str!("../../../../../manifests/registration/mutatingwebhookconfiguration.yaml");

/// `make install` does not remove what other field managers added, hence the second half.
const REMEDY: &str = "`make install` puts it back; what it leaves: kubectl edit mutatingwebhookconfiguration";

pub fn registration(found: Option<&MutatingWebhookConfiguration>, namespace_uid: Option<&str>) -> Verdict {
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
        return Err(format!("{name} has no caBundle; the leader fills it within a minute, see its logs"));
    }
    let owned = found.owner_references().iter().any(|owner| Some(owner.uid.as_str()) == namespace_uid);
    if !owned {
        return Err("our namespace does not own it, it would stay when the namespace goes; \
             the leader adds that within a minute, see its logs"
            .to_owned());
    }
    let equal = "as shipped, every entry has a caBundle, and it goes with our namespace";
    Ok(if remarks.is_empty() {
        equal.to_owned()
    } else {
        format!("{equal}; changed without harm: {}", remarks.join(", "))
    })
}
