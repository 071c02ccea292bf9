//! The platform runner's own delivery, `POST /workflow`, with its faults: the directory is not replaced atomically, and
//! a failed clone is only logged.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A workflow's source, in the JSON of a POST to `/workflow`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    pub git_url: String,
    pub branch: String,
    /// Directory in the repository; empty for all of it.
    pub path: String,
}

/// Clones the source and replaces its directory below `workflows`. A failure is logged and changes nothing.
pub(crate) fn update(workflows: &Path, ca: Option<&Path>, source: &Source) {
    let temporary = workflows.with_file_name(format!("clone-{}", std::process::id()));
    let replaced = clone(&temporary, ca, source).and_then(|()| {
        let name = directory_name(&source.git_url);
        let target = workflows.join(name);
        fs::create_dir_all(workflows)?;
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        fs::rename(content(&temporary, &source.path), target)
    });
    if let Err(error) = replaced {
        // Logging is best effort.
        let _ = writeln!(io::stderr(), "failed to clone workflow {}: {error}", source.git_url);
    }
    // Absent where the clone failed, or was moved as a whole.
    let _ = fs::remove_dir_all(temporary);
}

fn clone(to: &Path, ca: Option<&Path>, source: &Source) -> io::Result<()> {
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--depth", "1", "--branch", &source.branch, "--", &source.git_url]).arg(to);
    git.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
    if let Some(ca) = ca {
        git.env("GIT_SSL_CAINFO", ca);
    }
    let status = git.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("git clone: {status}"))) }
}

/// The sub-path, or the whole repository where it is missing.
fn content(clone: &Path, path: &str) -> PathBuf {
    let directory = clone.join(path.trim_matches('/'));
    if directory.is_dir() { directory } else { clone.to_owned() }
}

/// The directory's name as the runner derives it: segment 2 of an http(s) path, else the last segment.
fn directory_name(url: &str) -> &str {
    let name = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest.split('/').nth(2),
        _ => url.rsplit('/').next(),
    };
    let name = name.unwrap_or("workflow");
    name.strip_suffix(".git").unwrap_or(name)
}
