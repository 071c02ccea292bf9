//! Random trees (names, kinds, contents, directories) are published unchanged.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::collections::BTreeMap;

use common::{Fetch, of_disk, of_git, server};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use workflow_contract::Exit;
use workflow_git_server::Profile;

/// Entry at a path.
#[derive(Debug, Clone)]
enum Thing {
    File(Vec<u8>),
    Executable(Vec<u8>),
    /// To a sibling, which may not exist.
    Link(String),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-d]{1,2}",
        1 => "[A-Za-z0-9 _.+=@%é\"'$()\u{7f}-]{1,12}".prop_filter("names that are rejected", |name| {
            // Rejected trees have tests of their own.
            !name.starts_with('.') && !name.ends_with(['.', ' ']) && !name.to_lowercase().starts_with("git")
        }),
    ]
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        // Large ones that resemble each other: the server sends them as deltas.
        (any::<u8>(), 1_usize..60).prop_map(|(byte, lines)| {
            let line = |n: usize| format!("line {n} of a text that others share\n");
            let mut text: String = (0..lines * 40).map(line).collect();
            text.push(char::from(byte % 26 + b'a'));
            text.into_bytes()
        }),
    ]
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        6 => content().prop_map(Thing::File),
        1 => content().prop_map(Thing::Executable),
        1 => "[a-d]{1,2}".prop_map(Thing::Link),
    ]
}

/// Paths below `top`, each in directories that are nothing else.
fn tree() -> impl Strategy<Value = BTreeMap<String, Thing>> {
    btree_map((vec("[x-z]", 0..4), name()), thing(), 1..30).prop_map(|things| {
        things
            .into_iter()
            .map(|((directories, name), thing)| {
                let directories: String =
                    directories.iter().flat_map(|directory| [directory.as_str(), ".d/"]).collect();
                (format!("top/{directories}{name}"), thing)
            })
            .collect()
    })
}

#[test]
fn publishes_random_trees_unchanged() {
    let server = server();
    let made = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 24, max_shrink_iters: 50, ..Config::default() });
    runner
        .run(&tree(), |tree| {
            made.set(made.get() + 1);
            let number = made.get();
            let mut builder = server.repository(&format!("r{number}"));
            for (path, thing) in &tree {
                builder = match thing {
                    Thing::File(content) => builder.file(path, content.clone()),
                    Thing::Executable(content) => builder.executable(path, content.clone()),
                    Thing::Link(target) => builder.symlink(path, target),
                };
            }
            let profile = if number % 3 == 0 { Profile::NoFilters } else { Profile::Filters };
            let repository = builder.profile(profile).create().unwrap();
            repository.git(&["repack", "-a", "-d", "-q", "--depth=50", "--window=50"]).unwrap();
            for path in ["", "top"] {
                let fetch = Fetch::new(&server, repository.url()).path(path);
                fetch.run().expect(Exit::Reconciled);
                let place = fetch.root().join(format!("r{number}"));
                prop_assert_eq!(of_disk(&place), of_git(&repository, "main", path));
            }
            Ok(())
        })
        .unwrap();
}
