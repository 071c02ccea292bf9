//! Capabilities that a server advertises.

use git2::ObjectFormat;

/// The protocol version that the server chose, with its capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capabilities {
    /// Protocol v2: one line each, `name` or `name=value`.
    V2(Vec<String>),
    /// Protocol v0: words, `name` or `name=value`.
    V0(Vec<String>),
}

impl Capabilities {
    /// Reports whether a fetch without blobs, and then one of a tree by its id, is supported. In v2 filters are a feature of the
    /// command `fetch`; v0 servers advertise in addition whether they send objects that no ref names.
    pub fn filter(&self) -> bool {
        match self {
            Self::V2(lines) => feature(lines, "fetch", "filter"),
            Self::V0(_) => self.has("filter") && self.has("allow-reachable-sha1-in-want"),
        }
    }

    /// Reports whether shallow fetches are supported.
    pub fn shallow(&self) -> bool {
        match self {
            Self::V2(lines) => feature(lines, "fetch", "shallow"),
            Self::V0(words) => words.iter().any(|word| word == "shallow"),
        }
    }

    /// Reports whether commits can be fetched by id. Over v2 git's server allows it, and nothing advertises it.
    pub fn want_any(&self) -> bool {
        match self {
            Self::V2(_) => true,
            Self::V0(words) => {
                words.iter().any(|w| w == "allow-reachable-sha1-in-want" || w == "allow-any-sha1-in-want")
            }
        }
    }

    /// Reports whether the server advertises this capability, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        let (Self::V2(all) | Self::V0(all)) = self;
        all.iter().any(|one| one == name || one.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    }

    /// Returns name and version of the server's implementation of git.
    pub fn agent(&self) -> Option<&str> {
        let (Self::V2(all) | Self::V0(all)) = self;
        all.iter().find_map(|one| one.strip_prefix("agent="))
    }

    /// Returns the hash algorithm of object ids; an unsupported one as the error.
    pub fn object_format(&self) -> Result<ObjectFormat, &str> {
        let (Self::V2(all) | Self::V0(all)) = self;
        match all.iter().find_map(|line| line.strip_prefix("object-format=")) {
            None | Some("sha1") => Ok(ObjectFormat::Sha1),
            Some("sha256") => Ok(ObjectFormat::Sha256),
            Some(other) => Err(other),
        }
    }
}

/// Reports whether a line `command=… feature …` exists.
fn feature(lines: &[String], command: &str, feature: &str) -> bool {
    lines
        .iter()
        .filter_map(|line| line.strip_prefix(command)?.strip_prefix('='))
        .any(|features| features.split(' ').any(|f| f == feature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(lines: &[&str]) -> Capabilities {
        Capabilities::V2(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn filter_is_a_feature_of_fetch() {
        assert!(v2(&["ls-refs=unborn", "fetch=shallow wait-for-done filter"]).filter());
        assert!(!v2(&["fetch=shallow filterx"]).filter());
        assert!(v2(&["fetch=shallow filterx"]).shallow());
        assert!(!v2(&["fetch", "filter"]).filter());
        let v0 = |words: &str| Capabilities::V0(words.split(' ').map(str::to_owned).collect()).filter();
        assert!(v0("filter allow-reachable-sha1-in-want"));
        assert!(!v0("filter") && !v0("filter allow-tip-sha1-in-want"));
    }

    #[test]
    fn object_format_is_sha1_unless_advertised() {
        assert_eq!(v2(&[]).object_format(), Ok(ObjectFormat::Sha1));
        assert_eq!(v2(&["object-format=sha1"]).object_format(), Ok(ObjectFormat::Sha1));
        assert_eq!(v2(&["object-format=sha256"]).object_format(), Ok(ObjectFormat::Sha256));
        assert_eq!(v2(&["object-format=sha512"]).object_format(), Err("sha512"));
    }
}
