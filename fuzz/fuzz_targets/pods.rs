//! Random session pods and sessions through `plan` and `patch`: bytes are the seed of what the strategies of the tests make, and
//! the claims are those of the tests.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[path = "../../webhook/tests/admission/any.rs"]
mod any;
#[path = "../../webhook/tests/admission/claims.rs"]
mod claims;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../webhook/tests/admission/fixtures.rs"]
mod fixtures;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    // Bytes passed through as they are could keep a strategy drawing for ever.
    let mut seed = [0; 32];
    for (at, byte) in bytes.iter().enumerate() {
        seed[at % 32] ^= byte.rotate_left((at / 32) as u32 % 8);
    }
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, random);
    // Bytes that make nothing are of no use.
    let Ok(made) = (any::any_pod(), any::any_session()).new_tree(&mut runner) else { return Corpus::Reject };
    let (pod, session) = made.current();
    claims::applies_once_and_leaves_the_rest_unchanged(&pod, &session);
    claims::no_value_of_ours_is_expanded_by_the_kubelet(&pod, &session);
    claims::every_operation_is_below_a_path_of_the_contract(&pod, &session);
    Corpus::Keep
});
