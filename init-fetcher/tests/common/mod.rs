//! Runs the real binary against a real git server, and compares its delivery with git's trees.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests, not all used by each")]

pub mod fault_proxies;
pub mod places;
pub mod ssh;
pub mod traced;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use workflow_contract::{Exit, Termination};
use workflow_git_server::{GitServer, Repository, Settings};

/// One run of init-fetcher, described by its environment; nothing else is in that environment.
#[derive(Clone)]
pub struct Fetch {
    /// Directory of its root and message; clones share it.
    pub dir: Arc<tempfile::TempDir>,
    vars: BTreeMap<String, String>,
}

/// Outcome of a run.
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// The termination message as written.
    pub message: String,
    /// The log.
    pub stderr: String,
}

impl Fetch {
    /// A run for this URL that trusts this server.
    pub fn new(server: &GitServer, url: &str) -> Self {
        Self::trusting(&server.ca_file(), url)
    }

    /// A run for this URL that trusts this CA.
    pub fn trusting(ca: &Path, url: &str) -> Self {
        Self::untrusting(url).var("SSL_CERT_FILE", &ca.to_string_lossy())
    }

    /// A run for this URL that trusts the built-in roots only.
    pub fn untrusting(url: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let root = dir.path().join("root").to_string_lossy().into_owned();
        let log = dir.path().join("message").to_string_lossy().into_owned();
        Self { dir, vars: BTreeMap::new() }
            .var("WORKFLOW_GIT_URL", url)
            .var("WORKFLOW_ROOT", &root)
            .var("WORKFLOW_TERMINATION_LOG", &log)
    }

    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn branch(self, name: &str) -> Self {
        self.var("WORKFLOW_BRANCH", name)
    }

    pub fn path(self, path: &str) -> Self {
        self.var("WORKFLOW_PATH", path)
    }

    pub fn root(&self) -> PathBuf {
        PathBuf::from(&self.vars["WORKFLOW_ROOT"])
    }

    /// The program with its environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.env_clear().envs(&self.vars).current_dir("/").stdin(Stdio::null());
        command
    }

    /// Starts it, for tests that end it.
    pub fn spawn(&self) -> Child {
        self.command().stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn run(&self) -> Ended {
        let (ended, stdout) = self.run_by(Vec::new());
        assert_eq!(stdout, "", "stdout is not for logs");
        ended
    }

    /// Runs it to its end with no more memory than this.
    pub fn run_within(&self, mib: u32) -> Ended {
        let script = format!("ulimit -d {} && exec \"$0\"", mib * 1024);
        self.run_by(["sh", "-c", &script].map(str::to_owned).to_vec()).0
    }

    /// Runs it by way of this command, to which the program is added; also gives what that printed.
    pub fn run_by(&self, command: Vec<String>) -> (Ended, String) {
        if let Some(log) = self.own_message() {
            let _ = fs::remove_file(log);
        }
        let program = std::iter::once(program());
        let mut words = command.into_iter().chain(program);
        let output = Command::new(words.next().unwrap())
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(&self.vars)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended =
            Ended { code: code_of(output.status), message: self.message(), stderr: text(&output.stderr) };
        (ended, text(&output.stdout))
    }

    /// The termination message, empty where none was written or it is not in a file of the test's own.
    pub fn message(&self) -> String {
        self.own_message().and_then(|file| fs::read_to_string(file).ok()).unwrap_or_default()
    }

    /// File of the message, if it is the test's own: devices are neither removed nor read.
    fn own_message(&self) -> Option<&Path> {
        let file = Path::new(&self.vars["WORKFLOW_TERMINATION_LOG"]);
        file.starts_with(self.dir.path()).then_some(file)
    }

    /// Everything below the root but what was published under `name`.
    pub fn residue(&self, names: &[&str]) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root()) else { return Vec::new() };
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| !names.contains(&name.as_str()))
            .collect()
    }
}

/// An exit code, as shells count where a signal ended it.
pub fn code_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap()
}

impl Ended {
    /// Checks code, message and their agreement; gives the message.
    pub fn expect(&self, exit: Exit) -> &str {
        assert_eq!(self.code, i32::from(exit.code()), "{}\n{}", self.message, self.stderr);
        let parsed = Termination::parse(&self.message);
        let details = parsed.details.unwrap_or_else(|| panic!("no second line in {:?}", self.message));
        assert_eq!(details.reason, exit);
        assert!(details.ms.is_some());
        assert_eq!(self.message.lines().count(), 2);
        self.message.lines().next().unwrap()
    }

    /// Fields of the termination message.
    pub fn details(&self) -> workflow_contract::termination::Details {
        Termination::parse(&self.message).details.unwrap()
    }
}

/// Entries by path: git's mode and bytes (a link's target, nothing for a directory).
pub type Listing = BTreeMap<String, (String, Vec<u8>)>;

/// Reads `git ls-tree -r` and the blobs of `revision`, below `path`.
pub fn of_git(repository: &Repository, revision: &str, path: &str) -> Listing {
    of_git_dir(repository.path(), revision, path)
}

/// The same of any repository on disk, by its git directory.
pub fn of_git_dir(git_dir: &Path, revision: &str, path: &str) -> Listing {
    let tree = if path.is_empty() { revision.to_owned() } else { format!("{revision}:{path}") };
    let lines = git_bytes(git_dir, &["ls-tree", "-r", "-z", &tree]);
    let mut listing = Listing::new();
    for line in lines.split(|&b| b == 0).filter(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line);
        let (facts, name) = line.split_once('\t').unwrap();
        let facts: Vec<&str> = facts.split(' ').collect();
        let bytes = match facts[1] {
            "blob" => git_bytes(git_dir, &["cat-file", "blob", facts[2]]),
            _ => Vec::new(),
        };
        listing.insert(name.to_owned(), (facts[0].to_owned(), bytes));
    }
    listing
}

/// Reads a directory in the same form, without `.git`. Empty directories are submodules to git.
pub fn of_disk(directory: &Path) -> Listing {
    let mut listing = Listing::new();
    walk(directory, "", &mut listing);
    listing
}

fn walk(directory: &Path, below: &str, listing: &mut Listing) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if name == ".git" {
            continue;
        }
        let metadata = entry.path().symlink_metadata().unwrap();
        let mode = metadata.permissions().mode();
        if metadata.is_dir() {
            assert_eq!(mode & 0o777, 0o775, "{name}: group = user");
            if fs::read_dir(entry.path()).unwrap().next().is_none() {
                listing.insert(name, ("160000".into(), Vec::new()));
            } else {
                walk(&entry.path(), &format!("{name}/"), listing);
            }
        } else if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            listing.insert(name, ("120000".into(), target.to_string_lossy().into_owned().into_bytes()));
        } else {
            let git_mode = if mode & 0o100 == 0 { "100644" } else { "100755" };
            assert_eq!(
                mode & 0o777,
                if git_mode == "100644" { 0o664 } else { 0o775 },
                "{name}: group = user"
            );
            listing.insert(name, (git_mode.into(), fs::read(entry.path()).unwrap()));
        }
    }
}

fn git_bytes(git_dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = git(None).arg("--git-dir").arg(git_dir).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// git without any configuration, in this directory.
pub fn git(directory: Option<&Path>) -> Command {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "A"),
        ("GIT_AUTHOR_EMAIL", "a@b"),
        ("GIT_COMMITTER_NAME", "C"),
        ("GIT_COMMITTER_EMAIL", "c@d"),
    ] {
        command.env(name, value);
    }
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command
}

/// Runs git in this directory and gives its stdout.
pub fn git_says(directory: &Path, args: &[&str]) -> String {
    let output = git(Some(directory)).args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server for the tests of one file.
pub fn server() -> GitServer {
    GitServer::start(&Settings::default()).unwrap()
}

/// A small repository with a branch besides `main`.
pub fn repository(server: &GitServer) -> Repository {
    server
        .repository("acme/flow")
        .file("README.md", "# Flow\n")
        .file("flows/review/prompt.md", "x\n")
        .symlink("link", "flows")
        .branch("release-1.0")
        .create()
        .unwrap()
}

/// Runs a command with this on its stdin and gives its stdout.
pub fn input(command: Command, text: &str) -> String {
    input_bytes(command, text.as_bytes())
}

/// The same with any bytes.
pub fn input_bytes(mut command: Command, bytes: &[u8]) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The program that is tested: cargo's, unless INIT_FETCHER names another build.
fn program() -> String {
    std::env::var("INIT_FETCHER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_init-fetcher").to_owned())
}
