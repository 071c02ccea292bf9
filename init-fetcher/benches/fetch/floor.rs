//! Cost of the server alone: the requests of a fetch, passed to `git upload-pack` without a network.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use workflow_git_server::Repository;

/// Wall time of the server's part of fetching this directory, in milliseconds.
pub fn measure(repository: &Repository, path: &str) -> f64 {
    let id = |what: &str| repository.git(&["rev-parse", what]).expect("an id").trim().to_owned();
    let format = repository.git(&["rev-parse", "--show-object-format"]).expect("a format");
    let request = |command: &str, arguments: &[&str]| request(command, format.trim(), arguments);
    let mut requests = vec![request("ls-refs", &["peel", "symrefs", "ref-prefix refs/heads/main"])];
    let (commit, tree) = (format!("want {}", id("main")), format!("want {}", id(&format!("main:{path}"))));
    if path.is_empty() {
        requests
            .push(request("fetch", &["thin-pack", "no-progress", "ofs-delta", "deepen 1", &commit, "done"]));
    } else {
        let way = ["thin-pack", "no-progress", "ofs-delta", "filter blob:none", "deepen 1", &commit, "done"];
        requests.push(request("fetch", &way));
        requests.push(request("fetch", &["thin-pack", "no-progress", "ofs-delta", &tree, "done"]));
    }
    let began = Instant::now();
    upload_pack(repository, "--http-backend-info-refs", &[]);
    for request in &requests {
        upload_pack(repository, "--stateless-rpc", request);
    }
    began.elapsed().as_secs_f64() * 1000.0
}

fn request(command: &str, format: &str, arguments: &[&str]) -> Vec<u8> {
    let line = |text: &str| format!("{:04x}{text}\n", text.len() + 5);
    let arguments: String = arguments.iter().map(|argument| line(argument)).collect();
    let capabilities = line(&format!("command={command}")) + &line(&format!("object-format={format}"));
    format!("{capabilities}0001{arguments}0000").into_bytes()
}

fn upload_pack(repository: &Repository, mode: &str, request: &[u8]) {
    let mut child = Command::new("git")
        .args(["upload-pack", "--strict", mode])
        .arg(repository.path())
        .env("GIT_PROTOCOL", "version=2")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("git");
    child.stdin.take().expect("a pipe").write_all(request).expect("a request");
    assert!(child.wait().expect("git").success(), "git upload-pack {mode}");
}
