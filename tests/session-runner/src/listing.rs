//! Lists a directory as git does: path, kind, mode and blob id, so that a listing compares with `git ls-tree -r`.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

/// Files up to this many bytes are recorded with their text.
const TEXT_MAX: u64 = 4096;

/// Type of a [`FileEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileKind {
    /// A regular file.
    File,
    Directory,
    /// A symlink; its target is the text.
    Symlink,
    /// A socket, a device or a pipe.
    Other,
}

/// One file, directory or symlink below the directory that was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Relative to the directory that was listed, with `/`.
    pub path: String,
    pub kind: FileKind,
    /// Permission bits, such as 0o644.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Id of the git blob with this content (of files and symlinks).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// The content of files of up to 4 KiB that are UTF-8, and the target of symlinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The error if it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Everything below `root`, sorted by path. Symlinks are not followed; what can't be read is recorded as that.
///
/// A `root` that does not exist is an error of kind [`io::ErrorKind::NotFound`].
pub fn list(root: &Path) -> io::Result<Vec<FileEntry>> {
    let mut entries = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        let children = match fs::read_dir(root.join(&directory)) {
            Ok(children) => children,
            Err(error) if directory.is_empty() => return Err(error),
            Err(error) => {
                mark_unreadable(&mut entries, &directory, &error);
                continue;
            }
        };
        for child in children {
            let child = child?;
            let name = child.file_name().to_string_lossy().into_owned();
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let entry = entry(path, &child.path(), &child.metadata()?);
            if entry.kind == FileKind::Directory {
                directories.push(entry.path.clone());
            }
            entries.push(entry);
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn mark_unreadable(entries: &mut [FileEntry], directory: &str, error: &io::Error) {
    if let Some(entry) = entries.iter_mut().find(|entry| entry.path == directory) {
        entry.error = Some(error.to_string());
    }
}

fn entry(path: String, file: &Path, metadata: &Metadata) -> FileEntry {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::Symlink,
        _ => FileKind::Other,
    };
    let content = match kind {
        FileKind::File => fs::read(file).map(Some),
        FileKind::Symlink => {
            fs::read_link(file).map(|target| Some(target.to_string_lossy().into_owned().into_bytes()))
        }
        FileKind::Directory | FileKind::Other => Ok(None),
    };
    let (content, error) = match content {
        Ok(content) => (content, None),
        Err(error) => (None, Some(error.to_string())),
    };
    FileEntry {
        path,
        kind,
        mode: metadata.permissions().mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.len(),
        blob: content.as_deref().map(blob_id),
        text: content
            .filter(|_| metadata.len() <= TEXT_MAX)
            .and_then(|content| String::from_utf8(content).ok()),
        error,
    }
}

/// The id that git gives to a blob with this content.
fn blob_id(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hash.finalize().iter().fold(String::new(), |id, byte| id + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn lists_files_directories_and_links_sorted() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("b")).unwrap();
        fs::write(root.path().join("b/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(root.path().join("b/run.sh"), fs::Permissions::from_mode(0o775)).unwrap();
        symlink("b/run.sh", root.path().join("a")).unwrap();
        let entries = list(root.path()).unwrap();

        let listed: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.kind)).collect();
        assert_eq!(
            listed,
            [("a", FileKind::Symlink), ("b", FileKind::Directory), ("b/run.sh", FileKind::File)]
        );
        assert_eq!(entries[0].text.as_deref(), Some("b/run.sh"));
        assert_eq!((entries[2].mode, entries[2].size), (0o775, 10));
    }

    #[test]
    fn a_blob_has_the_id_that_git_gives_it() {
        // `git hash-object --stdin </dev/null` and `echo hello | git hash-object --stdin`.
        assert_eq!(blob_id(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(blob_id(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn keeps_the_text_of_small_files_only() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("large"), vec![b'x'; 4097]).unwrap();
        fs::write(root.path().join("binary"), [0xff, 0xfe]).unwrap();
        fs::write(root.path().join("small"), "ok").unwrap();
        let texts: Vec<_> = list(root.path()).unwrap().into_iter().map(|entry| entry.text).collect();
        assert_eq!(texts, [None, None, Some("ok".to_owned())]);
    }

    #[test]
    fn does_not_follow_links_to_directories() {
        let root = tempfile::tempdir().unwrap();
        symlink("/", root.path().join("out")).unwrap();
        assert_eq!(list(root.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_missing_directory_is_not_found() {
        let root = tempfile::tempdir().unwrap();
        let error = list(&root.path().join("none")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
