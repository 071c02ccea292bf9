//! Which object a branch, tag or commit id names on a server. Pure.

use git2::{ObjectFormat, Oid};
use workflow_contract::{RefName, text};

use crate::oid;
use crate::protocol::Ref;
use crate::suggest::did_you_mean;

/// The object to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A commit, or an annotated tag that leads to one.
    pub want: Oid,
    pub kind: TargetKind,
    /// The branch's or tag's own name, without `refs/heads/` or `refs/tags/`; otherwise as configured.
    pub name: String,
    /// False if no ref names the object.
    pub listed: bool,
    /// Annotated tags that name the commit, if one of them must be signed.
    pub tags: Vec<Oid>,
}

impl Target {
    /// Objects to want: the commit or tag, and the tags that may sign it.
    pub fn wants(&self) -> Vec<Oid> {
        [self.want].into_iter().chain(self.tags.iter().copied()).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// `refs/heads/NAME`.
    Branch,
    /// `refs/tags/NAME`.
    Tag,
    /// A full commit id.
    Commit,
    /// Any other ref, such as `refs/pull/7/head`.
    OtherRef,
}

/// No such branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefNotFound {
    /// No branch, tag or commit of that name.
    #[error("there is no branch, tag or commit `{name}`{hint}")]
    NoSuchName {
        name: String,
        /// Names that exist, after `; `, or empty.
        hint: String,
    },
    #[error(
        "`{name}` is not a branch or tag; if it is the start of a commit id, write all {digits} digits{hint}"
    )]
    Abbreviated {
        name: String,
        /// Number of digits of the repository's ids.
        digits: usize,
        /// The whole id, if it is known.
        hint: String,
    },
    /// No ref of that full name.
    #[error("there is no ref `{name}`{hint}")]
    NoSuchRef {
        name: String,
        /// Names that exist, after `; `, or empty.
        hint: String,
    },
    /// A repository without refs.
    #[error("there is no branch `{name}`: the repository is empty")]
    Empty { name: String },
    /// An id that the server does not send.
    #[error("the server has no commit {id}, or does not send it; name a branch or tag that leads to it")]
    NoSuchCommit { id: String },
    /// An object that is no commit.
    #[error("`{name}` leads to no commit but to a {kind}")]
    NotACommit { name: String, kind: &'static str },
}

/// Finds a ref by its full name; otherwise a branch, else a tag, else takes a full commit id as it is. `None` where
/// there is nothing.
///
/// `want_any` is whether the server sends commits that no ref names, `format` that of the repository's ids.
pub fn resolve(name: &RefName, refs: &[Ref], want_any: bool, format: ObjectFormat) -> Option<Target> {
    if name.is_full_ref() {
        return refs.iter().find(|r| r.name == name.as_str()).map(of_full_ref);
    }
    let short = || name.as_str().to_owned();
    let find = |prefix: &str| {
        refs.iter().find(|r| r.name.strip_prefix(prefix) == Some(name.as_str())).map(|r| r.oid)
    };
    if let Some(want) = find("refs/heads/") {
        return Some(Target {
            want,
            kind: TargetKind::Branch,
            name: short(),
            listed: true,
            tags: Vec::new(),
        });
    }
    if let Some(want) = find("refs/tags/") {
        return Some(Target { want, kind: TargetKind::Tag, name: short(), listed: true, tags: Vec::new() });
    }
    let id =
        name.is_commit_id().then(|| oid::parse(name.as_str().to_ascii_lowercase().as_bytes())).flatten()?;
    if id.object_format() != format {
        return None;
    }
    let listed = refs.iter().any(|r| r.oid == id || r.peeled == Some(id));
    (want_any || listed).then(|| Target {
        want: id,
        kind: TargetKind::Commit,
        name: short(),
        listed,
        tags: Vec::new(),
    })
}

fn of_full_ref(found: &Ref) -> Target {
    // HEAD is the branch that it names, unless it is detached.
    let full = match &found.target {
        Some(target) if found.name == "HEAD" => target,
        _ => &found.name,
    };
    let (kind, name) = if let Some(branch) = full.strip_prefix("refs/heads/") {
        (TargetKind::Branch, branch)
    } else if let Some(tag) = full.strip_prefix("refs/tags/") {
        (TargetKind::Tag, tag)
    } else {
        (TargetKind::OtherRef, full.as_str())
    };
    Target { want: found.oid, kind, name: name.to_owned(), listed: true, tags: Vec::new() }
}

/// The message for the start of a commit id, with the whole id if exactly one listed id starts so.
fn abbreviated(name: &str, refs: &[Ref]) -> RefNotFound {
    let start = name.to_ascii_lowercase();
    let mut ids: Vec<String> = refs
        .iter()
        .flat_map(|r| [Some(r.oid), r.peeled])
        .flatten()
        .map(|id| id.to_string())
        .filter(|id| id.starts_with(&start))
        .collect();
    ids.sort();
    ids.dedup();
    let hint = match ids.as_slice() {
        [id] => format!(": {id}"),
        _ => String::new(),
    };
    let digits = refs.first().map_or(40, |r| r.oid.to_string().len());
    RefNotFound::Abbreviated { name: text::sanitize(name), digits, hint }
}

/// Words the error if [`resolve`] finds nothing; `refs` is the list of all.
pub fn not_found(name: &RefName, refs: &[Ref]) -> RefNotFound {
    let branches_and_tags: Vec<&str> = refs
        .iter()
        .filter_map(|r| r.name.strip_prefix("refs/heads/").or_else(|| r.name.strip_prefix("refs/tags/")))
        .collect();
    let shown = text::sanitize(name.as_str());
    if branches_and_tags.is_empty() {
        return RefNotFound::Empty { name: shown };
    }
    // All digits of an id of SHA-1 are an abbreviation in a repository of SHA-256.
    let digits = refs.first().map_or(0, |r| r.oid.to_string().len());
    if name.is_commit_id() && name.as_str().len() >= digits {
        return RefNotFound::NoSuchCommit { id: shown };
    }
    if name.as_str() == "HEAD" {
        let hint = "; the default branch does not exist, name another branch".to_owned();
        return RefNotFound::NoSuchRef { name: shown, hint };
    }
    if name.is_full_ref() {
        let hint = did_you_mean(name.as_str(), refs.iter().map(|r| r.name.as_str()));
        return RefNotFound::NoSuchRef { name: shown, hint };
    }
    if name.is_abbreviated_commit_id() || name.is_commit_id() {
        return abbreviated(name.as_str(), refs);
    }
    let head = refs.iter().find(|r| r.name == "HEAD").and_then(|r| r.target.as_deref());
    let default = head.and_then(|target| target.strip_prefix("refs/heads/"));
    let mut hint = did_you_mean(name.as_str(), branches_and_tags.iter().copied());
    if hint.is_empty()
        && let Some(default) = default
    {
        hint = format!("; the default branch is `{}`", text::sanitize(default));
    }
    RefNotFound::NoSuchName { name: shown, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> Oid {
        oid::parse(digit.to_string().repeat(40).as_bytes()).unwrap()
    }

    fn mk(name: &str, digit: char) -> Ref {
        Ref { name: name.into(), oid: id(digit), peeled: None, target: None }
    }

    fn name(text: &str) -> RefName {
        RefName::parse(text).unwrap()
    }

    #[test]
    fn prefers_branches_to_tags_to_commits() {
        let a40 = "a".repeat(40);
        let refs = [
            mk("refs/heads/both", '1'),
            mk("refs/tags/both", '2'),
            mk("refs/tags/v1", '3'),
            mk(&format!("refs/heads/{a40}"), '4'),
        ];
        let of = |text: &str| resolve(&name(text), &refs, true, ObjectFormat::Sha1).map(|t| (t.want, t.kind));
        assert_eq!(of("both"), Some((id('1'), TargetKind::Branch)));
        assert_eq!(of("v1"), Some((id('3'), TargetKind::Tag)));
        assert_eq!(of(&a40), Some((id('4'), TargetKind::Branch)));
        assert_eq!(of(&"B".repeat(40)), Some((id('b'), TargetKind::Commit)));
        assert_eq!(of("bot"), None);
        assert_eq!(of("heads/both"), None);
    }

    #[test]
    fn finds_refs_by_their_full_name() {
        let refs = [
            Ref { target: Some("refs/heads/trunk".into()), ..mk("HEAD", '1') },
            mk("refs/heads/trunk", '1'),
            mk("refs/tags/v1", '2'),
            mk("refs/pull/7/head", '3'),
        ];
        for (requested, digit, kind, short) in [
            ("HEAD", '1', TargetKind::Branch, "trunk"),
            ("refs/heads/trunk", '1', TargetKind::Branch, "trunk"),
            ("refs/tags/v1", '2', TargetKind::Tag, "v1"),
            ("refs/pull/7/head", '3', TargetKind::OtherRef, "refs/pull/7/head"),
        ] {
            let expected =
                Target { want: id(digit), kind, name: short.into(), listed: true, tags: Vec::new() };
            assert_eq!(
                resolve(&name(requested), &refs, false, ObjectFormat::Sha1),
                Some(expected),
                "{requested}"
            );
        }
        assert_eq!(resolve(&name("refs/pull/8/head"), &refs, true, ObjectFormat::Sha1), None);
        let detached = [mk("HEAD", '4')];
        assert_eq!(
            resolve(&name("HEAD"), &detached, true, ObjectFormat::Sha1).map(|t| t.kind),
            Some(TargetKind::OtherRef)
        );
    }

    #[test]
    fn requests_all_digits_of_an_abbreviated_commit_id() {
        let refs = [mk("refs/heads/main", 'a'), mk("refs/heads/dev", 'b')];
        let message = not_found(&name("AAAAAAA"), &refs).to_string();
        assert!(message.ends_with(&format!("write all 40 digits: {}", "a".repeat(40))), "{message}");
        let message = not_found(&name("cccccccc"), &refs).to_string();
        assert!(message.ends_with("write all 40 digits"), "{message}");
    }

    #[test]
    fn commit_id_of_sha1_is_an_abbreviation_in_a_repository_of_sha256() {
        let long = oid::parse("a".repeat(64).as_bytes()).unwrap();
        let refs = [Ref { oid: long, ..mk("refs/heads/main", '1') }];
        let requested = name(&"a".repeat(40));
        assert_eq!(resolve(&requested, &refs, true, ObjectFormat::Sha256), None);
        let message = not_found(&requested, &refs).to_string();
        assert!(message.ends_with(&format!("write all 64 digits: {}", "a".repeat(64))), "{message}");
        assert_eq!(
            resolve(&name(&"a".repeat(64)), &[mk("refs/heads/main", '1')], true, ObjectFormat::Sha1),
            None
        );
    }

    #[test]
    fn commit_without_a_ref_needs_a_server_that_sends_it() {
        let tag = Ref { peeled: Some(id('2')), ..mk("refs/tags/v1", '1') };
        let refs = [tag];
        for (digit, found) in [("1", true), ("2", true), ("3", false)] {
            assert_eq!(
                resolve(&name(&digit.repeat(40)), &refs, false, ObjectFormat::Sha1).is_some(),
                found,
                "{digit}"
            );
        }
    }

    #[test]
    fn suggests_existing_names() {
        let head = Ref { target: Some("refs/heads/trunk".into()), ..mk("HEAD", '1') };
        let refs = [
            head,
            mk("refs/heads/trunk", '1'),
            mk("refs/heads/feature/login", '1'),
            mk("refs/tags/v1.2", '1'),
        ];
        for (requested, expected) in [
            ("trnk", "there is no branch, tag or commit `trnk`; did you mean `trunk`?"),
            ("login", "there is no branch, tag or commit `login`; did you mean `feature/login`?"),
            ("V1.2", "there is no branch, tag or commit `V1.2`; did you mean `v1.2`?"),
            ("main", "there is no branch, tag or commit `main`; the default branch is `trunk`"),
        ] {
            assert_eq!(not_found(&name(requested), &refs).to_string(), expected);
        }
        assert_eq!(
            not_found(&name("main"), &[]).to_string(),
            "there is no branch `main`: the repository is empty"
        );
    }
}
