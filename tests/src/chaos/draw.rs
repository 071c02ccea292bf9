//! What is done when: pure, from a seed, so that a run can be told to happen again.
//!
//! Upheavals come from a shuffled deck that is shuffled anew when it is empty: each comes before any comes again.

use std::time::Duration;

use crate::upheaval::Upheaval;

/// The shortest pause after an upheaval, once the injector is whole again.
const SHORTEST: Duration = Duration::from_millis(500);
/// How much longer it may be.
const SPREAD: Duration = Duration::from_millis(2500);

/// Upheavals without end, each with the pause that goes before it.
pub(super) struct Draws {
    chance: Chance,
    all: Vec<Upheaval>,
    deck: Vec<Upheaval>,
}

impl Draws {
    /// Those of this seed; there has to be one upheaval at least.
    pub(super) fn new(seed: u64, all: Vec<Upheaval>) -> Self {
        Self { chance: Chance(seed), all, deck: Vec::new() }
    }
}

impl Iterator for Draws {
    type Item = (Duration, Upheaval);

    fn next(&mut self) -> Option<Self::Item> {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.all);
            for at in (1..self.deck.len()).rev() {
                let other = self.chance.below(at + 1);
                self.deck.swap(at, other);
            }
        }
        let spread = usize::try_from(SPREAD.as_millis()).unwrap_or(usize::MAX);
        let more = self.chance.below(spread + 1);
        let pause = SHORTEST + Duration::from_millis(u64::try_from(more).unwrap_or_default());
        Some((pause, self.deck.pop()?))
    }
}

/// Which upheavals a run of this length has room for, where processes can be killed or not.
pub(super) fn fitting(length: Duration, local: bool) -> Vec<Upheaval> {
    // An authority is settled for a minute before it takes over.
    let has_time = |upheaval| upheaval != Upheaval::NewAuthority || length >= Duration::from_mins(3);
    let all = Upheaval::ALL.into_iter();
    all.filter(|upheaval| has_time(*upheaval) && (local || upheaval.is_remote())).collect()
}

/// SplitMix64: all that is needed is that numbers look unlike each other and come again.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, count: usize) -> Vec<(Duration, Upheaval)> {
        Draws::new(seed, Upheaval::ALL.to_vec()).take(count).collect()
    }

    #[test]
    fn a_seed_tells_what_happens_and_another_tells_something_else() {
        assert_eq!(drawn(7, 30), drawn(7, 30));
        assert_ne!(drawn(7, 30), drawn(8, 30));
    }

    #[test]
    fn each_upheaval_comes_before_any_comes_again() {
        let all = Upheaval::ALL.len();
        for seed in 0..20 {
            for round in drawn(seed, 3 * all).chunks(all) {
                for upheaval in Upheaval::ALL {
                    let times = round.iter().filter(|(_, drawn)| *drawn == upheaval).count();
                    assert_eq!(times, 1, "{upheaval}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn pauses_stay_within_their_limits_and_differ() {
        let pauses: Vec<_> = drawn(1, 100).into_iter().map(|(pause, _)| pause).collect();
        assert!(pauses.iter().all(|pause| (SHORTEST..=SHORTEST + SPREAD).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause < SHORTEST + SPREAD / 4));
        assert!(pauses.iter().any(|pause| *pause > SHORTEST + SPREAD * 3 / 4));
    }

    #[test]
    fn a_short_run_has_no_time_for_an_authority_and_a_remote_cluster_no_process_to_kill() {
        let (minute, ten) = (Duration::from_mins(1), Duration::from_mins(10));
        assert_eq!(fitting(ten, true), Upheaval::ALL);
        assert!(!fitting(minute, true).contains(&Upheaval::NewAuthority));
        assert!(fitting(minute, false).iter().all(|upheaval| upheaval.is_remote()));
        assert!(!fitting(minute, false).is_empty());
    }
}
