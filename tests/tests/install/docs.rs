//! The files that CONTRIBUTING.md names exist.

use std::path::Path;

const GUIDE: &str = include_str!("../../../CONTRIBUTING.md");

#[test]
fn contributing_names_existing_files() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // Whole paths only: some files are named relative to the one before.
    let paths = GUIDE.split('`').skip(1).step_by(2).filter(|code| {
        ["contract/", "certs/", "init-fetcher/", "signatures/", "webhook/", "tests/", "manifests/", "docs/"]
            .iter()
            .any(|directory| code.starts_with(directory))
    });
    let missing: Vec<_> = paths.filter(|path| !checkout.join(path).exists()).collect();
    assert_eq!(missing, Vec::<&str>::new());
}
