//! The command on the server, and what its end means.

use std::io::Read as _;

use ssh2::ErrorCode;
use workflow_contract::RepoUrl;

use super::error::{failed, host_of};
use crate::protocol::ProtocolError;
use crate::protocol::pktline::server_message;
use crate::transport::TransportError;
use crate::transport::listing::NO_SUCH;

/// Starts `git-upload-pack`.
///
/// # Errors
/// Any [`TransportError`].
pub fn upload_pack(session: &ssh2::Session, url: &RepoUrl) -> Result<ssh2::Channel, TransportError> {
    // libssh2's number for a request that the server denies.
    const DENIED: i32 = -22;
    let host = host_of(url);
    let mut channel = session.channel_session().map_err(|error| failed(&host, &error))?;
    // Most hosts take this variable and no other; one that does not speaks v0.
    let _ = channel.setenv("GIT_PROTOCOL", "version=2");
    match channel.exec(&line(url.remote_path())) {
        Ok(()) => Ok(channel),
        Err(error) if error.code() == ErrorCode::Session(DENIED) => {
            Err(TransportError::NotGit { host, why: "it refuses to run git-upload-pack".into() })
        }
        Err(error) => Err(failed(&host, &error)),
    }
}

/// The command line, quoted for the shell that servers hand it to. `!` is quoted too, for csh.
fn line(path: &str) -> String {
    format!("git-upload-pack '{}'", path.replace('\'', r"'\''").replace('!', r"'\!'"))
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
    const REFUSED: [&str; 11] = [
        "permission",
        "denied",
        "not allowed",
        "not permitted",
        "unauthorized",
        "not authorized",
        "sufficient authorization",
        "authentication failed",
        "forbidden",
        "suspended",
        "blocked",
    ];
    const NO_COMMAND: i32 = 127;
    let said = String::from_utf8_lossy(said);
    // Hosts frame what they say to people in lines of their own; the last one is the message, as a rule.
    let with = |parts: &[&str]| {
        let has = |line: &&str| parts.iter().any(|part| line.to_lowercase().contains(part));
        said.lines().find(has).map(|line| server_message(line.as_bytes()))
    };
    let last = said.lines().rfind(|line| line.contains(char::is_alphanumeric));
    if status == Some(NO_COMMAND) {
        TransportError::NotGit { host, why: "it has no git-upload-pack".into() }
    } else if let Some(words) = with(&NO_SUCH) {
        TransportError::NotFound { host, words: format!(": {}", words.trim_end_matches('.')) }
    } else if let Some(words) = with(&REFUSED) {
        TransportError::Unauthorized { host, tried: format!("it says: {words}") }
    } else if let Some(last) = last {
        let why = format!("its command ended and said {}", server_message(last.as_bytes()));
        TransportError::NotGit { host, why }
    } else if status.is_none() {
        ProtocolError::Truncated("before the list of refs").into()
    } else {
        let why =
            "its command ended without a message; check the access rights and that the repository exists";
        TransportError::NotGit { host, why: why.into() }
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
            ("~me/flow", "git-upload-pack '~me/flow'"),
            ("/a'; reboot;'", r"git-upload-pack '/a'\''; reboot;'\'''"),
            ("/a$(b)`c`\\\"d!", r#"git-upload-pack '/a$(b)`c`\"d'\!''"#),
        ] {
            assert_eq!(line(path), expected);
        }
    }

    #[test]
    fn a_shell_reads_back_the_path_that_was_quoted() {
        for path in ["/a'; touch x;'", "'", "''''", "\\'", "/a$(b)`c`\\\"d!", "-x", "a b\tc*?[]{}~#&|;<>"] {
            let script = line(path).replace("git-upload-pack", "printf %s");
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), path);
        }
    }

    /// Typical messages of forges on stderr. Those of Gitea (not found, unauthorized) and GitLab (download) were compared
    /// with public sources; the others are not verified.
    #[test]
    fn classifies_what_forges_print() {
        for (forge, said, missing) in [
            ("Gitea", "error:\nerror: Cannot find repository: alice/nothere\nerror:\n", true),
            ("Gitea", "Gitea: Unauthorized\n", false),
            ("Gitea", "User: 3:bob with Key: 7:laptop is not authorized to read alice/flow.\n", false),
            ("Gitea", "Gitea: User permission denied for writing.\n", false),
            ("GitHub", "ERROR: Repository not found.\nfatal: Could not read from remote repository.\n", true),
            ("GitHub", "ERROR: Permission to acme/flow.git denied to deploy key\n", false),
            ("GitHub", "ERROR: Your account is suspended. Please check your email.\n", false),
            (
                "GitLab",
                "remote: ERROR: The project you were looking for could not be found or you don't have permission \
                 to view it.\n",
                true,
            ),
            ("GitLab", "GitLab: You are not allowed to download code from this project.\n", false),
            ("GitLab", "remote: ERROR: Your account has been blocked.\n", false),
            ("Bitbucket", "conq: repository does not exist.\n", true),
            ("Bitbucket", "repository access denied. access via a deployment key is read-only.\n", false),
            ("Bitbucket", "Unauthorized\nYou do not have permission to access it.\n", false),
            ("Gerrit", "fatal: project acme/flow not found\n", true),
            ("Gerrit", "fatal: upload-pack not permitted on this server\n", false),
            (
                "Azure",
                "remote: TF401019: The Git repository with name or identifier flow does not exist or you do not \
                 have permissions for the operation you are attempting.\n",
                true,
            ),
            ("Azure", "remote: Public key authentication failed.\n", false),
        ] {
            let error = of_words(said.as_bytes(), Some(1), "h".into());
            let found = match error {
                TransportError::NotFound { .. } => Some(true),
                TransportError::Unauthorized { .. } => Some(false),
                _ => None,
            };
            assert_eq!(found, Some(missing), "{forge}: {said}");
        }
    }

    #[test]
    fn quotes_the_line_between_the_frames() {
        let said = b"error:\nerror: Cannot find repository: alice/nothere\nerror:\n";
        let error = of_words(said, Some(1), "h".into()).to_string();
        assert!(error.contains("Cannot find repository: alice/nothere"), "{error}");
    }

    #[test]
    fn tells_the_ways_to_end_apart() {
        let of = |said: &str, status| of_words(said.as_bytes(), status, "h".into());
        for missing in [
            "fatal: '/x' does not appear to be a git repository",
            "ERROR: Repository not found.\n",
            "remote: \nremote: ====\nremote: \nremote: ERROR: The project you were looking for could not be \
             found or you don't have permission to view it.\nremote: \n",
        ] {
            let error = of(missing, Some(1));
            assert!(matches!(error, TransportError::NotFound { .. }), "{error}");
            assert!(!error.to_string().contains("===="));
        }
        assert!(matches!(
            of("bash: git-upload-pack: command not found", Some(127)),
            TransportError::NotGit { .. }
        ));
        assert!(matches!(of("ERROR: Permission denied", Some(1)), TransportError::Unauthorized { .. }));
        assert!(matches!(of("", None), TransportError::Protocol(ProtocolError::Truncated(_))));
        assert!(matches!(of("\n", Some(0)), TransportError::NotGit { .. }));
        let other = of("Hello!\nThis account is for nothing.\n---\n", Some(1)).to_string();
        assert!(other.contains("said This account"), "{other}");
    }
}
