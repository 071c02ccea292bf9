//! The alert rules of `manifests/overlays/monitoring`, tested by Prometheus' promtool.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use workflow_injector::metrics::Metrics;
use workflow_tests::manifests::{objects, of_kind};

const CASES: &str = include_str!("../../alerts/alerts_test.yaml");
const GUIDE: &str = include_str!("../../../docs/operate.md");
const PREFIX: &str = "workflow_injector_";

/// The rules as Prometheus reads them: the `spec` of the object.
fn rules() -> anyhow::Result<Value> {
    let objects = objects("overlays/monitoring")?;
    Ok(of_kind(&objects, "PrometheusRule")[0]["spec"].clone())
}

fn alerts(rules: &Value) -> Vec<&Value> {
    rules["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .collect()
}

/// Runs promtool in a directory with these rules and the cases.
fn promtool(arguments: &[&str], rules: &Value) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("rules.yaml"), rules.to_string())?;
    fs::write(directory.path().join("cases.yaml"), CASES)?;
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cluster/bin/promtool");
    let program = if own.exists() { own.canonicalize()? } else { "promtool".into() };
    let output = Command::new(program).args(arguments).current_dir(directory.path()).output();
    let output = output.context("promtool could not be started: run tests/cluster/prometheus")?;
    let printed = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&printed));
    Ok(())
}

#[test]
fn promtool_accepts_the_rules() -> anyhow::Result<()> {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"], &rules()?)
}

#[test]
fn each_alert_fires_when_it_should_and_not_before() -> anyhow::Result<()> {
    let mut without_annotations = rules()?;
    for rule in without_annotations["groups"][0]["rules"].as_array_mut().into_iter().flatten() {
        rule["annotations"].take();
    }
    promtool(&["test", "rules", "cases.yaml"], &without_annotations)?;
    for alert in alerts(&rules()?) {
        let name = alert["alert"].as_str().unwrap_or_default();
        let fires = format!("alertname: {name}\n        exp_alerts:");
        ensure!(CASES.contains(&fires), "no case in which {name} fires");
    }
    Ok(())
}

#[test]
fn each_alert_queries_published_metrics() -> anyhow::Result<()> {
    let metrics = Metrics::default();
    // A counter with open labels is published once it was incremented.
    metrics.watch_failed("pods");
    let published = metrics.encode()?;
    let published: BTreeSet<_> =
        published.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for alert in alerts(&rules()?) {
        let expression = alert["expr"].as_str().unwrap_or_default();
        let names = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for name in names.filter(|name| name.starts_with(PREFIX)) {
            let family = ["_total", "_bucket", "_info"].iter().find_map(|suffix| name.strip_suffix(suffix));
            ensure!(
                published.contains(family.unwrap_or(name)),
                "no metric {name}, which {} queries",
                alert["alert"]
            );
        }
    }
    Ok(())
}

#[test]
fn each_alert_has_a_severity_and_a_row_in_the_guide() -> anyhow::Result<()> {
    for alert in alerts(&rules()?) {
        let name = alert["alert"].as_str().unwrap_or_default();
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        ensure!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        ensure!(
            GUIDE.contains(&format!("| `{name}` | {severity} |")),
            "docs/operate.md has no row for {name}, {severity}"
        );
    }
    Ok(())
}
