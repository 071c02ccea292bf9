//! URLs of submodules, which may be relative to the URL of their repository.

use super::{MAX_URL, RepoUrl, Scheme, UrlError, names_on_disk, redacted, remote_path};

impl RepoUrl {
    /// Parses the URL of a submodule of this repository; one that starts with `./` or `../` is relative, as in git.
    ///
    /// User information is inherited by relative URLs only: they stay on the same host.
    ///
    /// # Errors
    /// Those of [`RepoUrl::parse`]; [`UrlError::Malformed`] for a relative URL that leads above the host.
    pub fn join(&self, url: &str) -> Result<Self, UrlError> {
        if url.starts_with("./") || url.starts_with("../") {
            self.relative(url).map_err(|why| UrlError::Malformed { url: redacted(url), why })
        } else {
            Self::parse(url)
        }
    }

    fn relative(&self, url: &str) -> Result<Self, &'static str> {
        if url.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '\\')) {
            return Err("it must not contain white space, control characters, a query or a backslash");
        }
        let scp = !self.shown.contains("://");
        let mut base = self.path.strip_suffix('/').unwrap_or(&self.path);
        let mut separator = "/";
        let mut rest = url;
        loop {
            if let Some(below) = rest.strip_prefix("./") {
                rest = below;
            } else if let Some(below) = rest.strip_prefix("../") {
                rest = below;
                base = match base.rfind('/') {
                    Some(at) => &base[..at],
                    None if scp && !base.is_empty() => {
                        separator = "";
                        ""
                    }
                    None => return Err("it leads above the root of its host"),
                };
            } else {
                break;
            }
        }
        let path = format!("{base}{separator}{rest}");
        let path = path.strip_suffix('/').unwrap_or(&path);
        if scp && path.starts_with('-') {
            return Err("its path must not start with `-`");
        }
        let shown = format!("{}{path}", self.shown.strip_suffix(&self.path).unwrap_or_default());
        if shown.len() > MAX_URL {
            return Err("it is longer than 1024 bytes");
        }
        let (name, alias) = names_on_disk(path)?;
        Ok(Self {
            remote_path: match self.scheme {
                Scheme::Ssh if scp => path.to_owned(),
                Scheme::Ssh => remote_path(path)?,
                Scheme::Https | Scheme::Http => String::new(),
            },
            path: path.to_owned(),
            shown,
            name,
            alias: alias.filter(|_| self.scheme != Scheme::Ssh),
            ..self.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, url: &str) -> Result<String, UrlError> {
        RepoUrl::parse(base).unwrap().join(url).map(|url| url.to_string())
    }

    /// The expected values are those that `git submodule init` writes.
    #[test]
    fn relative_urls_are_resolved_as_by_git() {
        for (base, url, expected) in [
            ("https://h/o/r.git", "../x.git", "https://h/o/x.git"),
            ("https://h/o/r.git/", "../x.git", "https://h/o/x.git"),
            ("https://h/o/r", "./x", "https://h/o/r/x"),
            ("https://h/o/r", "../../p/x", "https://h/p/x"),
            ("https://h/o/r", "./../x/", "https://h/o/x"),
            ("https://h:8443/r", "../x", "https://h:8443/x"),
            ("ssh://git@h/o/r", "../x", "ssh://git@h/o/x"),
            ("git@h:o/r.git", "../x.git", "git@h:o/x.git"),
            ("git@h:r.git", "../x.git", "git@h:x.git"),
            ("git@h:/o/r", "../../x", "git@h:/x"),
            ("git@h:r", "./x", "git@h:r/x"),
        ] {
            let shown = |text: &str| RepoUrl::parse(text).unwrap().to_string();
            assert_eq!(joined(base, url), Ok(shown(expected)), "{base} {url}");
            let (ours, parsed) =
                (RepoUrl::parse(base).unwrap().join(url).unwrap(), RepoUrl::parse(expected).unwrap());
            assert_eq!(ours, parsed, "{base} {url}");
        }
    }

    #[test]
    fn relative_urls_keep_userinfo_and_others_do_not() {
        let base = RepoUrl::parse("https://me:s3cret@h/o/r").unwrap();
        let url = base.join("../x").unwrap();
        assert_eq!(url.userinfo().unwrap().password.expose(), "s3cret");
        assert_eq!(url.to_string(), "https://h/o/x");
        assert!(base.join("https://h/o/x").unwrap().userinfo().is_none());
    }

    #[test]
    fn urls_of_other_kinds_are_rejected() {
        for url in [
            "../../../x",
            "../../..",
            "..",
            "-u../x",
            "ext::sh",
            "/srv/x",
            "../a/../b",
            "../x?y",
            "../a b",
            "",
        ] {
            assert!(matches!(joined("https://h/o/r", url), Err(UrlError::Malformed { .. })), "{url}");
        }
        for url in ["file:///srv/x", "git://h/x"] {
            assert!(matches!(joined("https://h/o/r", url), Err(UrlError::Scheme { .. })), "{url}");
        }
        assert!(joined("git@h:r", "../-oProxyCommand=x").is_err());
        assert!(joined("git@h:r", "../../x").is_err());
    }
}
