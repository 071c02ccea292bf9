//! Submodules: each is fetched like the repository itself, at the commit that the repository names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::Oid;
use workflow_contract::{Policy, RefName, RepoPath, RepoUrl, Submodules, text};

use super::failure::Failure;
use super::repository::{Attempt, Place, Source};
use super::resolve::Target;
use super::totals::Totals;
use crate::checkout::{git_dir, publish};
use crate::config::ConfigError;
use crate::credentials::Authenticator;
use crate::pack::Objects as _;
use crate::pack::store::Store;
use crate::transport::Remote;
use crate::tree::gitmodules::{self, Module};
use crate::tree::object::{self, Kind};
use crate::tree::plan::Submodule;
use crate::tree::{TreeError, shown};

/// Submodules within submodules at most.
const MAX_NESTED: usize = 32;

const GITMODULES: &str = ".gitmodules";

/// Reasons for not knowing what to fetch for a submodule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmoduleError {
    #[error(transparent)]
    Malformed(#[from] gitmodules::Malformed),
    #[error("the repository's `.gitmodules` has no url for it; add it there")]
    NoUrl,
    #[error("the repository's `.gitmodules` is larger than {} bytes", gitmodules::MAX_SIZE)]
    TooLarge,
    #[error("it is never checked out (`update = none` in `.gitmodules`)")]
    NeverUpdated,
    #[error("its name contains that of the submodule `{other}`, so that one would be inside the other")]
    Nested { other: String },
}

/// A submodule with what its repository says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Path below the delivered directory.
    pub path: PathBuf,
    /// Path in the repository.
    pub source: String,
    pub name: String,
    pub url: RepoUrl,
    pub commit: Oid,
}

/// Looks up submodules in the list of their repository. Those that are never checked out are left out.
///
/// # Errors
/// [`Failure::Submodule`] for the first one that cannot be fetched.
fn resolve(
    wanted: &[Submodule],
    modules: &[Module],
    base: &RepoUrl,
    policy: &Policy,
) -> Result<Vec<Resolved>, Failure> {
    let mut all: Vec<Resolved> = Vec::new();
    for one in wanted {
        let source = String::from_utf8_lossy(&one.source).into_owned();
        let listed = modules.iter().find(|module| !module.path.is_empty() && module.path == source);
        let resolved = match listed {
            Some(module) if module.never_updated => continue,
            Some(module) if !module.url.is_empty() => resolve_one(one, module, base, policy, &all),
            _ => Err(SubmoduleError::NoUrl.into()),
        };
        all.push(resolved.map_err(|failure| failure.of_submodule(&source, None))?);
    }
    Ok(all)
}

fn resolve_one(
    one: &Submodule,
    module: &Module,
    base: &RepoUrl,
    policy: &Policy,
    others: &[Resolved],
) -> Result<Resolved, Failure> {
    module.check_name()?;
    // The git directory of one would be inside that of the other.
    let inside =
        |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    if let Some(other) =
        others.iter().find(|other| inside(&other.name, &module.name) || inside(&module.name, &other.name))
    {
        return Err(SubmoduleError::Nested { other: text::sanitize(&other.name) }.into());
    }
    let url = base.join(&module.url).map_err(ConfigError::from)?;
    policy.check(&url).map_err(ConfigError::from)?;
    Ok(Resolved {
        path: PathBuf::from(OsStr::from_bytes(&one.path)),
        source: module.path.clone(),
        name: module.name.clone(),
        url,
        commit: one.commit,
    })
}

impl Attempt<'_, '_> {
    /// Looks up what to fetch for the submodules of a commit; nothing if they are not to be fetched.
    pub fn resolve_submodules(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
        root: Oid,
        wanted: &[Submodule],
    ) -> Result<Vec<Resolved>, Failure> {
        if self.config.submodules == Submodules::None || wanted.is_empty() {
            return Ok(Vec::new());
        }
        let list = self.gitmodules(remote, target, store, root)?;
        let modules = gitmodules::parse(&list).map_err(SubmoduleError::from)?;
        let all = resolve(wanted, &modules, &self.source.url, &self.config.policy)?;
        match wanted {
            // The path leads into it, so that nothing would be delivered.
            [one] if one.path.is_empty() && all.is_empty() => {
                Err(Failure::from(SubmoduleError::NeverUpdated)
                    .of_submodule(&String::from_utf8_lossy(&one.source), None))
            }
            _ => Ok(all),
        }
    }

    /// Reads `.gitmodules` at the root of a commit; empty if there is none.
    fn gitmodules(
        &self,
        remote: &mut dyn Remote,
        target: &Target,
        store: &mut Store,
        root: Oid,
    ) -> Result<Vec<u8>, Failure> {
        let missing = |oid, path: &str| TreeError::Missing { oid, path: path.to_owned() };
        let data = store.tree(root)?.ok_or_else(|| missing(root, ""))?;
        let tree = object::parse(&data, root.object_format()).ok_or(TreeError::Malformed { oid: root })?;
        let mut files = tree.entries().filter(|entry| matches!(entry.kind, Kind::File(_)));
        let Some(oid) = files.find(|entry| entry.name == GITMODULES.as_bytes()).map(|entry| entry.oid) else {
            return Ok(Vec::new());
        };
        if store.blob_size(oid).is_none() {
            self.run.set_phase("receiving the list of submodules");
            self.objects(remote, target, store, &[oid])?;
        }
        let size = store.blob_size(oid).ok_or_else(|| missing(oid, GITMODULES))?;
        if size > gitmodules::MAX_SIZE {
            return Err(SubmoduleError::TooLarge.into());
        }
        Ok(store.blob(oid)?.ok_or_else(|| missing(oid, GITMODULES))?)
    }

    /// Fetches a submodule and its own submodules to its place within that of its repository.
    pub fn submodule(
        &self,
        submodule: &Resolved,
        directory: &RepoPath,
        place: &Place,
        totals: &mut Totals,
        depth: usize,
    ) -> Result<(), Failure> {
        let Resolved { source, url, .. } = submodule;
        let path = if self.prefix.is_empty() { source.clone() } else { format!("{}/{source}", self.prefix) };
        self.run.enter_submodule(&path);
        tracing::info!(path, %url, commit = %submodule.commit, "fetching submodule");
        self.submodule_at(submodule, directory, &path, place, totals, depth)
            .map_err(|failure| failure.of_submodule(source, Some(url)))?;
        self.run.enter_submodule(&self.prefix);
        Ok(())
    }

    fn submodule_at(
        &self,
        submodule: &Resolved,
        directory: &RepoPath,
        path: &str,
        place: &Place,
        totals: &mut Totals,
        depth: usize,
    ) -> Result<(), Failure> {
        if depth > MAX_NESTED {
            return Err(TreeError::TooDeep { path: shown(path.as_bytes()) }.into());
        }
        let client = super::deliver::client(self.config, self.secret, &submodule.url)?;
        let mut authenticator =
            Authenticator::new(&client, &self.config.credentials, self.secret, &submodule.url);
        let source = Source {
            url: submodule.url.clone(),
            reference: RefName::parse(&submodule.commit.to_string()).map_err(ConfigError::from)?,
            pinned: Some(submodule.commit),
            path: directory.clone(),
        };
        let attempt = Attempt { source: &source, client: &client, prefix: path.to_owned(), ..*self };
        attempt.fetch(&mut authenticator, place, totals, depth)?;
        if let Some(git_dir) = &place.git_dir {
            git_dir::link(&place.top, &place.worktree, git_dir)?;
        }
        // Its packs are of no further use.
        if let Err(error) = publish::remove(&place.scratch) {
            tracing::debug!(%error, "failed to remove scratch files");
        }
        Ok(())
    }
}

impl Place {
    /// Where a submodule of the repository is written; `number` is unique among its submodules.
    pub fn of_submodule(&self, submodule: &Resolved, number: usize) -> Self {
        let modules = |git_dir: &Path| git_dir.join("modules").join(&submodule.name);
        Self {
            top: self.top.clone(),
            worktree: self.worktree.join(&submodule.path),
            git_dir: self.git_dir.as_deref().map(modules),
            scratch: self.scratch.join(format!("submodule-{number}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use workflow_contract::Exit;

    fn wanted(path: &str) -> Submodule {
        let commit = crate::oid::parse("1".repeat(40).as_bytes()).unwrap();
        Submodule { path: path.into(), source: path.into(), commit }
    }

    fn resolved(list: &str, paths: &[&str]) -> Result<Vec<Resolved>, Failure> {
        let base = RepoUrl::parse("https://me:s3cret@h.example/o/r.git").unwrap();
        let hosts = workflow_contract::policy::parse_hosts("*.example").unwrap();
        let policy = Policy { hosts, ..Policy::default() };
        let wanted: Vec<Submodule> = paths.iter().map(|path| wanted(path)).collect();
        resolve(&wanted, &gitmodules::parse(list.as_bytes()).unwrap(), &base, &policy)
    }

    fn module(name: &str, path: &str, url: &str) -> String {
        format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n")
    }

    #[test]
    fn submodules_are_found_by_their_path() {
        let list = [module("x", "libs/x", "../x.git"), module("y", "y", "https://k.example/y")].concat();
        let all = resolved(&list, &["libs/x", "y"]).unwrap();
        assert_eq!(all[0].url.to_string(), "https://h.example/o/x.git");
        assert!(all[0].url.userinfo().is_some() && all[1].url.userinfo().is_none());
        let never = "[submodule \"x\"]\n\tpath = x\n\turl = ../x\n\tupdate = none\n";
        assert_eq!(resolved(never, &["x"]).unwrap(), []);
    }

    #[test]
    fn submodules_that_cannot_be_fetched_end_in_their_own_code() {
        for (url, exit) in [
            ("file:///etc", Exit::HostNotAllowed),
            ("git://h.example/x", Exit::HostNotAllowed),
            ("http://h.example/x", Exit::HostNotAllowed),
            ("https://elsewhere.com/x", Exit::HostNotAllowed),
            ("../../../x", Exit::InvalidSource),
            ("-u../x", Exit::InvalidSource),
            ("/srv/x", Exit::InvalidSource),
            ("\"ext::sh -c touch% /tmp/x\"", Exit::InvalidSource),
            ("\"\"", Exit::InvalidSource),
        ] {
            let failure = resolved(&module("m", "libs/m", url), &["libs/m"]).unwrap_err();
            assert_eq!(failure.exit(), exit, "{url}: {failure}");
            assert!(failure.to_string().starts_with("submodule `libs/m`: "), "{failure}");
            assert!(!failure.to_string().contains("s3cret"), "{failure}");
        }
        assert_eq!(resolved("", &["m"]).unwrap_err().exit(), Exit::InvalidSource);
        let unsafe_name = resolved(&module("../../hooks", "m", "../x"), &["m"]).unwrap_err();
        assert_eq!(unsafe_name.exit(), Exit::UnsafeContent);
        let list = [module("a", "a", "../x"), module("a/modules/b", "b", "../x")].concat();
        assert_eq!(resolved(&list, &["a", "b"]).unwrap_err().exit(), Exit::UnsafeContent);
    }
}
