//! From a commit's tree down to the directory that is wanted.

use git2::Oid;
use workflow_contract::{RepoPath, text};

use super::TreeError;
use super::object::{self, EntryMode};
use crate::pack::Objects;
use crate::suggest::did_you_mean;

/// Reason for which there is no such directory.
#[derive(Debug, thiserror::Error)]
pub enum SubdirError {
    #[error("there is no directory `{path}` at that commit: {parent} has no `{name}`{hint}")]
    NotFound {
        /// The whole path that was requested.
        path: String,
        /// The directory that was reached.
        parent: String,
        /// What it does not have.
        name: String,
        /// What it has instead, with what leads up to it.
        hint: String,
    },
    #[error(
        "`{}` is not a directory but a submodule, which is not fetched; `submodules: recursive` in config.yaml fetches it",
        text::sanitize(path)
    )]
    Submodule {
        /// As far as the path was followed.
        path: String,
        commit: Oid,
        /// The remaining path, within the submodule.
        rest: RepoPath,
    },
    /// Something else of that name.
    #[error("`{path}` is not a directory but {kind}")]
    NotADirectory {
        /// As far as it was followed.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// An object on the way is missing or malformed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The tree of the directory.
///
/// # Errors
/// [`SubdirError`] names what is missing and what is close to it.
pub fn find(objects: &dyn Objects, root: Oid, path: &RepoPath) -> Result<Oid, SubdirError> {
    let mut at = root;
    let mut reached = String::new();
    let mut segments = path.segments();
    while let Some(segment) = segments.next() {
        let missing = || TreeError::Missing { oid: at, path: text::sanitize(&reached) };
        let data = objects.tree(at).map_err(TreeError::from)?.ok_or_else(missing)?;
        let tree = object::parse(&data, at.object_format()).ok_or(TreeError::Malformed { oid: at })?;
        let Some(entry) = tree.entries().find(|entry| entry.name == segment.as_bytes()) else {
            // Names that are not UTF-8 can't be requested.
            let names = tree.entries().filter_map(|entry| std::str::from_utf8(entry.name).ok());
            return Err(SubdirError::NotFound {
                path: text::sanitize(path.as_str()),
                parent: parent(&reached),
                name: text::sanitize(segment),
                hint: did_you_mean(segment, names),
            });
        };
        if !reached.is_empty() {
            reached.push('/');
        }
        reached.push_str(segment);
        let kind = match entry.kind {
            EntryMode::Tree => {
                at = entry.oid;
                continue;
            }
            EntryMode::File(_) => "a file",
            EntryMode::Symlink => "a symlink; name the directory that it leads to",
            EntryMode::Submodule => {
                let rest = RepoPath::parse(&segments.collect::<Vec<_>>().join("/")).unwrap_or_default();
                return Err(SubdirError::Submodule { path: reached, commit: entry.oid, rest });
            }
        };
        return Err(SubdirError::NotADirectory { path: text::sanitize(&reached), kind });
    }
    Ok(at)
}

fn parent(reached: &str) -> String {
    if reached.is_empty() { "the repository".into() } else { format!("`{}`", text::sanitize(reached)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::PackError;
    use std::collections::HashMap;

    struct Trees(HashMap<Oid, Vec<u8>>);
    impl Objects for Trees {
        fn tree(&self, oid: Oid) -> Result<Option<Vec<u8>>, PackError> {
            Ok(self.0.get(&oid).cloned())
        }
        fn blob_size(&self, _: Oid) -> Option<u64> {
            None
        }
        fn blob(&self, _: Oid) -> Result<Option<Vec<u8>>, PackError> {
            Ok(None)
        }
    }

    fn id(byte: u8) -> Oid {
        Oid::from_bytes(&[byte; 20]).unwrap()
    }

    fn tree(entries: &[(&str, &str, u8)]) -> Vec<u8> {
        entries
            .iter()
            .flat_map(|(mode, name, byte)| {
                [mode.as_bytes(), b" ", name.as_bytes(), b"\0", &[*byte; 20]].concat()
            })
            .collect()
    }

    fn found(path: &str) -> Result<Oid, String> {
        let trees = Trees(HashMap::from([
            (id(1), tree(&[("40000", "workflows", 2), ("100644", "README", 9), ("120000", "latest", 9)])),
            (id(2), tree(&[("40000", "review", 3), ("160000", "module", 9)])),
            (id(3), tree(&[])),
        ]));
        find(&trees, id(1), &RepoPath::parse(path).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn walks_down() {
        assert_eq!(found(""), Ok(id(1)));
        assert_eq!(found("workflows/review"), Ok(id(3)));
    }

    #[test]
    fn suggests_similar_names() {
        assert_eq!(
            found("workflow/review").unwrap_err(),
            "there is no directory `workflow/review` at that commit: the repository has no `workflow`; did you mean \
             `workflows`?"
        );
        assert_eq!(
            found("workflows/xyz").unwrap_err(),
            "there is no directory `workflows/xyz` at that commit: `workflows` has no `xyz`"
        );
    }

    #[test]
    fn names_the_entry_that_is_not_a_directory() {
        assert_eq!(found("README").unwrap_err(), "`README` is not a directory but a file");
        assert!(found("README/x").unwrap_err().contains("a file"));
        assert!(found("latest").unwrap_err().contains("a symlink"));
        assert!(found("workflows/module").unwrap_err().contains("a submodule"));
    }
}
