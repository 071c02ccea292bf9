//! Addresses of web pages that people paste where the URL of a repository belongs.

use percent_encoding::percent_decode_str;

use crate::source::Source;

/// The page that segments after the repository lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// Revision, then the path of a directory.
    Directory,
    /// Revision, then the path of a file; its directory can be delivered.
    File,
    /// A revision alone.
    Revision,
    /// A number; the ref is made of the text around it.
    Ref(&'static str, &'static str),
}

use Page::{Directory, File, Ref, Revision};

/// Path segments between repository and revision, longest first. GitHub and sr.ht (`tree`), GitLab (`-/tree`), Gitea and
/// Forgejo (`src/branch`), Bitbucket (`src`), Gitiles of Gerrit (`+`).
const MARKERS: [(&[&str], Page); 26] = [
    (&["-", "tree"], Directory),
    (&["-", "blob"], File),
    (&["-", "raw"], File),
    (&["-", "blame"], File),
    (&["-", "edit"], File),
    (&["-", "commits"], Directory),
    (&["-", "commit"], Revision),
    (&["-", "tags"], Revision),
    (&["-", "merge_requests"], Ref("refs/merge-requests/", "/head")),
    (&["src", "branch"], Directory),
    (&["src", "tag"], Directory),
    (&["src", "commit"], Directory),
    (&["raw", "branch"], File),
    (&["raw", "tag"], File),
    (&["raw", "commit"], File),
    (&["releases", "tag"], Revision),
    (&["+"], Directory),
    (&["tree"], Directory),
    (&["blob"], File),
    (&["raw"], File),
    (&["blame"], File),
    (&["edit"], File),
    (&["src"], Directory),
    (&["commit"], Revision),
    (&["pull"], Ref("refs/pull/", "/head")),
    (&["pulls"], Ref("refs/pull/", "/head")),
];

/// Returns the source that the address of a web page seems to show, such as
/// `https://host/org/repo/tree/main/wf`; the revision is the first segment after the marker.
///
/// A repository may have such a path, so this is advice for a URL that a server does not know or that has a query.
#[must_use]
pub fn repository_of_page(url: &str) -> Option<Source> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "https" | "http"))?;
    let (rest, query) = rest.split('#').next()?.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split('#').next()?.split_once('/')?;
    let origin = format!("{scheme}://{authority}");
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    azure(&origin, &segments, query)
        .or_else(|| bitbucket_server(&origin, &segments, query))
        .or_else(|| cgit(&origin, &segments, query))
        .or_else(|| by_marker(&origin, &segments))
}

fn by_marker(origin: &str, segments: &[&str]) -> Option<Source> {
    // Gitiles inside of Gerrit has pages below this path; repositories are not.
    let segments = segments.strip_prefix(&["plugins", "gitiles"]).unwrap_or(segments);
    // At least owner and repository are before the marker; Gerrit's repositories may have no owner.
    let (start, marker, page) = (1..segments.len()).find_map(|start| {
        let (marker, page) = MARKERS.iter().find(|(marker, _)| segments[start..].starts_with(marker))?;
        (start > 1 || marker == &["+"]).then_some((start, marker.len(), *page))
    })?;
    let mut after = &segments[start + marker..];
    if let ["refs", "heads" | "tags", ..] = after {
        after = &after[2..];
    }
    let (revision, path) = after.split_first()?;
    let path = match (page, path) {
        // sr.ht
        (_, ["item", path @ ..]) if segments[0].starts_with('~') => path,
        (File, [directory @ .., _]) => directory,
        (Directory, path) => path,
        _ => &[],
    };
    let revision = match page {
        Ref(before, after) => format!("{before}{revision}{after}"),
        _ => decoded(revision),
    };
    Some(source(origin, &segments[..start], &revision, &path.join("/")))
}

/// `https://dev.azure.com/org/project/_git/repo?path=/wf&version=GBmain`
fn azure(origin: &str, segments: &[&str], query: &str) -> Option<Source> {
    let end = segments.iter().position(|segment| *segment == "_git")? + 2;
    let repository = segments.get(..end)?;
    let version = parameter(query, "version");
    let path = parameter(query, "path").unwrap_or_default();
    // The URL itself, without a page.
    if version.is_none() && path.is_empty() && query.is_empty() {
        return None;
    }
    let revision = version.as_deref().map_or("HEAD", |version| {
        ["GB", "GT", "GC"].iter().find_map(|kind| version.strip_prefix(kind)).unwrap_or(version)
    });
    Some(source(origin, repository, revision, &path))
}

/// `https://host/projects/KEY/repos/repo/browse/wf?at=refs%2Fheads%2Fmain`
fn bitbucket_server(origin: &str, segments: &[&str], query: &str) -> Option<Source> {
    let start = segments.windows(2).position(|pair| matches!(pair, ["projects" | "users", _]))?;
    let [kind, owner, "repos", repository, "browse", path @ ..] = &segments[start..] else { return None };
    let owner = if *kind == "users" { format!("~{owner}") } else { (*owner).to_owned() };
    let repository = format!("{repository}.git");
    let clone: Vec<&str> = segments[..start].iter().copied().chain(["scm", &owner, &repository]).collect();
    let at = parameter(query, "at");
    Some(source(origin, &clone, at.as_deref().unwrap_or("HEAD"), &path.join("/")))
}

/// `https://host/repo.git/tree/wf?h=main`
fn cgit(origin: &str, segments: &[&str], query: &str) -> Option<Source> {
    let end = segments.iter().position(|segment| segment.strip_suffix(".git").is_some())? + 1;
    let ["tree", path @ ..] = &segments[end..] else { return None };
    let revision = parameter(query, "h").or_else(|| parameter(query, "id"));
    // Without a revision it may be the page of another forge.
    Some(source(origin, &segments[..end], &revision?, &path.join("/")))
}

/// Returns the value of a query's parameter, decoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(decoded(&value.replace('+', " ")))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn source(origin: &str, repository: &[&str], revision: &str, path: &str) -> Source {
    let revision = ["refs/heads/", "refs/tags/"]
        .iter()
        .find_map(|prefix| revision.strip_prefix(prefix))
        .unwrap_or(revision);
    Source::new(&format!("{origin}/{}", repository.join("/")), revision, &decoded(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        repository_of_page(text).map(|source| source.to_string())
    }

    #[test]
    fn recognizes_page_addresses_of_every_forge() {
        for (page, source) in [
            ("https://h/org/repo/tree/main/wf", "https://h/org/repo (main, wf)"),
            ("https://h/org/repo/tree/main/wf?tab=readme#top", "https://h/org/repo (main, wf)"),
            ("https://h/org/repo/blob/v1/a/b.md#L3", "https://h/org/repo (v1, a)"),
            ("https://h/org/repo/blob/v1/b.md?plain=1", "https://h/org/repo (v1)"),
            ("https://h/org/repo/commit/abc123", "https://h/org/repo (abc123)"),
            ("https://h/org/repo/pull/7/files", "https://h/org/repo (refs/pull/7/head)"),
            ("https://h/org/repo/releases/tag/v1", "https://h/org/repo (v1)"),
            ("https://u:p@h:8443/org/repo/tree/main", "https://h:8443/org/repo (main)"),
            ("https://h/g/sub/repo/-/tree/dev/wf/x/?ref_type=heads", "https://h/g/sub/repo (dev, wf/x)"),
            ("https://h/g/repo/-/blob/dev/wf/x.md", "https://h/g/repo (dev, wf)"),
            ("https://h/g/repo/-/tree/feature%2Fx/wf", "https://h/g/repo (feature/x, wf)"),
            ("https://h/g/repo/-/merge_requests/3/diffs", "https://h/g/repo (refs/merge-requests/3/head)"),
            ("https://h/org/repo/src/branch/main/wf", "https://h/org/repo (main, wf)"),
            ("https://h/org/repo/src/tag/v1/wf", "https://h/org/repo (v1, wf)"),
            ("https://h/org/repo/src/commit/abc/wf", "https://h/org/repo (abc, wf)"),
            ("https://h/org/repo/pulls/7", "https://h/org/repo (refs/pull/7/head)"),
            ("https://h/org/repo/src/main/wf/?at=main", "https://h/org/repo (main, wf)"),
            ("https://h/~user/repo/tree/main/item/wf", "https://h/~user/repo (main, wf)"),
            ("https://h/~user/repo/tree/main", "https://h/~user/repo (main)"),
            ("https://h/plugins/gitiles/a/repo/+/refs/heads/main/wf", "https://h/a/repo (main, wf)"),
            ("https://h/repo/+/main/wf", "https://h/repo (main, wf)"),
            (
                "https://dev.azure.com/org/project/_git/repo?path=/wf/x&version=GBmain&_a=contents",
                "https://dev.azure.com/org/project/_git/repo (main, wf/x)",
            ),
            (
                "https://org.visualstudio.com/p/_git/r?path=%2Fwf",
                "https://org.visualstudio.com/p/_git/r (HEAD, wf)",
            ),
            ("https://h/o/p/_git/r?version=GTv1", "https://h/o/p/_git/r (v1)"),
            ("https://h/o/p/_git/r/commit/abc?refName=x", "https://h/o/p/_git/r (HEAD)"),
            (
                "https://h/projects/KEY/repos/repo/browse/wf?at=refs%2Fheads%2Fdev",
                "https://h/scm/KEY/repo.git (dev, wf)",
            ),
            ("https://h/ctx/users/me/repos/repo/browse", "https://h/ctx/scm/~me/repo.git (HEAD)"),
            ("https://h/pub/git.git/tree/wf?h=next", "https://h/pub/git.git (next, wf)"),
        ] {
            assert_eq!(of(page).as_deref(), Some(source), "{page}");
        }
    }

    #[test]
    fn leaves_addresses_of_repositories_alone() {
        for url in [
            "https://h/org/repo.git",
            "https://h/org/repo?x=y",
            "https://h/org/tree",
            "https://h/tree/main/x",
            "https://h/a/b/tree",
            "https://dev.azure.com/org/project/_git/repo",
            "git@h:a/b/tree/c",
            "ssh://h/a/b/tree/c",
            "https://h",
            "",
        ] {
            assert_eq!(of(url), None, "{url}");
        }
    }
}
