//! Fills caBundle of every webhook entry, and adds the ownerReference that removes the registration with our namespace.
//!
//! Only the leader writes, when the registration, the bundle or the leader changes. A patch applies to the version that
//! was read only, so that no change of an admin is undone. The bundle in place is published: a new CA signs only once
//! every entry holds it.
//!
//! If an annotation requests that another controller fills caBundle, the leader does not write it: the CA that replicas
//! have mounted is up to a minute behind, and two writers would take turns.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, TestOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};
use workflow_certs::Bundle;

use super::readiness::{TrustView, trust_view};

/// Time between two reconciliations when nothing changes: the namespace's uid is not watched.
const RESYNC: Duration = Duration::from_mins(1);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Annotations that make another controller fill caBundle, with its name.
const FILLED_BY_OTHERS: [(&str, &str); 4] = [
    ("cert-manager.io/inject-ca-from", CAINJECTOR),
    ("cert-manager.io/inject-ca-from-secret", CAINJECTOR),
    ("cert-manager.io/inject-apiserver-ca", CAINJECTOR),
    ("service.beta.openshift.io/inject-cabundle", "OpenShift's service-ca"),
];
const CAINJECTOR: &str = "cert-manager's cainjector";

#[derive(Debug, thiserror::Error)]
pub enum CaBundleError {
    #[error("failed to read the namespace {namespace}, the owner of the registration")]
    Namespace {
        namespace: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("failed to patch the MutatingWebhookConfiguration {name}")]
    Patch {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
}

/// Returns the patch that adds a missing caBundle or owner; no operations if nothing is missing.
#[must_use]
pub fn missing_fields_patch(
    registration: &MutatingWebhookConfiguration,
    bundle: Option<&str>,
    owner: &OwnerReference,
) -> Vec<PatchOperation> {
    let mut operations = Vec::new();
    let webhooks = registration.webhooks.iter().flatten().enumerate();
    if let Some(bundle) = bundle.filter(|_| filled_by_other(registration).is_none()) {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let outdated =
            webhooks.filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
        operations.extend(outdated.map(|(index, _)| {
            add(&["webhooks", &index.to_string(), "clientConfig", "caBundle"], json!(bundle))
        }));
    }
    let owners = registration.metadata.owner_references.as_deref();
    if let Some(owners) = with_owner(owners.unwrap_or_default(), owner) {
        operations.push(add(&["metadata", "ownerReferences"], json!(owners)));
    }
    if !operations.is_empty() {
        let version = registration.metadata.resource_version.as_deref();
        let path = PointerBuf::from_tokens(["metadata", "resourceVersion"]);
        operations.insert(0, PatchOperation::Test(TestOperation { path, value: json!(version) }));
    }
    operations
}

/// Returns the controller that fills caBundle, if that is not our leader.
#[must_use]
pub fn filled_by_other(registration: &MutatingWebhookConfiguration) -> Option<&'static str> {
    let annotations = registration.metadata.annotations.as_ref()?;
    FILLED_BY_OTHERS
        .iter()
        .find(|(name, _)| annotations.contains_key(*name))
        .map(|(_, controller)| *controller)
}

fn add(path: &[&str], value: serde_json::Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

/// Adds our namespace to the owners; `None` if it is one already. A namespace of our name with another uid was deleted;
/// it is replaced, or the registration would be garbage-collected.
fn with_owner(owners: &[OwnerReference], ours: &OwnerReference) -> Option<Vec<OwnerReference>> {
    let same = |owner: &&OwnerReference| owner.kind == ours.kind && owner.name == ours.name;
    match owners.iter().find(same) {
        Some(owner) if owner.uid == ours.uid => None,
        _ => {
            let others = owners.iter().filter(|owner| !same(owner)).cloned();
            Some(others.chain([ours.clone()]).collect())
        }
    }
}

/// Reports whether each entry holds this bundle; true without a registration, as there are no calls.
fn holds(registration: Option<&MutatingWebhookConfiguration>, bundle: &str) -> bool {
    let mut webhooks = registration.iter().filter_map(|found| found.webhooks.as_ref()).flatten();
    webhooks.all(|webhook| {
        webhook.client_config.ca_bundle.as_ref().is_some_and(|held| held.0 == bundle.as_bytes())
    })
}

/// Reconciles the registration `name` while this replica leads; its owner is `namespace`.
///
/// `bundle` is the wanted caBundle (`None`: another issuer fills it, or it is unknown yet). `in_place` receives the bundle
/// that every entry holds, and `views` the registration, also while this replica does not lead. Ends when the sender of
/// `leading` is dropped.
pub async fn run(
    client: Client,
    name: String,
    namespace: String,
    mut leading: watch::Receiver<bool>,
    mut bundle: watch::Receiver<Bundle>,
    in_place: watch::Sender<Bundle>,
    views: watch::Sender<TrustView>,
) {
    let api = Api::all(client.clone());
    let mut changes = kube::runtime::watcher::watch_object(api.clone(), &name).default_backoff().boxed();
    let client = RegistrationClient { api, name, namespaces: Api::all(client), namespace };
    // `None` until it was read or known to be absent.
    let mut registration = None;
    let (mut pause, mut last_error) = (RESYNC, None);
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(now)) => {
                    publish(&views, trust_view(now.as_ref()));
                    registration = Some(now);
                }
                Some(Err(error)) => {
                    warn!(error = %error, "failed to watch the registration, restarting");
                    publish(&views, None);
                }
                None => return,
            },
            ended = leading.changed() => if ended.is_err() { return },
            Ok(()) = bundle.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let wanted = bundle.borrow_and_update().clone();
        let leads = *leading.borrow_and_update();
        pause = RESYNC;
        if registration.is_some() && views.borrow().is_none() {
            // A restarted watch sends no event if nothing changed; read what is registered now.
            match client.api.get_opt(&client.name).await {
                Ok(now) => {
                    publish(&views, trust_view(now.as_ref()));
                    registration = Some(now);
                }
                Err(_) => pause = RETRY,
            }
        }
        let Some(current) = registration.as_mut().filter(|_| leads) else {
            // The next leader reads it itself.
            in_place.send_replace(None);
            continue;
        };
        match client.reconcile(current, wanted.as_deref()).await {
            Ok(()) => last_error = None,
            Err(error) => {
                // Each error once: a missing permission lasts, and is retried.
                let text = format!("{error:?}");
                if last_error.as_ref() != Some(&text) {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "failed to patch the registration, retrying"
                    );
                }
                last_error = Some(text);
                pause = RETRY;
            }
        }
        // An empty bundle, not `None`: it is known that not everything is in place.
        let held = |wanted: Arc<str>| if holds(current.as_ref(), &wanted) { wanted } else { "".into() };
        publish(&in_place, wanted.map(held));
    }
}

fn publish<T: PartialEq>(sender: &watch::Sender<T>, now: T) {
    sender.send_if_modified(|current| {
        let changed = *current != now;
        *current = now;
        changed
    });
}

struct RegistrationClient {
    api: Api<MutatingWebhookConfiguration>,
    name: String,
    namespaces: Api<Namespace>,
    namespace: String,
}

impl RegistrationClient {
    async fn reconcile(
        &self,
        registration: &mut Option<MutatingWebhookConfiguration>,
        bundle: Option<&str>,
    ) -> Result<(), CaBundleError> {
        let Some(current) = registration else { return Ok(()) };
        let owner = self.owner().await?;
        let operations = missing_fields_patch(current, bundle, &owner);
        if operations.is_empty() {
            return Ok(());
        }
        *current = self
            .patch(&operations)
            .await
            .map_err(|source| CaBundleError::Patch { name: self.name.clone(), source: Box::new(source) })?;
        info!(registration = self.name, "registration patched");
        Ok(())
    }

    async fn patch(
        &self,
        operations: &[PatchOperation],
    ) -> Result<MutatingWebhookConfiguration, kube::Error> {
        // kube's patch type is of another version of json-patch; as JSON both are RFC 6902.
        let operations = serde_json::from_value(json!(operations)).map_err(kube::Error::SerdeError)?;
        self.api.patch(&self.name, &PatchParams::default(), &Patch::Json::<()>(operations)).await
    }

    async fn owner(&self) -> Result<OwnerReference, CaBundleError> {
        let namespace = self.namespaces.get(&self.namespace).await.map_err(|source| {
            CaBundleError::Namespace { namespace: self.namespace.clone(), source: Box::new(source) }
        })?;
        Ok(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            name: self.namespace.clone(),
            uid: namespace.metadata.uid.unwrap_or_default(),
            ..OwnerReference::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use workflow_contract::names::INJECTOR;

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            name: INJECTOR.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }
    }

    fn registration(bundles: [Option<&str>; 2], owners: &[OwnerReference]) -> Value {
        let webhook = |bundle: Option<&str>| {
            let mut webhook = json!({
                "name": "w", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"service": {"name": "s", "namespace": "n"}},
            });
            if let Some(bundle) = bundle {
                webhook["clientConfig"]["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
            }
            webhook
        };
        json!({
            "metadata": {"name": INJECTOR, "resourceVersion": "7", "ownerReferences": owners},
            "webhooks": bundles.map(webhook),
        })
    }

    fn patched(before: &Value, bundle: Option<&str>) -> Value {
        let typed = serde_json::from_value(before.clone()).unwrap();
        let mut after = before.clone();
        json_patch::patch(&mut after, &missing_fields_patch(&typed, bundle, &owner("live"))).unwrap();
        after
    }

    #[test]
    fn every_entry_gets_the_bundle_and_the_namespace_becomes_owner() {
        let ours = [owner("live")];
        for bundles in
            [[None, None], [Some("old"), None], [Some("new"), Some("old")], [Some("new"), Some("new")]]
        {
            for owners in [vec![], vec![owner("gone")], ours.to_vec()] {
                let after = patched(&registration(bundles, &owners), Some("new"));
                assert_eq!(after, registration([Some("new"), Some("new")], &ours), "{bundles:?} {owners:?}");
            }
        }
    }

    #[test]
    fn a_complete_registration_is_not_patched() {
        let whole = registration([Some("new"), Some("new")], &[owner("live")]);
        let typed = serde_json::from_value(whole).unwrap();
        assert_eq!(missing_fields_patch(&typed, Some("new"), &owner("live")), []);
        assert_eq!(
            missing_fields_patch(&typed, None, &owner("live")),
            [],
            "the bundle of another issuer stays"
        );
    }

    #[test]
    fn does_not_change_a_bundle_that_another_controller_fills() {
        for (name, _) in FILLED_BY_OTHERS {
            let with = |owners: &[OwnerReference]| {
                let mut registration = registration([Some("theirs"), None], owners);
                registration["metadata"]["annotations"] = json!({ name: "x" });
                registration
            };
            assert_eq!(patched(&with(&[]), Some("ours")), with(&[owner("live")]), "{name}");
        }
    }

    #[test]
    fn other_owners_stay() {
        let other = OwnerReference { name: "other".to_owned(), ..owner("x") };
        let after = patched(&registration([None, None], &[other.clone(), owner("gone")]), Some("new"));
        assert_eq!(after["metadata"]["ownerReferences"], json!([other, owner("live")]));
    }

    #[test]
    fn a_patch_does_not_apply_to_another_version() {
        let before = registration([None, None], &[]);
        let operations = missing_fields_patch(
            &serde_json::from_value(before.clone()).unwrap(),
            Some("new"),
            &owner("live"),
        );
        let mut newer = before;
        newer["metadata"]["resourceVersion"] = json!("8");
        assert!(json_patch::patch(&mut newer, &operations).is_err());
    }

    #[test]
    fn a_bundle_is_in_place_when_every_entry_holds_it_or_there_is_none() {
        let typed = |bundles| serde_json::from_value(registration(bundles, &[])).unwrap();
        assert!(holds(Some(&typed([Some("new"), Some("new")])), "new"));
        assert!(!holds(Some(&typed([Some("new"), None])), "new"));
        assert!(!holds(Some(&typed([Some("new"), Some("old")])), "new"));
        assert!(holds(None, "new"));
    }
}
