//! Deliveries into the running session: the table of decisions, and what the session shows.

use super::*;
use crate::status::live::MAX_DELIVERIES;
use crate::status::outcome::LiveAttempt;

const B: &str = "https://h/o/b.git";
const C: &str = "https://h/o/c.git";

/// A session and its pod, changed step by step. Every decision is made from these alone, as by a replica that has
/// just started.
#[derive(Clone)]
struct Scene {
    session: AgenticSession,
    pod: PodFacts,
    mode: LiveDelivery,
    now: i64,
}

impl Scene {
    /// A session whose pod was created without a workflow.
    fn without_a_workflow() -> Self {
        let pod = PodFacts { stamp: None, workflow_variables: 0, ended: None, ..pod(Outcome::NotInjected) };
        Self { session: session("Running"), pod, mode: LiveDelivery::On, now: NOW }
    }

    /// A session with the workflow that its init container delivered at generation 2.
    fn delivered() -> Self {
        let ours = condition("True", "Reconciled", DELIVERED);
        let session = session("Running").generation(2).with_condition(ours).recorded_by_us("Active");
        Self { session, pod: pod(delivered()), mode: LiveDelivery::On, now: NOW }
    }

    /// The same, and B delivered at generation 3.
    fn with_b() -> Self {
        Self::delivered().want(B, 3).settle().end(delivered()).settle()
    }

    fn want(mut self, url: &str, generation: i64) -> Self {
        let path = if url == URL { json!("a") } else { json!(null) };
        self.session = self.session.wanting(json!({"gitUrl": url, "path": path})).generation(generation);
        self
    }

    fn decide(&self) -> Option<Action> {
        decide(&self.session, Some(&self.pod), Some(at(REGISTERED)), &self.mode, at(self.now))
    }

    /// Carries decisions out until there is none.
    fn settle(mut self) -> Self {
        for _ in 0..4 {
            match self.decide() {
                None => return self,
                Some(Action::Write(change)) => self.session = self.session.after(&change),
                Some(Action::Deliver) => self.add(),
            }
        }
        panic!("no end of decisions: {:?}", self.decide());
    }

    fn add(&mut self) {
        let stamp = Stamp {
            source: self.session.workflow().unwrap().source(),
            generation: self.session.metadata.generation.unwrap(),
            ..stamp()
        };
        let attempt = LiveAttempt { stamp, outcome: Outcome::Fetching, ended: None, has_credentials: true };
        self.pod.live.push(attempt);
    }

    /// The last container ends.
    fn end(mut self, outcome: Outcome) -> Self {
        self.now += 10;
        let last = self.pod.live.last_mut().unwrap();
        (last.outcome, last.ended) = (outcome, Some(at(self.now)));
        self
    }

    fn pod(mut self, change: impl FnOnce(&mut PodFacts)) -> Self {
        change(&mut self.pod);
        self
    }

    fn session(mut self, change: impl FnOnce(AgenticSession) -> AgenticSession) -> Self {
        self.session = change(self.session);
        self
    }

    fn phase(self, phase: &str) -> Self {
        self.session(|mut session| {
            session.status.as_mut().unwrap().phase = Some(phase.into());
            session
        })
    }

    fn mode(mut self, mode: LiveDelivery) -> Self {
        self.mode = mode;
        self
    }

    /// Generations of the containers.
    fn containers(&self) -> Vec<i64> {
        self.pod.live.iter().map(|one| one.stamp.generation).collect()
    }

    fn condition(&self) -> &Condition {
        self.session.condition(WORKFLOW_RECONCILED).unwrap()
    }

    fn shows(&self, reason: &str, generation: i64) -> &str {
        let condition = self.condition();
        assert_eq!(condition.reason.as_deref(), Some(reason), "{condition:?}");
        assert_eq!(condition.observed_generation, Some(generation), "{condition:?}");
        assert_eq!(self.decide(), None, "nothing more to do");
        condition.message.as_deref().unwrap()
    }

    fn record(&self) -> (&str, &str) {
        let record = self.session.status.as_ref().unwrap().reconciled_workflow.as_ref().unwrap();
        (record.git_url.as_str(), record.status.as_deref().unwrap())
    }
}

#[test]
fn a_first_choice_is_delivered_into_a_pod_without_a_workflow() {
    let scene = Scene::without_a_workflow();
    assert_eq!(scene.decide(), Some(Action::Deliver), "the container comes before the condition");
    let scene = scene.settle();
    assert_eq!(scene.containers(), [3]);
    assert_eq!(scene.shows("Fetching", 3), format!("deliver-workflow-3 is to deliver {WANTED}"));
    assert_eq!(scene.record(), (URL, "Cloning"));
    let scene = scene.end(delivered()).settle();
    assert_eq!(scene.shows("Reconciled", 3), format!("{DELIVERED} in the running session"));
    assert_eq!((scene.condition().status.as_str(), scene.record()), ("True", (URL, "Active")));
}

#[test]
fn a_change_and_a_change_back_are_both_delivered() {
    let scene = Scene::delivered().want(B, 3).settle();
    assert_eq!(scene.shows("Fetching", 3), format!("deliver-workflow-3 is to deliver {B} (main)"));
    let scene = scene.end(delivered()).settle();
    scene.shows("Reconciled", 3);
    let scene = scene.want(URL, 4).settle().end(delivered()).settle();
    scene.shows("Reconciled", 4);
    assert_eq!(scene.containers(), [3, 4]);
}

#[test]
fn a_change_while_one_fetches_waits_for_its_end() {
    let scene = Scene::delivered().want(B, 3).settle().want(C, 4).settle();
    assert_eq!(scene.containers(), [3]);
    let waiting = format!("deliver-workflow-4 is to deliver {C} (main) once deliver-workflow-3 has ended");
    assert_eq!(scene.shows("Fetching", 4), waiting);
    assert_eq!(scene.record(), (C, "Cloning"), "no drift to see");
    let scene = scene.end(delivered()).settle();
    assert_eq!(scene.containers(), [3, 4]);
    assert_eq!(scene.shows("Fetching", 4), format!("deliver-workflow-4 is to deliver {C} (main)"));
    let back = Scene::delivered().want(B, 3).settle().want(URL, 4).settle().end(delivered()).settle();
    assert_eq!(
        back.containers(),
        [3, 4],
        "B is on disk, although the init container delivered what is wanted"
    );
}

#[test]
fn another_display_name_is_no_change() {
    for scene in [Scene::with_b(), Scene::delivered().want(B, 3).settle()] {
        assert_eq!(scene.clone().want(B, 4).decide(), None);
    }
    let failed = Scene::delivered().want(B, 3).settle().end(failed(Exit::Timeout)).settle();
    assert_eq!(failed.want(B, 4).decide(), None, "no second attempt of the same source");
}

#[test]
fn a_failure_names_what_the_session_goes_on_with_until_the_spec_is_corrected() {
    let scene = Scene::delivered().want(B, 3).settle().end(failed(Exit::RefNotFound)).settle();
    assert_eq!(
        scene.shows("RefNotFound", 3),
        "line 1; the session goes on with https://h/o/repo.git (main, a)"
    );
    assert_eq!((scene.condition().status.as_str(), scene.record()), ("False", (B, "Failed")));
    let scene = scene.want(C, 4).settle().end(delivered()).settle();
    scene.shows("Reconciled", 4);
    let first = Scene::without_a_workflow().settle().end(failed(Exit::RefNotFound)).settle();
    assert_eq!(first.shows("RefNotFound", 3), "line 1; the session goes on without a workflow");
}

#[test]
fn a_failure_for_want_of_credentials_names_the_restart_that_brings_them() {
    let failing = |exit, has_credentials| {
        let mut scene = Scene::delivered().want(B, 3).settle();
        scene.pod.live[0].has_credentials = has_credentials;
        scene.end(failed(exit)).settle().condition().message.clone().unwrap()
    };
    for exit in [Exit::AuthenticationFailed, Exit::RepositoryNotFound, Exit::HostKeyMismatch] {
        assert!(failing(exit, false).contains("which a restart adds"));
        assert!(!failing(exit, true).contains("which a restart adds"));
    }
    assert!(!failing(Exit::Timeout, false).contains("which a restart adds"));
}

#[test]
fn conditions_of_the_operator_in_between_are_corrected() {
    let posted = |scene: Scene| {
        let now = scene.now;
        scene.session(|session| session.posted_at(now))
    };
    let failed =
        |scene: Scene| scene.session(|s| s.with_condition(condition("False", "UpdateFailed", "401")));
    for before in [posted, failed] {
        let scene = before(Scene::delivered().want(B, 3)).settle();
        scene.shows("Fetching", 3);
        let scene = before(scene).settle();
        scene.shows("Fetching", 3);
        let scene = scene.end(delivered()).settle();
        scene.shows("Reconciled", 3);
    }
    let late_failure = failed(Scene::with_b()).settle();
    late_failure.shows("Reconciled", 3);
}

#[test]
fn a_post_that_ended_after_the_container_requires_a_restart_or_another_delivery() {
    let scene = Scene::with_b();
    let ended = scene.now;
    for seconds in [0, 5] {
        let posted = scene.clone().session(|session| session.posted_at(ended + seconds)).settle();
        let message = posted.shows("RestartRequired", 3);
        assert!(message.contains("the platform has updated the running session itself"), "{message}");
        assert_eq!(posted.containers(), [3], "one for each generation");
        let again = posted.want(B, 4).settle();
        assert_eq!(again.containers(), [3, 4]);
        again.end(delivered()).settle().shows("Reconciled", 4);
    }
    let earlier = scene.session(|session| session.posted_at(ended - 1)).settle();
    earlier.shows("Reconciled", 3);
}

#[test]
fn a_missed_change_and_back_is_delivered_again_if_the_operator_posted() {
    let scene = Scene::with_b().want(B, 5);
    assert_eq!(scene.decide(), None);
    let now = scene.now;
    let scene = scene.session(|session| session.posted_at(now - 3)).settle();
    assert_eq!(scene.containers(), [3, 5]);
}

#[test]
fn nothing_is_added_unless_phase_and_runner_are_running() {
    let changed = || Scene::delivered().want(B, 3);
    let waits = |scene: Scene| {
        let scene = scene.settle();
        assert!(scene.containers().is_empty());
        let waiting = format!("deliver-workflow-3 is to deliver {B} (main) once the runner runs");
        assert_eq!(scene.shows("Fetching", 3), waiting);
        scene
    };
    waits(changed().phase("Creating"));
    let scene = waits(changed().pod(|pod| pod.runner = RunnerState::Waiting));
    let scene = scene.pod(|pod| pod.runner = RunnerState::Running).settle();
    assert_eq!(scene.containers(), [3]);
    for scene in [
        changed().phase("Stopping"),
        changed().phase("Completed"),
        changed().pod(|pod| pod.runner = RunnerState::Ended),
        changed().pod(|pod| pod.is_ending = true),
        changed().pod(|pod| pod.presence = Presence::Deleted),
    ] {
        let scene = scene.settle();
        assert!(scene.containers().is_empty());
        scene.shows("RestartRequired", 2);
    }
    let injecting = Scene { pod: pod(Outcome::Fetching), ..changed() };
    assert!(injecting.settle().containers().is_empty(), "the init container comes first");
}

#[test]
fn a_pod_gets_at_most_twenty() {
    let mut scene = Scene::delivered();
    let last = 2 + i64::try_from(MAX_DELIVERIES).unwrap();
    for generation in 3..=last {
        let url = if generation % 2 == 0 { B } else { C };
        scene = scene.want(url, generation).settle().end(delivered()).settle();
        scene.shows("Reconciled", generation);
    }
    let scene = scene.want(URL, last + 1).settle();
    assert_eq!(scene.containers().len(), MAX_DELIVERIES);
    assert!(scene.shows("RestartRequired", last).contains("20 workflows were delivered"));
}

#[test]
fn a_container_that_has_not_started_keeps_later_ones_out() {
    let no_image = Outcome::Undelivered(ContainerFailure::NoImage { image: "i".into() });
    let mut scene = Scene::delivered().want(B, 3).settle();
    scene.pod.live[0].outcome = no_image;
    let scene = scene.settle();
    assert!(scene.shows("ImagePullFailed", 3).contains("the session goes on with"));
    let scene = scene.want(C, 4).settle();
    assert_eq!(scene.containers(), [3]);
    assert!(scene.shows("RestartRequired", 2).contains("deliver-workflow-3 has not started"));
}

#[test]
fn the_end_of_the_pod_ends_a_delivery() {
    let scene = Scene::delivered().want(B, 3).settle();
    let deleted = scene.clone().pod(|pod| pod.presence = Presence::Deleted).settle();
    assert_eq!(
        deleted.shows("Interrupted", 3),
        "the session's pod ended before the workflow was on disk: it was deleted; restart the session"
    );
    let missed = scene.pod(|pod| pod.presence = Presence::Vanished).phase("Stopped").settle();
    assert_eq!(missed.condition().reason.as_deref(), Some("OutcomeUnknown"));
    let over = Scene::with_b().pod(|pod| pod.presence = Presence::Deleted).phase("Completed").settle();
    over.shows("Reconciled", 3);
}

#[test]
fn a_rejected_container_requires_a_restart_and_names_the_reason() {
    let rejected = LiveDelivery::Rejected("pods is forbidden".into());
    let scene = Scene::delivered().want(B, 3).mode(rejected).settle();
    let message = scene.shows("RestartRequired", 2);
    assert!(
        message.contains("can't be delivered into the running session: pods is forbidden; restart"),
        "{message}"
    );
    let scene = scene.mode(LiveDelivery::On).settle().end(delivered()).settle();
    scene.shows("Reconciled", 3);
}

#[test]
fn the_component_supersedes_restart_required_and_its_removal_keeps_what_was_delivered() {
    let scene = Scene::delivered().want(B, 3).mode(LiveDelivery::Off).settle();
    scene.shows("RestartRequired", 2);
    let back = scene.clone().want(URL, 4).settle();
    back.shows("RestartRequired", 2);
    for (scene, generation) in [(scene, 3), (back, 4)] {
        let scene = scene.mode(LiveDelivery::On).settle();
        assert_eq!(scene.containers(), [generation]);
        let scene = scene.end(delivered()).settle().mode(LiveDelivery::Off);
        scene.shows("Reconciled", generation);
        let changed = scene.want(C, 9).settle();
        assert_eq!(changed.shows("RestartRequired", generation).matches("was delivered, but").count(), 1);
    }
}

#[test]
fn nothing_is_delivered_without_reason() {
    assert_eq!(Scene::delivered().decide(), None, "delivered by the init container");
    let opted_out = Scene::delivered().want(B, 3).session(|mut session| {
        session.metadata.annotations = Some([(INJECT_ANNOTATION.to_owned(), OPT_OUT.to_owned())].into());
        session
    });
    assert_eq!(opted_out.decide(), None);
    let history = Scene::without_a_workflow().pod(|pod| pod.created = at(REGISTERED - 1));
    assert_eq!(history.decide(), None, "the run began before the registration");
    let asked_for = Scene::without_a_workflow().pod(|pod| pod.workflow_variables = 1).settle();
    assert_eq!(asked_for.condition().reason.as_deref(), Some("NotInjected"));
    let removed = Scene::with_b().session(|mut session| {
        session.spec.active_workflow = None;
        session.generation(4)
    });
    removed.settle().shows("NotConfigured", 4);
}

#[test]
fn the_next_pod_starts_over() {
    let mut scene = Scene::with_b();
    scene.session.status.as_mut().unwrap().start_time = Some(at(50));
    let stamp = Stamp { source: Source::new(B, "", ""), generation: 3, ..stamp() };
    let next = PodFacts {
        uid: "next".into(),
        created: at(51),
        ended: Some(at(53)),
        stamp: Some(stamp),
        ..pod(delivered())
    };
    let scene = Scene { pod: next, now: 60, ..scene }.settle();
    assert!(!scene.shows("Reconciled", 3).contains("running session"));
}
