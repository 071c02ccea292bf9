//! Addresses of web pages that people paste where the URL of a repository belongs.

use super::RepoUrl;
use crate::source::Source;

/// Path segments between repository and branch in page addresses: GitHub, GitLab, Gitea and Forgejo, Bitbucket.
const MARKERS: [&[&str]; 9] = [
    &["-", "tree"],
    &["-", "blob"],
    &["src", "branch"],
    &["src", "tag"],
    &["src", "commit"],
    &["tree"],
    &["blob"],
    &["raw"],
    &["src"],
];

/// Returns the source that the address of a web page seems to show, such as
/// `https://host/org/repo/tree/main/wf`; the branch is the first segment after the marker.
///
/// A repository may have such a path, so this is advice for a URL that a server does not know.
#[must_use]
pub fn repository_of_page(url: &RepoUrl) -> Option<Source> {
    if url.scheme() == super::Scheme::Ssh {
        return None;
    }
    let whole = url.without_userinfo();
    let origin = whole.strip_suffix(url.path())?;
    let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
    // At least owner and repository stand before the marker, and a branch after it.
    let (start, marker) = (2..segments.len()).find_map(|start| {
        let marker = MARKERS.iter().find(|marker| segments[start..].starts_with(marker))?;
        Some((start, marker.len()))
    })?;
    let (branch, path) = segments[start + marker..].split_first()?;
    let repository = format!("{origin}/{}", segments[..start].join("/"));
    Some(Source::new(&repository, branch, &path.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        repository_of_page(&RepoUrl::parse(text).unwrap()).map(|source| source.to_string())
    }

    #[test]
    fn recognizes_page_addresses_of_every_forge() {
        for (page, source) in [
            ("https://h/org/repo/tree/main/wf", "https://h/org/repo (main, wf)"),
            ("https://h/org/repo/blob/v1/a/b.md", "https://h/org/repo (v1, a/b.md)"),
            ("https://u:p@h:8443/org/repo/tree/main", "https://h:8443/org/repo (main)"),
            ("https://h/g/sub/repo/-/tree/dev/wf/x/", "https://h/g/sub/repo (dev, wf/x)"),
            ("https://h/org/repo/src/branch/main/wf", "https://h/org/repo (main, wf)"),
            ("https://h/org/repo/src/main/wf", "https://h/org/repo (main, wf)"),
        ] {
            assert_eq!(of(page).as_deref(), Some(source), "{page}");
        }
    }

    #[test]
    fn leaves_addresses_of_repositories_alone() {
        for url in [
            "https://h/org/repo.git",
            "https://h/org/tree",
            "https://h/tree/main/x",
            "https://h/a/b/tree",
            "git@h:a/b/tree/c",
        ] {
            assert_eq!(of(url), None, "{url}");
        }
    }
}
