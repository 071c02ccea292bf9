//! Deliveries equal git's trees, whole and in part, from every kind of server.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::path::Path;

use common::{Fetch, git, git_says, input, of_disk, of_git, server};
use workflow_contract::Exit;
use workflow_git_server::{
    Certificate, FaultProxy, GitServer, Profile, Repository, RepositoryBuilder, Settings,
};

fn content(builder: RepositoryBuilder) -> RepositoryBuilder {
    builder
        .file("README.md", "# Flow\r\nwith CRLF\r\n")
        .file(".gitattributes", "* text=auto eol=crlf\n*.ident ident\n")
        .file("empty", "")
        .file("with space/ü.txt", "umlaut\n")
        .file("a.ident", "$Id$\n")
        .executable("flows/review/run.sh", "#!/bin/sh\n")
        .file("flows/review/prompt.md", vec![0, 159, 146, 150])
        .symlink("flows/review/latest", "prompt.md")
        .symlink("flows/sideways", "other/../review/run.sh")
        .file("flows/other/x", "x")
        .file("src/deep/er/and/deeper", "1")
        .symlink("link", "flows/review")
}

fn repository(server: &GitServer, name: &str) -> Repository {
    content(server.repository(name)).tag("v1").branch("dev").file("dev.txt", "dev\n").create().unwrap()
}

#[test]
fn delivers_whole_repository_that_git_works_with() {
    let server = server();
    let repository = repository(&server, "acme/flow");
    let fetch = Fetch::new(&server, repository.url());
    let ended = fetch.run();
    let message = ended.expect(Exit::Reconciled);
    let place = fetch.root().join("flow");
    assert!(message.contains(&format!("to {}", place.display())), "{message}");
    assert_eq!(of_disk(&place), of_git(&repository, "main", ""));
    assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());

    let details = ended.details();
    assert_eq!(details.commit, Some(repository.commit("main").unwrap()));
    assert_eq!(
        (details.url.as_deref(), details.reference.as_deref()),
        (Some(repository.url()), Some("main"))
    );
    assert_eq!((details.path, details.attempts), (None, Some(1)));
    assert_eq!(details.files, Some(of_git(&repository, "main", "").len() as u64));

    assert_eq!(git_says(&place, &["status", "--porcelain=v2", "--branch"]).lines().count(), 4);
    assert_eq!(git_says(&place, &["status", "--porcelain"]), "");
    assert_eq!(git_says(&place, &["rev-parse", "--abbrev-ref", "main@{upstream}"]), "origin/main\n");
    assert_eq!(git_says(&place, &["remote", "get-url", "origin"]).trim(), repository.url());
    git_says(&place, &["fsck", "--strict"]);
    repository.extend("main").file("new", "1").create().unwrap();
    let ca = server.ca_file();
    let fetched = git(Some(&place)).env("GIT_SSL_CAINFO", &ca).args(["fetch", "--quiet"]).output().unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(git_says(&place, &["rev-parse", "origin/main"]).trim(), repository.commit("main").unwrap());
}

#[test]
fn delivers_contents_of_directory_without_git() {
    let server = server();
    let repository = repository(&server, "acme/flow");
    let fetch = Fetch::new(&server, repository.url()).path("/flows/review/");
    let ended = fetch.run();
    ended.expect(Exit::Reconciled);
    let place = fetch.root().join("flow");
    assert_eq!(of_disk(&place), of_git(&repository, "main", "flows/review"));
    assert!(!place.join(".git").exists());
    assert_eq!(ended.details().path.as_deref(), Some("flows/review"));
    assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
}

/// The server profiles that a fetch must cope with: what they allow differs, what is delivered does not.
#[test]
fn every_server_profile_delivers_the_same() {
    let server = GitServer::start(&Settings::default().protocol_v0("v0")).unwrap();
    for (name, profile, steps_down) in [
        ("filters/flow", Profile::Filters, false),
        ("github/flow", Profile::GithubLike, false),
        ("nofilter/flow", Profile::NoFilters, false),
        ("v0/flow", Profile::Filters, false),
    ] {
        let repository = content(server.repository(name))
            .profile(profile)
            .tag("v1")
            .branch("dev")
            .file("d", "")
            .create()
            .unwrap();
        for (branch, path) in [("main", ""), ("main", "flows/review"), ("v1", "flows"), ("dev", "")] {
            let fetch = Fetch::new(&server, repository.url()).branch(branch).path(path);
            let ended = fetch.run();
            ended.expect(Exit::Reconciled);
            let case = format!("{name} {branch} {path}");
            assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, branch, path), "{case}");
            assert_eq!(ended.stderr.contains("fetching everything"), steps_down, "{case}: {}", ended.stderr);
        }
    }
}

#[test]
fn fetches_everything_if_advertised_filter_is_rejected() {
    let server = server();
    let repository = repository(&server, "flow");
    repository.git(&["config", "uploadpackfilter.allow", "false"]).unwrap();
    let fetch = Fetch::new(&server, repository.url()).path("flows");
    let ended = fetch.run();
    ended.expect(Exit::Reconciled);
    assert_eq!(ended.stderr.matches("fetching everything").count(), 1, "{}", ended.stderr);
    assert_eq!(ended.details().attempts, Some(1));
    assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", "flows"));
}

#[test]
fn prefers_branches_to_tags_to_commits() {
    let server = server();
    let repository = repository(&server, "flow");
    repository.git(&["tag", "dev", "main"]).unwrap();
    let git = |args: &[&str]| {
        let output = git(None).arg("--git-dir").arg(repository.path()).args(args).output().unwrap();
        assert!(output.status.success());
    };
    git(&["tag", "-a", "-m", "annotated", "v2", "main"]);
    git(&["tag", "-a", "-m", "of a tag", "v3", "v2"]);
    let main = repository.commit("main").unwrap();
    for (requested, commit) in [
        ("dev", repository.commit("refs/heads/dev").unwrap()),
        ("v1", main.clone()),
        ("v2", main.clone()),
        ("v3", main.clone()),
        (main.as_str(), main.clone()),
        (main.to_uppercase().as_str(), main.clone()),
    ] {
        for path in ["", "flows"] {
            let fetch = Fetch::new(&server, repository.url()).branch(requested).path(path);
            let ended = fetch.run();
            ended.expect(Exit::Reconciled);
            assert_eq!(ended.details().commit.as_ref(), Some(&commit), "{requested}");
            let place = fetch.root().join("flow");
            assert_eq!(of_disk(&place), of_git(&repository, &commit, path), "{requested}");
            if path.is_empty() {
                assert_eq!(git_says(&place, &["status", "--porcelain"]), "", "{requested}");
                assert_eq!(git_says(&place, &["rev-parse", "HEAD"]).trim(), commit, "{requested}");
            }
        }
    }
}

#[test]
fn delivers_commit_before_the_tip_by_its_id() {
    let server = server();
    let repository = server.repository("flow").file("a", "1").commit("one").file("a", "2").create().unwrap();
    let first = repository.commit("main^").unwrap();
    let fetch = Fetch::new(&server, repository.url()).branch(&first);
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(fs::read(fetch.root().join("flow/a")).unwrap(), b"1");
}

#[test]
fn second_run_replaces_delivery_of_the_first() {
    let server = server();
    let repository = repository(&server, "flow");
    let fetch = Fetch::new(&server, repository.url());
    fetch.run().expect(Exit::Reconciled);
    let place = fetch.root().join("flow");
    fs::write(place.join("left behind"), "x").unwrap();
    repository.extend("main").remove("README.md").file("new", "1").create().unwrap();
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(of_disk(&place), of_git(&repository, "main", ""));
    assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
}

#[test]
fn replaces_any_entry_at_the_published_path() {
    let server = server();
    let repository = repository(&server, "flow");
    for kind in ["file", "symlink"] {
        let fetch = Fetch::new(&server, repository.url()).path("flows");
        fs::create_dir_all(fetch.root()).unwrap();
        match kind {
            "file" => fs::write(fetch.root().join("flow"), "x").unwrap(),
            _ => std::os::unix::fs::symlink("/etc", fetch.root().join("flow")).unwrap(),
        }
        fetch.run().expect(Exit::Reconciled);
        assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", "flows"), "{kind}");
        assert!(Path::new("/etc/passwd").exists());
    }
}

#[test]
fn publishes_alias_for_url_of_three_segments() {
    let server = server();
    let repository = repository(&server, "group/sub/flow");
    let fetch = Fetch::new(&server, repository.url());
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(fs::read_link(fetch.root().join("sub")).unwrap(), Path::new("flow"));
    assert_eq!(of_disk(&fetch.root().join("sub")), of_git(&repository, "main", ""));
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(fetch.residue(&["flow", "sub"]), Vec::<String>::new());
}

#[test]
fn names_submodules_that_stay_empty() {
    let server = server();
    let repository = repository(&server, "flow");
    let tree = repository.git(&["ls-tree", "main"]).unwrap();
    let main = repository.commit("main").unwrap();
    let mut mktree = git(None);
    mktree.arg("--git-dir").arg(repository.path()).arg("mktree");
    let tree = input(mktree, &format!("{tree}160000 commit {main}\tmodule\n"));
    let commit = git_says(repository.path(), &["commit-tree", "-m", "x", tree.trim()]);
    repository.git(&["update-ref", "refs/heads/main", commit.trim()]).unwrap();
    let fetch = Fetch::new(&server, repository.url());
    let ended = fetch.run();
    let message = ended.expect(Exit::Reconciled);
    assert!(message.contains("1 submodule is not fetched"), "{message}");
    let place = fetch.root().join("flow");
    assert_eq!(of_disk(&place), of_git(&repository, "main", ""));
    assert_eq!(git_says(&place, &["status", "--porcelain"]), "");
}

#[test]
fn delivers_lfs_pointers_and_names_them() {
    let server = server();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5\n";
    let repository = server.repository("flow").file("big.bin", pointer).create().unwrap();
    let fetch = Fetch::new(&server, repository.url());
    let ended = fetch.run();
    assert!(ended.expect(Exit::Reconciled).contains("1 file is a Git LFS pointer"));
    assert_eq!(fs::read_to_string(fetch.root().join("flow/big.bin")).unwrap(), pointer);
}

#[test]
fn removes_leftovers_of_a_killed_run() {
    let server = server();
    let repository = repository(&server, "flow");
    let fetch = Fetch::new(&server, repository.url());
    fs::create_dir_all(fetch.root().join(".init-workflow-0123/tree/x")).unwrap();
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
}

#[test]
fn delivers_full_ref_names_and_head() {
    let server = GitServer::start(&Settings::default().protocol_v0("v0")).unwrap();
    for name in ["flow", "v0/flow"] {
        let repository = repository(&server, name);
        for ref_name in ["refs/pull/7/head", "refs/merge-requests/3/head"] {
            repository.git(&["update-ref", ref_name, "dev"]).unwrap();
        }
        for (requested, same_as, head) in [
            ("refs/pull/7/head", "dev", "HEAD"),
            ("refs/merge-requests/3/head", "dev", "HEAD"),
            ("refs/heads/dev", "dev", "dev"),
            ("refs/tags/v1", "v1", "HEAD"),
            ("HEAD", "main", "main"),
        ] {
            for path in ["", "flows"] {
                let fetch = Fetch::new(&server, repository.url()).branch(requested).path(path);
                let ended = fetch.run();
                ended.expect(Exit::Reconciled);
                assert_eq!(ended.details().commit, Some(repository.commit(same_as).unwrap()), "{requested}");
                let place = fetch.root().join("flow");
                assert_eq!(of_disk(&place), of_git(&repository, same_as, path), "{name} {requested}");
                if path.is_empty() {
                    assert_eq!(git_says(&place, &["status", "--porcelain"]), "", "{requested}");
                    assert_eq!(
                        git_says(&place, &["rev-parse", "--abbrev-ref", "HEAD"]).trim(),
                        head,
                        "{requested}"
                    );
                }
            }
        }
    }
}

#[test]
fn delivers_repository_called_dot_github() {
    let server = server();
    let repository = server.repository("acme/.github").file("a", "1").create().unwrap();
    let fetch = Fetch::new(&server, repository.url());
    fetch.run().expect(Exit::Reconciled);
    assert_eq!(of_disk(&fetch.root().join(".github")), of_git(&repository, "main", ""));
}

#[test]
fn rejects_abbreviated_commit_ids_and_unknown_full_refs() {
    let server = server();
    let repository = repository(&server, "flow");
    let commit = repository.commit("main").unwrap();
    let ended = Fetch::new(&server, repository.url()).branch(&commit[..8]).run();
    let message = ended.expect(Exit::RefNotFound);
    assert!(message.contains(&format!("write all 40 digits: {commit}")), "{message}");
    let ended = Fetch::new(&server, repository.url()).branch("refs/heads/devel").run();
    let message = ended.expect(Exit::RefNotFound);
    assert!(
        message.contains("there is no ref `refs/heads/devel`; did you mean `refs/heads/dev`"),
        "{message}"
    );
}

#[test]
fn names_source_that_the_address_of_a_page_shows() {
    let server = server();
    let repository = repository(&server, "acme/flow");
    let url = repository.url().trim_end_matches(".git");
    for (page, path) in [
        ("tree/dev/flows/review", ", path flows/review"),
        ("-/tree/dev", ""),
        ("src/branch/dev/wf", ", path wf"),
    ] {
        let ended = Fetch::new(&server, &format!("{url}/{page}")).run();
        let message = ended.expect(Exit::RepositoryNotFound);
        let expected = format!("that is the address of a page; use URL {url}, branch dev{path}");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn fetches_directory_with_filter_over_v0_if_the_server_sends_any_object() {
    let server = GitServer::start(&Settings::default().plain_http().protocol_v0("acme")).unwrap();
    let repository = repository(&server, "acme/flow");
    let proxy = FaultProxy::start(&server, Certificate::Good, Vec::new()).unwrap();
    let posts = || proxy.requests().iter().filter(|head| head.starts_with("POST ")).count();
    for (setting, requests) in
        [("allowTipSHA1InWant", 1), ("allowReachableSHA1InWant", 2), ("allowAnySHA1InWant", 2)]
    {
        repository.git(&["config", &format!("uploadpack.{setting}"), "true"]).unwrap();
        let before = posts();
        let fetch = Fetch::through(&proxy, &repository).path("flows/review");
        fetch.run().expect(Exit::Reconciled);
        assert_eq!(posts() - before, requests, "{setting}");
        assert_eq!(of_disk(&fetch.root().join("flow")), of_git(&repository, "main", "flows/review"));
    }
}
