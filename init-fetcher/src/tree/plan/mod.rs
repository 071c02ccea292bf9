//! From a tree to the list of what will be written, within limits and by the path policy.
//!
//! The delivered directory is walked first; each symlink that leaves it and can be replaced adds a directory to copy,
//! which is walked in the same way.

mod types;
mod walk;

use std::rc::Rc;

use git2::Oid;
use workflow_contract::UnsafeLinks;

use super::object::EntryMode;
use super::resolve::{LinkTarget, PathResolver};
use super::symlink::{Followed, LinkFollower};
use super::{TreeError, shown};
use crate::config::Limits;
use crate::pack::Objects;
pub use types::{Plan, PlannedEntry, Selection, Submodule, Used};
use walk::{Walk, joined};

/// Copies within copies; the kernel follows as many links.
const MAX_NESTED: usize = 40;

/// An object that was not received yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    pub oid: Oid,
    /// The path that needs it, sanitized.
    pub path: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Planned {
    Complete(Plan),
    /// Links lead to objects outside of the delivered directory that are to be fetched before the next try.
    Incomplete(Vec<Needed>),
}

/// Plans a delivery.
///
/// # Errors
/// [`TreeError`] for the first thing that must not be written, is too large, malformed or missing.
pub fn plan(
    objects: &dyn Objects,
    selection: &Selection,
    limits: Limits,
    used: Used,
    unsafe_links: UnsafeLinks,
) -> Result<Planned, TreeError> {
    let mut planner = Planner {
        walk: Walk::new(objects, limits, used),
        resolver: PathResolver::new(objects, selection.root),
        unsafe_links,
        needed: Vec::new(),
        queue: vec![Region {
            source: selection.path.clone(),
            destination: Vec::new(),
            tree: selection.tree,
            copied: None,
        }],
    };
    while let Some(region) = planner.queue.pop() {
        planner.region(&region)?;
    }
    Ok(match planner.needed {
        needed if needed.is_empty() => Planned::Complete(planner.walk.plan),
        needed => Planned::Incomplete(needed),
    })
}

/// A directory of the repository and its place in the delivery.
struct Region {
    source: Vec<u8>,
    destination: Vec<u8>,
    tree: Oid,
    /// The links that led here; `None` for the delivered directory itself.
    copied: Option<Rc<Chain>>,
}

/// Paths in the repository of replaced links, each within what the next one led to.
struct Chain {
    link: Vec<u8>,
    outer: Option<Rc<Chain>>,
}

struct Planner<'a> {
    walk: Walk<'a>,
    resolver: PathResolver<'a>,
    unsafe_links: UnsafeLinks,
    needed: Vec<Needed>,
    queue: Vec<Region>,
}

impl Planner<'_> {
    fn region(&mut self, region: &Region) -> Result<(), TreeError> {
        let first = self.walk.plan.items.len();
        let special = match self.walk.region(region.tree, &region.source, &region.destination) {
            Err(TreeError::Missing { path, .. }) if region.copied.is_some() => {
                // One request for the directory is less than one for each of its files.
                self.needed.push(Needed { oid: region.tree, path });
                return Ok(());
            }
            special => special?,
        };
        let mut follower = LinkFollower::new(&special, &region.destination);
        let mut skipped = Vec::new();
        for at in first..self.walk.plan.items.len() {
            let PlannedEntry { path, kind: EntryMode::Symlink, size, .. } = &self.walk.plan.items[at] else {
                continue;
            };
            let (path, size) = (path.clone(), *size);
            let target = special.links.get(&path).map_or(&[][..], Vec::as_slice);
            let below = path.get(region.destination.len()..).unwrap_or_default();
            let source = joined(&region.source, below.strip_prefix(b"/").unwrap_or(below));
            let resolved = match follower.follow(&path, target) {
                Followed::Inside => {
                    self.walk.count_file(size)?;
                    self.walk.plan.links.insert(path, target.to_vec());
                    continue;
                }
                Followed::Leaves => self.resolve(&source, target)?,
                Followed::Unsafe(why) => Some(LinkTarget::Unsafe(why)),
                Followed::Rejected(why) => Some(LinkTarget::Rejected(why)),
            };
            match resolved {
                None => {}
                Some(LinkTarget::Rejected(what)) => {
                    return Err(TreeError::Unsafe { what, path: shown(&source) });
                }
                Some(LinkTarget::Unsafe(what)) if self.unsafe_links == UnsafeLinks::Refuse => {
                    return Err(TreeError::Unsafe { what, path: shown(&source) });
                }
                Some(LinkTarget::Unsafe(what)) => {
                    let plan = &mut self.walk.plan;
                    plan.first_skipped.get_or_insert_with(|| format!("`{}`, {what}", shown(&source)));
                    skipped.push(at);
                }
                Some(LinkTarget::File { oid, executable }) => {
                    self.copy_file(at, &source, oid, EntryMode::File(executable))?;
                }
                Some(LinkTarget::Directory { oid, path }) => {
                    self.copy_directory(at, source, oid, path, region)?;
                }
            }
        }
        self.take_out(&skipped);
        Ok(())
    }

    /// Resolves a link that leaves its directory; `None` if an object on the way is needed first.
    fn resolve(&mut self, source: &[u8], target: &[u8]) -> Result<Option<LinkTarget>, TreeError> {
        match self.resolver.resolve(source, target) {
            Ok(target) => Ok(Some(target)),
            Err(TreeError::Missing { oid, path }) => {
                self.needed.push(Needed { oid, path });
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn copy_file(&mut self, at: usize, source: &[u8], oid: Oid, kind: EntryMode) -> Result<(), TreeError> {
        let Some(size) = self.walk.size_of(oid) else {
            self.needed.push(Needed { oid, path: shown(source) });
            return Ok(());
        };
        self.walk.count_file(size)?;
        self.replace(at, source, kind, oid, size);
        Ok(())
    }

    fn copy_directory(
        &mut self,
        at: usize,
        link: Vec<u8>,
        oid: Oid,
        directory: Vec<u8>,
        region: &Region,
    ) -> Result<(), TreeError> {
        let chain = Rc::new(Chain { link, outer: region.copied.clone() });
        let links = || std::iter::successors(Some(&chain), |chain| chain.outer.as_ref());
        let what = if links().any(|chain| is_below(&chain.link, &directory)) {
            Some("a symlink that leads in a circle")
        } else if links().nth(MAX_NESTED).is_some() {
            Some("a symlink that leads through more than 40 others")
        } else {
            None
        };
        if let Some(what) = what {
            return Err(TreeError::Unsafe { what, path: shown(&chain.link) });
        }
        self.walk.count_directory()?;
        self.walk.count_path((chain.link.len() + directory.len()) as u64)?;
        self.replace(at, &chain.link, EntryMode::Tree, oid, 0);
        let destination = self.walk.plan.items[at].path.clone();
        self.queue.push(Region { source: directory, destination, tree: oid, copied: Some(chain) });
        Ok(())
    }

    fn replace(&mut self, at: usize, source: &[u8], kind: EntryMode, oid: Oid, size: u64) {
        let plan = &mut self.walk.plan;
        plan.replaced += 1;
        plan.first_replaced.get_or_insert_with(|| format!("`{}`", shown(source)));
        let path = std::mem::take(&mut plan.items[at].path);
        plan.items[at] = PlannedEntry { path, kind, oid, size };
    }

    /// Moves the items at these positions to the list of skipped ones.
    fn take_out(&mut self, positions: &[usize]) {
        if positions.is_empty() {
            return;
        }
        let mut positions = positions.iter().copied().peekable();
        let items = std::mem::take(&mut self.walk.plan.items);
        for (at, item) in items.into_iter().enumerate() {
            if positions.next_if_eq(&at).is_some() {
                self.walk.plan.skipped.push(item);
            } else {
                self.walk.plan.items.push(item);
            }
        }
    }
}

/// Reports whether a path is in this directory or below it; everything is below the root.
fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests;
