//! TLS servers as OpenSSL makes them: each failure has a message of its own, and a client certificate of the Secret is
//! presented. They are no git servers, so a connection that is trusted ends in `ServerError`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod common;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use common::{Ended, Fetch};
use workflow_contract::Exit;

/// Certificates in a temporary directory; `ca.crt` is a CA.
struct Pki(tempfile::TempDir);

impl Pki {
    fn new() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.certificate("ca", &["-subj", "/CN=test CA"]);
        pki
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes `NAME.crt` and `NAME.key`; without `-CA` it is self-signed and, as by OpenSSL's defaults, a CA.
    fn certificate(&self, name: &str, arguments: &[&str]) {
        let curve = if name == "p521" { "ec_paramgen_curve:P-521" } else { "ec_paramgen_curve:P-256" };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-days", "1"])
            .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")])
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes a certificate that the CA has signed.
    fn signed(&self, name: &str, arguments: &[&str]) {
        let common = [
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "basicConstraints=CA:FALSE",
        ];
        self.certificate(name, &[&common, arguments].concat());
    }

    /// Makes a certificate of X.509 version 1 that the CA has signed.
    fn version_1(&self, name: &str) {
        let script = format!(
            "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -subj /CN=127.0.0.1 \
             -out {name}.csr && openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -days 1 -out {name}.crt"
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Serves with a certificate of this name.
    fn serve(&self, name: &str, arguments: &[&str]) -> Server {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut process = Command::new("openssl")
            .args(["s_server", "-accept", &address, "-www"])
            .args(["-cert", &format!("{name}.crt"), "-key", &format!("{name}.key")])
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(&address).is_err() {
            assert_eq!(process.try_wait().unwrap(), None, "openssl s_server ended");
            thread::yield_now();
        }
        Server { process, url: format!("https://{address}/r") }
    }
}

struct Server {
    process: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

const SAN: &[&str] = &["-addext", "subjectAltName=IP:127.0.0.1"];

#[test]
fn presents_client_certificate_of_the_secret_to_its_hosts() {
    let pki = Pki::new();
    pki.signed("server", SAN);
    pki.signed("client", &[]);
    let server = pki.serve("server", &["-Verify", "1", "-CAfile", "ca.crt", "-verify_return_error"]);
    let run = |hosts: &str| {
        let fetch = Fetch::trusting(&pki.file("ca.crt"), &server.url);
        let secret = fetch.dir.path().join("secret");
        fs::create_dir(&secret).unwrap();
        fs::copy(pki.file("client.crt"), secret.join("tls.crt")).unwrap();
        fs::copy(pki.file("client.key"), secret.join("tls.key")).unwrap();
        fs::write(secret.join("hosts"), hosts).unwrap();
        fetch.var("WORKFLOW_CREDENTIALS_DIR", &secret.to_string_lossy()).run()
    };
    let message = run("127.0.0.1").expect(Exit::ServerError).to_owned();
    assert!(message.contains("does not respond as a git server"), "{message}");
    let message = run("other.example").expect(Exit::TlsFailed).to_owned();
    assert!(message.contains("it wants a client certificate; add the keys tls.crt and tls.key"), "{message}");
}

/// Runs against a server with this certificate while `trusted` is in `SSL_CERT_FILE`.
fn run(pki: &Pki, name: &str, arguments: &[&str], trusted: &str) -> Ended {
    let server = pki.serve(name, arguments);
    Fetch::trusting(&pki.file(&format!("{trusted}.crt")), &server.url).run()
}

#[test]
fn accepts_certificate_that_is_trusted_itself() {
    let pki = Pki::new();
    pki.certificate("ca-true", &[&["-subj", "/CN=x"], SAN].concat());
    pki.certificate("ca-false", &[&["-subj", "/CN=x", "-addext", "basicConstraints=CA:FALSE"], SAN].concat());
    pki.signed("signed", SAN);
    for name in ["ca-true", "ca-false", "signed"] {
        for arguments in [&["-tls1_2"][..], &["-tls1_3"]] {
            let ended = run(&pki, name, arguments, name);
            let message = ended.expect(Exit::ServerError);
            assert!(message.contains("does not respond as a git server"), "{name} {arguments:?}: {message}");
        }
    }
}

#[test]
fn verifies_name_of_certificate_that_is_trusted_itself() {
    let pki = Pki::new();
    let other = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=DNS:other.example"];
    pki.certificate("other", &other);
    pki.certificate("common-name", &["-subj", "/CN=127.0.0.1"]);
    for (name, expected) in [
        ("other", "its certificate is not for 127.0.0.1"),
        ("common-name", "names the host only as its common name"),
    ] {
        let ended = run(&pki, name, &[], name);
        let message = ended.expect(Exit::TlsFailed);
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn rejects_server_that_has_no_key_for_trusted_certificate() {
    let pki = Pki::new();
    pki.certificate("server", &[&["-subj", "/CN=x"], SAN].concat());
    // The same subject and names, but another key.
    pki.certificate("trusted", &[&["-subj", "/CN=x"], SAN].concat());
    let ended = run(&pki, "server", &[], "trusted");
    assert!(!ended.expect(Exit::TlsFailed).contains("Error("), "{}", ended.message);
}

#[test]
fn names_client_certificate_that_cannot_be_used() {
    let pki = Pki::new();
    pki.signed("client", &[]);
    pki.signed("other", &[]);
    let run = |certificate: &str, key: &str| {
        let fetch = Fetch::untrusting("https://127.0.0.1:1/r");
        let secret = fetch.dir.path().join("secret");
        fs::create_dir(&secret).unwrap();
        fs::copy(pki.file(certificate), secret.join("tls.crt")).unwrap();
        fs::copy(pki.file(key), secret.join("tls.key")).unwrap();
        fs::write(secret.join("hosts"), "127.0.0.1").unwrap();
        fetch.var("WORKFLOW_CREDENTIALS_DIR", &secret.to_string_lossy()).run()
    };
    for (certificate, key, expected) in [
        ("client.crt", "other.key", "tls.key is not the private key of tls.crt"),
        ("client.key", "client.key", "tls.crt contains no PEM certificate"),
        ("client.crt", "client.crt", "tls.key contains no unencrypted PEM private key"),
    ] {
        let ended = run(certificate, key);
        let message = ended.expect(Exit::InvalidSource);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn names_each_fault_of_tls() {
    let pki = Pki::new();
    pki.signed("server", SAN);
    pki.signed("common-name", &[]);
    pki.signed("p521", SAN);
    pki.certificate("self", &["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
    let no_ca = ["-subj", "/CN=127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    pki.certificate("self-no-ca", &[&no_ca, SAN].concat());
    let by_ca = ["-CA", "ca.crt", "-CAkey", "ca.key", "-subj", "/CN=127.0.0.1"];
    pki.certificate("signed-ca", &[&by_ca, SAN].concat());
    pki.certificate("other-ca", &["-subj", "/CN=other CA"]);
    let by_other = ["-CA", "other-ca.crt", "-CAkey", "other-ca.key", "-subj", "/CN=127.0.0.1"];
    pki.certificate(
        "other-issuer",
        &[&by_other[..], &["-addext", "basicConstraints=CA:FALSE"], SAN].concat(),
    );
    pki.version_1("version-1");
    let old = &["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"];
    for (name, arguments, expected) in [
        ("self", &[][..], "its certificate is self-signed and not trusted here; add it as ca.crt"),
        ("self-no-ca", &[], "its certificate is self-signed and not trusted here; add it as ca.crt"),
        ("signed-ca", &[], "its certificate is that of a CA; the server needs one of its own"),
        (
            "other-issuer",
            &[],
            "its certificate is signed by a CA that is not trusted here; add the CA certificate",
        ),
        ("version-1", &[], "its certificate is of X.509 version 1"),
        (
            "common-name",
            &[],
            "names the host only as its common name; the server needs one with subjectAltName",
        ),
        ("p521", &[], "or a certificate with a key of RSA, ECDSA P-256 or P-384, or Ed25519"),
        ("server", old, "it accepts none of the cipher suites"),
        ("server", &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "it speaks neither TLS 1.2 nor TLS 1.3"),
    ] {
        let server = pki.serve(name, arguments);
        let ended = Fetch::trusting(&pki.file("ca.crt"), &server.url).run();
        let message = ended.expect(Exit::TlsFailed);
        assert!(message.contains(expected), "{name} {arguments:?}: {message}");
        assert_eq!(ended.details().attempts, Some(1));
    }
}
