//! The `.git` of a whole repository: what `git clone --depth 1` would leave, written by hand.
//!
//! A handful of small files says more plainly what is in it than a sequence of library calls, and none
//! of them depends on configuration from elsewhere.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::{ObjectFormat, Oid};
use workflow_contract::RepoUrl;

use crate::volume::VolumeError;

/// Content of `.git`.
pub struct Facts<'a> {
    /// The remote; written without credentials.
    pub url: &'a RepoUrl,
    pub head: Head<'a>,
    /// The commit that is checked out.
    pub commit: Oid,
    /// Commits at which the history is cut.
    pub shallow: &'a [Oid],
    /// Path from the git directory to the files, if that is not its parent directory.
    pub worktree: Option<PathBuf>,
    pub submodules: Vec<Submodule<'a>>,
}

/// The branch or tag that led to the commit; names without `refs/heads/` or `refs/tags/`.
#[derive(Debug, Clone, Copy)]
pub enum Head<'a> {
    Branch {
        name: &'a str,
    },
    Tag {
        name: &'a str,
        /// The commit, or the tag's own object.
        object: Oid,
    },
    /// No branch or tag.
    Commit,
}

/// A submodule that is fetched.
#[derive(Debug)]
pub struct Submodule<'a> {
    pub name: &'a str,
    /// Written without credentials.
    pub url: &'a RepoUrl,
}

/// Path from a git directory to its files, both below the same directory; `None` for `.git` beside the files.
pub fn worktree(git_dir: &Path, worktree: &Path) -> Option<PathBuf> {
    (git_dir != Path::new(".git")).then(|| up(git_dir).join(worktree))
}

/// Writes the file `.git` of a submodule, which leads to its git directory. All paths are below `top`.
///
/// # Errors
/// [`VolumeError`].
pub fn link(top: &Path, worktree: &Path, git_dir: &Path) -> Result<(), VolumeError> {
    let file = top.join(worktree).join(".git");
    let mut content = b"gitdir: ".to_vec();
    content.extend(up(worktree).join(git_dir).as_os_str().as_bytes());
    content.push(b'\n');
    fs::write(&file, content).map_err(|error| VolumeError::new("write", &file, error))
}

/// As many `..` as a path has components.
fn up(path: &Path) -> PathBuf {
    path.components().map(|_| "..").collect()
}

/// Writes all of `.git` but objects and index.
///
/// # Errors
/// [`VolumeError`].
pub fn write(git_dir: &Path, facts: &Facts) -> Result<(), VolumeError> {
    for (name, content) in files(facts) {
        let path = git_dir.join(&name);
        put(&path, &content).map_err(|error| VolumeError::new("write", &path, error))?;
    }
    for name in ["objects/info", "refs/heads", "refs/tags"] {
        let path = git_dir.join(name);
        fs::create_dir_all(&path).map_err(|error| VolumeError::new("create the directory", &path, error))?;
    }
    Ok(())
}

fn put(path: &Path, content: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, content)
}

/// The files, by their path below `.git`. Pure.
fn files(facts: &Facts) -> Vec<(String, String)> {
    let Facts { url, head, commit, shallow, worktree, submodules } = facts;
    let remote = url.address();
    // Only what was requested is tracked, as after `git clone --single-branch`: `git fetch` then costs
    // little. A detached head tracks nothing, so it may as well see all branches.
    let (head_file, tracked) = match head {
        Head::Branch { name } => {
            (format!("ref: refs/heads/{name}\n"), format!("+refs/heads/{name}:refs/remotes/origin/{name}"))
        }
        Head::Tag { .. } | Head::Commit => {
            (format!("{commit}\n"), "+refs/heads/*:refs/remotes/origin/*".to_owned())
        }
    };
    let format = commit.object_format();
    let sha256 = format == ObjectFormat::Sha256;
    let mut config = if sha256 {
        vec!["[extensions]".to_owned(), format!("\tobjectFormat = {}", format.str())]
    } else {
        Vec::new()
    };
    config.extend([
        "[core]".to_owned(),
        format!("\trepositoryformatversion = {}", u8::from(sha256)),
        "\tfilemode = true".to_owned(),
        "\tbare = false".to_owned(),
        "\tlogallrefupdates = true".to_owned(),
    ]);
    config.extend(worktree.iter().map(|path| format!("\tworktree = {}", quoted(&path.to_string_lossy()))));
    config.extend([
        "[remote \"origin\"]".to_owned(),
        format!("\turl = {}", quoted(&remote)),
        format!("\tfetch = {}", quoted(&tracked)),
    ]);
    config.extend(submodules.iter().flat_map(|submodule| {
        [
            format!("[submodule {}]", quoted(submodule.name)),
            "\tactive = true".to_owned(),
            format!("\turl = {}", quoted(&submodule.url.address())),
        ]
    }));
    let mut all = vec![("HEAD".to_owned(), head_file)];
    match head {
        Head::Branch { name } => {
            config.extend([
                format!("[branch {}]", quoted(name)),
                "\tremote = origin".to_owned(),
                format!("\tmerge = {}", quoted(&format!("refs/heads/{name}"))),
            ]);
            all.push((format!("refs/heads/{name}"), format!("{commit}\n")));
            all.push((format!("refs/remotes/origin/{name}"), format!("{commit}\n")));
        }
        Head::Tag { name, object } => all.push((format!("refs/tags/{name}"), format!("{object}\n"))),
        Head::Commit => {}
    }
    all.push(("config".to_owned(), lines(&config)));
    if !shallow.is_empty() {
        all.push(("shallow".to_owned(), lines(shallow)));
    }
    all
}

/// One item a line.
fn lines<T: ToString>(items: &[T]) -> String {
    items.iter().flat_map(|item| [item.to_string(), "\n".to_owned()]).collect()
}

/// A value as git's configuration reads it back whatever it contains.
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid() -> Oid {
        crate::oid::parse("1".repeat(40).as_bytes()).unwrap()
    }

    fn files_of(head: Head<'_>) -> Vec<(String, String)> {
        let url = RepoUrl::parse("https://me:s3cret@h/o/r.git").unwrap();
        let oid = oid();
        files(&Facts {
            url: &url,
            head,
            commit: oid,
            shallow: &[oid],
            worktree: None,
            submodules: Vec::new(),
        })
    }

    fn file<'a>(files: &'a [(String, String)], name: &str) -> Option<&'a str> {
        files.iter().find(|(n, _)| n == name).map(|(_, content)| content.as_str())
    }

    #[test]
    fn a_branch_is_checked_out_and_tracked() {
        let files = files_of(Head::Branch { name: "feature/x" });
        assert_eq!(file(&files, "HEAD"), Some("ref: refs/heads/feature/x\n"));
        assert!(file(&files, "refs/remotes/origin/feature/x").is_some());
        let config = file(&files, "config").unwrap();
        assert!(
            config
                .contains("[branch \"feature/x\"]\n\tremote = origin\n\tmerge = \"refs/heads/feature/x\"\n")
        );
    }

    #[test]
    fn tags_and_commits_are_detached() {
        for (head, has_tag) in [(Head::Tag { name: "v1", object: oid() }, true), (Head::Commit, false)] {
            let files = files_of(head);
            assert_eq!(file(&files, "HEAD"), Some(format!("{}\n", "1".repeat(40)).as_str()));
            assert_eq!(file(&files, "refs/tags/v1").is_some(), has_tag);
        }
    }

    #[test]
    fn no_credential_is_written() {
        let files = files_of(Head::Branch { name: "main" });
        assert!(files.iter().all(|(_, content)| !content.contains("s3cret")));
        assert!(file(&files, "config").unwrap().contains("url = \"https://h/o/r.git\""));
    }

    #[test]
    fn values_are_quoted() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
    }
}
