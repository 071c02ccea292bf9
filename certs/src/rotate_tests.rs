//! A rotation by the table, and one lived through second by second.

use super::*;
use crate::trust::trusts;

const LIFETIMES: Lifetimes = Lifetimes {
    authority: SignedDuration::from_secs(900),
    leaf: SignedDuration::from_secs(90),
    settle: SignedDuration::from_secs(60),
};

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn names() -> Vec<String> {
    vec!["localhost".to_owned()]
}

fn step(action: Action, state: Option<&State>, seconds: i64) -> State {
    apply(action, state, &names(), after(seconds), &LIFETIMES).unwrap()
}

fn action(state: Option<&State>, in_place: Option<bool>, seconds: i64) -> Action {
    due(state, in_place, &names(), after(seconds), &LIFETIMES)
}

/// Started at 0, a second authority at 600, published at `published`.
fn with_next(published: Option<i64>) -> State {
    let mut state = step(Action::AddNext, Some(&step(Action::Start, None, 0)), 600);
    state = step(Action::RenewLeaf, Some(&state), 600);
    if let Some(seconds) = published {
        state = step(Action::MarkPublished, Some(&state), seconds);
    }
    state
}

#[test]
fn certificates_are_renewed_at_two_thirds_of_their_life() {
    let fresh = step(Action::Start, None, 0);
    for (seconds, expected) in
        [(0, Action::Keep), (59, Action::Keep), (60, Action::RenewLeaf), (600, Action::RenewLeaf)]
    {
        assert_eq!(action(Some(&fresh), None, seconds), expected, "{seconds}");
    }
    let renewed = step(Action::RenewLeaf, Some(&fresh), 590);
    assert_eq!(action(Some(&renewed), None, 599), Action::Keep);
    assert_eq!(action(Some(&renewed), None, 600), Action::AddNext);
}

#[test]
fn a_new_authority_signs_only_after_it_settled_in_every_cabundle() {
    let table = [
        // published, in place, seconds, expected
        (None, None, 601, Action::Keep),
        (None, Some(false), 601, Action::Keep),
        (None, Some(true), 601, Action::MarkPublished),
        (Some(610), Some(true), 611, Action::Keep),
        (Some(610), Some(false), 611, Action::MarkUnpublished),
        (Some(650), Some(true), 659, Action::Keep),
        (Some(599), Some(true), 658, Action::Keep),
        (Some(599), Some(true), 659, Action::Promote),
        (Some(599), None, 659, Action::Keep),
        (Some(599), Some(false), 659, Action::MarkUnpublished),
    ];
    for (published, in_place, seconds, expected) in table {
        let state = with_next(published);
        assert_eq!(action(Some(&state), in_place, seconds), expected, "{published:?} {in_place:?} {seconds}");
    }
}

#[test]
fn an_old_authority_is_dropped_when_its_last_leaf_is_over() {
    let promoted = step(Action::Promote, Some(&with_next(Some(600))), 660);
    assert_eq!(promoted.retired.len(), 1);
    assert_eq!(promoted.retired[0].until, after(690), "the leaf of second 600");
    assert_eq!(action(Some(&promoted), None, 689), Action::Keep);
    assert_eq!(action(Some(&promoted), None, 690), Action::DropRetired);
    assert!(step(Action::DropRetired, Some(&promoted), 690).retired.is_empty());
}

#[test]
fn what_is_over_is_replaced_at_once() {
    let fresh = step(Action::Start, None, 0);
    assert_eq!(action(None, None, 0), Action::Start);
    assert_eq!(action(Some(&fresh), None, 900), Action::Start);
    assert_eq!(action(Some(&with_next(None)), Some(false), 900), Action::Promote);
}

#[test]
fn a_leaf_is_renewed_for_other_names_and_when_the_clock_was_ahead() {
    let fresh = step(Action::Start, None, 3600);
    assert_eq!(action(Some(&fresh), None, 3600), Action::Keep);
    assert_eq!(due(Some(&fresh), None, &[], after(3600), &LIFETIMES), Action::RenewLeaf);
    assert_eq!(action(Some(&fresh), None, 0), Action::RenewLeaf);
}

#[test]
fn a_leaf_never_outlasts_its_authority_and_is_not_renewed_for_nothing() {
    let mut state = with_next(None);
    state = step(Action::RenewLeaf, Some(&state), 880);
    assert_eq!(state.leaf.facts.not_after, state.current.facts.not_after);
    assert_eq!(action(Some(&state), Some(false), 890), Action::Keep);
}

#[test]
fn the_next_look_comes_before_the_next_thing_that_is_due() {
    let fresh = step(Action::Start, None, 0);
    assert_eq!(next_look(&fresh, &LIFETIMES), after(60));
    assert_eq!(next_look(&with_next(Some(580)), &LIFETIMES), after(640));
    let promoted = step(Action::Promote, Some(&with_next(Some(600))), 660);
    assert_eq!(next_look(&promoted, &LIFETIMES), after(690));
}

#[test]
fn actions_that_do_not_fit_are_errors() {
    let fresh = step(Action::Start, None, 0);
    for unfit in [Action::Promote, Action::MarkPublished, Action::MarkUnpublished] {
        assert!(apply(unfit, Some(&fresh), &names(), start(), &LIFETIMES).is_err(), "{unfit:?}");
    }
    assert!(apply(Action::RenewLeaf, None, &names(), start(), &LIFETIMES).is_err());
}

#[test]
fn rejects_lifetimes_under_which_no_rotation_can_finish() {
    let seconds = SignedDuration::from_secs;
    let lifetimes = |authority: i64, leaf: i64, settle: i64| {
        Lifetimes { authority: seconds(authority), leaf: seconds(leaf), settle: seconds(settle) }.checked()
    };
    assert!(Lifetimes::default().checked().is_ok());
    assert!(lifetimes(20, 4, 3).is_ok());
    assert_eq!(lifetimes(20, 4, 6), Err(LifetimesError::AuthorityTooShort));
    assert_eq!(lifetimes(20, 2, 1), Err(LifetimesError::NotPositive));
    assert_eq!(lifetimes(20, 4, -1), Err(LifetimesError::NotPositive));
}

/// Ten minutes of second-long lives: at every second, what is served (even by a replica that lags
/// by two seconds) is trusted by what clients know (even by one that lags by the settle time).
#[test]
fn no_second_of_many_rotations_serves_what_a_slow_client_does_not_trust() {
    let lifetimes = Lifetimes {
        authority: SignedDuration::from_secs(20),
        leaf: SignedDuration::from_secs(4),
        settle: SignedDuration::from_secs(3),
    };
    let (mut state, mut history, mut authorities) = (None::<State>, Vec::<State>::new(), 0);
    for second in 0..600 {
        let now = after(second);
        let bundled = history.last().map(State::bundle).unwrap_or_default();
        loop {
            let in_place = state.as_ref().and_then(|state| {
                state.next.as_ref().map(|next| bundled.contains(next.authority.pair.certificate.trim()))
            });
            let action = due(state.as_ref(), in_place, &names(), now, &lifetimes);
            if action == Action::Keep {
                break;
            }
            authorities += usize::from(action == Action::AddNext);
            state = Some(apply(action, state.as_ref(), &names(), now, &lifetimes).unwrap());
        }
        history.extend(state.clone());
        for (served, known) in [(0, 0), (0, 2), (1, 0), (0, 1)] {
            let (Some(served), Some(known)) =
                (history.iter().rev().nth(served), history.iter().rev().nth(known))
            else {
                continue;
            };
            let chain = &served.leaf.pair.certificate;
            assert_eq!(trusts(&known.bundle(), chain, "localhost", now), Ok(()), "second {second}");
        }
    }
    assert!(authorities >= 30, "{authorities} rotations");
    assert!(history.iter().all(|state| state.retired.len() <= 1), "no authority piles up");
}
