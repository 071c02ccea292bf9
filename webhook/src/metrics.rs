//! Prometheus metrics. Labels have few values, and never one that a session's author can choose.

use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};
use workflow_contract::Exit;
use workflow_contract::condition::reason;
use workflow_contract::names::METRICS_PREFIX;

/// Upper bounds in seconds: a decision takes less than a millisecond, a lookup a few, and the API server times out after
/// 5 s.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 2.5, 5.0];

/// Upper bounds in seconds: a small repository takes a fraction of a second, and `timeout` is 120 s by default.
const DELIVERY_BUCKETS: [f64; 11] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Upper bounds in seconds: the kubelet reports ends in whole seconds, and about a second late; another leader takes over
/// within 20 s.
const LAG_BUCKETS: [f64; 8] = [1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabel {
    resource: &'static str,
}

/// Upper bounds in seconds: a container starts within one or two, and a fetch may take minutes.
const LIVE_BUCKETS: [f64; 8] = [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Outcomes of deliveries into running sessions, which start at 0, too.
const LIVE_OUTCOMES: [&str; 4] = ["added", "rejected", "delivered", "failed"];

/// Decisions of admission. Each counter starts at 0: Prometheus records no increase of a series that starts at 1.
const DECISIONS: [&str; 5] = ["injected", "unchanged", "skipped", "refused", "malformed"];
/// Resources that are watched.
const WATCHED: [&str; 3] = ["agenticsessions", "mutatingwebhookconfigurations", "pods"];

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    decisions: Family<OutcomeLabel, Counter>,
    duration: Histogram,
    outcomes: Family<ReasonLabel, Counter>,
    live_deliveries: Family<OutcomeLabel, Counter>,
    live_duration: Histogram,
    delivery: Histogram,
    lag: Histogram,
    conflicts: Counter,
    write_failures: Counter,
    watch_failures: Family<ResourceLabel, Counter>,
    fetching: Gauge,
    certificate_expiry: Gauge,
    certificate_current: Gauge,
    config_current: Gauge,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(METRICS_PREFIX);
        let all = &mut registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "Version of this replica", version);
        let outcome = |outcome| OutcomeLabel { outcome };
        let reasons = Exit::ALL.iter().map(|exit| exit.reason()).chain(reason::ALL);
        let metrics = Self {
            decisions: add(
                all,
                "admission_decisions",
                "Admission requests by outcome",
                family(DECISIONS.map(outcome)),
            ),
            duration: add_seconds(
                all,
                "admission_duration",
                "Time from reading a request to its response",
                Histogram::new(BUCKETS),
            ),
            outcomes: add(
                all,
                "status_outcomes",
                "Conditions written, by reason",
                family(reasons.map(|reason| ReasonLabel { reason: reason.to_owned() })),
            ),
            live_deliveries: add(
                all,
                "live_deliveries",
                "Deliveries into running sessions, by outcome",
                family(LIVE_OUTCOMES.map(outcome)),
            ),
            live_duration: add_seconds(
                all,
                "live_delivery_duration",
                "Time from a change of a running session's workflow to the condition with its outcome",
                Histogram::new(LIVE_BUCKETS),
            ),
            delivery: add_seconds(
                all,
                "delivery_duration",
                "Duration of deliveries whose outcome was written, by the init container's clock",
                Histogram::new(DELIVERY_BUCKETS),
            ),
            lag: add_seconds(
                all,
                "status_lag",
                "Time from the end of an init container, by its node's clock, to the condition",
                Histogram::new(LAG_BUCKETS),
            ),
            conflicts: add(
                all,
                "status_conflicts",
                "Status updates retried after a resourceVersion conflict",
                Counter::default(),
            ),
            write_failures: add(
                all,
                "status_write_failures",
                "Failed writes of a session's status or Event",
                Counter::default(),
            ),
            watch_failures: add(
                all,
                "watch_failures",
                "Failed watches that were restarted, by resource",
                family(WATCHED.map(|resource| ResourceLabel { resource })),
            ),
            fetching: add(all, "fetching", "Init containers that are waiting or running", Gauge::default()),
            certificate_expiry: add_seconds(
                all,
                "certificate_expiry_timestamp",
                "Expiry of the served certificate (Unix time); 0 while none is served",
                Gauge::default(),
            ),
            certificate_current: add(
                all,
                "certificate_current",
                "1 while the latest certificate is valid and served, 0 while it can't be issued, read or used",
                Gauge::default(),
            ),
            config_current: add(
                all,
                "config_current",
                "1 while the current config file is in use, 0 while it is invalid and an older one is used",
                Gauge::default(),
            ),
            leader: add(all, "leader", "1 on the leader, 0 on other replicas", Gauge::default()),
            registry,
        };
        metrics.config_current.set(1);
        metrics
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn add_seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

/// Counters that start at 0 with these labels.
fn family<L: Clone + std::hash::Hash + Eq>(labels: impl IntoIterator<Item = L>) -> Family<L, Counter> {
    let family = Family::default();
    for label in labels {
        drop(family.get_or_create(&label));
    }
    family
}

impl Metrics {
    /// Counts an admission request by outcome.
    pub fn decided(&self, outcome: &'static str, took: Duration) {
        self.decisions.get_or_create(&OutcomeLabel { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a condition that was written with this reason.
    pub fn outcome(&self, reason: &str) {
        self.outcomes.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    /// Counts a delivery into a running session, with its duration if that is known.
    pub fn delivered_live(&self, outcome: &'static str, took: Option<Duration>) {
        self.live_deliveries.get_or_create(&OutcomeLabel { outcome }).inc();
        if let Some(took) = took {
            self.live_duration.observe(took.as_secs_f64());
        }
    }

    /// Records the duration of a delivery, if known, and the time from its end to its condition.
    pub fn reported(&self, took: Option<Duration>, lag: Duration) {
        if let Some(took) = took {
            self.delivery.observe(took.as_secs_f64());
        }
        self.lag.observe(lag.as_secs_f64());
    }

    /// Counts a resourceVersion conflict of a status update.
    pub fn status_conflict(&self) {
        self.conflicts.inc();
    }

    /// Counts a status update or Event that failed.
    pub fn status_write_failed(&self) {
        self.write_failures.inc();
    }

    pub fn watch_failed(&self, resource: &'static str) {
        self.watch_failures.get_or_create(&ResourceLabel { resource }).inc();
    }

    /// Records how many init containers are waiting or running.
    pub fn fetching(&self, count: usize) {
        self.fetching.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Records when the served certificate expires.
    pub fn certificate_expires(&self, at: Option<Timestamp>) {
        self.certificate_expiry.set(at.map_or(0, Timestamp::as_second));
    }

    /// Records whether the latest certificate is served.
    pub fn certificate_is_current(&self, current: bool) {
        self.certificate_current.set(i64::from(current));
    }

    /// Records whether the current config file is in use.
    pub fn config_is_current(&self, current: bool) {
        self.config_current.set(i64::from(current));
    }

    /// Records whether this replica leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Encodes all metrics in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_published_ones() {
        let metrics = Metrics::default();
        metrics.decided("injected", Duration::from_millis(2));
        metrics.outcome("Reconciled");
        metrics.certificate_expires(Some(Timestamp::from_second(1_700_000_000).unwrap()));
        metrics.certificate_is_current(true);
        metrics.config_is_current(false);
        metrics.delivered_live("delivered", Some(Duration::from_secs(2)));
        metrics.reported(Some(Duration::from_millis(300)), Duration::from_secs(4));
        metrics.reported(None, Duration::from_millis(1500));
        metrics.status_conflict();
        metrics.status_write_failed();
        metrics.watch_failed("pods");
        metrics.fetching(3);
        metrics.leads(true);
        let text = metrics.encode().unwrap();
        for line in [
            r#"workflow_injector_admission_decisions_total{outcome="injected"} 1"#,
            "workflow_injector_admission_duration_seconds_count 1",
            r#"workflow_injector_admission_duration_seconds_bucket{le="0.001"} 0"#,
            r#"workflow_injector_status_outcomes_total{reason="Reconciled"} 1"#,
            r#"workflow_injector_live_deliveries_total{outcome="delivered"} 1"#,
            r#"workflow_injector_live_deliveries_total{outcome="rejected"} 0"#,
            r#"workflow_injector_live_delivery_duration_seconds_bucket{le="2.5"} 1"#,
            "workflow_injector_delivery_duration_seconds_count 1",
            r#"workflow_injector_delivery_duration_seconds_bucket{le="0.5"} 1"#,
            "workflow_injector_status_lag_seconds_count 2",
            r#"workflow_injector_status_lag_seconds_bucket{le="2.0"} 1"#,
            "workflow_injector_status_conflicts_total 1",
            "workflow_injector_status_write_failures_total 1",
            r#"workflow_injector_watch_failures_total{resource="pods"} 1"#,
            "workflow_injector_fetching 3",
            "workflow_injector_leader 1",
            r#"workflow_injector_admission_decisions_total{outcome="refused"} 0"#,
            r#"workflow_injector_status_outcomes_total{reason="NotInjected"} 0"#,
            "workflow_injector_certificate_expiry_timestamp_seconds 1700000000",
            "workflow_injector_certificate_current 1",
            "workflow_injector_config_current 0",
            concat!(r#"workflow_injector_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
