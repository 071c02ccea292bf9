//! Runs git without anything of the user's: no configuration, no prompts, no credential helpers.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::GitServerError;

/// Variables that keep git from reading the machine's or the user's configuration. Shared with the server's CGI.
pub(crate) const HERMETIC: [(&str, &str); 3] =
    [("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("LC_ALL", "C")];

/// Runs `git ARGS` with `input` on stdin and gives its stdout, trailing newline included.
///
/// `repository` is the bare repository it works on; `None` for commands that need none.
pub(crate) fn run(repository: Option<&Path>, args: &[&str], input: &[u8]) -> Result<Vec<u8>, GitServerError> {
    let spawn_failed = |source| GitServerError::Run { program: "git", source };
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").as_deref().unwrap_or(OsStr::new("/usr/bin:/bin")))
        .envs(HERMETIC)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(repository) = repository {
        command.arg("--git-dir").arg(repository);
    }
    let mut child = command.args(args).spawn().map_err(spawn_failed)?;
    let mut stdin = child.stdin.take();
    // Written from a thread of its own: git may fill its stdout before it has read all of its input.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A git that ends early has said why on stderr; the broken pipe adds nothing.
            let _ = stdin.as_mut().map(|stdin| stdin.write_all(input));
        });
        child.wait_with_output()
    })
    .map_err(spawn_failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(GitServerError::Git {
        command: args.join(" "),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
