//! Runs through fault proxies, many at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use workflow_git_server::{FaultProxy, GitServer, Repository, Settings};

use super::Fetch;

impl Fetch {
    /// A run through this proxy, with or without TLS.
    pub fn through(proxy: &FaultProxy, repository: &Repository) -> Self {
        Self::trusting(proxy.ca_file(), &proxy.url(repository.url()))
            .var("WORKFLOW_ALLOWED_SCHEMES", "https,http")
    }
}

/// A server to put a proxy before, and a repository with a file that takes many packets and does not compress.
pub fn plain_http_server() -> (GitServer, Repository) {
    let server = GitServer::start(&Settings::default().plain_http()).unwrap();
    let mut state = 1_u64;
    let noise = || {
        // xorshift: any bytes will do, as long as they are the same each time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let noise: Vec<u8> = std::iter::repeat_with(noise).take(70_000).collect();
    let repository = server
        .repository("acme/flow")
        .file("README.md", "# Flow\n")
        .file("flows/review/prompt.md", "x\n")
        .file("flows/noise", noise)
        .executable("flows/run", "#!/bin/sh\n")
        .symlink("link", "flows")
        .create()
        .unwrap();
    (server, repository)
}

/// Does the same for all items, several at a time: most of the time is spent waiting.
pub fn for_all<T: Sync>(items: &[T], at_a_time: usize, each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..at_a_time.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}
