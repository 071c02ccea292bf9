//! The registration, as far as it is made at run time: caBundle of every webhook entry, and the
//! ownerReference that removes the registration with our namespace.
//!
//! The leader alone writes, whenever the registration, the bundle or the leader changes. A write
//! goes on top of the version that was read, so that nothing that an admin changes is undone. What
//! is in place is told back: a new authority signs only once every entry holds it.
//!
//! Where annotations ask another controller to fill caBundle, it is left to that one: what replicas have
//! mounted is behind for up to a minute, and two writers would take turns for as long.

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

use crate::trusted::{self, View};

/// Time between two looks when nothing changes: the namespace's uid has no watch of its own.
const LOOK: Duration = Duration::from_mins(1);
/// The pause after a write that failed.
const RETRY: Duration = Duration::from_secs(2);

/// Annotations by which a registration asks others to fill caBundle: cert-manager's cainjector, and
/// OpenShift's service-ca operator.
const FILLED_BY_OTHERS: [&str; 4] = [
    "cert-manager.io/inject-ca-from",
    "cert-manager.io/inject-ca-from-secret",
    "cert-manager.io/inject-apiserver-ca",
    "service.beta.openshift.io/inject-cabundle",
];

/// Why the registration could not be completed; the next look tries again.
#[derive(Debug, thiserror::Error)]
pub enum CaBundleError {
    /// Our own namespace could not be read.
    #[error("failed to read the namespace {namespace}, which is to own the registration")]
    Namespace {
        /// Its name.
        namespace: String,
        /// The API's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API refused the patch, or somebody else was faster.
    #[error("failed to patch the MutatingWebhookConfiguration {name}")]
    Patch {
        /// Its name.
        name: String,
        /// The API's answer.
        #[source]
        source: Box<kube::Error>,
    },
}

/// What completes the registration: no operations where nothing is missing. Entries of others and
/// all that is not named here stay as they are.
#[must_use]
pub fn completion(
    registration: &MutatingWebhookConfiguration,
    bundle: Option<&str>,
    owner: &OwnerReference,
) -> Vec<PatchOperation> {
    let mut operations = Vec::new();
    let webhooks = registration.webhooks.iter().flatten().enumerate();
    if let Some(bundle) = bundle.filter(|_| !filled_by_others(registration)) {
        let bundle = ByteString(bundle.as_bytes().to_vec());
        let lacking =
            webhooks.filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
        operations.extend(lacking.map(|(index, _)| {
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

fn filled_by_others(registration: &MutatingWebhookConfiguration) -> bool {
    let annotations = registration.metadata.annotations.as_ref();
    annotations.is_some_and(|found| FILLED_BY_OTHERS.iter().any(|name| found.contains_key(*name)))
}

fn add(path: &[&str], value: serde_json::Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
}

/// The owners with ours among them; `None` where it is there already. One of ours with another uid
/// is a namespace of the past: it is replaced, or the registration would be collected with it.
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

/// Whether each entry holds this bundle; true for a registration that is not there, as nobody calls.
fn holds(registration: Option<&MutatingWebhookConfiguration>, bundle: &str) -> bool {
    let mut webhooks = registration.iter().filter_map(|found| found.webhooks.as_ref()).flatten();
    webhooks.all(|webhook| {
        webhook.client_config.ca_bundle.as_ref().is_some_and(|held| held.0 == bundle.as_bytes())
    })
}

/// Keeps the registration called `name` complete while this replica leads; `namespace` is to own it.
/// `bundle` is what every entry is to hold (`None`: another issuer fills it, or it is not known yet); `in_place` is told what
/// every entry holds, and `views` what is registered, also while this replica does not lead. Ends when the sender of
/// `leading` is gone.
pub async fn run(
    client: Client,
    name: String,
    namespace: String,
    mut leading: watch::Receiver<bool>,
    mut bundle: watch::Receiver<Bundle>,
    in_place: watch::Sender<Bundle>,
    views: watch::Sender<View>,
) {
    let api = Api::all(client.clone());
    let mut changes = kube::runtime::watcher::watch_object(api.clone(), &name).default_backoff().boxed();
    let edge = Edge { api, name, namespaces: Api::all(client), namespace };
    // `None` until the API has said whether there is one.
    let mut registration = None;
    let mut pause = LOOK;
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(now)) => {
                    tell(&views, trusted::view(now.as_ref()));
                    registration = Some(now);
                }
                Some(Err(error)) => {
                    warn!(error = %error, "watching the registration failed");
                    tell(&views, None);
                }
                None => return,
            },
            ended = leading.changed() => if ended.is_err() { return },
            Ok(()) = bundle.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let wanted = bundle.borrow_and_update().clone();
        let leads = *leading.borrow_and_update();
        pause = LOOK;
        if registration.is_some() && views.borrow().is_none() {
            // The watch may go on without a word; until it was asked, nobody knows what is registered now.
            match edge.api.get_opt(&edge.name).await {
                Ok(now) => {
                    tell(&views, trusted::view(now.as_ref()));
                    registration = Some(now);
                }
                Err(_) => pause = RETRY,
            }
        }
        let Some(seen) = registration.as_mut().filter(|_| leads) else {
            // Whoever leads next looks for itself.
            in_place.send_replace(None);
            continue;
        };
        if let Err(error) = edge.complete(seen, wanted.as_deref()).await {
            let error = &error as &dyn std::error::Error;
            warn!(error, "the registration could not be completed; trying again");
            pause = RETRY;
        }
        // An empty bundle, not `None`: it was looked at, and not everything is in place.
        let held = |wanted: Arc<str>| if holds(seen.as_ref(), &wanted) { wanted } else { "".into() };
        tell(&in_place, wanted.map(held));
    }
}

fn tell<T: PartialEq>(sender: &watch::Sender<T>, now: T) {
    sender.send_if_modified(|known| {
        let changed = *known != now;
        *known = now;
        changed
    });
}

struct Edge {
    api: Api<MutatingWebhookConfiguration>,
    name: String,
    namespaces: Api<Namespace>,
    namespace: String,
}

impl Edge {
    async fn complete(
        &self,
        registration: &mut Option<MutatingWebhookConfiguration>,
        bundle: Option<&str>,
    ) -> Result<(), CaBundleError> {
        let Some(seen) = registration else { return Ok(()) };
        let owner = self.owner().await?;
        let operations = completion(seen, bundle, &owner);
        if operations.is_empty() {
            return Ok(());
        }
        *seen = self
            .patch(&operations)
            .await
            .map_err(|source| CaBundleError::Patch { name: self.name.clone(), source: Box::new(source) })?;
        info!(registration = self.name, "the registration was completed");
        Ok(())
    }

    async fn patch(
        &self,
        operations: &[PatchOperation],
    ) -> Result<MutatingWebhookConfiguration, kube::Error> {
        // The client has a patch type of its own; as JSON both are RFC 6902.
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

    fn completed(before: &Value, bundle: Option<&str>) -> Value {
        let typed = serde_json::from_value(before.clone()).unwrap();
        let mut after = before.clone();
        json_patch::patch(&mut after, &completion(&typed, bundle, &owner("live"))).unwrap();
        after
    }

    #[test]
    fn every_entry_gets_the_bundle_and_the_namespace_owns_all() {
        let ours = [owner("live")];
        for bundles in
            [[None, None], [Some("old"), None], [Some("new"), Some("old")], [Some("new"), Some("new")]]
        {
            for owners in [vec![], vec![owner("gone")], ours.to_vec()] {
                let after = completed(&registration(bundles, &owners), Some("new"));
                assert_eq!(after, registration([Some("new"), Some("new")], &ours), "{bundles:?} {owners:?}");
            }
        }
    }

    #[test]
    fn nothing_is_written_where_nothing_is_missing() {
        let whole = registration([Some("new"), Some("new")], &[owner("live")]);
        let typed = serde_json::from_value(whole).unwrap();
        assert_eq!(completion(&typed, Some("new"), &owner("live")), []);
        assert_eq!(completion(&typed, None, &owner("live")), [], "another issuer's bundle stays");
    }

    #[test]
    fn a_bundle_that_others_are_asked_to_fill_is_left_to_them_but_not_the_owner() {
        for name in FILLED_BY_OTHERS {
            let with = |owners: &[OwnerReference]| {
                let mut registration = registration([Some("theirs"), None], owners);
                registration["metadata"]["annotations"] = json!({ name: "x" });
                registration
            };
            assert_eq!(completed(&with(&[]), Some("ours")), with(&[owner("live")]), "{name}");
        }
    }

    #[test]
    fn other_owners_stay() {
        let other = OwnerReference { name: "other".to_owned(), ..owner("x") };
        let after = completed(&registration([None, None], &[other.clone(), owner("gone")]), Some("new"));
        assert_eq!(after["metadata"]["ownerReferences"], json!([other, owner("live")]));
    }

    #[test]
    fn a_patch_does_not_apply_to_another_version() {
        let before = registration([None, None], &[]);
        let operations =
            completion(&serde_json::from_value(before.clone()).unwrap(), Some("new"), &owner("live"));
        let mut newer = before;
        newer["metadata"]["resourceVersion"] = json!("8");
        assert!(json_patch::patch(&mut newer, &operations).is_err());
    }

    #[test]
    fn a_bundle_is_in_place_when_every_entry_holds_it_or_nobody_calls() {
        let typed = |bundles| serde_json::from_value(registration(bundles, &[])).unwrap();
        assert!(holds(Some(&typed([Some("new"), Some("new")])), "new"));
        assert!(!holds(Some(&typed([Some("new"), None])), "new"));
        assert!(!holds(Some(&typed([Some("new"), Some("old")])), "new"));
        assert!(holds(None, "new"));
    }
}
