//! Watches a session and its pod and prints each change once.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::bail;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use workflow_contract::names::runner_pod;

use crate::env::TestEnv;
use crate::session::Session;

use super::moments::Scene;
use super::screen::Screen;

/// Longest time without output.
const SILENCE: Duration = Duration::from_secs(5);
/// Timeout of a part.
const LIMIT: Duration = Duration::from_mins(3);

enum Change {
    Session(Box<Option<Session>>),
    Pod(Box<Option<Pod>>),
}

/// Prints the changes of `session` until `is_over`; `waiting_for` is printed when nothing changes for a while.
pub(super) async fn follow(
    env: &TestEnv,
    session: &str,
    began: Instant,
    waiting_for: &str,
    screen: &mut Screen<'_>,
    is_over: impl Fn(&Scene) -> bool,
) -> anyhow::Result<Scene> {
    follow_on(env, session, &Scene::default(), began, waiting_for, screen, is_over).await
}

/// As [`follow`], but without what has happened in `earlier`.
pub(super) async fn follow_on(
    env: &TestEnv,
    session: &str,
    earlier: &Scene,
    began: Instant,
    waiting_for: &str,
    screen: &mut Screen<'_>,
    is_over: impl Fn(&Scene) -> bool,
) -> anyhow::Result<Scene> {
    let sessions = watch_object(env.sessions(), session).default_backoff();
    let pods = watch_object(env.pods(), &runner_pod(session)).default_backoff();
    let mut changes = stream::select(
        sessions.map(|observed| observed.map(|session| Change::Session(Box::new(session)))).boxed(),
        pods.map(|observed| observed.map(|pod| Change::Pod(Box::new(pod)))).boxed(),
    );
    let mut progress = interval_at(Instant::now() + SILENCE, SILENCE);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut scene = Scene::default();
    let mut printed: HashSet<String> = earlier.moments().into_iter().collect();
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(Ok(Change::Session(session))) => scene.session = *session,
                Some(Ok(Change::Pod(pod))) => scene.pod = *pod,
                // The watch restarts after an error.
                Some(Err(_)) => continue,
                None => bail!("the watch of session {session} ended"),
            },
            _ = progress.tick() => {
                screen.at(began.elapsed(), &format!("… waiting for {waiting_for}"))?;
                if began.elapsed() > LIMIT {
                    bail!("waited {} s for {waiting_for}", LIMIT.as_secs());
                }
                continue;
            }
        }
        for moment in scene.moments() {
            if printed.insert(moment.clone()) {
                screen.at(began.elapsed(), &moment)?;
                progress.reset();
            }
        }
        if is_over(&scene) {
            return Ok(scene);
        }
    }
}
