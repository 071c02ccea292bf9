//! The watches of session pods, sessions and the webhook's registration, which fill the cache.
//!
//! Each runs for ever, on every replica, whether it is leader or not.

use std::sync::Arc;
use std::time::Instant;

use futures::{Stream, StreamExt};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{ObjectRef, store::Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use workflow_contract::names::{APP_LABEL, APP_LABEL_VALUE, INJECTOR, SESSION_LABEL};

use super::api::chain;
use super::cache::ClusterCache;
use super::outcome::{self, PodFacts};
use super::pod::SessionPod;
use super::pods::Pods;
use crate::session::AgenticSession;

/// Objects in one page of a list. A page is decoded as a whole, which bounds memory.
const PAGE: u32 = 100;

/// Watches session pods. Each is read when it arrives and only its outcome is kept.
pub async fn pods(client: Client, cache: Arc<ClusterCache>) {
    let labels = format!("{APP_LABEL}={APP_LABEL_VALUE},{SESSION_LABEL}");
    let config = watcher::Config::default().labels(&labels).page_size(PAGE);
    let events = watcher(Api::<SessionPod>::all(client), config).default_backoff();
    let update = |pod: &SessionPod, update: fn(&mut Pods, PodFacts) -> bool| {
        if let Some(facts) = outcome::read(pod) {
            let session = facts.session_ref();
            if cache.with_pods(|pods| update(pods, facts)) {
                cache.enqueue(session);
            }
        }
    };
    follow("pods", &cache, events, |event| match event {
        Event::Init => cache.with_pods(Pods::begin_list),
        Event::InitApply(pod) | Event::Apply(pod) => update(&pod, Pods::apply),
        Event::Delete(pod) => update(&pod, Pods::delete),
        Event::InitDone => {
            let gone = cache.with_pods(|pods| pods.end_list().map(PodFacts::session_ref).collect::<Vec<_>>());
            for session in gone {
                cache.enqueue(session);
            }
            cache.update(|state| state.pods = true);
        }
    })
    .await;
}

/// Watches sessions and updates the store that `writer` belongs to.
pub async fn sessions(client: Client, mut writer: Writer<AgenticSession>, cache: Arc<ClusterCache>) {
    let config = watcher::Config::default().page_size(PAGE);
    let events = watcher(Api::<AgenticSession>::all(client), config).default_backoff();
    follow("agenticsessions", &cache, events, |event| {
        if let Event::Apply(session) = &event {
            cache.note_spec_change(session, Instant::now());
        }
        writer.apply_watcher_event(&event);
        match event {
            Event::Init | Event::InitApply(_) => {}
            Event::Apply(session) => cache.enqueue(ObjectRef::from_obj(&session)),
            Event::Delete(session) => cache.forget_session(&session.uid().unwrap_or_default()),
            Event::InitDone => {
                for session in cache.sessions.state() {
                    cache.enqueue(ObjectRef::from_obj(&*session));
                }
                cache.update(|state| state.sessions = true);
            }
        }
    })
    .await;
}

/// Watches the webhook's registration for its creation time.
pub async fn registration(client: Client, cache: Arc<ClusterCache>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={INJECTOR}"));
    let registrations: Api<PartialObjectMeta<MutatingWebhookConfiguration>> = Api::all(client);
    let events = watcher(registrations, config).default_backoff();
    let created = |one: &PartialObjectMeta<_>| one.creation_timestamp().map(|time| time.0);
    let mut listed = None;
    follow("mutatingwebhookconfigurations", &cache, events, |event| match event {
        Event::Init => listed = None,
        Event::InitApply(one) => listed = created(&one),
        Event::InitDone => {
            cache.update(|state| (state.registration, state.registered) = (true, listed.take()));
        }
        Event::Apply(one) => cache.update(|state| state.registered = created(&one)),
        Event::Delete(_) => cache.update(|state| state.registered = None),
    })
    .await;
}

async fn follow<K: Resource + Send>(
    resource: &'static str,
    cache: &ClusterCache,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    mut handle: impl FnMut(Event<K>),
) {
    let mut events = std::pin::pin!(events);
    let mut missing = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                missing &= matches!(event, Event::Init);
                handle(event);
            }
            // A kind that is not served has no objects: the injector may be installed before the
            // platform's CRD, and is ready without it.
            Err(error) if is_unknown_kind(&error) => {
                if !missing {
                    tracing::warn!(resource, "resource not served by the API server, assuming none exist");
                }
                missing = true;
                handle(Event::InitDone);
            }
            Err(error) => {
                cache.observe.watch_failed(resource);
                tracing::warn!(resource, error = chain(&error), "watch failed, restarting");
            }
        }
    }
}

fn is_unknown_kind(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}
