//! Builds the workflow beside its published path and moves it there in one step, so that no reader finds half a workflow.
//!
//! ```text
//!  <root>/.init-workflow-<random>/tree     built here, on the same volume
//!         .init-workflow-<random>/…        scratch; also the previous entry of the published path
//!  <root>/<name>                           the published path: a rename, or an exchange with the previous entry
//!  <root>/<alias> -> <name>                a second name, published the same way
//! ```

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use workflow_contract::names::STAGING_PREFIX;

use crate::volume::VolumeError;

/// Creates the root and removes leftovers of killed runs.
///
/// # Errors
/// [`VolumeError`] if the root can't be created. Leftovers that can't be removed are only logged.
pub fn prepare(root: &Path) -> Result<(), VolumeError> {
    fs::create_dir_all(root).map_err(|error| VolumeError::new("create the directory", root, error))?;
    let entries =
        fs::read_dir(root).map_err(|error| VolumeError::of_directory("read the directory", root, error))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
            tracing::info!(leftover = %entry.path().display(), "removing a leftover of an earlier run");
            if let Err(error) = remove(&entry.path()) {
                tracing::warn!(leftover = %entry.path().display(), %error, "failed to remove a leftover of an earlier run");
            }
        }
    }
    Ok(())
}

/// Removes a file or a directory with its contents, also a read-only one. No such path is no error.
///
/// # Errors
/// The error of the file system.
pub fn remove(path: &Path) -> io::Result<()> {
    match remove_once(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path);
            remove_once(path)
        }
        other => other,
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives the owner all access to a directory and those below it. Errors show when the directory is used.
fn make_writable(directory: &Path) {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let is_directory = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        if !is_directory(&directory) || set_mode(&directory, |mode| mode | 0o700).is_err() {
            continue;
        }
        if let Ok(entries) = fs::read_dir(&directory) {
            directories.extend(entries.flatten().map(|entry| entry.path()).filter(|path| is_directory(path)));
        }
    }
}

fn set_mode(directory: &Path, change: impl FnOnce(u32) -> u32) -> io::Result<u32> {
    let old = fs::symlink_metadata(directory)?.permissions().mode();
    fs::set_permissions(directory, fs::Permissions::from_mode(change(old)))?;
    Ok(old)
}

/// The directory to build in; dropping this removes it with its content.
pub struct Staging {
    directory: PathBuf,
}

impl Staging {
    /// A new directory below `root`.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn create(root: &Path) -> Result<Self, VolumeError> {
        let directory = root.join(format!("{STAGING_PREFIX}{:016x}", random()));
        fs::create_dir(&directory)
            .map_err(|error| VolumeError::new("create the directory", &directory, error))?;
        let staging = Self { directory };
        let tree = staging.tree();
        fs::create_dir(&tree).map_err(|error| VolumeError::new("create the directory", &tree, error))?;
        Ok(staging)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Directory in which the workflow is built.
    pub fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// Directory of everything that is not delivered, or not yet.
    pub fn scratch(&self) -> PathBuf {
        self.directory.join("scratch")
    }

    /// Moves the tree to `<root>/<name>`, and a relative link to it to `<root>/<alias>`.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn publish(&self, root: &Path, name: &str, alias: Option<&str>) -> Result<(), VolumeError> {
        let path = root.join(name);
        let failed = |path: &Path, error: Errno| VolumeError::new("publish to", path, error.into());
        put(&self.tree(), &path, &self.directory.join("old")).map_err(|error| failed(&path, error))?;
        if let Some(alias) = alias {
            let path = root.join(alias);
            let link = self.directory.join("alias");
            std::os::unix::fs::symlink(name, &link)
                .map_err(|error| VolumeError::new("create the symlink", &link, error))?;
            put(&link, &path, &self.directory.join("old-alias")).map_err(|error| failed(&path, error))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "failed to remove the staging directory");
        }
    }
}

/// Moves `new` to `path`. An old entry there is then at `new`, or at `aside` if the file system has no exchange.
fn put(new: &Path, path: &Path, aside: &Path) -> Result<(), Errno> {
    match put_once(new, path, aside) {
        // A directory that gets another parent must be writable itself.
        Err(Errno::ACCESS) if fs::symlink_metadata(path).is_ok_and(|old| old.is_dir()) => {
            let Ok(mode) = set_mode(path, |mode| mode | 0o700) else { return Err(Errno::ACCESS) };
            let moved = put_once(new, path, aside);
            if moved.is_err() {
                // The old entry stays, as it was; a failure of this is not the error to report.
                let _ = set_mode(path, |_| mode);
            }
            moved
        }
        other => other,
    }
}

/// Attempts in which another program may remove and create the published path between two calls.
const RACES: usize = 100;

fn put_once(new: &Path, path: &Path, aside: &Path) -> Result<(), Errno> {
    for _ in 1..RACES {
        match try_put(new, path, aside) {
            // The published path was removed or created meanwhile.
            Err(Errno::NOENT | Errno::EXIST | Errno::NOTEMPTY) if fs::symlink_metadata(new).is_ok() => {}
            other => return other,
        }
    }
    try_put(new, path, aside)
}

fn try_put(new: &Path, path: &Path, aside: &Path) -> Result<(), Errno> {
    let rename = |flags| rustix::fs::renameat_with(CWD, new, CWD, path, flags);
    match rename(RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => {}
        Err(Errno::INVAL | Errno::NOSYS) => return rename_fallback(new, path, aside),
        other => return other,
    }
    match rename(RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => rename_fallback(new, path, aside),
        other => other,
    }
}

/// For file systems that support neither flag: between the two renames the published path is absent.
fn rename_fallback(new: &Path, path: &Path, aside: &Path) -> Result<(), Errno> {
    // Moved there by an earlier attempt.
    let _ = remove(aside);
    match rustix::fs::rename(path, aside) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let moved = rustix::fs::rename(new, path);
    if moved.is_err() {
        // Better the old than nothing; that this fails too changes nothing about the error.
        let _ = rustix::fs::rename(aside, path);
    }
    moved
}

/// A number that differs from run to run: the standard library seeds its hash tables so.
pub fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(root: &Path, content: &str) -> Staging {
        let staging = Staging::create(root).unwrap();
        fs::write(staging.tree().join("file"), content).unwrap();
        staging
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_any_existing_entry_and_leaves_nothing_else() {
        type Make = fn(&Path);
        let cases: [(&str, Make); 5] = [
            ("nothing", |_| {}),
            ("a file", |path| fs::write(path, "x").unwrap()),
            ("a directory", |path| fs::create_dir_all(path.join("deep/er")).unwrap()),
            ("a dangling symlink", |path| std::os::unix::fs::symlink("nowhere", path).unwrap()),
            ("a symlink to a directory", |path| std::os::unix::fs::symlink("/", path).unwrap()),
        ];
        for (what, make) in cases {
            let root = tempfile::tempdir().unwrap();
            make(&root.path().join("flow"));
            make(&root.path().join("alias"));
            let staging = staged(root.path(), what);
            staging.publish(root.path(), "flow", Some("alias")).unwrap();
            drop(staging);
            assert_eq!(names(root.path()), ["alias", "flow"], "{what}");
            let path = root.path().join("flow");
            assert!(fs::symlink_metadata(&path).unwrap().is_dir(), "{what}");
            assert_eq!(fs::read_to_string(path.join("file")).unwrap(), what);
            assert_eq!(fs::read_link(root.path().join("alias")).unwrap(), Path::new("flow"), "{what}");
        }
    }

    /// As the platform's runner does it: remove, then copy file by file.
    fn rewrite(path: &Path, files: usize) {
        // Both fail if the other side is faster.
        let _ = fs::remove_dir_all(path);
        let _ = fs::create_dir(path);
        for number in 0..files {
            let _ = fs::write(path.join(format!("{number}")), "runner");
        }
    }

    #[test]
    fn publishes_while_another_program_removes_and_creates_the_place() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("flow");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    rewrite(&path, 5);
                }
            });
            for _ in 0..500 {
                staged(root.path(), "ours").publish(root.path(), "flow", None).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        staged(root.path(), "ours").publish(root.path(), "flow", None).unwrap();
        assert_eq!(names(&path), ["file"]);
        assert_eq!(names(root.path()), ["flow"]);
    }

    #[test]
    fn two_steps_do_the_same() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("flow");
        for content in ["first", "second"] {
            let staging = staged(root.path(), content);
            rename_fallback(&staging.tree(), &path, &staging.directory().join("old")).unwrap();
            drop(staging);
            assert_eq!(fs::read_to_string(path.join("file")).unwrap(), content);
            assert_eq!(names(root.path()), ["flow"]);
        }
    }

    #[test]
    fn sweeps_only_its_own_leftovers() {
        let root = tempfile::tempdir().unwrap();
        for name in [".init-workflow-1", "other", ".init-other"] {
            fs::create_dir_all(root.path().join(name).join("x")).unwrap();
        }
        fs::write(root.path().join(".init-workflow-file"), "").unwrap();
        prepare(root.path()).unwrap();
        assert_eq!(names(root.path()), [".init-other", "other"]);
    }

    #[test]
    fn makes_a_root_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a/b");
        prepare(&root).unwrap();
        assert!(root.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(prepare(&dir.path().join("file/x")).is_err());
    }
}
