//! Bytes as a server's response: they are parsed or rejected without a panic, and an object that is accepted has the id
//! of its bytes.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use git2::{ObjectFormat, Oid};
use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use workflow_contract::{RefName, RepoUrl};

use super::generated_pack;
use super::taken;
use crate::config::Limits;
use crate::fetch::resolve;
use crate::pack::{PackError, PackSink};
use crate::protocol::capabilities::Capabilities;
use crate::protocol::pktline::{Lines, server_message};
use crate::protocol::{ProtocolError, Ref, Want, advertisement, v0, v2};
use crate::transport::http::{response, verifier};
use crate::transport::ssh::known_hosts::{HostKeyStatus, KnownHosts};
use crate::transport::ssh::offer;
use crate::transport::{tunnel, words};
use crate::tree::gitmodules;

const LIMITS: Limits = Limits { timeout: Duration::from_secs(1), bytes: 1 << 20, files: 100 };

/// The first byte says what the rest is. `dir` must be empty, and is again afterwards.
///
/// # Panics
/// If a claim does not hold.
pub fn wire(bytes: &[u8], dir: &Path) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let want = Want { oids: &[Oid::from_bytes(&[7; 20]).unwrap()], shallow: true, without_blobs: false };
    match kind {
        b'a' => listed(advertisement::read(Lines::new(rest)).map(|(_, refs)| refs)),
        b'l' => listed(v2::read_refs(Lines::new(rest))),
        b'2' => drop(take(dir, |sink| v2::read_pack(Lines::new(rest), sink).map(drop))),
        b'0' => drop(take(dir, |sink| {
            v0::read_pack(want, &Capabilities::V0(vec!["side-band-64k".into()]), Lines::new(rest), sink)
                .map(drop)
        })),
        b'r' => drop(take(dir, |sink| {
            v0::read_pack(want, &Capabilities::V0(Vec::new()), Lines::new(rest), sink).map(drop)
        })),
        b'p' => drop(take(dir, |sink| sink.append(&generated_pack::with_checksum(rest.to_vec())))),
        b'm' => pack_of_entries(rest, dir),
        b'h' => quoted(rest),
        b'g' => gitmodules(rest),
        b'k' => known(&String::from_utf8_lossy(rest)),
        b's' => drop(offer::read(&mut &*rest)),
        b'c' => certificate(rest),
        b'w' => drop(words::find(&String::from_utf8_lossy(rest))),
        b't' => {
            drop(tunnel::connect(&mut Peer(rest), "h", 22, None));
            drop(tunnel::socks5(&mut Peer(rest), "h", 22, None));
        }
        _ => {}
    }
}

/// `.gitmodules`: of what is listed, no URL leaves the policy and no name leaves its directory.
fn gitmodules(bytes: &[u8]) {
    let modules = match gitmodules::parse(bytes) {
        Ok(modules) => modules,
        Err(error) => return one_line(&error.to_string()),
    };
    let base = RepoUrl::parse("https://h/o/r.git").unwrap();
    for module in &modules {
        if let Ok(url) = base.join(&module.url) {
            assert!(["https", "http", "ssh"].contains(&url.scheme().as_str()));
            assert!(!url.name().is_empty() && !url.name().contains('/') && url.name() != "..");
        }
        if module.check_name().is_ok() {
            assert!(module.name.split('/').all(|part| !matches!(part, "" | "." | ".." | ".git")));
        }
    }
}

/// A server's certificate: parsed for its name, its validity and the reason of its rejection.
fn certificate(der: &[u8]) {
    let der = CertificateDer::from(der);
    let name = ServerName::try_from("h").unwrap();
    drop(verifier::verify_name_and_validity(&der, &name, UnixTime::now()));
    for fault in [CertificateError::UnknownIssuer, CertificateError::BadSignature] {
        drop(verifier::explain(fault.clone().into(), &der));
        drop(verifier::explain_signature(fault.into(), &der));
    }
}

/// A peer that sends these bytes, whatever it receives.
struct Peer<'a>(&'a [u8]);

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn listed(refs: Result<Vec<Ref>, ProtocolError>) {
    let refs = match refs {
        Ok(refs) => refs,
        Err(error) => return one_line(&error.to_string()),
    };
    for name in ["main", "refs", "7777777777777777777777777777777777777777"] {
        let name = RefName::parse(name).unwrap();
        if resolve::resolve(&name, &refs, false, ObjectFormat::Sha1).is_none() {
            one_line(&resolve::not_found(&name, &refs).to_string());
        }
    }
}

/// The content type up to a newline, then the body of a response that is no git protocol.
fn quoted(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (kind, body) = bytes.split_at(end);
    let message = response::message_in(&String::from_utf8_lossy(kind), body);
    one_line(&server_message(message.as_bytes()));
}

/// Lines of `known_hosts`: a server is known by a key that stands there, or not at all.
fn known(lines: &str) {
    let known = KnownHosts::read(Some(lines));
    for (host, port) in [("h", 22), ("h.example", 2222), ("[::1]", 22)] {
        // `AAA`, as it stands there.
        if known.judge(host, port, b"AAA") == HostKeyStatus::Known {
            assert!(lines.contains("QUFB") && !known.kinds(host, port).is_empty());
        }
    }
}

/// The message about a server's error stays one line of bounded length.
fn one_line(message: &str) {
    assert!(!message.contains(['\n', '\r', '\0']) && message.len() < 2000, "{message:?}");
}

/// Takes a pack in, and checks what was taken.
fn take<E: From<PackError> + std::fmt::Display>(
    dir: &Path,
    receive: impl FnOnce(&mut dyn PackSink) -> Result<(), E>,
) -> Result<Vec<Oid>, E> {
    let taken = taken::take(dir, LIMITS, true, receive);
    if let Err(error) = &taken {
        one_line(&error.to_string());
    }
    taken
}

/// A pack generated from the bytes: if it is valid, every object must be read with its id.
fn pack_of_entries(bytes: &[u8], dir: &Path) {
    let generated = generated_pack::read(bytes);
    let taken = take(dir, |sink| sink.append(&generated.pack()));
    let Some(objects) = generated.objects() else { return };
    match taken {
        Err(PackError::TooLarge { .. }) => {}
        Err(error) => panic!("a valid pack is rejected: {error}"),
        Ok(ids) => assert_eq!(ids, objects, "other objects than were sent"),
    }
}
