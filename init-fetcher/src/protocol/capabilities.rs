//! What a server says it can do.

use git2::ObjectFormat;

/// The protocol that a server chose, with its capabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capabilities {
    /// Protocol v2: one line each, `name` or `name=value`.
    V2(Vec<String>),
    /// Protocol v0: words, `name` or `name=value`.
    V0(Vec<String>),
}

impl Capabilities {
    /// Whether a filter can be asked for. In v2 it is a feature of the command `fetch`.
    pub fn filter(&self) -> bool {
        match self {
            Self::V2(lines) => feature(lines, "fetch", "filter"),
            // Filters in v0 are rare and gain little there: it lists all refs anyway.
            Self::V0(_) => false,
        }
    }

    /// Whether the history can be cut.
    pub fn shallow(&self) -> bool {
        match self {
            Self::V2(lines) => feature(lines, "fetch", "shallow"),
            Self::V0(words) => words.iter().any(|word| word == "shallow"),
        }
    }

    /// Whether any reachable commit can be wanted by its id. In v2 that is how git's own server works,
    /// and there is no way to ask.
    pub fn want_any(&self) -> bool {
        match self {
            Self::V2(_) => true,
            Self::V0(words) => {
                words.iter().any(|w| w == "allow-reachable-sha1-in-want" || w == "allow-any-sha1-in-want")
            }
        }
    }

    /// Whether the server advertises this capability, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        let (Self::V2(all) | Self::V0(all)) = self;
        all.iter().any(|one| one == name || one.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    }

    /// Name and version of the server's implementation of git.
    pub fn agent(&self) -> Option<&str> {
        let (Self::V2(all) | Self::V0(all)) = self;
        all.iter().find_map(|one| one.strip_prefix("agent="))
    }

    /// The hash by which objects are named; the name of one that is not supported is the error.
    pub fn object_format(&self) -> Result<ObjectFormat, &str> {
        let (Self::V2(all) | Self::V0(all)) = self;
        match all.iter().find_map(|line| line.strip_prefix("object-format=")) {
            None | Some("sha1") => Ok(ObjectFormat::Sha1),
            Some("sha256") => Ok(ObjectFormat::Sha256),
            Some(other) => Err(other),
        }
    }
}

/// Whether `command=… feature …` is among the lines.
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
    fn a_filter_is_a_feature_of_fetch() {
        assert!(v2(&["ls-refs=unborn", "fetch=shallow wait-for-done filter"]).filter());
        assert!(!v2(&["fetch=shallow filterx"]).filter());
        assert!(v2(&["fetch=shallow filterx"]).shallow());
        assert!(!v2(&["fetch", "filter"]).filter());
        assert!(!Capabilities::V0(vec!["filter".into()]).filter());
    }

    #[test]
    fn the_object_format_is_sha1_unless_advertised() {
        assert_eq!(v2(&[]).object_format(), Ok(ObjectFormat::Sha1));
        assert_eq!(v2(&["object-format=sha1"]).object_format(), Ok(ObjectFormat::Sha1));
        assert_eq!(v2(&["object-format=sha256"]).object_format(), Ok(ObjectFormat::Sha256));
        assert_eq!(v2(&["object-format=sha512"]).object_format(), Err("sha512"));
    }
}
