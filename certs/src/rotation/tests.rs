//! Single decisions, clocks that differ, and a rotation simulated second by second.

use proptest::prelude::*;

use super::*;
use crate::verify::verify;

const LIFETIMES: Lifetimes = Lifetimes {
    ca: SignedDuration::from_secs(900),
    serving: SignedDuration::from_secs(90),
    settle: SignedDuration::from_secs(60),
};
const MINUTE: i64 = 60;
const YEAR: i64 = 365 * 24 * 60 * MINUTE;

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

fn advanced(state: Option<State>, bundle: Option<&str>, seconds: i64) -> (State, Vec<Action>) {
    advance(state, bundle, &names(), after(seconds), &LIFETIMES).unwrap()
}

/// Started at 0, with a next CA of second 600 that was published at `published`.
fn with_next(published: Option<i64>) -> State {
    let mut state = step(Action::AddNext, Some(&step(Action::Start, None, 0)), 600);
    state = step(Action::RenewServing, Some(&state), 600);
    if let Some(seconds) = published {
        state = step(Action::MarkPublished, Some(&state), seconds);
    }
    state
}

#[test]
fn renews_certificates_at_two_thirds_of_their_life() {
    let fresh = step(Action::Start, None, 0);
    for (seconds, expected) in
        [(0, Action::Keep), (59, Action::Keep), (60, Action::RenewServing), (600, Action::RenewServing)]
    {
        assert_eq!(action(Some(&fresh), None, seconds), expected, "{seconds}");
    }
    let renewed = step(Action::RenewServing, Some(&fresh), 590);
    assert_eq!(action(Some(&renewed), None, 599), Action::Keep);
    assert_eq!(action(Some(&renewed), None, 600), Action::AddNext);
}

#[test]
fn promotes_a_new_ca_after_the_settle_time_in_every_ca_bundle() {
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
        // Recorded by a leader whose clock was ahead.
        (Some(700), Some(true), 650, Action::MarkPublished),
    ];
    for (published, in_place, seconds, expected) in table {
        let state = with_next(published);
        assert_eq!(action(Some(&state), in_place, seconds), expected, "{published:?} {in_place:?} {seconds}");
    }
}

#[test]
fn drops_an_old_ca_when_its_last_serving_certificate_expired() {
    let promoted = step(Action::Promote, Some(&with_next(Some(600))), 660);
    assert_eq!(promoted.retired.len(), 1);
    assert_eq!(promoted.retired[0].until, after(690), "the serving certificate of second 600");
    assert_eq!(action(Some(&promoted), None, 689), Action::Keep);
    assert_eq!(action(Some(&promoted), None, 690), Action::DropRetired);
    assert!(step(Action::DropRetired, Some(&promoted), 690).retired.is_empty());
}

#[test]
fn replaces_invalid_certificates_at_once() {
    let fresh = step(Action::Start, None, 0);
    assert_eq!(action(None, None, 0), Action::Start);
    assert_eq!(action(Some(&fresh), None, 900), Action::Start, "expired");
    assert_eq!(action(Some(&fresh), None, -YEAR), Action::Start, "from the future");
    assert_eq!(action(Some(&with_next(None)), Some(false), 900), Action::Promote);
    assert_eq!(action(Some(&with_next(None)), Some(false), 2 * YEAR), Action::Start, "both expired");
    let next_from_the_future = step(Action::AddNext, Some(&fresh), YEAR);
    assert_eq!(action(Some(&next_from_the_future), Some(true), 10), Action::AddNext);
}

#[test]
fn renews_a_serving_certificate_with_other_names_another_issuer_or_a_later_start() {
    let fresh = step(Action::Start, None, 0);
    assert_eq!(due(Some(&fresh), None, &[], after(0), &LIFETIMES), Action::RenewServing);
    let other = State { serving: step(Action::Start, None, 0).serving, ..fresh.clone() };
    assert_eq!(action(Some(&other), None, 0), Action::RenewServing);
    let not_before = after(10);
    let validity = Validity { not_before, not_after: after(90) };
    let later = issue::serving(&fresh.ca.pair, &names(), validity).unwrap();
    let later = State { serving: Issued::new(later).unwrap(), ..fresh };
    assert_eq!(action(Some(&later), None, 9), Action::RenewServing);
    assert_eq!(action(Some(&later), None, 10), Action::Keep);
}

#[test]
fn serving_certificate_ends_with_its_ca_and_is_not_renewed_in_vain() {
    let mut state = with_next(None);
    state = step(Action::RenewServing, Some(&state), 880);
    assert_eq!(state.serving.info.not_after, state.ca.info.not_after);
    assert_eq!(action(Some(&state), Some(false), 890), Action::Keep);
}

#[test]
fn next_due_is_never_in_the_past() {
    let fresh = step(Action::Start, None, 0);
    let next = |state: &State, seconds| next_due(state, after(seconds), &LIFETIMES);
    assert_eq!(next(&fresh, 0), Some(after(60)));
    assert_eq!(next(&with_next(Some(580)), 600), Some(after(640)));
    let promoted = step(Action::Promote, Some(&with_next(Some(600))), 660);
    assert_eq!(next(&promoted, 660), Some(after(690)));
    // Nothing can be improved until the CA bundles are in place or the CA ends.
    let waiting = step(Action::RenewServing, Some(&with_next(None)), 880);
    assert_eq!(next(&waiting, 890), Some(after(900)));
    assert_eq!(next(&waiting, 900), None);
}

#[test]
fn advance_takes_every_action_that_is_due() {
    let (first, actions) = advanced(None, None, 0);
    assert_eq!(actions, [Action::Start]);
    let (second, actions) = advanced(Some(first.clone()), Some(&first.bundle()), 600);
    assert_eq!(actions, [Action::RenewServing, Action::AddNext], "the bundle lacks the new CA");
    let (third, actions) = advanced(Some(second.clone()), Some(&second.bundle()), 601);
    assert_eq!(actions, [Action::MarkPublished]);
    let (_, actions) = advanced(Some(third.clone()), Some(&third.bundle()), 661);
    assert_eq!(actions, [Action::Promote]);
    assert_eq!(advanced(Some(third), None, 650).1, [], "an unknown bundle moves nothing");
}

#[test]
fn advance_ends_with_an_error_where_a_renewal_changes_nothing() {
    // Reads back in another spelling from the certificate.
    let names = ["FD00::1".to_owned()];
    let error = advance(None, None, &names, start(), &LIFETIMES).unwrap_err();
    assert!(matches!(error, RotationError::NoProgress(Action::RenewServing)), "{error}");
}

#[test]
fn rejects_actions_that_do_not_apply() {
    let fresh = step(Action::Start, None, 0);
    for action in [Action::Promote, Action::MarkPublished, Action::MarkUnpublished] {
        assert!(apply(action, Some(&fresh), &names(), start(), &LIFETIMES).is_err(), "{action:?}");
    }
    assert!(apply(Action::RenewServing, None, &names(), start(), &LIFETIMES).is_err());
}

/// Clock errors from minutes to years, both ways.
fn skew() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), -10 * MINUTE..10 * MINUTE, -2 * 86_400..2 * 86_400_i64, -20 * YEAR..20 * YEAR]
}

/// The conditions of a leader: its clock error, the time since the last leader acted, and the state of the caBundle.
fn turn() -> impl Strategy<Value = (i64, i64, Option<bool>)> {
    let elapsed = prop_oneof![0..120_i64, 0..40 * 86_400_i64, 0..2 * YEAR];
    (skew(), elapsed, any::<Option<bool>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Leaders with any clocks take turns at any point of a CA's lifetime.
    #[test]
    fn advance_ends_in_few_steps_under_any_clock(turns in prop::collection::vec(turn(), 1..8)) {
        let (lifetimes, mut seconds, mut state) = (Lifetimes::default(), 30 * YEAR, None::<State>);
        for (skew, elapsed, in_place) in turns {
            seconds += elapsed;
            let now = Timestamp::from_second(seconds + skew).unwrap();
            let bundle = state.as_ref().map(State::bundle);
            let bundle = in_place.map(|holds| if holds { bundle.unwrap_or_default() } else { String::new() });
            let (done, actions) = advance(state, bundle.as_deref(), &names(), now, &lifetimes).unwrap();
            prop_assert!(actions.len() <= 4, "{actions:?}");
            let again = advance(Some(done.clone()), bundle.as_deref(), &names(), now, &lifetimes).unwrap().1;
            prop_assert_eq!(again, []);
            prop_assert_eq!(verify(&done.bundle(), &done.serving.pair.certificate, "localhost", now), Ok(()));
            state = Some(done);
        }
    }

    /// Two leaders take turns; their clocks differ by less than a third of a serving certificate's lifetime.
    #[test]
    fn two_leaders_with_different_clocks_do_not_undo_each_other(skew in -9 * 86_400..9 * 86_400_i64, age in 0..10 * 86_400_i64) {
        let lifetimes = Lifetimes::default();
        let at = |seconds| Timestamp::from_second(30 * YEAR + seconds).unwrap();
        let mut state = apply(Action::Start, None, &names(), at(skew), &lifetimes).unwrap();
        for clock in [age, age + skew] {
            state = advance(Some(state), None, &names(), at(clock), &lifetimes).unwrap().0;
        }
        for clock in [age, age + skew, age, age + skew] {
            let (next, actions) = advance(Some(state), None, &names(), at(clock), &lifetimes).unwrap();
            prop_assert_eq!(actions, []);
            state = next;
        }
    }
}

/// Ten minutes of second-long lives: at every second, the certificate served (even by a replica two seconds behind)
/// is trusted by the bundle of an API server (even one behind by the settle time).
#[test]
fn slow_clients_trust_every_certificate_of_many_rotations() {
    let lifetimes = Lifetimes {
        ca: SignedDuration::from_secs(20),
        serving: SignedDuration::from_secs(4),
        settle: SignedDuration::from_secs(3),
    };
    let (mut state, mut history, mut cas) = (None::<State>, Vec::<State>::new(), 0);
    for second in 0..600 {
        let now = after(second);
        let bundle = history.last().map(State::bundle).unwrap_or_default();
        let (next, actions) = advance(state, Some(&bundle), &names(), now, &lifetimes).unwrap();
        cas += actions.iter().filter(|action| **action == Action::AddNext).count();
        history.push(next.clone());
        state = Some(next);
        for (served, known) in [(0, 0), (0, 2), (1, 0), (0, 1)] {
            let (Some(served), Some(known)) =
                (history.iter().rev().nth(served), history.iter().rev().nth(known))
            else {
                continue;
            };
            let chain = &served.serving.pair.certificate;
            assert_eq!(verify(&known.bundle(), chain, "localhost", now), Ok(()), "second {second}");
        }
    }
    assert!(cas >= 30, "{cas} rotations");
    assert!(history.iter().all(|state| state.retired.len() <= 1), "no CA piles up");
}
