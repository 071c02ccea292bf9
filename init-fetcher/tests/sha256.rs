//! Repositories whose objects are named by SHA-256 are delivered as those of SHA-1.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use common::{Fetch, git, git_says, of_disk, of_git, server};
use workflow_contract::Exit;
use workflow_git_server::{GitServer, Repository, Settings};

fn repository(server: &GitServer) -> Repository {
    let line = "a line that is the same in both versions of the file\n";
    let repository = server
        .repository("acme/flow")
        .sha256()
        .file("README.md", line.repeat(200))
        .executable("flows/review/run.sh", "#!/bin/sh\n")
        .symlink("flows/latest", "review")
        .commit("first")
        .file("flows/review/long.md", format!("{}changed\n", line.repeat(200)))
        .tag("v1")
        .branch("dev")
        .file("dev.txt", "dev\n")
        .create()
        .unwrap();
    repository.git(&["repack", "-adfq"]).unwrap();
    repository
}

fn servers() -> [(&'static str, GitServer); 2] {
    [("v2", server()), ("v0", GitServer::start(&Settings::default().protocol_v0("acme")).unwrap())]
}

#[test]
fn delivers_whole_repositories_that_git_works_with() {
    for (version, server) in servers() {
        let repository = repository(&server);
        let fetch = Fetch::new(&server, repository.url());
        let ended = fetch.run();
        ended.expect(Exit::Reconciled);
        let place = fetch.root().join("flow");
        assert_eq!(of_disk(&place), of_git(&repository, "main", ""), "{version}");
        assert_eq!(ended.details().commit, Some(repository.commit("main").unwrap()), "{version}");
        assert_eq!(git_says(&place, &["rev-parse", "--show-object-format"]), "sha256\n", "{version}");
        assert_eq!(git_says(&place, &["status", "--porcelain"]), "", "{version}");
        git_says(&place, &["fsck", "--strict"]);
        repository.extend("main").file("new", "1").create().unwrap();
        let ca = server.ca_file();
        let pull = git(Some(&place)).env("GIT_SSL_CAINFO", &ca).args(["pull", "--quiet"]).output().unwrap();
        assert!(pull.status.success(), "{version}: {}", String::from_utf8_lossy(&pull.stderr));
        assert_eq!(std::fs::read_to_string(place.join("new")).unwrap(), "1", "{version}");
    }
}

#[test]
fn delivers_directories_of_branches_tags_and_commits() {
    for (version, server) in servers() {
        let repository = repository(&server);
        for reference in ["dev", "v1", &repository.commit("v1").unwrap()] {
            let fetch = Fetch::new(&server, repository.url()).branch(reference).path("flows");
            fetch.run().expect(Exit::Reconciled);
            let place = fetch.root().join("flow");
            assert_eq!(of_disk(&place), of_git(&repository, reference, "flows"), "{version} {reference}");
        }
        let missing = Fetch::new(&server, repository.url()).branch("nowhere").run();
        missing.expect(Exit::RefNotFound);
    }
}

#[test]
fn reports_empty_repository() {
    for (_, server) in servers() {
        let empty = server.repository("acme/empty").sha256().create().unwrap();
        empty.git(&["update-ref", "-d", "refs/heads/main"]).unwrap();
        let ended = Fetch::new(&server, empty.url()).run();
        assert!(ended.expect(Exit::RefNotFound).contains("the repository is empty"), "{}", ended.message);
    }
}
