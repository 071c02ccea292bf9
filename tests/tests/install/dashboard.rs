//! A real Prometheus scrapes a replica: every query of the dashboard and every alert is evaluated on what it exports.
//! The conditions of each alert are made in `alerts.rs`, with series of promtool.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use workflow_contract::termination::Details;
use workflow_contract::{Exit, Termination};
use workflow_injector::cli::check::Scope;
use workflow_tests::manifests::{objects, of_kind};
use workflow_tests::manual_operator::ManualOperator;
use workflow_tests::namespace::TestNamespace;
use workflow_tests::session::{Session, SessionBuilder, SessionView};
use workflow_tests::wait::{TIMEOUT, until_exists, until_so};

use crate::installation::Installation;
use crate::prometheus::Prometheus;

const URL: &str = "https://git.invalid/o/r.git";
/// Ranges in which Grafana replaces its variables: more than this test takes.
const RANGE: &str = "5m";
/// Panels whose first value is above zero under the conditions of this test.
const POSITIVE: [&str; 10] = [
    "Delivered",
    "Not delivered",
    "Denied",
    "Replicas",
    "Leaders",
    "Sessions by outcome",
    "Time to deliver",
    "Admission latency",
    "Status lag",
    "Life of certificates",
];
/// The only alert whose condition this test makes.
const FIRES: &str = "WorkflowInjectorImagePullFailed";

/// A query of a panel, as Grafana sends it.
struct Query {
    panel: String,
    expression: String,
}

/// The dashboard and the alert rules, as they are installed.
fn installed() -> anyhow::Result<(Vec<Query>, Value)> {
    let objects = objects("overlays/monitoring")?;
    let rules = of_kind(&objects, "PrometheusRule")[0]["spec"].clone();
    let data = &of_kind(&objects, "ConfigMap")[0]["data"];
    let dashboard: Value = serde_json::from_str(data["workflow-injector.json"].as_str().unwrap_or_default())?;
    let panels = dashboard["panels"].as_array().context("the dashboard has no panels")?;
    let mut queries = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap_or_default();
            let expression = ["$__rate_interval", "$__range"]
                .iter()
                .fold(expression.to_owned(), |text, variable| text.replace(variable, RANGE));
            queries.push(Query { panel: panel["title"].as_str().unwrap_or_default().to_owned(), expression });
        }
    }
    Ok((queries, rules))
}

/// Makes one session's workflow delivered, one not, and one wait for the image of its init container; and a denial.
async fn make_conditions(installation: &Installation, manual: &ManualOperator) -> anyhow::Result<()> {
    let reason = async |name: &str, reason: &str| {
        let is =
            |session: &Session| session.workflow_reconciled().is_some_and(|found| found.reason == reason);
        let what = format!("{name} to be {reason}");
        until_exists(&manual.sessions(), name, &what, TIMEOUT, is).await.map(drop)
    };
    for name in ["delivered", "failed", "stuck"] {
        manual.begin(SessionBuilder::new(name).workflow(URL, "main").build()).await?;
        reason(name, "Fetching").await?;
    }
    let message = |exit: Exit, ms| {
        let details = Details {
            url: Some(URL.to_owned()),
            reference: Some("main".to_owned()),
            commit: Some("0".repeat(40)),
            ms: Some(ms),
            ..Details::new(exit)
        };
        Termination { message: "line 1".to_owned(), details: Some(details) }.render()
    };
    manual.end("delivered", 0, "Completed", &message(Exit::Reconciled, 1500)).await?;
    manual.end("failed", 22, "Error", &message(Exit::RefNotFound, 300)).await?;
    let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
    manual.report("stuck", "Pending", waiting).await?;
    reason("delivered", "Reconciled").await?;
    reason("failed", "RefNotFound").await?;
    reason("stuck", "ImagePullFailed").await?;
    // Its dry-run pod is denied.
    installation.expect_check(Scope::Installation, false, &[("ok      admission ", "")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_dashboard_and_alerts_has_data_of_a_real_replica() -> anyhow::Result<()> {
    let installation = Installation::healthy().await?;
    let manual = ManualOperator::new(TestNamespace::named(installation.cluster.clone(), "dashboard").await?);
    let (queries, rules) = installed()?;
    let prometheus = Prometheus::start(installation.ops_address()?, &rules)?;
    prometheus.until("workflow_injector_build_info", |values| values == [1.0]).await?;
    make_conditions(&installation, &manual).await?;

    let failed = "increase(workflow_injector_status_outcomes_total{reason=\"ImagePullFailed\"}[5m])";
    prometheus.until(failed, |values| values.iter().any(|value| *value > 0.0)).await?;
    for Query { panel, expression } in &queries {
        let positive = POSITIVE.contains(&panel.as_str());
        let holds = |values: &[f64]| values.first().is_some_and(|first| !positive || *first > 0.0);
        prometheus.until(expression, holds).await.with_context(|| format!("panel `{panel}`"))?;
    }
    let titles: BTreeSet<_> = queries.iter().map(|query| query.panel.as_str()).collect();
    assert_eq!(POSITIVE.iter().find(|title| !titles.contains(**title)), None);

    // Each outcome counts once; an image that can't be pulled is no end.
    prometheus.until("workflow_injector_delivery_duration_seconds_count", |values| values == [2.0]).await?;
    prometheus.until("workflow_injector_delivery_duration_seconds_sum", |values| values == [1.8]).await?;
    prometheus.until("workflow_injector_status_lag_seconds_count", |values| values == [2.0]).await?;

    until_so("only that alert to fire", || async {
        let found = prometheus.get("rules?type=alert").await?;
        let rules = found["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        ensure!(rules.len() > 10, "{found}");
        for rule in &rules {
            ensure!(rule["health"] == "ok", "{rule}");
            ensure!((rule["state"] == "firing") == (rule["name"] == FIRES), "{rule}");
        }
        Ok(true)
    })
    .await
}
