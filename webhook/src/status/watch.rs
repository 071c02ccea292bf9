//! What this replica sees: session pods, sessions and the webhook's registration.
//!
//! Every replica watches, whether it leads or not, and keeps of each object only what is used. A
//! pod is read the moment it arrives and dropped; what it came to stays (`pods`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::{mpsc, watch};
use workflow_contract::names::{APP_LABEL, APP_LABEL_VALUE, INJECTOR, SESSION_LABEL};

use super::Observe;
use super::outcome::{self, PodFacts};
use super::pod::SessionPod;
use super::pods::Pods;
use crate::session::AgenticSession;
use crate::session::lean::Lean;

/// Objects in one page of a list: a page is decoded as a whole, and this is what it may cost.
const PAGE: u32 = 100;

/// Pause between a change of a session's spec and the first write of its status.
const SPEC_CHANGE_PAUSE: Duration = Duration::from_millis(200);

/// What has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    pods: bool,
    sessions: bool,
    registration: bool,
    /// Creation of the webhook's registration, where there is one.
    pub registered: Option<Timestamp>,
}

impl Horizon {
    /// Whether everything that exists has been seen once: before that, the absence of a pod or a
    /// registration means nothing.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.pods && self.sessions && self.registration
    }
}

/// All that this replica has seen and still needs.
pub struct View {
    /// Lean copies of all sessions.
    pub sessions: Store<AgenticSession>,
    pods: Mutex<Pods>,
    /// By session uid.
    spec_changes: Mutex<HashMap<String, Instant>>,
    horizon: watch::Sender<Horizon>,
    news: mpsc::UnboundedSender<ObjectRef<AgenticSession>>,
    observe: Arc<dyn Observe>,
}

impl View {
    /// An empty view; `news` receives each session about which something has changed.
    #[must_use]
    pub fn new(
        sessions: Store<AgenticSession>,
        news: mpsc::UnboundedSender<ObjectRef<AgenticSession>>,
        observe: Arc<dyn Observe>,
    ) -> Self {
        let horizon = watch::Sender::new(Horizon::default());
        Self { sessions, pods: Mutex::default(), spec_changes: Mutex::default(), horizon, news, observe }
    }

    /// What is known of the session's pod.
    #[must_use]
    pub fn pod(&self, session_uid: &str) -> Option<PodFacts> {
        self.with_pods(|pods| pods.of(session_uid).cloned())
    }

    /// How many init containers are waiting or running.
    #[must_use]
    pub fn fetching(&self) -> usize {
        self.with_pods(|pods| pods.fetching())
    }

    /// What has been seen so far.
    #[must_use]
    pub fn horizon(&self) -> Horizon {
        *self.horizon.borrow()
    }

    /// Tells when what has been seen changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Horizon> {
        self.horizon.subscribe()
    }

    /// Drops what is known of pods whose session is no more.
    pub fn prune(&self) {
        self.with_pods(|pods| {
            pods.prune(|facts| {
                let session = self.sessions.get(&reference(facts));
                session.is_some_and(|session| session.metadata.uid.as_ref() == Some(&facts.session_uid))
            });
        });
    }

    /// Time that is left until a session may be written whose spec has just changed: the operator writes
    /// its status some 100 ms after that, and a conflict would cost it a retry of 5 to 30 s.
    pub fn pause_after_spec_change(&self, uid: &str, now: Instant) -> Option<Duration> {
        let mut changes = self.spec_changes.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(*changes.get(uid)?);
        let left = SPEC_CHANGE_PAUSE.checked_sub(since).filter(|left| !left.is_zero());
        if left.is_none() {
            changes.remove(uid);
        }
        left
    }

    /// Notes the time if the session differs in its spec from the cached one.
    fn note_spec_change(&self, session: &AgenticSession, now: Instant) {
        let cached = self.sessions.get(&ObjectRef::from_obj(session));
        let changed = cached.filter(|cached| {
            cached.metadata.uid == session.metadata.uid
                && cached.metadata.generation != session.metadata.generation
        });
        if let Some(uid) = changed.and(session.uid()) {
            self.spec_changes.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, now);
        }
    }

    fn with_pods<T>(&self, work: impl FnOnce(&mut Pods) -> T) -> T {
        // Nothing in there panics half-way; a poisoned lock is as good as any.
        work(&mut self.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, session: ObjectRef<AgenticSession>) {
        // Nobody listens any more only while the process ends.
        let _ = self.news.send(session);
    }

    fn saw(&self, change: impl FnOnce(&mut Horizon)) {
        self.horizon.send_if_modified(|horizon| {
            let before = *horizon;
            change(horizon);
            *horizon != before
        });
    }
}

/// Watches session pods for ever.
pub async fn pods(client: Client, view: Arc<View>) {
    let labels = format!("{APP_LABEL}={APP_LABEL_VALUE},{SESSION_LABEL}");
    let config = watcher::Config::default().labels(&labels).page_size(PAGE);
    let events = watcher(Api::<SessionPod>::all(client), config).default_backoff();
    follow("pods", &view, events, |event| match event {
        Event::Init => view.with_pods(Pods::begin_list),
        Event::InitApply(pod) | Event::Apply(pod) => {
            if let Some(facts) = outcome::read(&pod) {
                let session = reference(&facts);
                if view.with_pods(|pods| pods.apply(facts)) {
                    view.tell(session);
                }
            }
        }
        Event::Delete(pod) => {
            if let Some(facts) = outcome::read(&pod) {
                let session = reference(&facts);
                if view.with_pods(|pods| pods.delete(facts)) {
                    view.tell(session);
                }
            }
        }
        Event::InitDone => {
            let gone: Vec<_> = view.with_pods(|pods| pods.end_list().into_iter().map(reference).collect());
            for session in gone {
                view.tell(session);
            }
            view.saw(|horizon| horizon.pods = true);
        }
    })
    .await;
}

/// Watches sessions for ever and keeps the store that `writer` belongs to.
pub async fn sessions(client: Client, mut writer: Writer<AgenticSession>, view: Arc<View>) {
    let config = watcher::Config::default().page_size(PAGE);
    let events = watcher(Api::<Lean>::all(client), config).map(|event| event.map(whole)).default_backoff();
    follow("agenticsessions", &view, events, |event| {
        if let Event::Apply(session) = &event {
            view.note_spec_change(session, Instant::now());
        }
        writer.apply_watcher_event(&event);
        match event {
            Event::Init | Event::InitApply(_) => {}
            Event::Apply(session) => view.tell(ObjectRef::from_obj(&session)),
            Event::Delete(session) => {
                let uid = session.uid().unwrap_or_default();
                view.with_pods(|pods| pods.forget(&uid));
                view.spec_changes.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
            }
            Event::InitDone => {
                for session in view.sessions.state() {
                    view.tell(ObjectRef::from_obj(&*session));
                }
                view.saw(|horizon| horizon.sessions = true);
            }
        }
    })
    .await;
}

/// Watches the webhook's registration for ever: when it was made, if it was.
pub async fn registration(client: Client, view: Arc<View>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={INJECTOR}"));
    let registrations: Api<PartialObjectMeta<MutatingWebhookConfiguration>> = Api::all(client);
    let events = watcher(registrations, config).default_backoff();
    let mut listed = None;
    follow("mutatingwebhookconfigurations", &view, events, |event| match event {
        Event::Init => listed = None,
        Event::InitApply(one) => listed = one.creation_timestamp(),
        Event::InitDone => {
            let registered = listed.take().map(|time| time.0);
            view.saw(|horizon| (horizon.registration, horizon.registered) = (true, registered));
        }
        Event::Apply(one) => {
            let registered = one.creation_timestamp().map(|time| time.0);
            view.saw(|horizon| horizon.registered = registered);
        }
        Event::Delete(_) => view.saw(|horizon| horizon.registered = None),
    })
    .await;
}

async fn follow<K: Resource + Send>(
    resource: &'static str,
    view: &View,
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    mut take: impl FnMut(Event<K>),
) {
    let mut events = std::pin::pin!(events);
    let mut missing = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                missing &= matches!(event, Event::Init);
                take(event);
            }
            // A kind that the API server does not know has no objects: the platform's CRD may come
            // after us, and nothing needs to wait for it.
            Err(error) if is_unknown_kind(&error) => {
                if !missing {
                    tracing::warn!(resource, "the API server does not know the kind, so there are none yet");
                }
                missing = true;
                take(Event::InitDone);
            }
            Err(error) => {
                view.observe.watch_failed(resource);
                tracing::warn!(resource, %error, "watch failed, it is taken up again");
            }
        }
    }
}

fn is_unknown_kind(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404)
}

fn reference(facts: &PodFacts) -> ObjectRef<AgenticSession> {
    ObjectRef::new(&facts.session).within(&facts.namespace)
}

/// The same event of the session itself.
fn whole(event: Event<Lean>) -> Event<AgenticSession> {
    match event {
        Event::Init => Event::Init,
        Event::InitApply(Lean(session)) => Event::InitApply(session),
        Event::InitDone => Event::InitDone,
        Event::Apply(Lean(session)) => Event::Apply(session),
        Event::Delete(Lean(session)) => Event::Delete(session),
    }
}
