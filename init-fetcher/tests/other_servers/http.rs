//! Over smart HTTP.

use workflow_contract::Exit;
use workflow_git_server::{AzureLike, OtherServer, Software, jdk_at_hand};

use crate::cases::{Served, content};
use crate::common::Fetch;

fn fetch(url: &str) -> Fetch {
    Fetch::untrusting(url).var("WORKFLOW_ALLOWED_SCHEMES", "https,http")
}

fn served(server: &OtherServer) -> Served<'static> {
    let repository = content(server.repository("flow"));
    Served { url: repository.url().to_owned(), repository, fetch: Box::new(fetch), git: Vec::new() }
}

fn delivers(software: Software) {
    let server = OtherServer::start(software).unwrap();
    served(&server).delivers();
}

/// Checks branch and path that do not exist, and an empty repository.
fn reports_refs_and_paths(software: Software) {
    let server = OtherServer::start(software).unwrap();
    let repository = served(&server);
    repository.fails("nothere", "", Exit::RefNotFound);
    repository.fails("main", "nothere", Exit::PathNotFound);
    let empty = server.repository("empty").create().unwrap();
    let ended = fetch(empty.url()).run();
    let message = ended.expect(Exit::RefNotFound);
    assert!(message.contains("empty"), "{message}");
    assert_eq!(ended.details().attempts, Some(1));
}

fn reports_missing_repository(software: Software) {
    let server = OtherServer::start(software).unwrap();
    let ended = fetch(&server.url("nothere.git")).run();
    ended.expect(Exit::RepositoryNotFound);
    assert_eq!(ended.details().attempts, Some(1));
}

mod apache {
    use super::*;

    #[test]
    fn delivers_as_git_clones() {
        delivers(Software::Apache);
    }

    #[test]
    fn reports_missing_refs_paths_and_repositories() {
        reports_refs_and_paths(Software::Apache);
        reports_missing_repository(Software::Apache);
    }
}

mod dulwich {
    use super::*;

    #[test]
    fn delivers_as_git_clones() {
        delivers(Software::Dulwich);
    }

    #[test]
    fn reports_missing_refs_paths_and_repositories() {
        reports_refs_and_paths(Software::Dulwich);
        reports_missing_repository(Software::Dulwich);
    }
}

mod go_git_v5 {
    use super::*;

    #[test]
    fn delivers_as_git_clones() {
        delivers(Software::GoGitV5);
    }

    #[test]
    fn reports_missing_refs_paths_and_repositories() {
        reports_refs_and_paths(Software::GoGitV5);
        reports_missing_repository(Software::GoGitV5);
    }
}

/// A missing repository is a 500 here, which git reports as such too.
mod go_git_v6 {
    use super::*;

    #[test]
    fn delivers_as_git_clones() {
        delivers(Software::GoGitV6);
    }

    #[test]
    fn reports_missing_refs_and_paths() {
        reports_refs_and_paths(Software::GoGitV6);
    }

    #[test]
    fn names_missing_repository_as_a_reason_of_the_500() {
        let server = OtherServer::start(Software::GoGitV6).unwrap();
        // The limit falls into the wait for the second attempt.
        let ended = fetch(&server.url("nothere.git")).var("WORKFLOW_TIMEOUT", "900ms").run();
        let message = ended.expect(Exit::ServerError);
        assert!(message.contains("some servers respond so if the repository does not exist"), "{message}");
    }
}

mod jgit {
    use super::*;

    #[test]
    fn delivers_as_git_clones() {
        if jdk_at_hand() {
            delivers(Software::JGit);
        }
    }

    #[test]
    fn reports_missing_refs_paths_and_repositories() {
        if jdk_at_hand() {
            reports_refs_and_paths(Software::JGit);
            reports_missing_repository(Software::JGit);
        }
    }
}

#[test]
fn delivers_from_a_server_like_azure_devops() {
    let server = AzureLike::start().unwrap();
    let repository = content(server.repository("flow"));
    let url = server.url(&repository);
    Served { repository, url, fetch: Box::new(fetch), git: Vec::new() }.delivers();
}
