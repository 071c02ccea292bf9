//! The files that CONTRIBUTING.md names exist, and no walk names a file twice.

use std::collections::BTreeSet;
use std::path::Path;

const GUIDE: &str = include_str!("../../../CONTRIBUTING.md");
const DIRECTORIES: [&str; 8] =
    ["contract/", "certs/", "init-fetcher/", "signatures/", "webhook/", "tests/", "manifests/", "docs/"];

/// Paths in code spans, from the root of the checkout.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter(|code| DIRECTORIES.iter().any(|directory| code.starts_with(directory)))
}

#[test]
fn contributing_names_existing_files() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let missing: Vec<_> = paths(GUIDE).filter(|path| !checkout.join(path).exists()).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn each_walk_names_a_file_once() {
    let (_, walks) = GUIDE.split_once("## Five walks").unwrap();
    let (walks, _) = walks.split_once("\n## ").unwrap();
    let walks: Vec<_> = walks.split("\n\n").filter(|walk| walk.starts_with("**")).collect();
    assert_eq!(walks.len(), 5);
    for walk in walks {
        let mut named = BTreeSet::new();
        let twice: Vec<_> = paths(walk).filter(|path| !named.insert(*path)).collect();
        assert_eq!(twice, Vec::<&str>::new());
        assert!(named.len() > 5, "{walk}");
    }
}

#[test]
fn each_claim_names_its_test() {
    let (_, claims) = GUIDE.split_once("| claim | test |").unwrap();
    for row in claims.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let test = row.rsplit('|').nth(1).unwrap_or_default();
        assert!(paths(test).next().is_some() || test.contains("`make "), "{row}");
    }
}
