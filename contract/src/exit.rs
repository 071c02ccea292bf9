//! Exit codes of init-fetcher and their reasons in the session's condition.
//!
//! This is the only list: init-fetcher exits with these codes and the status controller parses them. Codes are never
//! reused or renumbered, because pods of an older release may still be running.

use std::fmt;

macro_rules! exits {
    ($($(#[$doc:meta])+ $name:ident = $code:literal,)+) => {
        /// Outcome of a run of init-fetcher.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Exit {
            $($(#[$doc])+ $name,)+
            /// Ended by a signal. Not in the table of exit codes: the process exits with 128 plus the signal.
            Interrupted,
        }

        impl Exit {
            /// All outcomes, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            pub const fn code(self) -> u8 {
                match self { $(Self::$name => $code,)+ Self::Interrupted => 143 }
            }

            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ Self::Interrupted => "Interrupted" }
            }
        }
    };
}

exits! {
    /// Published and verified.
    Reconciled = 0,
    /// URL, branch, path or setting malformed.
    InvalidSource = 10,
    /// Host or scheme outside the policy, a redirect to one included.
    HostNotAllowed = 11,
    /// 401, 403, key or token denied or missing.
    AuthenticationFailed = 20,
    /// 404, or the server's own message for it.
    RepositoryNotFound = 21,
    /// No such branch, tag or commit.
    RefNotFound = 22,
    /// No such directory at that commit.
    PathNotFound = 23,
    /// DNS, refused, reset, no route, after retries.
    ServerUnreachable = 30,
    /// Certificate not trusted, expired or for another name.
    TlsFailed = 31,
    /// ssh host key unknown or changed.
    HostKeyMismatch = 32,
    /// 5xx, 429, not a git server, protocol broken, corrupt data, after retries.
    ServerError = 33,
    /// The wall-clock limit.
    Timeout = 34,
    /// A limit on bytes or files.
    TooLarge = 40,
    /// Content that must not be written to disk.
    UnsafeContent = 41,
    /// No signature, or none that the cluster's policy trusts.
    SignatureNotTrusted = 42,
    /// No space, or a quota.
    VolumeFull = 50,
    /// Permission, or a read-only volume.
    VolumeNotWritable = 51,
    /// A bug: a panic, or anything unclassified.
    InternalError = 70,
}

impl Exit {
    /// Returns the outcome with this exit code.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|exit| i32::from(exit.code()) == code)
    }

    /// Returns the outcome with this reason.
    #[must_use]
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::ALL.iter().copied().chain([Self::Interrupted]).find(|exit| exit.reason() == reason)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl serde::Serialize for Exit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.reason())
    }
}

impl<'de> serde::Deserialize<'de> for Exit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reason = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_reason(&reason)
            .ok_or_else(|| serde::de::Error::custom(format_args!("unknown reason `{reason}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_reasons_are_the_published_table() {
        let table: Vec<(u8, &str)> = Exit::ALL.iter().map(|e| (e.code(), e.reason())).collect();
        assert_eq!(
            table,
            [
                (0, "Reconciled"),
                (10, "InvalidSource"),
                (11, "HostNotAllowed"),
                (20, "AuthenticationFailed"),
                (21, "RepositoryNotFound"),
                (22, "RefNotFound"),
                (23, "PathNotFound"),
                (30, "ServerUnreachable"),
                (31, "TlsFailed"),
                (32, "HostKeyMismatch"),
                (33, "ServerError"),
                (34, "Timeout"),
                (40, "TooLarge"),
                (41, "UnsafeContent"),
                (42, "SignatureNotTrusted"),
                (50, "VolumeFull"),
                (51, "VolumeNotWritable"),
                (70, "InternalError"),
            ]
        );
    }

    #[test]
    fn code_and_reason_map_back_to_the_outcome() {
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(i32::from(exit.code())), Some(*exit));
            assert_eq!(Exit::from_reason(exit.reason()), Some(*exit));
        }
        assert_eq!(Exit::from_code(1), None);
        assert_eq!(Exit::from_code(137), None);
        assert_eq!(Exit::from_code(143), None);
        assert_eq!(Exit::from_reason("Interrupted"), Some(Exit::Interrupted));
        assert_eq!(Exit::from_reason("reconciled"), None);
    }
}
