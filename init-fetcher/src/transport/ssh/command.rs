//! The command on the server, and what its end means.

use std::io::Read as _;

use workflow_contract::RepoUrl;

use super::connect::{failed, host_of};
use crate::transport::TransportError;
use crate::transport::pktline::words_of;

/// Starts `git-upload-pack`.
///
/// # Errors
/// Any [`TransportError`].
pub fn upload_pack(session: &ssh2::Session, url: &RepoUrl) -> Result<ssh2::Channel, TransportError> {
    let host = host_of(url);
    let mut channel = session.channel_session().map_err(|error| failed(&host, &error))?;
    // Most servers take this variable and no other; one that does not speaks v0.
    let _ = channel.setenv("GIT_PROTOCOL", "version=2");
    channel.exec(&line(url.path())).map_err(|error| failed(&host, &error))?;
    Ok(channel)
}

/// The command line, quoted for the shell that servers hand it to. `/~user/…` is a folder of that user,
/// as with git.
fn line(path: &str) -> String {
    let path = if path.starts_with("/~") { &path[1..] } else { path };
    format!("git-upload-pack '{}'", path.replace('\'', r"'\''"))
}

/// Why a command ended before it said what it can do.
pub fn ended(mut channel: ssh2::Channel, host: String) -> TransportError {
    let mut said = Vec::new();
    // What can't be read is not quoted.
    let _ = channel.stderr().take(4096).read_to_end(&mut said);
    let _ = channel.wait_close();
    of_words(&said, channel.exit_status().ok(), host)
}

fn of_words(said: &[u8], status: Option<i32>, host: String) -> TransportError {
    const NO_SUCH: [&str; 6] = [
        "not found",
        "does not exist",
        "not appear to be a git repository",
        "could not be found",
        "no such file",
        "not exported",
    ];
    const REFUSED: [&str; 3] = ["permission", "denied", "not allowed"];
    const NO_COMMAND: i32 = 127;
    let words = words_of(said);
    let lower = words.to_lowercase();
    let has = |all: &[&str]| all.iter().any(|part| lower.contains(part));
    if status == Some(NO_COMMAND) {
        TransportError::NotGit { host, why: "it has no git-upload-pack".into() }
    } else if has(&NO_SUCH) {
        TransportError::NotFound { host, words: format!(": {}", words.trim_end_matches('.')) }
    } else if has(&REFUSED) {
        TransportError::Unauthorized { host, tried: format!("it says: {words}") }
    } else if status.is_none() && words.is_empty() {
        TransportError::Truncated("before the list of refs")
    } else {
        let words = if words.is_empty() { "nothing".into() } else { words };
        TransportError::NotGit { host, why: format!("its command ended and said {words}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_can_not_leave_their_quotes() {
        for (path, expected) in [
            ("/srv/flow.git", "git-upload-pack '/srv/flow.git'"),
            ("owner/flow", "git-upload-pack 'owner/flow'"),
            ("/~me/flow", "git-upload-pack '~me/flow'"),
            ("/a'; reboot;'", r"git-upload-pack '/a'\''; reboot;'\'''"),
        ] {
            assert_eq!(line(path), expected);
        }
    }

    #[test]
    fn tells_the_ways_to_end_apart() {
        let of = |said: &str, status| of_words(said.as_bytes(), status, "h".into());
        let missing = of("fatal: '/x' does not appear to be a git repository", Some(128));
        assert!(matches!(missing, TransportError::NotFound { .. }));
        assert!(matches!(of("ERROR: Repository not found.", Some(1)), TransportError::NotFound { .. }));
        assert!(matches!(
            of("bash: git-upload-pack: command not found", Some(127)),
            TransportError::NotGit { .. }
        ));
        assert!(matches!(of("ERROR: Permission denied", Some(1)), TransportError::Unauthorized { .. }));
        assert!(matches!(of("", None), TransportError::Truncated(_)));
        assert!(matches!(of("This account is for nothing.", Some(1)), TransportError::NotGit { .. }));
    }
}
