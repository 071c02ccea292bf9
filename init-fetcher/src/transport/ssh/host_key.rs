//! Verification of the server's key against `known_hosts`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use ssh2::{HashType, Session};

use super::known_hosts::{HostKeyStatus, KnownHosts};

/// All algorithms that are accepted of a server, as `known_hosts` names their keys and as they are
/// negotiated; SHA-1 signatures and DSA are not among them.
const ALGORITHMS: [(&str, &str); 5] = [
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-512,rsa-sha2-256"),
];

/// Returns the algorithms to negotiate, those of known kinds of keys first: a server has several keys, and
/// must present the one that can be checked. Pure.
pub fn algorithms(known: &[&str]) -> String {
    let (first, rest): (Vec<_>, Vec<_>) = ALGORITHMS.iter().partition(|(kind, _)| known.contains(kind));
    first.iter().chain(&rest).map(|(_, algorithms)| *algorithms).collect::<Vec<_>>().join(",")
}

/// Returns the names of all host key algorithms that are accepted.
pub fn negotiable() -> Vec<&'static str> {
    ALGORITHMS.iter().flat_map(|(_, algorithms)| algorithms.split(',')).collect()
}

/// Checks the key that the server has presented.
///
/// # Errors
/// The fault and the remedy, as the end of a message.
pub fn check(session: &Session, known: &KnownHosts, host: &str, port: u16) -> Result<(), String> {
    let (key, _) = session.host_key().ok_or("it has presented no key")?;
    let hash = session.host_key_hash(HashType::Sha256).unwrap_or_default();
    // As ssh shows it.
    let shown = format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(hash));
    if known.is_unreadable() {
        return Err(format!(
            "the key known_hosts of the Secret workflow-credentials has no line that can be read, so its key {shown} \
             cannot be checked; {DO}"
        ));
    }
    if known.is_empty() {
        return Err(format!(
            "the Secret workflow-credentials has no known_hosts to check its key {shown} by; {DO}"
        ));
    }
    judged(known.judge(host, port, key), &shown)
}

const DO: &str = "compare it with what the host publishes, then add the line that ssh-keyscan prints to the \
                  key known_hosts of the Secret workflow-credentials";

/// Words a verdict. Pure.
fn judged(verdict: HostKeyStatus, shown: &str) -> Result<(), String> {
    Err(match verdict {
        HostKeyStatus::Known => return Ok(()),
        HostKeyStatus::Unknown => format!("its key {shown} is not in known_hosts; {DO}"),
        HostKeyStatus::OnlyCa => format!(
            "its key {shown} is not in known_hosts, which has only an @cert-authority for it, and certificates \
             of hosts are not supported; {DO}"
        ),
        HostKeyStatus::Changed => format!(
            "its key {shown} is another than known_hosts has: the server was changed, or this is a \
             possible man-in-the-middle attack; {DO}"
        ),
        HostKeyStatus::Revoked => format!(
            "its key {shown} is marked @revoked in known_hosts, so others may have it; contact \
             the server's administrator"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiates_known_kinds_of_keys_first() {
        assert!(algorithms(&["ssh-rsa"]).starts_with("rsa-sha2-512,rsa-sha2-256,ssh-ed25519,"));
        assert!(algorithms(&["ecdsa-sha2-nistp384"]).starts_with("ecdsa-sha2-nistp384,ssh-ed25519"));
        assert!(algorithms(&[]).starts_with("ssh-ed25519"));
        assert!(!algorithms(&["ssh-dss"]).contains("dss"));
    }

    #[test]
    fn accepts_only_known_keys() {
        for verdict in
            [HostKeyStatus::Unknown, HostKeyStatus::OnlyCa, HostKeyStatus::Changed, HostKeyStatus::Revoked]
        {
            assert!(judged(verdict, "SHA256:x").unwrap_err().contains("SHA256:x"));
        }
        assert_eq!(judged(HostKeyStatus::Known, ""), Ok(()));
    }
}
