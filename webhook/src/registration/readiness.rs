//! A condition of readiness: API servers trust the certificate that this replica serves.
//!
//! A replica that no API server trusts fails every call, so the Service loses nothing without it. All replicas watch
//! the same registration and would become unready at the same time, so a replica is ready while there is no registration,
//! or while it can't be read. Election and CA bundle do not depend on readiness.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use tokio::sync::watch;
use workflow_certs::{Clock, Resolver};

/// The caBundle of one webhook entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryBundle {
    pub webhook: String,
    /// PEM; `None` if it is empty.
    pub bundle: Option<String>,
}

/// The entries of the registration, empty if there is none; `None` while it can't be read.
pub type TrustView = Option<Arc<[EntryBundle]>>;

pub fn trust_view(registration: Option<&MutatingWebhookConfiguration>) -> TrustView {
    let webhooks = registration.and_then(|found| found.webhooks.as_deref()).unwrap_or_default();
    let entries = webhooks.iter().map(|webhook| {
        let bundle = webhook.client_config.ca_bundle.as_ref().filter(|bundle| !bundle.0.is_empty());
        EntryBundle {
            webhook: webhook.name.clone(),
            bundle: bundle.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned()),
        }
    });
    Some(entries.collect())
}

/// The party that fills caBundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaBundleOwner {
    /// Our leader; an empty caBundle is not filled yet.
    Leader,
    /// Another issuer; with an empty caBundle, the API server uses its own roots.
    Issuer,
}

/// Compares the served certificate with the registration.
#[derive(Debug, Clone)]
pub struct TrustCheck {
    pub view: watch::Receiver<TrustView>,
    pub resolver: Arc<Resolver>,
    pub clock: Clock,
    pub owner: CaBundleOwner,
    /// The DNS name by which API servers reach the Service.
    pub name: String,
}

impl TrustCheck {
    /// Returns the reason why API servers reject the served certificate, as far as is known.
    pub fn error(&self) -> Option<String> {
        ca_bundle_error(&self.view.borrow(), &self.resolver, self.owner, &self.name, self.clock.now())
    }
}

/// Returns the first entry whose caBundle does not verify the served certificate, with the reason.
fn ca_bundle_error(
    view: &TrustView,
    served: &Resolver,
    owner: CaBundleOwner,
    name: &str,
    now: Timestamp,
) -> Option<String> {
    let entries = view.iter().flat_map(|entries| entries.iter());
    entries.into_iter().find_map(|EntryBundle { webhook, bundle }| match bundle {
        None if owner == CaBundleOwner::Leader => Some(format!("{webhook} has no caBundle yet")),
        None => None,
        Some(bundle) => {
            let error = served.verify(bundle, name, now).err()?;
            Some(format!("the caBundle of {webhook} does not trust the certificate that is served: {error}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};
    use workflow_certs::rotation::{Action, apply};
    use workflow_certs::{Lifetimes, State};

    const NAME: &str = "workflow-injector.workflow-injector.svc";

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn next(action: Action, before: Option<&State>) -> State {
        apply(action, before, &[NAME.to_owned()], now(), &Lifetimes::default()).unwrap()
    }

    fn serving(state: &State) -> Resolver {
        let resolver = Resolver::default();
        resolver.swap(&state.serving.pair, now()).unwrap();
        resolver
    }

    fn holding(bundles: &[Option<&str>]) -> TrustView {
        let entries = bundles.iter().map(|bundle| {
            let mut client = json!({"service": {"name": "s", "namespace": "n"}});
            if let Some(bundle) = bundle {
                client["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
            }
            json!({"name": "w", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": client})
        });
        let webhooks: Vec<Value> = entries.collect();
        trust_view(Some(&serde_json::from_value(json!({"metadata": {}, "webhooks": webhooks})).unwrap()))
    }

    #[test]
    fn every_entry_must_trust_the_certificate() {
        let (ours, other) = (next(Action::Start, None), next(Action::Start, None));
        let (trusted, other_bundle) = (ours.bundle(), other.bundle());
        let both = format!("{other_bundle}{trusted}");
        // Bundles of the entries; ready if the leader fills them; ready if an issuer does.
        let table: [(TrustView, bool, bool); 9] = [
            (None, true, true),
            (trust_view(None), true, true),
            (holding(&[]), true, true),
            (holding(&[Some(&trusted)]), true, true),
            (holding(&[Some(&both)]), true, true),
            (holding(&[Some(&other_bundle)]), false, false),
            (holding(&[Some(&trusted), Some(&other_bundle)]), false, false),
            (holding(&[None]), false, true),
            (holding(&[Some("no certificate")]), false, false),
        ];
        let served = serving(&ours);
        for (view, by_leader, by_issuer) in table {
            let ready = |owner| ca_bundle_error(&view, &served, owner, NAME, now()).is_none();
            assert_eq!(
                (ready(CaBundleOwner::Leader), ready(CaBundleOwner::Issuer)),
                (by_leader, by_issuer),
                "{view:?}"
            );
        }
        let error =
            ca_bundle_error(&holding(&[Some(&trusted)]), &served, CaBundleOwner::Leader, "other.svc", now());
        assert!(
            error.is_some_and(|error| error.contains("caBundle of w")),
            "a name that is not in the certificate"
        );
    }

    #[test]
    fn every_step_of_a_rotation_is_trusted() {
        let mut state = next(Action::Start, None);
        let mut last = state.bundle();
        for action in [Action::RenewServing, Action::AddNext, Action::MarkPublished, Action::Promote] {
            state = next(action, Some(&state));
            // A replica serves the new certificate before or after its bundle is in place.
            for bundle in [last, state.bundle()] {
                let view = holding(&[Some(&bundle)]);
                assert_eq!(
                    ca_bundle_error(&view, &serving(&state), CaBundleOwner::Leader, NAME, now()),
                    None,
                    "{action:?}"
                );
            }
            last = state.bundle();
        }
    }

    #[test]
    fn a_replica_without_a_certificate_has_no_bundle_error() {
        let view = holding(&[Some(&next(Action::Start, None).bundle())]);
        assert_eq!(ca_bundle_error(&view, &Resolver::default(), CaBundleOwner::Leader, NAME, now()), None);
    }
}
