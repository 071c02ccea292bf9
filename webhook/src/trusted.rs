//! Whether API servers trust what this replica serves: what readiness means, beside having read everything.
//!
//! A replica that no API server trusts answers nobody; taking it out of the Service loses no call that would have
//! succeeded. But a judgement on what *was* could take out replicas that are trusted, and all of them at once, as all
//! see the same registration. So only what is known now is held against a replica: nothing while there is no
//! registration, or while it can't be read. Nothing waits for readiness in turn: who leads and completes the
//! registration is decided without it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use workflow_certs::Resolver;

/// One entry of the registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub webhook: String,
    /// The authorities that it holds.
    pub bundle: Option<String>,
}

/// The registration's entries: none where there is no registration, `None` while it can't be read.
pub type View = Option<Arc<[Entry]>>;

/// What there is to see of a registration.
#[must_use]
pub fn view(registration: Option<&MutatingWebhookConfiguration>) -> View {
    let webhooks = registration.and_then(|found| found.webhooks.as_deref()).unwrap_or_default();
    let entries = webhooks.iter().map(|webhook| {
        let held = webhook.client_config.ca_bundle.as_ref().filter(|bundle| !bundle.0.is_empty());
        Entry {
            webhook: webhook.name.clone(),
            bundle: held.map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned()),
        }
    });
    Some(entries.collect())
}

/// Who fills caBundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filler {
    /// Our leader; an entry without authorities is one that it has not come to yet.
    Leader,
    /// Another issuer; where it leaves an entry empty, the API server goes by authorities of its own.
    Issuer,
}

/// Why API servers would not trust what is served at `now` under `name`, as far as is known. What is
/// wrong with the certificate by itself is not this function's to say.
#[must_use]
pub fn mistrust(
    view: &View,
    served: &Resolver,
    filler: Filler,
    name: &str,
    now: Timestamp,
) -> Option<String> {
    view.iter().flat_map(|entries| entries.iter()).find_map(|Entry { webhook, bundle }| match bundle {
        None if filler == Filler::Leader => Some(format!("{webhook} has no caBundle yet")),
        None => None,
        Some(bundle) => {
            let error = served.trusted_by(bundle, name, now).err()?;
            Some(format!("the caBundle of {webhook} does not trust the certificate that is served: {error}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::{Value, json};
    use workflow_certs::rotate::{Action, apply};
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
        resolver.swap(&state.leaf.pair, now()).unwrap();
        resolver
    }

    fn holding(bundles: &[Option<&str>]) -> View {
        let entries = bundles.iter().map(|bundle| {
            let mut client = json!({"service": {"name": "s", "namespace": "n"}});
            if let Some(bundle) = bundle {
                client["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
            }
            json!({"name": "w", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": client})
        });
        let webhooks: Vec<Value> = entries.collect();
        view(Some(&serde_json::from_value(json!({"metadata": {}, "webhooks": webhooks})).unwrap()))
    }

    #[test]
    fn what_every_entry_trusts_is_ready_and_what_one_does_not_is_not() {
        let (ours, other) = (next(Action::Start, None), next(Action::Start, None));
        let (trusted, foreign) = (ours.bundle(), other.bundle());
        let both = format!("{foreign}{trusted}");
        // What the entries hold; whether that is ready where the leader fills them, and where an issuer does.
        let table: [(View, bool, bool); 9] = [
            (None, true, true),
            (view(None), true, true),
            (holding(&[]), true, true),
            (holding(&[Some(&trusted)]), true, true),
            (holding(&[Some(&both)]), true, true),
            (holding(&[Some(&foreign)]), false, false),
            (holding(&[Some(&trusted), Some(&foreign)]), false, false),
            (holding(&[None]), false, true),
            (holding(&[Some("no certificate")]), false, false),
        ];
        let served = serving(&ours);
        for (view, by_leader, by_issuer) in table {
            let ready = |filler| mistrust(&view, &served, filler, NAME, now()).is_none();
            assert_eq!((ready(Filler::Leader), ready(Filler::Issuer)), (by_leader, by_issuer), "{view:?}");
        }
        let said = mistrust(&holding(&[Some(&trusted)]), &served, Filler::Leader, "other.svc", now());
        assert!(
            said.is_some_and(|said| said.contains("caBundle of w")),
            "a name that is not in the certificate"
        );
    }

    #[test]
    fn every_step_of_a_rotation_is_ready() {
        let mut state = next(Action::Start, None);
        let mut last = state.bundle();
        for action in [Action::RenewLeaf, Action::AddNext, Action::MarkPublished, Action::Promote] {
            state = next(action, Some(&state));
            // A replica serves the new leaf before or after the bundle that goes with it is in place.
            for bundle in [last, state.bundle()] {
                let view = holding(&[Some(&bundle)]);
                assert_eq!(
                    mistrust(&view, &serving(&state), Filler::Leader, NAME, now()),
                    None,
                    "{action:?}"
                );
            }
            last = state.bundle();
        }
    }

    #[test]
    fn nothing_is_held_against_a_replica_that_serves_nothing_yet() {
        let view = holding(&[Some(&next(Action::Start, None).bundle())]);
        assert_eq!(mistrust(&view, &Resolver::default(), Filler::Leader, NAME, now()), None);
    }
}
