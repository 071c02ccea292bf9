//! Whether the server is the one that it should be: its key against `known_hosts`, always.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use ssh2::{CheckResult, HashType, KnownHostFileKind, Session};

/// All algorithms that are accepted of a server, as `known_hosts` names their keys and as they are
/// negotiated; SHA-1 signatures and DSA are not among them.
const ALGORITHMS: [(&str, &str); 5] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256"),
];

/// The algorithms to ask for, those first whose keys are known for the host: a server has several keys,
/// and must show the one that can be checked. Pure.
pub fn algorithms(known_hosts: &str, host: &str) -> String {
    let known = |name: &str| {
        lines(known_hosts).any(|line| {
            let mut words = line.split_whitespace();
            // Hashed names are not told apart here; a wrong guess costs nothing but the order.
            let names = words.next().unwrap_or_default();
            let named = names.starts_with('|')
                || names.split(',').any(|n| n == host || n.starts_with(&format!("[{host}]:")));
            named && words.next() == Some(name)
        })
    };
    let (first, rest): (Vec<_>, Vec<_>) = ALGORITHMS.iter().partition(|(name, _)| known(name));
    first.iter().chain(&rest).map(|(_, algorithms)| *algorithms).collect::<Vec<_>>().join(",")
}

/// Checks the server's key.
///
/// # Errors
/// Why it is not accepted, and what may be done, as the end of a sentence.
pub fn check(session: &Session, known_hosts: &str, host: &str, port: u16) -> Result<(), String> {
    const DO: &str = "compare it with what the host publishes, then add the line that ssh-keyscan prints to \
                      known_hosts in the Secret workflow-credentials";
    let (key, _) = session.host_key().ok_or("it has shown no key")?;
    let shown = fingerprint(session);
    if known_hosts.trim().is_empty() {
        return Err(format!("its key {shown} is not known, as the Secret has no known_hosts; {DO}"));
    }
    let mut known = session.known_hosts().map_err(|error| error.message().to_owned())?;
    for line in lines(known_hosts) {
        if let Err(error) = known.read_str(line, KnownHostFileKind::OpenSSH) {
            tracing::warn!(%error, "a line of known_hosts can't be read");
        }
    }
    match known.check_port(host, port, key) {
        CheckResult::Match => Ok(()),
        CheckResult::NotFound => Err(format!("its key {shown} is not in known_hosts; {DO}")),
        CheckResult::Mismatch => Err(format!(
            "its key {shown} is another than known_hosts has: the server was changed, or somebody stands in \
             between; {DO}"
        )),
        CheckResult::Failure => Err(format!("its key {shown} could not be checked")),
    }
}

/// Lines that name keys: no comments, and no markers (`@revoked`, `@cert-authority`), which must not count
/// as keys to trust.
fn lines(known_hosts: &str) -> impl Iterator<Item = &str> {
    known_hosts.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '@']))
}

/// As ssh shows it.
fn fingerprint(session: &Session) -> String {
    let mut text = String::from("SHA256:");
    let hash = session.host_key_hash(HashType::Sha256).unwrap_or_default();
    let _ = write!(text, "{}", BASE64_STANDARD_NO_PAD.encode(hash));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_the_key_that_can_be_checked() {
        let known =
            "# comment\n@revoked h ecdsa-sha2-nistp256 AAAA\nother ssh-ed25519 AAAA\n[h]:2222 ssh-rsa AAAA\n";
        assert!(algorithms(known, "h").starts_with("rsa-sha2-512,rsa-sha2-256,ssh-ed25519,"));
        assert!(algorithms(known, "other").starts_with("ssh-ed25519,ecdsa"));
        assert!(algorithms("|1|abc=|def= ecdsa-sha2-nistp384 AAAA", "h").starts_with("ecdsa-sha2-nistp384"));
        assert!(algorithms("", "h").starts_with("ssh-ed25519"));
    }
}
