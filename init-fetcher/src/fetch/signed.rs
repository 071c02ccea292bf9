//! Verification of the signature that the policy demands. Pure over the received objects.

use git2::{ObjectFormat, Oid};
use workflow_contract::text;
use workflow_contract::verify::Require;
use workflow_signatures::{SignatureError, SignedKind, Signer, header, verify};

use super::resolve::{Target, TargetKind};
use crate::config::Trust;
use crate::oid;
use crate::pack::store::{Commit, CommitError, Store};
use crate::pack::{PackError, entry};
use crate::protocol::Ref;

/// Annotated tags of one commit that are verified; more than a few are unusual.
const MAX_TAGS: usize = 50;

/// Reason for which the workflow is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTrusted {
    #[error("the commit {id} {error}; {}", wanted(Require::Commit))]
    Commit { id: String, error: SignatureError },
    #[error("the tag `{name}` {error}; {}", wanted(Require::Tag))]
    Tag { name: String, error: SignatureError },
    /// A signed tag that is served under another name, such as an older version under that of a newer one.
    #[error("the tag `{requested}` is the signed tag `{name}` under another name; {}", wanted(Require::Tag))]
    OtherName { requested: String, name: String },
    #[error("no annotated tag names the commit {id}; {}", wanted(Require::Tag))]
    NoTag { id: String },
    #[error("the commit {id} {error}, and {tag}; {}", wanted(Require::Either))]
    Either { id: String, error: SignatureError, tag: String },
}

fn wanted(require: Require) -> &'static str {
    match require {
        Require::None => "no signature is required",
        Require::Commit => "the cluster admin requires a commit that is signed by a trusted key",
        Require::Tag => "the cluster admin requires an annotated tag that is signed by a trusted key",
        Require::Either => {
            "the cluster admin requires a commit or annotated tag that is signed by a trusted key"
        }
    }
}

/// A signature that is not trusted, or objects that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VerificationError {
    #[error(transparent)]
    NotTrusted(Box<NotTrusted>),
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl From<NotTrusted> for VerificationError {
    fn from(error: NotTrusted) -> Self {
        Self::NotTrusted(Box::new(error))
    }
}

/// Returns the annotated tags that name a commit, by descending name; of `v9` and `v10` either may be first.
pub fn tags_of(refs: &[Ref], commit: Oid) -> Vec<Oid> {
    let mut tags: Vec<&Ref> =
        refs.iter().filter(|r| r.name.starts_with("refs/tags/") && r.peeled == Some(commit)).collect();
    tags.sort_by(|one, other| other.name.cmp(&one.name));
    tags.into_iter().map(|r| r.oid).take(MAX_TAGS).collect()
}

/// Verifies the signature of the commit, of the tag that was requested, or of a tag that names the commit; `now` in Unix
/// seconds.
pub fn check(
    trust: &Trust,
    store: &Store,
    target: &Target,
    commit: &Commit,
    now: i64,
) -> Result<Signer, VerificationError> {
    let check = Check { trust, store, target, commit, now };
    match trust.require {
        Require::Tag => Ok(check.tags()?),
        Require::None | Require::Commit => Ok(check.commit()?.map_err(|error| check.of_commit(error))?),
        Require::Either => {
            let error = match check.commit()? {
                Ok(signer) => return Ok(signer),
                Err(error) => error,
            };
            check.tags().map_err(|tag| match tag {
                VerificationError::NotTrusted(tag) => check.either(error, &tag).into(),
                VerificationError::Pack(error) => error.into(),
            })
        }
    }
}

struct Check<'a, 's> {
    trust: &'a Trust,
    store: &'a Store<'s>,
    target: &'a Target,
    commit: &'a Commit,
    now: i64,
}

impl Check<'_, '_> {
    fn commit(&self) -> Result<Result<Signer, SignatureError>, PackError> {
        let (_, object) = self.object(self.commit.id)?;
        Ok(self.verify(SignedKind::Commit, &object))
    }

    /// Verifies the tag that was requested; otherwise each tag of the commit, until one is trusted.
    fn tags(&self) -> Result<Signer, VerificationError> {
        let (kind, object) = self.object(self.target.want)?;
        if kind == entry::ObjectKind::Tag {
            return self.tag(&object, (self.target.kind == TargetKind::Tag).then_some(&self.target.name));
        }
        let mut failure = NotTrusted::NoTag { id: oid::short(self.commit.id) }.into();
        for tag in &self.target.tags {
            // The server's word that the tag names the commit is not enough.
            match self.store.commit(*tag) {
                Ok(Some(named)) if named.id == self.commit.id => {}
                Err(CommitError::Pack(error)) => return Err(error.into()),
                _ => continue,
            }
            match self.tag(&self.object(*tag)?.1, None) {
                Ok(signer) => return Ok(signer),
                Err(error @ VerificationError::Pack(_)) => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Verifies a tag object, and that its own name is the one that was requested.
    fn tag(&self, object: &[u8], requested: Option<&String>) -> Result<Signer, VerificationError> {
        let own = String::from_utf8_lossy(header(object, b"tag ").unwrap_or_default());
        let name = text::sanitize(&own);
        let signer = self
            .verify(SignedKind::Tag, object)
            .map_err(|error| NotTrusted::Tag { name: name.clone(), error })?;
        match requested {
            Some(requested) if *requested != *own => {
                Err(NotTrusted::OtherName { requested: text::sanitize(requested), name }.into())
            }
            _ => Ok(signer),
        }
    }

    fn verify(&self, kind: SignedKind, object: &[u8]) -> Result<Signer, SignatureError> {
        let format = match self.commit.id.object_format() {
            ObjectFormat::Sha1 => workflow_signatures::ObjectFormat::Sha1,
            ObjectFormat::Sha256 => workflow_signatures::ObjectFormat::Sha256,
        };
        verify(kind, object, format, &self.trust.keys, self.now)
    }

    fn object(&self, oid: Oid) -> Result<(entry::ObjectKind, Vec<u8>), PackError> {
        let object = self.store.object(oid)?;
        object.ok_or_else(|| PackError::Corrupt(format!("it does not hold {oid}, which was requested")))
    }

    fn of_commit(&self, error: SignatureError) -> NotTrusted {
        NotTrusted::Commit { id: oid::short(self.commit.id), error }
    }

    fn either(&self, error: SignatureError, tag: &NotTrusted) -> NotTrusted {
        let tag = match tag {
            NotTrusted::Tag { name, error } => format!("the tag `{name}` {error}"),
            NotTrusted::OtherName { requested, name } => {
                format!("the tag `{requested}` is the signed tag `{name}`")
            }
            _ => "no annotated tag names it".to_owned(),
        };
        NotTrusted::Either { id: oid::short(self.commit.id), error, tag }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_annotated_tags_of_the_commit_count() {
        let id = |digit: &str| oid::parse(digit.repeat(40).as_bytes()).unwrap();
        let mk = |name: &str, digit, peeled: Option<&str>| Ref {
            name: name.into(),
            oid: id(digit),
            peeled: peeled.map(id),
            target: None,
        };
        let refs = [
            mk("refs/heads/main", "1", None),
            mk("refs/tags/light", "1", None),
            mk("refs/tags/v1", "2", Some("1")),
            mk("refs/tags/v2", "3", Some("1")),
            mk("refs/tags/other", "4", Some("5")),
            mk("refs/notes/x", "6", Some("1")),
        ];
        assert_eq!(tags_of(&refs, id("1")), [id("3"), id("2")]);
        assert!(tags_of(&refs, id("9")).is_empty());
    }
}
