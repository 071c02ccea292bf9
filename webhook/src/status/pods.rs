//! The last known state of each session's pod, also after the pod is gone: one entry for each session,
//! so their number bounds it.

use std::collections::{HashMap, HashSet};
use std::iter;

use super::outcome::{Outcome, PodFacts, Presence};

/// Pods by the uid of the session.
#[derive(Debug, Default)]
pub struct Pods {
    by_session: HashMap<String, PodFacts>,
    /// Sessions whose pod the current list contains.
    listed: HashSet<String>,
    /// Sessions that did not exist at the last [`Pods::prune`].
    orphans: HashSet<String>,
}

impl Pods {
    #[must_use]
    pub fn get(&self, session_uid: &str) -> Option<&PodFacts> {
        self.by_session.get(session_uid)
    }

    /// Stores the state of a pod. Returns whether it differs from the stored one.
    ///
    /// An outcome stays as first observed: a container that was killed before the deletion of its pod was
    /// not ended by that deletion.
    pub fn apply(&mut self, mut facts: PodFacts) -> bool {
        self.listed.insert(facts.session_uid.clone());
        if let Some(known) = self.get(&facts.session_uid).filter(|known| known.uid == facts.uid) {
            if known.ended.is_some() && known.ended == facts.ended {
                facts.outcome = known.outcome.clone();
            }
            for attempt in &mut facts.live {
                attempt.keep_end(&known.live);
            }
        }
        if self.get(&facts.session_uid) == Some(&facts) {
            return false;
        }
        self.by_session.insert(facts.session_uid.clone(), facts);
        true
    }

    /// Stores the last state of a deleted pod. Returns whether it differs from the stored one.
    pub fn delete(&mut self, facts: PodFacts) -> bool {
        let has_successor = self.get(&facts.session_uid).is_some_and(|known| known.uid != facts.uid);
        !has_successor && self.apply(PodFacts { presence: Presence::Deleted, ..facts })
    }

    pub fn begin_list(&mut self) {
        self.listed.clear();
    }

    /// Marks the pods that the list did not contain as vanished, and returns them.
    pub fn end_list(&mut self) -> impl Iterator<Item = &PodFacts> {
        let listed = std::mem::take(&mut self.listed);
        let missed = self
            .by_session
            .values_mut()
            .filter(move |facts| facts.presence == Presence::Exists && !listed.contains(&facts.session_uid));
        missed.map(|facts| {
            facts.presence = Presence::Vanished;
            &*facts
        })
    }

    /// Drops the pod of a deleted session, if it is gone, too.
    pub fn forget(&mut self, session_uid: &str) {
        if self.get(session_uid).is_some_and(|facts| facts.presence != Presence::Exists) {
            self.by_session.remove(session_uid);
        }
    }

    /// Drops pods that are gone once their session has been absent twice in a row: the watch of sessions
    /// may be behind that of pods.
    pub fn prune(&mut self, session_exists: impl Fn(&PodFacts) -> bool) {
        let before = std::mem::take(&mut self.orphans);
        self.by_session.retain(|uid, facts| {
            let orphan = facts.presence != Presence::Exists && !session_exists(facts);
            if orphan && !before.contains(uid) {
                self.orphans.insert(uid.clone());
            }
            !orphan || !before.contains(uid)
        });
    }

    /// Number of deliveries that are waiting or running.
    #[must_use]
    pub fn fetching(&self) -> usize {
        let fetches = |facts: &&PodFacts| {
            let outcomes = iter::once(&facts.outcome).chain(facts.live.iter().map(|one| &one.outcome));
            facts.presence == Presence::Exists && outcomes.into_iter().any(|one| *one == Outcome::Fetching)
        };
        self.by_session.values().filter(fetches).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::outcome::RunnerState;

    fn facts(session_uid: &str, uid: &str, outcome: Outcome) -> PodFacts {
        PodFacts {
            namespace: "ns".into(),
            session: "s".into(),
            session_uid: session_uid.into(),
            uid: uid.into(),
            created: jiff::Timestamp::UNIX_EPOCH,
            stamp: None,
            workflow_variables: 1,
            outcome,
            ended: None,
            live: Vec::new(),
            runner: RunnerState::default(),
            is_ending: false,
            took: None,
            presence: Presence::Exists,
        }
    }

    #[test]
    fn reports_only_changes() {
        let mut pods = Pods::default();
        assert!(pods.apply(facts("a", "1", Outcome::Fetching)));
        assert!(!pods.apply(facts("a", "1", Outcome::Fetching)));
        assert!(pods.apply(facts("a", "1", Outcome::NotInjected)));
        assert!(pods.apply(facts("b", "1", Outcome::Fetching)));
        assert_eq!(pods.fetching(), 1);
    }

    #[test]
    fn keeps_a_deleted_pod_until_its_session_or_a_new_pod_replaces_it() {
        let mut pods = Pods::default();
        assert!(pods.delete(facts("a", "1", Outcome::NotInjected)), "unknown before");
        assert_eq!(pods.get("a").unwrap().presence, Presence::Deleted);
        pods.apply(facts("a", "2", Outcome::Fetching));
        assert!(!pods.delete(facts("a", "1", Outcome::NotInjected)), "it has a successor");
        assert_eq!(pods.get("a").unwrap().uid, "2");
        pods.forget("a");
        assert!(pods.get("a").is_some(), "the pod exists");
        pods.delete(facts("a", "2", Outcome::Fetching));
        pods.forget("a");
        assert!(pods.get("a").is_none());
    }

    #[test]
    fn keeps_the_first_observed_end_and_follows_a_second_run() {
        let at = |seconds| jiff::Timestamp::from_second(seconds).ok();
        let ended = |outcome, ended| PodFacts { ended, ..facts("a", "1", outcome) };
        let delivered = || Outcome::Delivered { commit: "c".into(), signer: None };
        let mut pods = Pods::default();
        pods.apply(ended(delivered(), at(1)));
        assert!(!pods.apply(ended(Outcome::NotInjected, at(1))), "the same end with another outcome");
        assert!(pods.delete(ended(Outcome::NotInjected, at(1))));
        assert_eq!(pods.get("a").unwrap().outcome, delivered());
        assert!(pods.apply(ended(Outcome::Fetching, None)));
        assert!(pods.apply(ended(Outcome::NotInjected, at(2))));
        assert_eq!(pods.get("a").unwrap().outcome, Outcome::NotInjected);
    }

    #[test]
    fn marks_pods_that_a_new_list_lacks_as_vanished() {
        let mut pods = Pods::default();
        for session in ["a", "b", "c"] {
            pods.apply(facts(session, "1", Outcome::Fetching));
        }
        pods.delete(facts("c", "1", Outcome::Fetching));
        pods.begin_list();
        pods.apply(facts("a", "1", Outcome::Fetching));
        let gone: Vec<_> = pods.end_list().map(|facts| facts.session_uid.clone()).collect();
        assert_eq!(gone, ["b"]);
        assert_eq!(pods.get("b").unwrap().presence, Presence::Vanished);
        assert_eq!(pods.get("c").unwrap().presence, Presence::Deleted, "its deletion was observed");
    }

    #[test]
    fn drops_pods_without_a_session_at_the_second_pass() {
        let mut pods = Pods::default();
        pods.delete(facts("gone", "1", Outcome::Fetching));
        pods.delete(facts("late", "1", Outcome::Fetching));
        pods.apply(facts("running", "1", Outcome::Fetching));
        pods.prune(|_| false);
        assert!(pods.get("gone").is_some() && pods.get("late").is_some());
        pods.prune(|facts| facts.session_uid == "late");
        assert!(pods.get("gone").is_none());
        assert!(pods.get("late").is_some() && pods.get("running").is_some());
    }
}
