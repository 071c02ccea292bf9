//! The submodules of a commit that are fetched, with their URLs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use git2::Oid;
use workflow_contract::{Policy, RepoUrl, Submodules, text};

use super::attempt::{Attempt, Resolved};
use super::failure::FetchFailure;
use super::resolve::Target;
use crate::config::ConfigError;
use crate::pack::Objects as _;
use crate::pack::store::Store;
use crate::transport::Remote;
use crate::tree::TreeError;
use crate::tree::gitmodules::{self, Module, SubmoduleError};
use crate::tree::object::{self, EntryMode};
use crate::tree::plan::Submodule;

const GITMODULES: &str = ".gitmodules";

/// Looks up submodules in the list of their repository. Those that are never checked out are left out.
///
/// # Errors
/// [`FetchFailure::Submodule`] for the first one that cannot be fetched.
fn resolve(
    wanted: &[Submodule],
    modules: &[Module],
    base: &RepoUrl,
    policy: &Policy,
) -> Result<Vec<Resolved>, FetchFailure> {
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
) -> Result<Resolved, FetchFailure> {
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
    ) -> Result<Vec<Resolved>, FetchFailure> {
        if self.config.submodules == Submodules::None || wanted.is_empty() {
            return Ok(Vec::new());
        }
        let list = self.gitmodules(remote, target, store, root)?;
        let modules = gitmodules::parse(&list).map_err(SubmoduleError::from)?;
        let all = resolve(wanted, &modules, &self.source.url, &self.config.policy)?;
        match wanted {
            // The path leads into it, so that nothing would be delivered.
            [one] if one.path.is_empty() && all.is_empty() => {
                Err(FetchFailure::from(SubmoduleError::NeverUpdated)
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
    ) -> Result<Vec<u8>, FetchFailure> {
        let missing = |oid, path: &str| TreeError::Missing { oid, path: path.to_owned() };
        let data = store.tree(root)?.ok_or_else(|| missing(root, ""))?;
        let tree = object::parse(&data, root.object_format()).ok_or(TreeError::Malformed { oid: root })?;
        let mut files = tree.entries().filter(|entry| matches!(entry.kind, EntryMode::File(_)));
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use workflow_contract::Exit;

    fn wanted(path: &str) -> Submodule {
        let commit = crate::oid::parse("1".repeat(40).as_bytes()).unwrap();
        Submodule { path: path.into(), source: path.into(), commit }
    }

    fn resolved(list: &str, paths: &[&str]) -> Result<Vec<Resolved>, FetchFailure> {
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
