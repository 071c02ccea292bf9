//! The programs that are measured, each in a new directory and an environment of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// A program to measure.
pub enum Program<'a> {
    /// init-fetcher, by its path.
    Fetcher(&'a str),
    /// `git clone --depth 1 --single-branch`.
    Clone,
    /// git's partial and sparse clone, as its manual has it.
    Sparse,
}

/// A repository and directory to fetch.
pub struct Source<'a> {
    pub url: &'a str,
    pub path: &'a str,
    pub ca: &'a Path,
}

/// Cost of a run.
#[derive(Clone, Copy, Default)]
pub struct Measured {
    /// Wall time, in milliseconds.
    pub wall: f64,
    /// CPU time of the program and its children, in milliseconds.
    pub cpu: f64,
    /// Peak of resident memory, in kB, of the largest of its processes.
    pub memory: f64,
}

const CLONE: &str = r#"exec git clone --quiet --depth 1 --single-branch "$URL" "$OUT/clone""#;
const SPARSE: &str = r#"git clone --quiet --depth 1 --single-branch --filter=blob:none --sparse "$URL" "$OUT/clone" &&
exec git -C "$OUT/clone" sparse-checkout set "$DIRECTORY""#;

/// Runs it once.
pub fn run(program: &Program, source: &Source) -> Measured {
    let out = tempfile::tempdir().expect("a directory");
    let costs = out.path().join("costs");
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%M %U %S", "-o"]).arg(&costs);
    match program {
        Program::Fetcher(path) => command.arg(path),
        Program::Clone => command.args(["sh", "-c", CLONE]),
        Program::Sparse => command.args(["sh", "-c", SPARSE]),
    };
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("WORKFLOW_GIT_URL", source.url)
        .env("WORKFLOW_PATH", source.path)
        .env("WORKFLOW_ROOT", out.path().join("root"))
        .env("WORKFLOW_TERMINATION_LOG", out.path().join("message"))
        .env("SSL_CERT_FILE", source.ca)
        .env("GIT_SSL_CAINFO", source.ca)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("URL", source.url)
        .env("DIRECTORY", source.path)
        .env("OUT", out.path())
        .stdin(Stdio::null());
    let began = Instant::now();
    let output = command.output().expect("the Debian package time is needed");
    let wall = began.elapsed().as_secs_f64() * 1000.0;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let costs = fs::read_to_string(costs).expect("the costs");
    let numbers: Vec<f64> = costs.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    Measured { wall, cpu: (numbers[1] + numbers[2]) * 1000.0, memory: numbers[0] }
}
