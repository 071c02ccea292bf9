//! The last that is known of each session's pod, also after the pod is gone: at most one entry for
//! each session, so the number of sessions bounds it.

use std::collections::{HashMap, HashSet};

use super::outcome::{Outcome, PodFacts, Presence};

/// Facts by the uid of the session.
#[derive(Debug, Default)]
pub struct Pods {
    by_session: HashMap<String, PodFacts>,
    /// Sessions whose pod the list under way has shown.
    listed: HashSet<String>,
    /// Sessions that were not there at the last [`Pods::prune`], though a pod of theirs had been.
    orphans: HashSet<String>,
}

impl Pods {
    /// What is known of the session's pod.
    #[must_use]
    pub fn of(&self, session_uid: &str) -> Option<&PodFacts> {
        self.by_session.get(session_uid)
    }

    /// Takes in a pod as it stands. Returns whether that is news.
    ///
    /// An end that was seen stays what it was, whatever befalls the pod afterwards: a container that
    /// was killed and whose pod is then deleted was not ended by that deletion.
    pub fn apply(&mut self, mut facts: PodFacts) -> bool {
        self.listed.insert(facts.session_uid.clone());
        if let Some(known) = self.of(&facts.session_uid).filter(|known| is_same_end(known, &facts)) {
            facts.outcome = known.outcome.clone();
        }
        if self.of(&facts.session_uid) == Some(&facts) {
            return false;
        }
        self.by_session.insert(facts.session_uid.clone(), facts);
        true
    }

    /// Takes in a pod as it was when it was deleted. Returns whether that is news.
    pub fn delete(&mut self, facts: PodFacts) -> bool {
        let successor = self.of(&facts.session_uid).is_some_and(|known| known.uid != facts.uid);
        if successor {
            return false;
        }
        self.apply(PodFacts { presence: Presence::Deleted, ..facts })
    }

    /// A list of all pods begins.
    pub fn begin_list(&mut self) {
        self.listed.clear();
    }

    /// A list of all pods is complete: those that it did not show are gone, and what they came to
    /// in the meantime was missed. Returns them.
    pub fn end_list(&mut self) -> Vec<&PodFacts> {
        let listed = std::mem::take(&mut self.listed);
        let missed = self
            .by_session
            .values_mut()
            .filter(|facts| facts.presence == Presence::Exists && !listed.contains(&facts.session_uid));
        let mut gone = Vec::new();
        for facts in missed {
            facts.presence = Presence::Vanished;
            gone.push(&*facts);
        }
        gone
    }

    /// The session is no more.
    pub fn forget(&mut self, session_uid: &str) {
        if self.of(session_uid).is_some_and(|facts| facts.presence != Presence::Exists) {
            self.by_session.remove(session_uid);
        }
    }

    /// Drops what is known of pods that are gone, once their session has been missing twice in a
    /// row: a session may be seen later than its pod.
    pub fn prune(&mut self, is_there: impl Fn(&PodFacts) -> bool) {
        let before = std::mem::take(&mut self.orphans);
        self.by_session.retain(|uid, facts| {
            let orphan = facts.presence != Presence::Exists && !is_there(facts);
            if orphan && !before.contains(uid) {
                self.orphans.insert(uid.clone());
            }
            !orphan || !before.contains(uid)
        });
    }

    /// How many init containers are waiting or running.
    #[must_use]
    pub fn fetching(&self) -> usize {
        let fetches =
            |facts: &&PodFacts| facts.presence == Presence::Exists && facts.outcome == Outcome::Fetching;
        self.by_session.values().filter(fetches).count()
    }
}

fn is_same_end(known: &PodFacts, facts: &PodFacts) -> bool {
    known.uid == facts.uid && known.ended.is_some() && known.ended == facts.ended
}

#[cfg(test)]
mod tests {
    use super::*;

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
            presence: Presence::Exists,
        }
    }

    #[test]
    fn only_what_differs_is_news() {
        let mut pods = Pods::default();
        assert!(pods.apply(facts("a", "1", Outcome::Fetching)));
        assert!(!pods.apply(facts("a", "1", Outcome::Fetching)));
        assert!(pods.apply(facts("a", "1", Outcome::NotInjected)));
        assert!(pods.apply(facts("b", "1", Outcome::Fetching)));
        assert_eq!(pods.fetching(), 1);
    }

    #[test]
    fn keeps_a_deleted_pod_until_the_session_or_a_new_pod_takes_its_place() {
        let mut pods = Pods::default();
        assert!(pods.delete(facts("a", "1", Outcome::NotInjected)), "never seen before");
        assert_eq!(pods.of("a").unwrap().presence, Presence::Deleted);
        pods.apply(facts("a", "2", Outcome::Fetching));
        assert!(!pods.delete(facts("a", "1", Outcome::NotInjected)), "the old one says nothing any more");
        assert_eq!(pods.of("a").unwrap().uid, "2");
        pods.forget("a");
        assert!(pods.of("a").is_some(), "the pod is still there");
        pods.delete(facts("a", "2", Outcome::Fetching));
        pods.forget("a");
        assert!(pods.of("a").is_none());
    }

    #[test]
    fn an_end_stays_what_it_was_and_a_second_run_is_followed() {
        let at = |seconds| jiff::Timestamp::from_second(seconds).ok();
        let ended = |outcome, ended| PodFacts { ended, ..facts("a", "1", outcome) };
        let delivered = || Outcome::Delivered { commit: "c".into() };
        let mut pods = Pods::default();
        pods.apply(ended(delivered(), at(1)));
        assert!(!pods.apply(ended(Outcome::NotInjected, at(1))), "the same end, told in another way");
        assert!(pods.delete(ended(Outcome::NotInjected, at(1))));
        assert_eq!(pods.of("a").unwrap().outcome, delivered());
        assert!(pods.apply(ended(Outcome::Fetching, None)));
        assert!(pods.apply(ended(Outcome::NotInjected, at(2))));
        assert_eq!(pods.of("a").unwrap().outcome, Outcome::NotInjected);
    }

    #[test]
    fn a_pod_that_a_new_list_does_not_show_has_vanished() {
        let mut pods = Pods::default();
        for session in ["a", "b", "c"] {
            pods.apply(facts(session, "1", Outcome::Fetching));
        }
        pods.delete(facts("c", "1", Outcome::Fetching));
        pods.begin_list();
        pods.apply(facts("a", "1", Outcome::Fetching));
        let gone: Vec<_> = pods.end_list().into_iter().map(|facts| facts.session_uid.clone()).collect();
        assert_eq!(gone, ["b"]);
        assert_eq!(pods.of("b").unwrap().presence, Presence::Vanished);
        assert_eq!(pods.of("c").unwrap().presence, Presence::Deleted, "its end was seen");
    }

    #[test]
    fn what_belongs_to_no_session_is_dropped_at_the_second_look() {
        let mut pods = Pods::default();
        pods.delete(facts("gone", "1", Outcome::Fetching));
        pods.delete(facts("late", "1", Outcome::Fetching));
        pods.apply(facts("running", "1", Outcome::Fetching));
        pods.prune(|_| false);
        assert!(pods.of("gone").is_some() && pods.of("late").is_some());
        pods.prune(|facts| facts.session_uid == "late");
        assert!(pods.of("gone").is_none());
        assert!(pods.of("late").is_some() && pods.of("running").is_some());
    }
}
