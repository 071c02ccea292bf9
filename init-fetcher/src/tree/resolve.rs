//! Resolves a symlink in the whole repository: from its own directory, by the trees of the commit.

use std::collections::HashMap;
use std::rc::Rc;

use git2::Oid;

use super::object::{self, EntryMode};
use super::symlink::{
    ABSOLUTE, INTO_DOT_GIT, MAX_HOPS, MAX_TARGET, UP_WITHIN_SUBMODULE, components, malformed, push_target,
};
use super::{TreeError, name, shown};
use crate::pack::Objects;

/// Entries of trees that are cached for further lookups.
const MAX_CACHED: usize = 200_000;

/// Target of a symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkTarget {
    File {
        oid: Oid,
        executable: bool,
    },
    Directory {
        oid: Oid,
        /// Its path in the repository.
        path: Vec<u8>,
    },
    /// Nothing that can be delivered.
    Unsafe(&'static str),
    /// The link must never be written, whatever the settings.
    Rejected(&'static str),
}

type Entries = HashMap<Vec<u8>, (EntryMode, Oid)>;

/// Resolves links of one commit.
pub struct PathResolver<'a> {
    objects: &'a dyn Objects,
    root: Oid,
    trees: HashMap<Oid, Rc<Entries>>,
    cached: usize,
}

/// A component of the path that was reached.
struct Step {
    name: Vec<u8>,
    node: Node,
}

#[derive(Clone, Copy)]
enum Node {
    Tree(Oid),
    File(Oid, bool),
    Submodule,
    Missing,
}

impl<'a> PathResolver<'a> {
    pub fn new(objects: &'a dyn Objects, root: Oid) -> Self {
        Self { objects, root, trees: HashMap::new(), cached: 0 }
    }

    /// Resolves the link at `path` in the repository.
    ///
    /// # Errors
    /// [`TreeError::Missing`] names an object to fetch.
    pub fn resolve(&mut self, path: &[u8], target: &[u8]) -> Result<LinkTarget, TreeError> {
        let mut at: Vec<Step> = Vec::new();
        let mut directory = components(path);
        directory.pop();
        for name in directory {
            self.enter(&mut at, name)?;
        }
        let mut todo = Vec::new();
        let mut hops = 0;
        // A path through something that does not exist leads nowhere, whatever follows.
        let mut dangling = false;
        if let Some(why) = malformed(target) {
            return Ok(LinkTarget::Rejected(why));
        }
        if !push_target(target, &mut todo) {
            return Ok(LinkTarget::Unsafe(ABSOLUTE));
        }
        while let Some(step) = todo.pop() {
            match step.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    if let [.., Step { node: Node::Submodule, .. }, Step { node: Node::Submodule, .. }] =
                        &at[..]
                    {
                        return Ok(LinkTarget::Unsafe(UP_WITHIN_SUBMODULE));
                    }
                    if at.pop().is_none() {
                        return Ok(LinkTarget::Unsafe("a symlink that leaves the repository"));
                    }
                    continue;
                }
                other if name::is_dot_git(other) => return Ok(LinkTarget::Rejected(INTO_DOT_GIT)),
                _ => {}
            }
            if let Some(blob) = self.enter(&mut at, step)? {
                hops += 1;
                if hops > MAX_HOPS {
                    return Ok(LinkTarget::Rejected(
                        "a symlink that leads in a circle, or through more than 40 others",
                    ));
                }
                let path = joined(&at);
                at.pop();
                match self.target_of(blob, &path)? {
                    Ok(target) if push_target(&target, &mut todo) => {}
                    Ok(_) => return Ok(LinkTarget::Unsafe(ABSOLUTE)),
                    Err(why) => return Ok(LinkTarget::Rejected(why)),
                }
                continue;
            }
            match at.last().map(|step| step.node) {
                Some(Node::Missing) => dangling = true,
                Some(Node::File(..)) if !todo.is_empty() => dangling = true,
                _ => {}
            }
        }
        Ok(match at.last().map(|step| step.node) {
            _ if dangling => LinkTarget::Unsafe("a symlink to something that is not in the repository"),
            None => LinkTarget::Directory { oid: self.root, path: Vec::new() },
            Some(Node::Tree(oid)) => LinkTarget::Directory { oid, path: joined(&at) },
            Some(Node::File(oid, executable)) => LinkTarget::File { oid, executable },
            Some(Node::Submodule | Node::Missing) => {
                LinkTarget::Unsafe("a symlink into a submodule outside of the delivered directory")
            }
        })
    }

    /// Takes a step down. Returns the blob of a symlink, which is then the last component.
    fn enter(&mut self, at: &mut Vec<Step>, name: Vec<u8>) -> Result<Option<Oid>, TreeError> {
        let tree = match at.last().map(|step| step.node) {
            None => Some(self.root),
            Some(Node::Tree(oid)) => Some(oid),
            Some(Node::Submodule) => {
                at.push(Step { name, node: Node::Submodule });
                return Ok(None);
            }
            Some(Node::File(..) | Node::Missing) => None,
        };
        let entry = match tree {
            Some(tree) => self.entries(tree, at)?.get(&name).copied(),
            None => None,
        };
        let (node, link) = match entry {
            Some((EntryMode::Tree, oid)) => (Node::Tree(oid), None),
            Some((EntryMode::File(executable), oid)) => (Node::File(oid, executable), None),
            Some((EntryMode::Submodule, _)) => (Node::Submodule, None),
            Some((EntryMode::Symlink, oid)) => (Node::Missing, Some(oid)),
            None => (Node::Missing, None),
        };
        at.push(Step { name, node });
        Ok(link)
    }

    fn target_of(&self, blob: Oid, path: &[u8]) -> Result<Result<Vec<u8>, &'static str>, TreeError> {
        let missing = || TreeError::Missing { oid: blob, path: shown(path) };
        if self.objects.blob_size(blob).ok_or_else(missing)? > MAX_TARGET {
            return Ok(Err("a symlink to one with a target of more than 4095 bytes"));
        }
        let target = self.objects.blob(blob)?.ok_or_else(missing)?;
        Ok(malformed(&target).map_or(Ok(target), Err))
    }

    fn entries(&mut self, tree: Oid, at: &[Step]) -> Result<Rc<Entries>, TreeError> {
        if let Some(entries) = self.trees.get(&tree) {
            return Ok(Rc::clone(entries));
        }
        let missing = || TreeError::Missing { oid: tree, path: shown(&joined(at)) };
        let data = self.objects.tree(tree)?.ok_or_else(missing)?;
        let parsed = object::parse(&data, tree.object_format()).ok_or(TreeError::Malformed { oid: tree })?;
        let entries: Entries =
            parsed.entries().map(|entry| (entry.name.to_vec(), (entry.kind, entry.oid))).collect();
        if self.cached + entries.len() > MAX_CACHED {
            self.trees.clear();
            self.cached = 0;
        }
        self.cached += entries.len();
        let entries = Rc::new(entries);
        self.trees.insert(tree, Rc::clone(&entries));
        Ok(entries)
    }
}

fn joined(at: &[Step]) -> Vec<u8> {
    at.iter().map(|step| step.name.as_slice()).collect::<Vec<_>>().join(&b'/')
}
