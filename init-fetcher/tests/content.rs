//! Content beyond the limits. Unsafe content: `hostile_trees.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use common::{Fetch, server};
use workflow_contract::Exit;

#[test]
fn rejects_content_beyond_the_limits() {
    let server = server();
    let repository =
        server.repository("flow").file("a/1", vec![b'x'; 5000]).file("a/2", "2").create().unwrap();
    for (name, value) in
        [("WORKFLOW_MAX_BYTES", "4Ki"), ("WORKFLOW_MAX_FILES", "1"), ("WORKFLOW_MAX_BYTES", "10")]
    {
        for path in ["", "a"] {
            let fetch = Fetch::new(&server, repository.url()).path(path).var(name, value);
            let ended = fetch.run();
            assert!(ended.expect(Exit::TooLarge).contains(&format!("raise {name}")), "{}", ended.message);
            assert_eq!(fetch.residue(&[]), Vec::<String>::new());
        }
    }
}
