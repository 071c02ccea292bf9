//! `render`: shows the result of admission for a pod, offline.
//!
//! Standard output is the result and nothing else; remarks go to standard error.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use json_patch::Patch;
use serde_json::Value;

use crate::admission::patch::patch;
use crate::admission::plan::{self, Decision, Lookup};
use crate::config::{self, Config};
use crate::session::AgenticSession;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The pod, as JSON or YAML; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pod: PathBuf,
    /// Its AgenticSession, as JSON or YAML; `-` is stdin
    #[arg(long, value_name = "FILE")]
    session: PathBuf,
    /// Config file; without it the defaults hold
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Output, in the format of the pod's file
    #[arg(short, long, value_name = "WHAT", default_value = "pod")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// The pod as it would be created
    Pod,
    /// The JSON Patch (RFC 6902)
    Patch,
}

/// Format of an input, which is that of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Yaml,
}

#[derive(Debug)]
enum Rendered {
    /// Text for standard output, and a remark for standard error.
    Output(String, Option<String>),
    /// The denial's message.
    Denied(String),
}

#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let done = inputs(args).and_then(|(pod, session, config)| render(&pod, &session, &config, args.output));
    let (code, out, remark) = match done {
        Ok(Rendered::Output(text, remark)) => (0, text, remark),
        Ok(Rendered::Denied(message)) => (1, String::new(), Some(message)),
        Err(error) => (2, String::new(), Some(format!("{error:#}"))),
    };
    // Failures to write cannot be reported anywhere else.
    let _ = std::io::stdout().write_all(out.as_bytes());
    if let Some(remark) = remark {
        let _ = writeln!(std::io::stderr(), "{remark}");
    }
    ExitCode::from(code)
}

fn inputs(args: &Args) -> anyhow::Result<(String, String, Config)> {
    let stdin = Path::new("-");
    ensure!(args.pod != stdin || args.session != stdin, "only one of --pod and --session can be stdin");
    let config = match &args.config {
        Some(path) => Config::clone(&config::open(path)?.current().load()),
        None => Config::default(),
    };
    Ok((read(&args.pod)?, read(&args.session)?, config))
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("failed to read stdin")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}

fn render(pod: &str, session: &str, config: &Config, output: Output) -> anyhow::Result<Rendered> {
    let (form, mut pod) = parse(pod, "Pod")?;
    let (_, session) = parse(session, "AgenticSession")?;
    let session: AgenticSession =
        serde_json::from_value(session).context("failed to read the AgenticSession")?;
    let (patch, remark) = match decide(&pod, session, config) {
        Ok(decided) => decided,
        Err(denial) => return Ok(Rendered::Denied(denial)),
    };
    let result = match output {
        Output::Patch => serde_json::to_value(&patch)?,
        Output::Pod => {
            json_patch::patch(&mut pod, &patch).context("failed to apply the patch")?;
            pod
        }
    };
    Ok(Rendered::Output(write(form, &result)?, remark))
}

type Decided = (Patch, Option<String>);

/// Returns the patch and a remark, or the denial.
fn decide(pod: &Value, session: AgenticSession, config: &Config) -> Result<Decided, String> {
    let unchanged = |skip: plan::Skip| Ok((Patch::default(), Some(format!("unchanged: {skip}"))));
    let owner = match plan::owner(pod) {
        Ok(owner) => owner,
        Err(skip) => return unchanged(skip),
    };
    let namespace = session.metadata.namespace.clone().unwrap_or_default();
    // Admission looks up the session in the pod's namespace, which a file may leave out.
    let pod_namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let same_namespace = pod_namespace.is_empty() || namespace.is_empty() || pod_namespace == namespace;
    let named = same_namespace && session.metadata.name.as_deref() == Some(owner.name);
    let lookup = if named { Lookup::Found(Arc::new(session)) } else { Lookup::Missing };
    match plan::decide(owner, &namespace, &lookup) {
        Decision::Skip(skip) => unchanged(skip),
        Decision::Deny(denial) => Err(denial.message),
        Decision::Inject(plan) => {
            let patch = patch(pod, &plan, config);
            let unchanged = patch.is_empty().then(|| "unchanged: already as wanted".to_owned());
            Ok((patch, plan.source_error(&config.policy()).or(unchanged)))
        }
    }
}

fn parse(text: &str, kind: &str) -> anyhow::Result<(Form, Value)> {
    let form = if text.trim_start().starts_with('{') { Form::Json } else { Form::Yaml };
    let value: Value = match form {
        Form::Json => serde_json::from_str(text).with_context(|| format!("the {kind} is not valid JSON"))?,
        Form::Yaml => {
            // Snippets would show neighbouring lines, which may contain a password.
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options)
                .with_context(|| format!("the {kind} is not valid YAML"))?
        }
    };
    let found = value["kind"].as_str().unwrap_or("nothing with a kind");
    ensure!(found == kind, "expected a {kind}, found {found}");
    Ok((form, value))
}

fn write(form: Form, value: &Value) -> anyhow::Result<String> {
    let mut text = match form {
        Form::Json => serde_json::to_string_pretty(value)?,
        Form::Yaml => serde_saphyr::to_string(value).context("failed to write YAML")?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
