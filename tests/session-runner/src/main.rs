//! Entry point of the fake runner's image. Without an argument it is the runner; `hydrate` and `state-sync` stand for
//! the platform's other containers, `ls` lists the workflow directory.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use session_runner::{FileEntry, FileKind, Settings, WORKFLOWS, list, router, serve, take, until_stopped};

/// The platform's CA bundle, mounted where the namespace has one.
const CA_BUNDLE: &str = "/etc/pki/tls/certs/ca-bundle.crt";

fn main() -> ExitCode {
    // First of all: nothing may change between the process's start and its record.
    let record = take(Path::new(WORKFLOWS), environment());
    let ended = match std::env::args().nth(1).as_deref() {
        None => run(async { serve(router(record, settings())).await }),
        // The platform's exits with 0 when no S3 is configured.
        Some("hydrate") => Ok(()),
        Some("state-sync") => run(until_stopped()),
        Some("ls") => {
            list(Path::new(WORKFLOWS)).map_err(|error| no_directory(&error)).and_then(|files| print(&files))
        }
        Some(other) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("unknown command `{other}`; known are hydrate, state-sync and ls"),
        )),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Best effort.
            let _ = writeln!(io::stderr(), "session-runner: {error}");
            ExitCode::FAILURE
        }
    }
}

fn no_directory(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to list {WORKFLOWS}: {error}"))
}

fn settings() -> Settings {
    let ca = Path::new(CA_BUNDLE);
    Settings {
        directory: WORKFLOWS.into(),
        token: std::env::var("AGUI_TOKEN").ok(),
        ca: ca.exists().then(|| ca.to_owned()),
    }
}

/// The environment, with non-UTF-8 bytes replaced.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

fn run(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn print(files: &[FileEntry]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for file in files {
        let sign = match file.kind {
            FileKind::Directory => "/".to_owned(),
            FileKind::Symlink => format!(" -> {}", file.text.as_deref().unwrap_or_default()),
            FileKind::File | FileKind::Other => String::new(),
        };
        writeln!(out, "{:04o} {:>8} {}{sign}", file.mode, file.size, file.path)?;
    }
    Ok(())
}
