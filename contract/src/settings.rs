//! Settings with a fixed set of values.

/// The handling of submodules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Submodules {
    /// Their directories stay empty.
    #[default]
    None,
    /// They are fetched like the repository itself, as are their own submodules.
    Recursive,
}

impl Submodules {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Recursive => "recursive",
        }
    }

    /// Parses `none` or `recursive`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Recursive].into_iter().find(|value| value.as_str() == name)
    }
}

/// The handling of symlinks whose target cannot be part of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnsafeLinks {
    /// They are left out, and the message names them.
    #[default]
    Skip,
    Refuse,
}

impl UnsafeLinks {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Refuse => "refuse",
        }
    }

    /// Parses `skip` or `refuse`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Skip, Self::Refuse].into_iter().find(|value| value.as_str() == name)
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// Parses `text` or `json`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Text, Self::Json].into_iter().find(|value| value.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_literal() {
        assert_eq!(Submodules::from_name("recursive"), Some(Submodules::Recursive));
        assert_eq!(UnsafeLinks::from_name("refuse"), Some(UnsafeLinks::Refuse));
        assert_eq!(LogFormat::from_name("json"), Some(LogFormat::Json));
        for name in ["", "Recursive", "all", "yes"] {
            let parsed =
                (Submodules::from_name(name), UnsafeLinks::from_name(name), LogFormat::from_name(name));
            assert_eq!(parsed, (None, None, None), "{name}");
        }
    }
}
