//! The messages of a run's outcome.

use std::path::PathBuf;

use git2::Oid;
use workflow_contract::termination::Details;
use workflow_contract::{Exit, RepoPath, RepoUrl, Source, env};

use crate::config::EnvLookup;
use crate::oid;

/// A delivery that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub commit: Oid,
    /// Branch, tag or commit as configured.
    pub reference: String,
    /// Published directory.
    pub directory: PathBuf,
    /// Files and symlinks written.
    pub files: u64,
    pub bytes: u64,
    pub links: LinkSummary,
    pub submodules: SubmoduleSummary,
    /// Files that are Git LFS pointers.
    pub lfs_pointers: u64,
    /// Signer and key, if a signature was demanded.
    pub signer: Option<String>,
    /// A remark for people.
    pub note: Option<&'static str>,
}

/// Submodules of all repositories of a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubmoduleSummary {
    pub fetched: u64,
    /// Those whose directories are empty.
    pub empty: u64,
    /// Path of the first of them.
    pub first_empty: Option<String>,
}

impl SubmoduleSummary {
    fn parts(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.fetched > 0 {
            parts.push(format!("with {}", counted(self.fetched, "submodule", "submodules")));
        }
        if let Some(first) = self.first_empty.as_ref().filter(|_| self.empty > 0) {
            let number = counted(self.empty, "submodule is", "submodules are");
            let stay = if self.empty == 1 { "stays empty: " } else { "stay empty, the first: " };
            let remedy =
                if self.fetched == 0 { "; `submodules: recursive` in config.yaml fetches them" } else { "" };
            parts.push(format!("{number} not fetched and {stay}{first}{remedy}"));
        }
        parts
    }
}

/// Symlinks that were not delivered as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSummary {
    /// Those that lead out of the delivered directory, replaced by copies.
    pub replaced: u64,
    /// Path of the first of them.
    pub first_replaced: Option<String>,
    /// Those that were left out.
    pub skipped: u64,
    /// Path of the first of them, and the reason.
    pub first_skipped: Option<String>,
}

impl LinkSummary {
    fn parts(&self) -> Vec<String> {
        let part = |number, one, many, first: &Option<String>| {
            let first = first.as_ref().filter(|_| number > 0)?;
            let number_of = counted(number, one, many);
            Some(if number == 1 {
                format!("{number_of}: {first}")
            } else {
                format!("{number_of}, the first: {first}")
            })
        };
        let replaced = part(
            self.replaced,
            "symlink out of the directory was replaced by a copy",
            "symlinks out of the directory were replaced by copies",
            &self.first_replaced,
        );
        let skipped =
            part(self.skipped, "symlink was left out", "symlinks were left out", &self.first_skipped);
        replaced.into_iter().chain(skipped).collect()
    }
}

/// Returns the fields that are known from the start: the source as configured, even if it is not valid. Values
/// that are too long for the message are left out.
pub fn details(lookup: EnvLookup) -> Details {
    const MAX: usize = 1024;
    let var = |name: &str| lookup(name).unwrap_or_default();
    let url = var(env::WORKFLOW_GIT_URL);
    let source = Source::new(&url, &var(env::WORKFLOW_BRANCH), &var(env::WORKFLOW_PATH));
    let fits = |text: String| (!text.trim().is_empty() && text.len() <= MAX).then_some(text);
    Details {
        url: fits(RepoUrl::parse(&url).map_or(source.git_url, |url| url.to_string())),
        reference: fits(source.branch),
        path: fits(RepoPath::parse(&source.path).map_or(source.path, |path| path.to_string())),
        ..Details::new(Exit::InternalError)
    }
}

/// The message of a success, such as
/// `delivered 1a2b3c4d5e6f (main) to /workspace/workflows/repo: 12 files, 34 kB in 0.4 s`.
pub fn success(delivered: &Delivered, seconds: f64) -> String {
    let mut parts = vec![format!(
        "delivered {} ({}) to {}: {}, {} in {seconds:.1} s",
        oid::short(delivered.commit),
        delivered.reference,
        delivered.directory.display(),
        counted(delivered.files, "file", "files"),
        size(delivered.bytes),
    )];
    parts.extend(delivered.links.parts());
    parts.extend(delivered.submodules.parts());
    if delivered.lfs_pointers > 0 {
        let pointers =
            counted(delivered.lfs_pointers, "file is a Git LFS pointer", "files are Git LFS pointers");
        parts.push(format!("{pointers}, delivered as they are"));
    }
    parts.extend(delivered.signer.as_ref().map(|signer| format!("signed by {signer}")));
    parts.extend(delivered.note.map(str::to_owned));
    parts.join("; ")
}

/// The message of a failure: about what, what failed, what to do.
pub fn failure(failure: &dyn std::fmt::Display, source: Option<&Source>, attempts: u32) -> String {
    let about = source.map(|source| format!("{source}: ")).unwrap_or_default();
    let after = if attempts > 1 { format!(" (after {attempts} attempts)") } else { String::new() };
    format!("{about}{failure}{after}")
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A number of bytes in the unit that people would choose, powers of 1000.
fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let number = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.0} kB", number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number / 1e6),
        _ => format!("{:.1} GB", number / 1e9),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A delivery without remarks.
    pub fn delivered() -> Delivered {
        Delivered {
            commit: oid::parse(&"1a2b3c4d5e6f".repeat(4).as_bytes()[..40]).unwrap(),
            reference: "main".into(),
            directory: PathBuf::from("/workspace/workflows/repo"),
            files: 12,
            bytes: 34_100,
            links: LinkSummary::default(),
            submodules: SubmoduleSummary::default(),
            lfs_pointers: 0,
            signer: None,
            note: None,
        }
    }

    #[test]
    fn success_names_commit_and_directory() {
        assert_eq!(
            success(&delivered(), 0.42),
            "delivered 1a2b3c4d5e6f (main) to /workspace/workflows/repo: 12 files, 34 kB in 0.4 s"
        );
    }

    #[test]
    fn success_names_what_was_not_delivered() {
        let submodules = SubmoduleSummary { fetched: 0, empty: 1, first_empty: Some("`m`".into()) };
        let all = Delivered {
            submodules,
            lfs_pointers: 2,
            signer: Some("a@b (K key F)".into()),
            note: Some("a note"),
            files: 1,
            ..delivered()
        };
        let message = success(&all, 0.0);
        assert!(message.contains(": 1 file, "), "{message}");
        assert!(
            message.contains("; 1 submodule is not fetched and stays empty: `m`; `submodules: recursive`"),
            "{message}"
        );
        assert!(message.contains("; 2 files are Git LFS pointers"), "{message}");
        assert!(message.ends_with("; signed by a@b (K key F); a note"), "{message}");
    }

    #[test]
    fn a_success_names_symlinks_that_are_not_delivered_as_they_are() {
        let links = LinkSummary {
            replaced: 2,
            first_replaced: Some("`wf/a`".into()),
            skipped: 1,
            first_skipped: Some("`wf/b`, an absolute symlink".into()),
        };
        let message = success(&Delivered { links, ..delivered() }, 0.0);
        let expected = "; 2 symlinks out of the directory were replaced by copies, the first: `wf/a`; 1 symlink was left \
                    out: `wf/b`, an absolute symlink";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn details_hide_userinfo_of_malformed_urls() {
        for url in ["https://me:s3cret@h/r", "me:s3cret@h:r", "https//me:s3cret@h"] {
            let lookup = |name: &str| (name == "WORKFLOW_GIT_URL").then(|| url.to_owned());
            let details = details(&lookup);
            assert!(!format!("{details:?}").contains("s3cret"), "{details:?}");
            assert_eq!(details.reference.as_deref(), Some("main"));
            assert_eq!(details.path, None);
        }
    }

    #[test]
    fn sizes_are_rounded() {
        for (bytes, shown) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (4_260_000, "4.3 MB"), (2_000_000_000, "2.0 GB")]
        {
            assert_eq!(size(bytes), shown);
        }
    }
}
