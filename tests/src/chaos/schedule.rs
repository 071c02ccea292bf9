//! The order and the times of disruptions. Pure: determined by a seed, so that a run can be repeated.
//!
//! Disruptions are drawn from a shuffled deck, which is shuffled again when it is empty: each is drawn once before any is
//! drawn again.

use std::time::Duration;

use crate::disruption::Disruption;

/// Minimum time between the end of a disruption and the next one.
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// Maximum random addition to it.
const MAX_JITTER: Duration = Duration::from_millis(2500);

/// Disruptions without end, each with the pause that goes before it.
pub(super) struct DisruptionSchedule {
    random: SplitMix64,
    all: Vec<Disruption>,
    deck: Vec<Disruption>,
}

impl DisruptionSchedule {
    /// `all` must not be empty.
    pub(super) fn new(seed: u64, all: Vec<Disruption>) -> Self {
        Self { random: SplitMix64(seed), all, deck: Vec::new() }
    }
}

impl Iterator for DisruptionSchedule {
    type Item = (Duration, Disruption);

    fn next(&mut self) -> Option<Self::Item> {
        if self.deck.is_empty() {
            self.deck.clone_from(&self.all);
            for at in (1..self.deck.len()).rev() {
                let other = self.random.below(at + 1);
                self.deck.swap(at, other);
            }
        }
        let jitter = usize::try_from(MAX_JITTER.as_millis()).unwrap_or(usize::MAX);
        let more = self.random.below(jitter + 1);
        let pause = MIN_PAUSE + Duration::from_millis(u64::try_from(more).unwrap_or_default());
        Some((pause, self.deck.pop()?))
    }
}

/// Disruptions that are possible in a run of this length, with or without access to the node's processes.
pub(super) fn possible(length: Duration, local: bool) -> Vec<Disruption> {
    // A new CA takes over after a settle time of a minute.
    let has_time = |disruption| disruption != Disruption::CaRotation || length >= Duration::from_mins(3);
    let all = Disruption::ALL.into_iter();
    all.filter(|disruption| has_time(*disruption) && (local || disruption.is_remote())).collect()
}

/// Pseudo-random numbers that a seed reproduces.
struct SplitMix64(u64);

impl SplitMix64 {
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

    fn drawn(seed: u64, count: usize) -> Vec<(Duration, Disruption)> {
        DisruptionSchedule::new(seed, Disruption::ALL.to_vec()).take(count).collect()
    }

    #[test]
    fn same_seed_gives_same_schedule() {
        assert_eq!(drawn(7, 30), drawn(7, 30));
        assert_ne!(drawn(7, 30), drawn(8, 30));
    }

    #[test]
    fn draws_each_disruption_once_before_any_again() {
        let all = Disruption::ALL.len();
        for seed in 0..20 {
            for round in drawn(seed, 3 * all).chunks(all) {
                for disruption in Disruption::ALL {
                    let times = round.iter().filter(|(_, drawn)| *drawn == disruption).count();
                    assert_eq!(times, 1, "{disruption}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn pauses_are_random_within_their_limits() {
        let pauses: Vec<_> = drawn(1, 100).into_iter().map(|(pause, _)| pause).collect();
        assert!(pauses.iter().all(|pause| (MIN_PAUSE..=MIN_PAUSE + MAX_JITTER).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause < MIN_PAUSE + MAX_JITTER / 4));
        assert!(pauses.iter().any(|pause| *pause > MIN_PAUSE + MAX_JITTER * 3 / 4));
    }

    #[test]
    fn omits_ca_rotation_in_short_runs_and_kills_on_remote_clusters() {
        let (minute, ten) = (Duration::from_mins(1), Duration::from_mins(10));
        assert_eq!(possible(ten, true), Disruption::ALL);
        assert!(!possible(minute, true).contains(&Disruption::CaRotation));
        assert!(possible(minute, false).iter().all(|disruption| disruption.is_remote()));
        assert!(!possible(minute, false).is_empty());
    }
}
