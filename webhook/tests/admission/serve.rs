//! The command `serve` as a process, with an API server that cannot be reached.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: u, user: {}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
";

/// A running process; killed when dropped.
struct Serve {
    child: Child,
    logs: BufReader<ChildStderr>,
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It has ended already if the test passed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serve {
    fn start(dir: &Path, more: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(dir.join("kubeconfig"), KUBECONFIG).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_workflow-injector"))
            .args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--listen-ops", "127.0.0.1:0"])
            .arg("--tls-dir")
            .arg(dir)
            .args(more)
            .env("KUBECONFIG", dir.join("kubeconfig"))
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let logs = BufReader::new(child.stderr.take().unwrap());
        Self { child, logs }
    }

    /// The next log line with this message.
    fn log(&mut self, message: &str) -> Value {
        let mut observed = String::new();
        loop {
            let start = observed.len();
            assert_ne!(
                self.logs.read_line(&mut observed).unwrap(),
                0,
                "`{message}` is logged, not\n{observed}"
            );
            let line: Value = serde_json::from_str(&observed[start..]).unwrap();
            if line["message"] == message {
                return line;
            }
        }
    }

    fn signal(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }
}

/// Status line and body of a response.
fn get(address: &Value, path: &str) -> String {
    let mut stream = TcpStream::connect(address.as_str().unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn sigterm_ends_readiness_at_once_and_the_process_after_the_drain_period() {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = Serve::start(dir.path(), &["--drain", "2s"]);
    let ops = serve.log("serving")["listen_ops"].clone();
    assert!(get(&ops, "/healthz").starts_with("HTTP/1.1 200"));
    serve.signal();
    serve.log("draining");
    let ready = get(&ops, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("draining"), "{ready}");
    serve.log("stopped");
    assert_eq!(serve.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = Serve::start(dir.path(), &["--drain", "1h"]);
    serve.log("serving");
    serve.signal();
    serve.log("draining");
    serve.signal();
    assert_eq!(serve.child.wait().unwrap().code(), Some(1));
}

#[test]
fn rejects_a_broken_config_file_at_start_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, "image: [").unwrap();
    let mut serve = Serve::start(dir.path(), &["--config", config.to_str().unwrap()]);
    let line = serve.log("failed to start the webhook");
    assert!(line["error"].as_str().unwrap().contains("config.yaml"), "{line}");
    assert_eq!(serve.child.wait().unwrap().code(), Some(1));
}
