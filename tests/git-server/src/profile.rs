//! Support of git's filter protocol by the server of a repository, which differs between real hosts.

/// Filters that the server of one repository allows. Protocol v0 is set by the URL instead: [`Settings::protocol_v0`].
///
/// [`Settings::protocol_v0`]: crate::Settings::protocol_v0
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Stock git with filters switched on.
    #[default]
    Filters,
    /// Stock git's default: no filters.
    NoFilters,
    /// As GitHub responds: `filter` is advertised, but `combine` and any `tree:N` above 0 are denied
    /// (public reports quote it as "tree filter allows max depth 0").
    GithubLike,
}

impl Profile {
    /// The lines for the repository's own `config` file.
    pub(crate) fn git_config(self) -> &'static str {
        match self {
            Self::Filters => "[uploadpack]\n\tallowFilter = true\n",
            Self::NoFilters => "[uploadpack]\n\tallowFilter = false\n",
            Self::GithubLike => concat!(
                "[uploadpack]\n\tallowFilter = true\n",
                "[uploadpackfilter \"combine\"]\n\tallow = false\n",
                "[uploadpackfilter \"tree\"]\n\tallow = true\n\tmaxDepth = 0\n",
            ),
        }
    }
}
