//! OpenSSH's `known_hosts`: the keys that a server may present. Pure; in doubt a key is unknown.
//!
//! libssh2's own reader supports neither patterns nor `@revoked`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest as _, Sha1};

/// Result of a lookup of a server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeyStatus {
    /// It is listed.
    Known,
    /// No key is listed for the server.
    Unknown,
    /// No key, but a CA that signs such keys (`@cert-authority`), which is not supported.
    OnlyCa,
    /// Other keys are listed for the server, but not this one.
    Changed,
    /// It is listed as `@revoked`, which counts more than anything else.
    Revoked,
}

/// The lines that list keys.
#[derive(Debug, Default)]
pub struct KnownHosts {
    entries: Vec<KnownHost>,
    exists: bool,
}

#[derive(Debug)]
struct KnownHost {
    marker: Marker,
    names: String,
    kind: String,
    key: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Key,
    Ca,
    Revoked,
}

impl KnownHosts {
    /// Reads all lines; `None` if there is no file. A line that cannot be parsed is logged by its number and ignored.
    pub fn read(text: Option<&str>) -> Self {
        let mut entries = Vec::new();
        for (at, line) in
            text.unwrap_or_default().trim_start_matches('\u{feff}').lines().map(str::trim).enumerate()
        {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(entry) = entry(line) else {
                tracing::warn!(line = at + 1, "failed to parse a line of known_hosts");
                continue;
            };
            entries.push(entry);
        }
        Self { entries, exists: text.is_some() }
    }

    /// Reports whether there is a file, but no line of it lists a key.
    pub fn is_unreadable(&self) -> bool {
        self.entries.is_empty() && self.exists
    }

    /// Reports whether no line lists a key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the kinds of keys (`ssh-ed25519`) that are listed for the server.
    pub fn kinds(&self, host: &str, port: u16) -> Vec<&str> {
        let names = names(host, port);
        let listed =
            |entry: &&KnownHost| entry.marker == Marker::Key && names.iter().any(|name| entry.is_for(name));
        self.entries.iter().filter(listed).map(|entry| entry.kind.as_str()).collect()
    }

    /// Looks up the key that this server presents.
    pub fn judge(&self, host: &str, port: u16, key: &[u8]) -> HostKeyStatus {
        let names = names(host, port);
        let of = |marker, name: &str| -> Vec<&KnownHost> {
            self.entries.iter().filter(|entry| entry.marker == marker && entry.is_for(name)).collect()
        };
        if names.iter().any(|name| of(Marker::Revoked, name).iter().any(|entry| entry.key == key)) {
            return HostKeyStatus::Revoked;
        }
        // As with OpenSSH, lines without a port count where none is for this port.
        for name in &names {
            let listed = of(Marker::Key, name);
            if listed.iter().any(|entry| entry.key == key) {
                return HostKeyStatus::Known;
            }
            if !listed.is_empty() {
                return HostKeyStatus::Changed;
            }
        }
        if names.iter().any(|name| !of(Marker::Ca, name).is_empty()) {
            return HostKeyStatus::OnlyCa;
        }
        HostKeyStatus::Unknown
    }
}

impl KnownHost {
    /// Reports whether the line is for this name.
    fn is_for(&self, name: &str) -> bool {
        if let Some(hashed) = self.names.strip_prefix("|1|") {
            return is_hash_of(hashed, name);
        }
        let mut found = false;
        for pattern in self.names.split(',') {
            match pattern.strip_prefix('!') {
                Some(pattern) if matches(pattern.as_bytes(), name.as_bytes()) => return false,
                Some(_) => {}
                None => found |= matches(pattern.as_bytes(), name.as_bytes()),
            }
        }
        found
    }
}

/// `[MARKER] NAMES KIND KEY [COMMENT]`.
fn entry(line: &str) -> Option<KnownHost> {
    let mut words = line.split_ascii_whitespace().peekable();
    let marker = match words.peek().copied()? {
        "@cert-authority" => Marker::Ca,
        "@revoked" => Marker::Revoked,
        other if other.starts_with('@') => return None,
        _ => Marker::Key,
    };
    if marker != Marker::Key {
        words.next();
    }
    let (names, kind) = (words.next()?, words.next()?);
    let key = BASE64_STANDARD.decode(words.next()?).ok().filter(|key| !key.is_empty())?;
    Some(KnownHost { marker, names: names.to_owned(), kind: kind.to_owned(), key })
}

/// The names under which a server may be listed, those that count first.
fn names(host: &str, port: u16) -> Vec<String> {
    const SSH: u16 = 22;
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    if port == SSH { vec![host] } else { vec![format!("[{host}]:{port}"), host] }
}

/// Reports whether `SALT|HASH` is the hash of a name: HMAC-SHA1 with the salt as its key, as OpenSSH hashes them.
fn is_hash_of(hashed: &str, name: &str) -> bool {
    let parts = hashed.split_once('|').and_then(|(salt, hash)| {
        Some((BASE64_STANDARD.decode(salt).ok()?, BASE64_STANDARD.decode(hash).ok()?))
    });
    parts.is_some_and(|(salt, hash)| hmac(&salt, name.as_bytes()).is_some_and(|own| own == hash))
}

/// HMAC-SHA1 (RFC 2104); `None` for keys longer than a block, which are not used as salts.
fn hmac(key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    block.get_mut(..key.len())?.copy_from_slice(key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha1::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Some(Sha1::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec())
}

/// Reports whether a name matches a pattern with `*` and `?`, ignoring case. Linear in the name for each `*`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte.eq_ignore_ascii_case(&name[n]) => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                (p, n) = (at + 1, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "ssh-ed25519 QUFB comment";
    const B: &str = "ssh-rsa QkJC";

    fn judge(text: &str, host: &str, port: u16) -> HostKeyStatus {
        KnownHosts::read(Some(text)).judge(host, port, b"AAA")
    }

    #[test]
    fn a_key_is_known_under_the_servers_names_only() {
        for (names, host, port, verdict) in [
            ("h", "h", 22, HostKeyStatus::Known),
            ("H.example", "h.Example", 22, HostKeyStatus::Known),
            ("other,h", "h", 22, HostKeyStatus::Known),
            ("h", "h", 2222, HostKeyStatus::Known),
            ("[h]:2222", "h", 2222, HostKeyStatus::Known),
            ("[h]:2222", "h", 22, HostKeyStatus::Unknown),
            ("[h]:2222", "h", 2223, HostKeyStatus::Unknown),
            ("h", "hh", 22, HostKeyStatus::Unknown),
            ("::1", "[::1]", 22, HostKeyStatus::Known),
            ("[::1]:2222", "[::1]", 2222, HostKeyStatus::Known),
            ("*.corp", "git.corp", 22, HostKeyStatus::Known),
            ("*.corp", "corp", 22, HostKeyStatus::Unknown),
            ("*.corp", "git.corp.evil", 22, HostKeyStatus::Unknown),
            ("*.corp,!bad.corp", "bad.corp", 22, HostKeyStatus::Unknown),
            ("!bad.corp", "git.corp", 22, HostKeyStatus::Unknown),
            ("git?.corp", "git1.corp", 22, HostKeyStatus::Known),
            ("[git.corp]:*", "git.corp", 2222, HostKeyStatus::Known),
        ] {
            assert_eq!(
                judge(&format!("# c\r\n\r\n{names} {A}\r\n"), host, port),
                verdict,
                "{names} {host}:{port}"
            );
        }
    }

    #[test]
    fn hashed_names_are_those_that_openssh_hashes() {
        // Made by ssh-keygen -H of `git.example` and `[git.example]:2222`.
        let plain = "|1|SKoX7yPL6sN27xL+pST3WHMErmQ=|81tCfPKA/bVN7KwtKkDnFBqHCD0=";
        let port = "|1|SdQsHU8FtEJnk31zHtP9mtRkQK8=|MSzBcP4Mn6BkG3fk6ij7Kmj4JFc=";
        assert_eq!(judge(&format!("{plain} {A}"), "git.example", 22), HostKeyStatus::Known);
        assert_eq!(judge(&format!("{plain} {A}"), "git.example.", 22), HostKeyStatus::Unknown);
        assert_eq!(judge(&format!("{port} {A}"), "git.example", 2222), HostKeyStatus::Known);
        assert_eq!(judge(&format!("{port} {A}"), "git.example", 22), HostKeyStatus::Unknown);
        for broken in ["|1|", "|1|x|y", "|2|abc=|def=", "|1|QUFB"] {
            assert_eq!(
                judge(&format!("{broken} {A}"), "git.example", 22),
                HostKeyStatus::Unknown,
                "{broken}"
            );
        }
    }

    #[test]
    fn another_key_is_a_changed_one() {
        assert_eq!(judge(&format!("h {B}"), "h", 22), HostKeyStatus::Changed);
        assert_eq!(judge(&format!("h {B}\nh {A}"), "h", 22), HostKeyStatus::Known);
        // Lines for the port win over other lines of the host.
        assert_eq!(judge(&format!("[h]:2222 {B}\nh {A}"), "h", 2222), HostKeyStatus::Changed);
    }

    #[test]
    fn revoked_keys_and_cas_are_not_accepted() {
        assert_eq!(judge(&format!("h {A}\n@revoked h {A}"), "h", 22), HostKeyStatus::Revoked);
        assert_eq!(judge(&format!("[h]:2222 {A}\n@revoked * {A}"), "h", 2222), HostKeyStatus::Revoked);
        assert_eq!(judge(&format!("@revoked h {B}"), "h", 22), HostKeyStatus::Unknown);
        assert_eq!(judge(&format!("@cert-authority h {A}"), "h", 22), HostKeyStatus::OnlyCa);
        assert_eq!(judge(&format!("@cert-authority h {A}\nh {A}"), "h", 22), HostKeyStatus::Known);
        assert_eq!(judge(&format!("@future h {A}"), "h", 22), HostKeyStatus::Unknown);
    }

    #[test]
    fn lines_that_can_not_be_understood_list_nothing() {
        for line in ["h", "h ssh-rsa", "h ssh-rsa !!", "h ssh-rsa =", "@revoked", "@revoked h", A] {
            assert!(KnownHosts::read(Some(line)).judge("h", 22, b"AAA") == HostKeyStatus::Unknown, "{line}");
        }
        assert!(KnownHosts::read(Some("# only\n\n")).is_empty());
    }

    #[test]
    fn kinds_are_those_of_keys_to_trust() {
        let known = KnownHosts::read(Some(&format!("h {B}\n@revoked h {A}\nother {A}")));
        assert_eq!(known.kinds("h", 22), ["ssh-rsa"]);
        assert_eq!(known.kinds("other", 22), ["ssh-ed25519"]);
        assert!(known.kinds("unknown", 22).is_empty());
    }

    #[test]
    fn patterns_match_as_a_whole_and_in_little_time() {
        assert!(matches(b"*a*b", b"xaxxb") && matches(b"**", b"") && !matches(b"?", b""));
        assert!(!matches(b"a*b", b"ab "));
        assert!(!matches("*a".repeat(100).as_bytes(), "a".repeat(99).as_bytes()));
    }
}
