//! Bytes as lists of keys and as signed objects: judged without a panic, and content that was changed is never trusted.

use workflow_contract::verify::{Require, Signers};
use workflow_signatures::{ObjectFormat, SignedKind, TrustedKeys, verify};

/// Time at which keys are judged, in Unix seconds.
const NOW: i64 = 1_800_000_000;

/// The first byte says what the rest is: `a` lines of `sshSigners`, `o` armored keys; `c` and `t` both of them and a commit
/// or tag, separated by NUL.
///
/// # Panics
/// If a claim does not hold.
pub fn signatures(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let mut parts = rest.splitn(3, |&b| b == 0);
    let mut part = || parts.next().unwrap_or_default();
    match kind {
        b'a' => drop(keys(rest, b"")),
        b'o' => drop(keys(b"", rest)),
        b'c' | b't' => {
            let Some(keys) = keys(part(), part()) else { return };
            let object = part();
            let kind = if *kind == b'c' { SignedKind::Commit } else { SignedKind::Tag };
            for format in [ObjectFormat::Sha1, ObjectFormat::Sha256] {
                let trusted = |object: &[u8]| verify(kind, object, format, &keys, NOW).is_ok();
                if trusted(object) {
                    // The id of the tree or commit is always part of what is signed.
                    let mut changed = object.to_vec();
                    let at = changed.iter().position(|&b| b == b' ').expect("a header") + 1;
                    changed[at] ^= 1;
                    assert!(!trusted(&changed), "another tree or commit is trusted");
                }
            }
        }
        _ => {}
    }
}

fn keys(ssh: &[u8], openpgp: &[u8]) -> Option<TrustedKeys> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let keys = TrustedKeys::parse(&Signers {
        require: Require::Either,
        ssh_signers: text(ssh),
        ssh_revoked_keys: String::new(),
        openpgp_keys: text(openpgp),
    });
    drop(keys.as_ref().map(|keys| keys.warnings(NOW)));
    keys.ok()
}
