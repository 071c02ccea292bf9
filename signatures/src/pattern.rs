//! Lists of patterns as OpenSSH's `match.c` reads them.

/// Reports whether a comma-separated list of patterns with `*`, `?` and `!` matches; a negated match denies.
pub fn list_matches(list: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern, text) => return false,
            Some(_) => {}
            None => found |= matches(pattern, text),
        }
    }
    found
}

/// Reports whether a pattern with `*` and `?` matches the whole text. Time is linear in the text for each `*`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Position of the last `*`, and the text that it does not cover yet.
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if matches!(pattern.get(p), Some(byte) if *byte == b'?' || *byte == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, covered)) = star {
            star = Some((at, covered + 1));
            (p, t) = (at + 1, covered + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_match_as_in_openssh() {
        for (list, text, expected) in [
            ("alice@example.com", "alice@example.com", true),
            ("alice@example.com", "Alice@example.com", false),
            ("*@example.com", "bob@example.com", true),
            ("*@example.com", "bob@example.com.evil", false),
            ("?ob,alice", "bob", true),
            ("!bob,*", "bob", false),
            ("!bob,*", "alice", true),
            ("!bob", "alice", false),
            ("", "", true),
            ("a*b*c", "axxbyyc", true),
            ("*", "", true),
        ] {
            assert_eq!(list_matches(list, text), expected, "{list} {text}");
        }
        assert!(!matches(&"*a".repeat(30), &"a".repeat(20)));
    }
}
