//! A repository's history as a stream for `git fast-import`: pure, so the same steps always give the same commit ids.
//!
//! fast-import rather than a work tree: modes and symlinks are as requested on every file system and under every umask, and a
//! history costs one process.

use std::fmt::Write as _;

/// Author and committer: fixed, because ids depend on them.
const IDENTITY: &str = "Test <test@example.com>";
/// When the first commit is made, in Unix seconds; each later one is a minute younger.
const FIRST_COMMIT: u64 = 1_700_000_000;

/// One step of a history.
#[derive(Clone)]
pub(crate) enum Step {
    /// Writes or replaces an entry of the tree. `mode` is git's, in octal.
    Entry { path: String, mode: &'static str, content: Vec<u8> },
    /// Writes or replaces a submodule.
    Submodule { path: String, commit: String },
    /// Removes an entry of the tree.
    Remove { path: String },
    /// Records the tree as a commit on the current branch, even without a change.
    Commit { message: String },
    /// Starts a branch here and makes it the current one.
    Branch { name: String },
    /// Names this commit.
    Tag { name: String },
}

/// Start of a history.
pub(crate) struct Start<'a> {
    /// The branch that the first commit goes to.
    pub(crate) branch: &'a str,
    /// True if that branch exists already.
    pub(crate) exists: bool,
    /// Number of commits in the repository: later commits get later dates.
    pub(crate) commits: u64,
}

/// The stream that makes `steps` happen. What is written and not yet committed at a branch, a tag or the end becomes
/// a commit there.
pub(crate) fn stream(start: &Start<'_>, steps: &[Step]) -> Vec<u8> {
    let mut writer = Writer {
        out: Vec::new(),
        branch: start.branch.to_owned(),
        head: start.exists.then(|| format!("refs/heads/{}^0", start.branch)),
        pending: Vec::new(),
        commits: start.commits,
    };
    for step in steps {
        writer.step(step);
    }
    writer.flush("Update");
    writer.out
}

struct Writer {
    out: Vec<u8>,
    branch: String,
    /// The commit that the next one builds on, as fast-import names it.
    head: Option<String>,
    pending: Vec<u8>,
    commits: u64,
}

impl Writer {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Entry { path, mode, content } => {
                self.pending
                    .extend(format!("M {mode} inline {}\ndata {}\n", quoted(path), content.len()).bytes());
                self.pending.extend(content);
                self.pending.push(b'\n');
            }
            Step::Submodule { path, commit } => {
                self.pending.extend(format!("M 160000 {commit} {}\n", quoted(path)).bytes());
            }
            Step::Remove { path } => self.pending.extend(format!("D {}\n", quoted(path)).bytes()),
            Step::Commit { message } => self.commit(message),
            Step::Branch { name } => {
                self.flush("Update");
                self.reset(&format!("refs/heads/{name}"));
                self.branch.clone_from(name);
            }
            Step::Tag { name } => {
                self.flush("Update");
                self.reset(&format!("refs/tags/{name}"));
            }
        }
    }

    fn flush(&mut self, message: &str) {
        if !self.pending.is_empty() {
            self.commit(message);
        }
    }

    fn commit(&mut self, message: &str) {
        self.commits += 1;
        let mut head = String::new();
        let when = FIRST_COMMIT + 60 * (self.commits - 1);
        let _ = write!(
            head,
            "commit refs/heads/{}\nmark :{}\ncommitter {IDENTITY} {when} +0000\ndata {}\n{message}\n",
            self.branch,
            self.commits,
            message.len(),
        );
        if let Some(parent) = &self.head {
            let _ = writeln!(head, "from {parent}");
        }
        self.out.extend(head.bytes());
        self.out.append(&mut self.pending);
        self.out.push(b'\n');
        self.head = Some(format!(":{}", self.commits));
    }

    fn reset(&mut self, reference: &str) {
        if let Some(head) = &self.head {
            self.out.extend(format!("reset {reference}\nfrom {head}\n\n").bytes());
        }
    }
}

/// A path as fast-import reads it whatever it contains.
fn quoted(path: &str) -> String {
    let escaped = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(steps: &[Step]) -> String {
        let start = Start { branch: "main", exists: false, commits: 0 };
        String::from_utf8(stream(&start, steps)).unwrap()
    }

    fn file(path: &str) -> Step {
        Step::Entry { path: path.to_owned(), mode: "100644", content: b"x".to_vec() }
    }

    #[test]
    fn commits_pending_files_at_the_end() {
        assert_eq!(
            text(&[file("a")]),
            "commit refs/heads/main\nmark :1\ncommitter Test <test@example.com> 1700000000 +0000\n\
             data 6\nUpdate\nM 100644 inline \"a\"\ndata 1\nx\n\n"
        );
    }

    #[test]
    fn branch_starts_at_previous_commit() {
        let steps = [file("a"), Step::Branch { name: "dev".to_owned() }, file("b")];
        let text = text(&steps);
        assert!(text.contains("reset refs/heads/dev\nfrom :1\n"), "{text}");
        assert!(text.contains("commit refs/heads/dev\nmark :2\n"), "{text}");
        assert!(text.contains("1700000060 +0000\ndata 6\nUpdate\nfrom :1\n"), "{text}");
    }

    #[test]
    fn tag_names_previous_commit() {
        let steps = [file("a"), Step::Tag { name: "v1".to_owned() }, file("b")];
        let text = text(&steps);
        assert!(text.contains("reset refs/tags/v1\nfrom :1\n"), "{text}");
        assert!(text.contains("commit refs/heads/main\nmark :2\n"), "{text}");
    }

    #[test]
    fn extends_existing_branch() {
        let start = Start { branch: "main", exists: true, commits: 3 };
        let text = String::from_utf8(stream(&start, &[file("a")])).unwrap();
        assert!(text.contains("from refs/heads/main^0\n"), "{text}");
        assert!(text.contains("1700000180 +0000"), "{text}");
    }

    #[test]
    fn quotes_paths() {
        assert_eq!(quoted("a b/\"c\"\n\\"), "\"a b/\\\"c\\\"\\n\\\\\"");
    }
}
