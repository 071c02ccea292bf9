//! The compared handlers: each a process on a core of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use workflow_tests::memory::Memory;

use crate::reviews::Reviews;

/// The handlers' core; everything else runs on others, see `main`.
const CORE: &str = "0";

const START_TIMEOUT: Duration = Duration::from_mins(1);

/// Clock ticks per second in /proc, on every supported architecture.
const TICKS: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandlerKind {
    /// axum and rustls; parses the review into a `Value` and returns a constant patch.
    Bare,
    /// The injector's admission with sessions from a file.
    Fixed,
    /// The injector itself: `serve`, with live lookups.
    Live,
    /// controller-runtime without a lookup.
    ControllerRuntime,
    /// controller-runtime with live lookups.
    ControllerRuntimeLive,
}

impl HandlerKind {
    /// All, in the order of a round.
    pub const ALL: [Self; 5] =
        [Self::Bare, Self::Fixed, Self::Live, Self::ControllerRuntime, Self::ControllerRuntimeLive];

    /// Name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare axum",
            Self::Fixed => "workflow-injector, no lookup",
            Self::Live => "workflow-injector, live lookup",
            Self::ControllerRuntime => "controller-runtime, no lookup",
            Self::ControllerRuntimeLive => "controller-runtime, live lookup",
        }
    }
}

/// Starts the handlers.
pub struct Handlers {
    programs: PathBuf,
    state: PathBuf,
    sessions: PathBuf,
    review: PathBuf,
    /// Bytes of the injector's patch, which the bare handler returns, too.
    pub patch_size: usize,
}

/// A running handler; killed when dropped.
pub struct Handler {
    child: Child,
    port: u16,
    /// Port of the injector's /readyz.
    ops: Option<u16>,
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Handlers {
    /// Writes the certificate, the kubeconfig and the bare handler's patch.
    pub fn prepare(
        programs: &Path,
        state: &Path,
        reviews: &Reviews,
        kubeconfig: &str,
    ) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        std::fs::write(state.join("tls.crt"), made.cert.pem())?;
        std::fs::write(state.join("ca.crt"), made.cert.pem())?;
        std::fs::write(state.join("tls.key"), made.signing_key.serialize_pem())?;
        std::fs::write(state.join("kubeconfig"), kubeconfig)?;
        let (review, sessions) = (state.join("review.json"), reviews.sessions.clone());
        std::fs::write(&review, &reviews.first)?;
        let mut handlers =
            Self { programs: programs.to_owned(), state: state.to_owned(), sessions, review, patch_size: 0 };
        let port = free_port()?;
        let fixed = handlers.spawn(HandlerKind::Fixed, port)?;
        let patch = handlers.patch(&fixed).context("the injector's own patch")?;
        handlers.patch_size = patch.len() / 4 * 3;
        std::fs::write(state.join("patch"), patch)?;
        Ok(handlers)
    }

    /// Starts a handler and waits until it responds to a review with a patch.
    pub fn start(&self, kind: HandlerKind) -> anyhow::Result<Handler> {
        let handler = self.spawn(kind, free_port()?).with_context(|| format!("start {}", kind.name()))?;
        if let Some(ops) = handler.ops {
            ready(ops)?;
        }
        self.patch(&handler).with_context(|| format!("try {}", kind.name()))?;
        Ok(handler)
    }

    fn spawn(&self, kind: HandlerKind, port: u16) -> anyhow::Result<Handler> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let file = |name: &str| self.state.join(name).display().to_string();
        let listen = |more: &[&str]| {
            let common = ["--listen", &address, "--tls-dir"].map(str::to_owned);
            let more = more.iter().map(|&text| text.to_owned());
            common.into_iter().chain([self.state.display().to_string()]).chain(more).collect::<Vec<_>>()
        };
        let controller_runtime = ["--port", &port.to_string(), "--tls-dir", &file("")].map(str::to_owned);
        let ops = (kind == HandlerKind::Live).then(free_port).transpose()?;
        let (program, arguments) = match kind {
            HandlerKind::Bare => ("bare-handler", listen(&["--patch", &file("patch")])),
            HandlerKind::Fixed => {
                ("fixed-session", listen(&["--sessions", &self.sessions.display().to_string()]))
            }
            HandlerKind::Live => {
                let ops = SocketAddr::from((Ipv4Addr::LOCALHOST, ops.unwrap_or_default())).to_string();
                let mut arguments = listen(&["--listen-ops", &ops]);
                arguments.insert(0, "serve".to_owned());
                ("workflow-injector", arguments)
            }
            HandlerKind::ControllerRuntime => ("controller-runtime", controller_runtime.into()),
            HandlerKind::ControllerRuntimeLive => {
                ("controller-runtime", [&controller_runtime[..], &["--lookup".to_owned()]].concat())
            }
        };
        // Each writes its usual logs, to /dev/null.
        let child = Command::new("taskset")
            .args(["--cpu-list", CORE, "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(self.programs.join(program))
            .args(arguments)
            .env("KUBECONFIG", self.state.join("kubeconfig"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{program} could not be started"))?;
        let mut handler = Handler { child, port, ops };
        handler.wait_until_it_listens()?;
        Ok(handler)
    }

    /// The patch of a handler's response to the first review, base64.
    fn patch(&self, handler: &Handler) -> anyhow::Result<String> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--header", "Content-Type: application/json"])
            .arg("--data-binary")
            .arg(format!("@{}", self.review.display()))
            .arg(handler.url())
            .output()
            .context("curl could not be started")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())?;
        let patch = answer["response"]["patch"].as_str().with_context(|| format!("no patch: {answer}"))?;
        Ok(patch.to_owned())
    }
}

impl Handler {
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/mutate", self.port)
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let limit = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            ensure!(Instant::now() < limit, "it does not listen after {} s", START_TIMEOUT.as_secs());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Resident memory, in KiB.
    pub fn resident(&self) -> anyhow::Result<u64> {
        Ok(Memory::of(self.child.id())?.now / 1024)
    }

    /// CPU time that it has used, its own and the kernel's for it.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name, which may hold anything, utime and stime are the 12th and 13th field.
        let (_, fields) = stat.rsplit_once(')').context("no name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).context("too few fields")?.parse::<u64>().context("no number");
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / TICKS))
    }
}

/// Waits until an injector is ready: it has read all sessions.
fn ready(ops: u16) -> anyhow::Result<()> {
    let limit = START_TIMEOUT.as_secs().to_string();
    let retry = ["--retry", &limit, "--retry-delay", "1", "--retry-max-time", &limit];
    let url = format!("http://127.0.0.1:{ops}/readyz");
    let output =
        Command::new("curl").args(["--silent", "--show-error", "--fail"]).args(retry).arg(url).output()?;
    ensure!(output.status.success(), "it does not get ready: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A port that is free at present.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
