//! Submodules: fetched like the repository itself, as `git clone --recurse-submodules` does, or left empty and named.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::path::Path;

use common::ssh::Ssh;
use common::{Fetch, Listing, git, git_says, of_disk, of_git, server};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Repository, Settings};

/// A repository with a submodule, which has one itself.
struct Nested {
    outer: Repository,
    library: Repository,
    inner: Repository,
}

fn list(modules: &[(&str, &str, &str)]) -> String {
    modules
        .iter()
        .map(|(name, path, url)| format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n"))
        .collect::<Vec<_>>()
        .concat()
}

impl Nested {
    fn new(server: &GitServer, directory: &str) -> Self {
        let inner = server
            .repository(&format!("{directory}/inner"))
            .executable("bin/run", "#!/bin/sh\n")
            .file("README.md", "inner\n")
            .create()
            .unwrap();
        let library = server
            .repository(&format!("{directory}/library"))
            .file("README.md", "library\n")
            .file("skills/a/SKILL.md", "a\n")
            .symlink("skills/b", "a")
            .file(".gitmodules", list(&[("deep", "parts/inner", "../inner.git")]))
            .submodule("parts/inner", &inner.commit("main").unwrap())
            .create()
            .unwrap();
        // The commit that is fetched is not the tip.
        let pinned = library.commit("main").unwrap();
        let outer = server
            .repository(&format!("{directory}/flow"))
            .file("README.md", "flow\n")
            .file("wf/prompt.md", "x\n")
            .symlink("wf/skills", "libs/library/skills")
            .file(".gitmodules", list(&[("my libs/the library", "wf/libs/library", "../library.git")]))
            .submodule("wf/libs/library", &pinned)
            .create()
            .unwrap();
        Self { outer, library, inner }
    }

    /// The files of all of them below a directory of the outer repository.
    fn expected(&self, path: &str) -> Listing {
        let library =
            place(of_git(&self.library, "main", ""), "parts/inner", &of_git(&self.inner, "main", ""));
        let outer = place(of_git(&self.outer, "main", ""), "wf/libs/library", &library);
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        outer
            .into_iter()
            .filter_map(|(name, entry)| Some((name.strip_prefix(&prefix)?.to_owned(), entry)))
            .collect()
    }
}

/// Puts the files of a submodule in the place of its entry.
fn place(mut listing: Listing, at: &str, files: &Listing) -> Listing {
    listing.remove(at).unwrap();
    listing.extend(files.iter().map(|(name, entry)| (format!("{at}/{name}"), entry.clone())));
    listing
}

/// What is on disk but the links to git directories.
fn files(place: &Path) -> Listing {
    of_disk(place).into_iter().filter(|(name, _)| !name.ends_with("/.git")).collect()
}

fn recursive(server: &GitServer, url: &str) -> Fetch {
    Fetch::new(server, url).var("WORKFLOW_SUBMODULES", "recursive")
}

/// What git sees in a work tree and in those of its submodules, but for the names of commits: a clone has more branches.
fn seen_by_git(directory: &Path) -> Vec<String> {
    ["submodule status --recursive", "ls-files -s --recurse-submodules", "status --porcelain"]
        .iter()
        .map(|command| git_says(directory, &command.split(' ').collect::<Vec<_>>()))
        .flat_map(|output| output.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| line.split(" (").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn whole_repositories_are_as_git_clones_them() {
    let server = GitServer::start(&Settings::default().protocol_v0("v0")).unwrap();
    for directory in ["v2", "v0"] {
        let nested = Nested::new(&server, directory);
        let fetch = recursive(&server, nested.outer.url());
        let ended = fetch.run();
        let message = ended.expect(Exit::Reconciled);
        assert!(message.ends_with("; with 2 submodules"), "{message}");
        let ours = fetch.root().join("flow");
        assert_eq!(files(&ours), nested.expected(""), "{directory}");
        assert_eq!(ended.details().files, Some(nested.expected("").len() as u64));
        let theirs = fetch.dir.path().join("clone");
        let clone = git(Some(fetch.dir.path()))
            .env("GIT_SSL_CAINFO", server.ca_file())
            .args(["clone", "-q", "--recurse-submodules", nested.outer.url(), "clone"])
            .output()
            .unwrap();
        assert!(clone.status.success(), "{}", String::from_utf8_lossy(&clone.stderr));
        assert_eq!(seen_by_git(&ours), seen_by_git(&theirs), "{directory}");
        git_says(&ours, &["fsck", "--strict"]);
        // Git goes on from here: to another commit of the submodule, and back.
        let library = ours.join("wf/libs/library");
        let tip = nested.library.extend("main").file("new", "1").create().unwrap().commit("main").unwrap();
        let pull = |args: &[&str], directory: &Path| {
            let output =
                git(Some(directory)).env("GIT_SSL_CAINFO", server.ca_file()).args(args).output().unwrap();
            assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
        };
        pull(&["fetch", "-q"], &library);
        pull(&["checkout", "-q", &tip], &library);
        assert_eq!(git_says(&ours, &["status", "--porcelain"]), " M wf/libs/library\n");
        pull(&["submodule", "--quiet", "update", "--recursive"], &ours);
        assert_eq!(seen_by_git(&ours), seen_by_git(&theirs), "{directory}");
        assert_eq!(fetch.residue(&["flow", "library"]), Vec::<String>::new());
    }
}

#[test]
fn directories_are_delivered_with_the_files_of_their_submodules() {
    let server = GitServer::start(&Settings::default().protocol_v0("v0")).unwrap();
    for directory in ["v2", "v0"] {
        let nested = Nested::new(&server, directory);
        for (path, submodules) in [
            ("wf", "2 submodules"),
            ("wf/libs", "2 submodules"),
            ("wf/libs/library", "2 submodules"),
            ("wf/libs/library/skills", "1 submodule"),
            ("wf/libs/library/parts", "2 submodules"),
            ("wf/libs/library/parts/inner/bin", "2 submodules"),
        ] {
            let fetch = recursive(&server, nested.outer.url()).path(path);
            let ended = fetch.run();
            assert!(
                ended.expect(Exit::Reconciled).ends_with(&format!("; with {submodules}")),
                "{}",
                ended.message
            );
            let place = fetch.root().join("flow");
            assert_eq!(of_disk(&place), nested.expected(path), "{directory} {path}");
            assert_eq!(ended.details().commit, Some(nested.outer.commit("main").unwrap()));
            assert_eq!(fetch.residue(&["flow"]), Vec::<String>::new());
            assert!(!place.join(".git").exists() && !place.join("libs/library/.git").exists(), "{path}");
        }
        let ended = recursive(&server, nested.outer.url()).path("wf/libs/library/skill").run();
        let message = ended.expect(Exit::PathNotFound);
        assert!(
            message.contains("submodule `wf/libs/library` (") && message.contains("`skills`"),
            "{message}"
        );
    }
}

#[test]
fn submodules_are_fetched_over_ssh_with_relative_urls() {
    let server = server();
    let nested = Nested::new(&server, "acme");
    let ssh = Ssh::start(true);
    for path in ["", "wf"] {
        let fetch = ssh.fetch(&nested.outer).path(path).var("WORKFLOW_SUBMODULES", "recursive");
        ssh.run(&fetch).expect(Exit::Reconciled);
        assert_eq!(files(&fetch.root().join("flow")), nested.expected(path));
    }
}

#[test]
fn submodules_are_left_empty_by_default() {
    let server = server();
    let nested = Nested::new(&server, "acme");
    for path in ["", "wf"] {
        let ended = Fetch::new(&server, nested.outer.url()).path(path).run();
        let expected = "1 submodule is not fetched and stays empty: `wf/libs/library`; `submodules: recursive` in \
                    config.yaml fetches them";
        assert!(ended.expect(Exit::Reconciled).contains(expected), "{}", ended.message);
    }
    let ended = Fetch::new(&server, nested.outer.url()).path("wf/libs/library/skills").run();
    let message = ended.expect(Exit::PathNotFound);
    assert!(message.contains("`wf/libs/library` is not a directory but a submodule"), "{message}");
}

/// A repository with one submodule at `libs/m`, which has this URL and commit.
fn with_submodule(server: &GitServer, name: &str, url: &str, commit: &str) -> Repository {
    server
        .repository(name)
        .file("README.md", "x")
        .file(".gitmodules", list(&[("m", "libs/m", url)]))
        .submodule("libs/m", commit)
        .create()
        .unwrap()
}

#[test]
fn a_submodule_that_fails_is_named_with_its_own_code() {
    let server = GitServer::start(&Settings::default().password("private", "u", "p")).unwrap();
    let library = server.repository("acme/library").file("big", vec![b'x'; 5000]).create().unwrap();
    let private = server.repository("private/library").file("a", "a").create().unwrap();
    let commit = library.commit("main").unwrap();
    let unknown = "7".repeat(40);
    for (number, (url, commit, exit)) in [
        ("../none.git", commit.as_str(), Exit::RepositoryNotFound),
        ("../library.git", unknown.as_str(), Exit::RefNotFound),
        (private.url(), &private.commit("main").unwrap(), Exit::AuthenticationFailed),
        ("https://elsewhere.example/library.git", &commit, Exit::HostNotAllowed),
        ("file:///etc", &commit, Exit::HostNotAllowed),
        ("-u../library", &commit, Exit::InvalidSource),
        ("../../../library", &commit, Exit::InvalidSource),
    ]
    .into_iter()
    .enumerate()
    {
        let repository = with_submodule(&server, &format!("acme/r{number}"), url, commit);
        for path in ["", "libs", "libs/m"] {
            let fetch =
                recursive(&server, repository.url()).path(path).var("WORKFLOW_ALLOWED_HOSTS", "127.0.0.1");
            let ended = fetch.run();
            let message = ended.expect(exit);
            assert!(message.contains("submodule `libs/m`"), "{url}: {message}");
            assert_eq!(ended.details().attempts, Some(1), "{url}");
            assert_eq!(fetch.residue(&[]), Vec::<String>::new());
        }
    }
    let unlisted = server.repository("acme/flow").submodule("m", &commit).create().unwrap();
    let ended = recursive(&server, unlisted.url()).run();
    assert!(ended.expect(Exit::InvalidSource).contains("submodule `m`: "), "{}", ended.message);
}

#[test]
fn limits_hold_for_the_repository_and_its_submodules_together() {
    let server = server();
    let library =
        server.repository("acme/library").file("1", vec![b'x'; 3000]).file("2", "2").create().unwrap();
    let (commit, url) = (library.commit("main").unwrap(), "../library.git");
    let outer = server
        .repository("acme/flow")
        .file(".gitmodules", list(&[("a", "a", url), ("b", "b", url), ("c", "c", url)]))
        .submodule("a", &commit)
        .submodule("b", &commit)
        .submodule("c", &commit)
        .create()
        .unwrap();
    for (name, enough, too_little) in
        [("WORKFLOW_MAX_BYTES", "16Ki", "8Ki"), ("WORKFLOW_MAX_FILES", "7", "6")]
    {
        let fetch = |limit| recursive(&server, outer.url()).var(name, limit).run();
        fetch(enough).expect(Exit::Reconciled);
        let ended = fetch(too_little);
        let message = ended.expect(Exit::TooLarge);
        assert!(message.contains("submodule `c`") && message.contains(&format!("raise {name}")), "{message}");
    }
}

#[test]
fn submodules_that_are_never_updated_stay_empty() {
    let server = server();
    let library = server.repository("acme/library").file("a", "a").create().unwrap();
    let commit = library.commit("main").unwrap();
    let modules = list(&[("n", "n", "../none.git"), ("m", "m", "../library.git")])
        .replace("none.git", "none.git\n\tupdate = none");
    let outer = server
        .repository("acme/flow")
        .file(".gitmodules", modules)
        .submodule("m", &commit)
        .submodule("n", &commit)
        .create()
        .unwrap();
    let fetch = recursive(&server, outer.url());
    let ended = fetch.run();
    let message = ended.expect(Exit::Reconciled);
    assert!(
        message.ends_with("; with 1 submodule; 1 submodule is not fetched and stays empty: `n`"),
        "{message}"
    );
    let place = fetch.root().join("flow");
    assert_eq!(fs::read_to_string(place.join("m/a")).unwrap(), "a");
    assert_eq!(git_says(&place, &["status", "--porcelain"]), "");
    let ended = recursive(&server, outer.url()).path("n").run();
    assert!(
        ended.expect(Exit::PathNotFound).contains("submodule `n`: it is never checked out"),
        "{}",
        ended.message
    );
}

#[test]
fn submodules_of_copied_directories_are_fetched_into_the_copies() {
    let server = server();
    let library = server.repository("acme/library").file("a", "a").file("d/b", "b").create().unwrap();
    let commit = library.commit("main").unwrap();
    let outer = server
        .repository("acme/flow")
        .file(".gitmodules", list(&[("m", "shared/m", "../library.git")]))
        .submodule("shared/m", &commit)
        .symlink("shared/link", "m/a")
        .symlink("wf/shared", "../shared")
        .symlink("wf/only", "../shared/m/d")
        .create()
        .unwrap();
    let fetch = recursive(&server, outer.url()).path("wf");
    let ended = fetch.run();
    let message = ended.expect(Exit::Reconciled);
    let expected =
        "1 symlink was left out: `wf/only`, a symlink into a submodule outside of the delivered directory";
    assert!(message.contains(expected) && message.ends_with("; with 1 submodule"), "{message}");
    let place = fetch.root().join("flow");
    assert_eq!(fs::read_to_string(place.join("shared/m/a")).unwrap(), "a");
    assert_eq!(fs::read_to_string(place.join("shared/link")).unwrap(), "a");
    assert_eq!(of_disk(&place).len(), 3);
}

#[test]
fn submodules_are_fetched_with_the_credentials_of_their_host() {
    let server = GitServer::start(&Settings::default().password("private", "u", "s3cret")).unwrap();
    let library = server.repository("private/library").file("a", "a").create().unwrap();
    let commit = library.commit("main").unwrap();
    let relative = with_submodule(&server, "private/flow", "../library.git", &commit);
    let absolute = with_submodule(&server, "acme/flow", library.url(), &commit);
    let secret = |fetch: Fetch| {
        let dir = fetch.dir.path().join("secret");
        fs::create_dir(&dir).unwrap();
        for (key, value) in [("username", "u"), ("password", "s3cret"), ("hosts", "127.0.0.1")] {
            fs::write(dir.join(key), value).unwrap();
        }
        fetch.var("WORKFLOW_CREDENTIALS_DIR", &dir.to_string_lossy())
    };
    let with_userinfo = relative.url().replace("https://", "https://u:s3cret@");
    for fetch in [
        secret(recursive(&server, relative.url())),
        secret(recursive(&server, absolute.url())),
        recursive(&server, &with_userinfo),
    ] {
        let ended = fetch.run();
        ended.expect(Exit::Reconciled);
        let place = fetch.root().join("flow");
        assert_eq!(fs::read_to_string(place.join("libs/m/a")).unwrap(), "a");
        for config in [".git/config", ".git/modules/m/config"] {
            assert!(!fs::read_to_string(place.join(config)).unwrap().contains("s3cret"), "{config}");
        }
        assert!(!ended.message.contains("s3cret") && !ended.stderr.contains("s3cret"));
    }
    // The URL's own credential is not for another URL, even of the same host.
    let url = absolute.url().replace("https://", "https://u:s3cret@");
    let ended = recursive(&server, &url).run();
    assert!(ended.expect(Exit::AuthenticationFailed).contains("submodule `libs/m`"), "{}", ended.message);
}
