//! The command on the server, and the reasons why it ends early.

use std::io::Read as _;

use ssh2::ErrorCode;
use workflow_contract::RepoUrl;

use super::error::{failed, host_of};
use crate::protocol::ProtocolError;
use crate::protocol::pktline::server_message;
use crate::transport::TransportError;
use crate::transport::words::{self, Meaning};

/// Starts `git-upload-pack`.
///
/// # Errors
/// Any [`TransportError`].
pub fn upload_pack(session: &ssh2::Session, url: &RepoUrl) -> Result<ssh2::Channel, TransportError> {
    // libssh2's number for a request that the server denies.
    const DENIED: i32 = -22;
    let host = host_of(url);
    let mut channel = session.channel_session().map_err(|error| failed(&host, &error))?;
    // Most hosts accept this variable and no other; one that does not uses v0.
    let _ = channel.setenv("GIT_PROTOCOL", "version=2");
    match channel.exec(&line(url.remote_path())) {
        Ok(()) => Ok(channel),
        Err(error) if error.code() == ErrorCode::Session(DENIED) => {
            Err(TransportError::NotGit { host, why: "it does not run git-upload-pack".into() })
        }
        Err(error) => Err(failed(&host, &error)),
    }
}

/// Builds the command line, quoted for the shell that runs it on servers. `!` is quoted too, for csh.
fn line(path: &str) -> String {
    format!("git-upload-pack '{}'", path.replace('\'', r"'\''").replace('!', r"'\!'"))
}

/// Explains a command that ended before it advertised anything.
pub fn ended(mut channel: ssh2::Channel, host: String) -> TransportError {
    let mut printed = Vec::new();
    // Bytes that cannot be read are not quoted.
    let _ = channel.stderr().take(4096).read_to_end(&mut printed);
    let _ = channel.wait_close();
    interpret(&printed, channel.exit_status().ok(), host)
}

/// Interprets what a command printed before it ended with `status`.
fn interpret(printed: &[u8], status: Option<i32>, host: String) -> TransportError {
    const NO_COMMAND: i32 = 127;
    if status == Some(NO_COMMAND) {
        return TransportError::NotGit { host, why: "it has no git-upload-pack".into() };
    }
    let printed = String::from_utf8_lossy(printed);
    match words::find(&printed) {
        Some((Meaning::Missing, line)) => {
            let words = server_message(line.as_bytes());
            TransportError::NotFound { host, words: format!(": {}", words.trim_end_matches('.')) }
        }
        Some((Meaning::Denied, line)) => {
            let tried = format!("it says: {}", server_message(line.as_bytes()));
            TransportError::Unauthorized { host, tried }
        }
        // Hosts frame what they say to people in lines of their own; the last one is the message, as a rule.
        None => match printed.lines().rfind(|line| line.contains(char::is_alphanumeric)) {
            Some(last) => {
                let why = format!("its command ended and said {}", server_message(last.as_bytes()));
                TransportError::NotGit { host, why }
            }
            None if status.is_none() => ProtocolError::Truncated("before the list of refs").into(),
            None => {
                let why = "its command ended without a message; check the access rights and that the repository exists";
                TransportError::NotGit { host, why: why.into() }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_every_path() {
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

    #[test]
    fn quotes_the_line_between_the_frames() {
        let said = b"error:\nerror: Cannot find repository: alice/nothere\nerror:\n";
        let error = interpret(said, Some(1), "h".into()).to_string();
        assert!(error.contains("Cannot find repository: alice/nothere"), "{error}");
    }

    #[test]
    fn separates_missing_denied_and_other_ends() {
        let of = |said: &str, status| interpret(said.as_bytes(), status, "h".into());
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
