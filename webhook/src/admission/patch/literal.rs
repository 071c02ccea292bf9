//! Values of variables in the form in which the kubelet expands them to what is meant.
//!
//! The kubelet expands `$(NAME)` in a value from the variables before it, and turns `$$` into `$`. Otherwise a
//! session's author could have `$(BOT_TOKEN)` expanded in a path, from there into an error and into the status,
//! which many users can read.

use std::borrow::Cow;

/// Escapes a value that the container is to receive unchanged. NUL would keep the container from starting without
/// a message; it is replaced by another control character, which the init container rejects with one.
pub fn doubled(text: &str) -> Cow<'_, str> {
    if text.contains(['$', '\0']) {
        text.replace('$', "$$").replace('\0', "\u{1}").into()
    } else {
        text.into()
    }
}

/// Escapes every reference in a value of another container, which is in the kubelet's form already: its variables
/// are absent here, or secret.
pub fn without_references(value: &str) -> Cow<'_, str> {
    if !value.contains('$') {
        return value.into();
    }
    let mut out = String::with_capacity(value.len() + 1);
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        out.push_str("$$");
        rest = &rest[at + 1..];
        rest = rest.strip_prefix('$').unwrap_or(rest);
    }
    out.push_str(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kubelet's `expansion.Expand` without any variable.
    fn expanded(value: &str) -> String {
        let mut out = String::new();
        let mut chars = value.chars().peekable();
        while let Some(c) = chars.next() {
            out.push(c);
            if c == '$' && chars.peek() == Some(&'$') {
                chars.next();
            }
        }
        out
    }

    #[test]
    fn container_receives_doubled_value_unchanged() {
        for text in ["", "a", "$(BOT_TOKEN)", "$$(X)", "a$", "$$$"] {
            assert_eq!(expanded(&doubled(text)), text);
            assert!(!doubled(text).replace("$$", "").contains('$'));
        }
        assert_eq!(doubled("$(BOT_TOKEN)/x"), "$$(BOT_TOKEN)/x");
    }

    #[test]
    fn a_copied_value_keeps_its_meaning_and_loses_its_references() {
        for (value, copied) in [
            ("http://x", "http://x"),
            ("$(A)/b", "$$(A)/b"),
            ("$$(A)", "$$(A)"),
            ("$$$(A)", "$$$$(A)"),
            ("a$", "a$$"),
        ] {
            assert_eq!(without_references(value), copied);
            assert_eq!(expanded(value), expanded(copied));
        }
    }

    #[test]
    fn nul_becomes_a_character_that_the_init_container_rejects() {
        assert!(workflow_contract::RepoUrl::parse(&doubled("https://h/a\0b")).is_err());
        assert!(workflow_contract::RepoPath::parse(&doubled("a\0b")).is_err());
        assert!(workflow_contract::RefName::parse(&doubled("a\0b")).is_err());
    }
}
