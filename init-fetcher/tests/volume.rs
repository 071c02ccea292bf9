//! Volumes that are full or not writable: 50 and 51, no leftovers, and the old delivery stays.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Mutex;

use common::fault_proxies::{for_all, plain_http_server};
use common::{Fetch, of_disk, of_git, repository, server};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Repository};

const AT_A_TIME: usize = 6;

fn plain(repository: &Repository) -> Fetch {
    Fetch::untrusting(repository.url()).var("WORKFLOW_ALLOWED_SCHEMES", "http")
}

fn chmod(directory: &Path, mode: u32) {
    fs::set_permissions(directory, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn names_unwritable_directory_with_owner_and_mode() {
    let (_server, repository) = plain_http_server();
    // Unwritable directory below the root's parent, its mode, and the step that fails.
    for (unwritable, mode, doing) in [
        ("root", 0o555, "create the directory"),
        ("root", 0o300, "read the directory"),
        ("root", 0o600, "create the directory"),
        ("", 0o555, "create the directory"),
        ("", 0o600, "create the directory"),
    ] {
        let fetch = plain(&repository);
        let parent = fetch.dir.path().join("parent");
        fs::create_dir_all(parent.join(unwritable)).unwrap();
        let directory = if unwritable.is_empty() { parent.clone() } else { parent.join(unwritable) };
        chmod(&directory, mode);
        let fetch = fetch.var("WORKFLOW_ROOT", &parent.join("root").to_string_lossy());
        let ended = fetch.run_without_privileges();
        chmod(&directory, 0o700);
        let message = ended.expect(Exit::VolumeNotWritable);
        let expected =
            format!("; {} belongs to 0:0 with mode {mode:04o}, and this runs as 0:0", directory.display());
        assert!(message.contains(&expected) && message.contains(doing), "{mode:o}: {message}");
        assert!(message.contains("Permission denied"), "{message}");
    }
    let ended = plain(&repository).var("WORKFLOW_ROOT", "/proc/nothing/here").run();
    let message = ended.expect(Exit::VolumeNotWritable);
    assert!(message.contains("/proc belongs to 0:0 with mode 0555"), "{message}");
}

#[test]
fn reports_read_only_volume() {
    let (_server, repository) = plain_http_server();
    let (ended, left) = plain(&repository).run_on_volume("ro");
    assert!(ended.expect(Exit::VolumeNotWritable).contains("Read-only file system"), "{}", ended.message);
    assert_eq!(left, "");
}

#[test]
fn ignores_termination_message_that_cannot_be_written() {
    let (_server, repository) = plain_http_server();
    for place in ["/proc/x", "/dev/full"] {
        let ended = plain(&repository).var("WORKFLOW_TERMINATION_LOG", place).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("failed to write the termination message"));
    }
}

#[test]
fn ignores_umask_of_the_caller() {
    let server = server();
    let repository = repository(&server);
    let fetch = Fetch::new(&server, repository.url()).path("flows");
    fetch.run().expect(Exit::Reconciled);
    let mode = fs::metadata(fetch.root().join("flow/review/prompt.md")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o664);
}

/// Directories, small files and larger ones, in this order of names.
fn many_files(server: &GitServer) -> Repository {
    let mut builder = server.repository("flow");
    for n in 0..8_u32 {
        builder = builder
            .file(&format!("d{n}/large"), format!("{}\n", n * 7919).repeat(2000))
            .file(&format!("d{n}/small"), n.to_string());
    }
    builder.create().unwrap()
}

#[test]
fn reports_full_volume_at_each_write() {
    let (server, _) = plain_http_server();
    let repository = many_files(&server);
    let pages: Vec<u32> = (1..=110).step_by(12).collect();
    let files: Vec<u32> = (1..=90).step_by(8).collect();
    for (unit, numbers) in [("size", pages), ("nr_inodes", files)] {
        for path in ["", "d0"] {
            let codes = Mutex::new(Vec::new());
            for_all(&numbers, AT_A_TIME, |number| {
                let options = if unit == "size" {
                    format!("size={}", number * 4096)
                } else {
                    format!("{unit}={number}")
                };
                let (ended, left) = plain(&repository).path(path).run_on_volume(&options);
                if ended.code == 0 {
                    assert_eq!(left, "flow\n");
                } else {
                    let message = ended.expect(Exit::VolumeFull);
                    assert!(message.contains("give the workspace volume more space"), "{message}");
                    assert_eq!(left, "", "{options}");
                }
                codes.lock().unwrap().push((*number, ended.code));
            });
            let mut codes = codes.into_inner().unwrap();
            codes.sort_unstable();
            let codes: Vec<i32> = codes.into_iter().map(|(_, code)| code).collect();
            assert!(codes.is_sorted_by(|a, b| a >= b), "more is never worse: {unit} {codes:?}");
            assert_eq!((codes[0], codes[codes.len() - 1]), (50, 0), "{unit} {codes:?}");
        }
    }
}

#[test]
fn keeps_old_delivery_after_each_failed_write() {
    let (_server, repository) = plain_http_server();
    let old = repository.extend("main").branch("old").file("README.md", "old\n").create().unwrap();
    let (new_content, old_content) = (of_git(&repository, "main", ""), of_git(&old, "old", ""));
    let mut cases = Vec::new();
    for (call, step, last, error, exit) in [
        ("write", 1, 20, "ENOSPC", Exit::VolumeFull),
        ("?mkdir,?mkdirat", 4, 24, "EDQUOT", Exit::VolumeFull),
        ("?rename,?renameat", 2, 5, "ENOSPC", Exit::VolumeFull),
        ("renameat2", 1, 2, "EROFS", Exit::VolumeNotWritable),
        ("?symlink,?symlinkat", 1, 1, "EACCES", Exit::VolumeNotWritable),
        ("utimensat", 3, 3, "EPERM", Exit::VolumeNotWritable),
    ] {
        cases.extend((1..=last).step_by(step).map(|number| (call, number, error, exit)));
    }
    let failed = Mutex::new(Vec::new());
    for_all(&cases, AT_A_TIME, |(call, number, error, exit)| {
        let fetch = plain(&repository);
        fetch.clone().branch("old").run().expect(Exit::Reconciled);
        let traced = fetch.run_with(call, *number, &format!("error={error}"));
        let what = format!("{error} from {call} number {number}: {}", traced.ended.stderr);
        let on_disk = of_disk(&fetch.root().join("flow"));
        assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new(), "{what}");
        // A write of the log, or the message: nothing of the workflow is lost.
        if traced.ended.code == 0 {
            assert_eq!(on_disk, new_content, "{what}");
            return;
        }
        assert_eq!(on_disk, old_content, "{what}");
        // The message may be what could not be written: threads are counted each by itself.
        assert_eq!(traced.ended.code, i32::from(exit.code()), "{what}");
        failed.lock().unwrap().push(*call);
    });
    let failed = failed.into_inner().unwrap();
    for call in ["write", "?mkdir,?mkdirat", "?rename,?renameat", "renameat2", "?symlink,?symlinkat"] {
        assert!(failed.contains(&call), "no {call} failed, only {failed:?}");
    }
}

#[test]
fn replaces_read_only_delivery() {
    let (_server, repository) = plain_http_server();
    let fetch = plain(&repository);
    fetch.run_without_privileges().expect(Exit::Reconciled);
    let place = fetch.root().join("flow");
    for directory in ["flows/review", "flows", ".git/objects", ".git", ""] {
        chmod(&place.join(directory), 0o555);
    }
    let leftover = fetch.root().join(".init-workflow-0/tree");
    fs::create_dir_all(leftover.join("deep/er")).unwrap();
    for directory in ["deep/er", "deep", "", ".."] {
        chmod(&leftover.join(directory), 0o500);
    }
    chmod(&leftover.join("deep"), 0);
    fetch.run_without_privileges().expect(Exit::Reconciled);
    assert_eq!(of_disk(&place), of_git(&repository, "main", ""));
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o775);
    assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
}
