//! Objects in, lines out.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use workflow_contract::condition::WORKFLOW_RECONCILED;
use workflow_contract::names::{
    FORCE_PROMPT_ANNOTATION, INIT_CONTAINER, INJECTOR, LIVE_CONTAINER_PREFIX, runner_pod,
};
use workflow_contract::text::{cut, one_line};
use workflow_contract::url::redacted;
use workflow_contract::verify::{Require, Signers};
use workflow_contract::{Exit, Stamp, Termination};

use super::conclusion::{Author, author, conclude};
use super::objects::{ContainerStatus, Event, Gathered, Pod, Registration, Terminated};
use crate::session::{Condition, prompt_will_be_skipped};

/// Longest text from elsewhere in a line, in bytes.
const TEXT: usize = 600;
/// Events that are shown, the newest.
const EVENTS: usize = 20;

#[derive(Debug)]
pub struct Report {
    pub lines: Vec<String>,
    /// Delivered, or nothing is to be delivered.
    pub settled: bool,
}

/// Lines with times, in the order of these.
#[derive(Default)]
struct Timeline(Vec<(Timestamp, String)>);

impl Timeline {
    fn add(&mut self, time: Option<Timestamp>, text: impl Into<String>) {
        // Entries without a time describe the present.
        self.0.push((time.unwrap_or(Timestamp::MAX), text.into()));
    }
}

/// Returns the report: state, history, result and advice.
pub fn report(found: &Gathered, now: Timestamp) -> Report {
    let conclusion = conclude(found, now);
    let mut lines = Vec::new();
    let mut add = |label: &str, text: &str| {
        let text = cut(&one_line(&without_userinfo(text, found)), TEXT);
        lines.push(format!("{label:<20}  {text}"));
    };
    add("session", &session(found));
    add("asks for", &wanted(found));
    add("registration", &registration(found.registration));
    if !found.unreadable.is_empty() {
        let objects = found.unreadable.join(", ");
        add("unreadable", &format!("{objects}: you lack the permission, the report is incomplete"));
    }
    for (time, text) in timeline(found) {
        let label = if time == Timestamp::MAX { "now".to_owned() } else { to_the_second(time) };
        add(&label, &text);
    }
    if let Some(pending) = &conclusion.pending {
        let verdict = condition_text(pending);
        add(
            "pending",
            &format!("{INJECTOR} is to write {verdict}; if it does not, no leader writes (see its log)"),
        );
    }
    if prompt_will_be_skipped(&found.session) {
        add(
            "prompt",
            &format!(
                "the next start skips the initial prompt; {FORCE_PROMPT_ANNOTATION}=true on the session has it run"
            ),
        );
    }
    add("result", &conclusion.result);
    add("to do", &conclusion.to_do);
    Report { lines, settled: conclusion.settled }
}

fn session(found: &Gathered) -> String {
    let metadata = &found.session.metadata;
    let name = format!(
        "{}/{}",
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default()
    );
    let phase = found.session.status.as_ref().and_then(|status| status.phase.as_deref());
    let generation = metadata.generation.unwrap_or_default();
    format!("{name}, phase {}, generation {generation}", phase.unwrap_or("not set"))
}

fn wanted(found: &Gathered) -> String {
    match found.session.workflow() {
        Some(workflow) => workflow.source().to_string(),
        None => "no workflow".to_owned(),
    }
}

fn registration(registration: Registration) -> String {
    match registration {
        Registration::Unknown => "unknown".to_owned(),
        Registration::Absent => "none".to_owned(),
        Registration::Since(time) => format!("since {}", to_the_second(time)),
    }
}

fn timeline(found: &Gathered) -> Vec<(Timestamp, String)> {
    let mut timeline = Timeline::default();
    let metadata = &found.session.metadata;
    timeline.add(of(metadata.creation_timestamp.as_ref()), "session created");
    let status = found.session.status.as_ref();
    if let Some(start) = status.and_then(|status| status.start_time) {
        timeline.add(Some(start), "run started");
    }
    if let Some(pod) = &found.pod {
        add_pod(&mut timeline, pod, found);
    } else if !found.unreadable.contains(&"pods") {
        let pod = runner_pod(metadata.name.as_deref().unwrap_or_default());
        timeline.add(None, format!("there is no pod {pod}"));
    }
    for type_ in ["PodCreated", "Ready"] {
        if let Some(condition) =
            found.session.condition(type_).filter(|condition| condition.status == "False")
        {
            timeline.add(
                condition.last_transition_time,
                format!("{} (by the platform)", condition_text(condition)),
            );
        }
    }
    if let Some(condition) = found.session.condition(WORKFLOW_RECONCILED) {
        let author = match author(&found.session) {
            Some(Author::Injector) => INJECTOR,
            Some(Author::Platform) => "the platform",
            Some(Author::Either) | None => "the platform or workflow-injector",
        };
        timeline.add(condition.last_transition_time, format!("{} (by {author})", condition_text(condition)));
    }
    add_events(&mut timeline, found);
    timeline.0.sort_by_key(|(time, _)| *time);
    timeline.0
}

fn add_pod(timeline: &mut Timeline, pod: &Pod, found: &Gathered) {
    let metadata = &pod.read.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    let created = of(metadata.creation_timestamp.as_ref());
    let Some(facts) = found.own_pod() else {
        timeline
            .add(created, format!("pod {name} created, for another session: this one does not control it"));
        return;
    };
    timeline.add(
        created,
        match &facts.stamp {
            Some(stamp) => {
                let rule = pod.signers.as_ref().map(rule_text).unwrap_or_default();
                format!("pod {name} created, injected with {}{rule}", stamp_text(stamp))
            }
            None => format!("pod {name} created, not injected"),
        },
    );
    for status in &pod.statuses.init_container_statuses {
        add_container(timeline, "init container", status);
    }
    let live = pod.statuses.ephemeral_container_statuses.iter();
    for status in live.filter(|status| status.name.starts_with(LIVE_CONTAINER_PREFIX)) {
        add_container(timeline, "ephemeral container", status);
    }
    if let Some(deleted) = &metadata.deletion_timestamp {
        timeline.add(Some(deleted.0), format!("pod {name} is to be deleted"));
    }
}

fn stamp_text(stamp: &Stamp) -> String {
    format!("{} for generation {}, image {}", stamp.source, stamp.generation, stamp.image)
}

/// The signature that is demanded, and how many lists of keys may have made it.
fn rule_text(signers: &Signers) -> String {
    let what = match signers.require {
        Require::None => return String::new(),
        Require::Commit => "commit",
        Require::Tag => "tag",
        Require::Either => "commit or tag",
    };
    let lines =
        |list: &str| list.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
    let keys = signers.openpgp_keys.matches("-----BEGIN PGP PUBLIC KEY BLOCK-----").count();
    format!(
        ", requires a signed {what} (verify: {} sshSigners, {keys} openpgpKeys)",
        lines(&signers.ssh_signers)
    )
}

fn add_container(timeline: &mut Timeline, kind: &str, status: &ContainerStatus) {
    let name = &status.name;
    let state = &status.state;
    if let Some(end) = &state.terminated {
        timeline
            .add(of(end.finished_at.as_ref()), format!("{kind} {name} ended with {}", end_text(name, end)));
    } else if let Some(running) = &state.running {
        timeline.add(of(running.started_at.as_ref()), format!("{kind} {name} started and is running"));
    } else if let Some(waiting) = &state.waiting {
        let message =
            if waiting.message.is_empty() { String::new() } else { format!(": {}", waiting.message) };
        timeline.add(None, format!("{kind} {name} is waiting ({}){message}", waiting.reason));
    } else {
        timeline.add(None, format!("{kind} {name} is waiting"));
    }
}

fn end_text(name: &str, end: &Terminated) -> String {
    let ours = name == INIT_CONTAINER || name.starts_with(LIVE_CONTAINER_PREFIX);
    let exit = Exit::from_code(end.exit_code).filter(|_| ours).map(Exit::reason);
    // The kubelet's word says no more than the code.
    let word = exit.or(Some(end.reason.as_str()).filter(|word| !matches!(*word, "" | "Completed" | "Error")));
    let word = word.map_or(String::new(), |word| format!(" ({word})"));
    let duration = end
        .started_at
        .as_ref()
        .zip(end.finished_at.as_ref())
        .map(|(from, to)| to.0.duration_since(from.0).as_secs());
    let duration = duration.map_or(String::new(), |seconds| format!(" after {seconds} s"));
    let message = Termination::parse(&end.message).message;
    let message = if message.is_empty() { message } else { format!(": {message}") };
    format!("exit code {}{word}{duration}{message}", end.exit_code)
}

fn condition_text(condition: &Condition) -> String {
    let reason = condition.reason.as_deref().unwrap_or_default();
    let message = condition.message.as_deref().unwrap_or_default();
    format!("{}={}/{reason} \"{message}\"", condition.type_, condition.status)
}

/// Events on the session, and warnings about its pods of this run: those of an earlier session of the name are others'.
fn add_events(timeline: &mut Timeline, found: &Gathered) {
    let uid = found.session.metadata.uid.as_deref().unwrap_or_default();
    let start = found.session.status.as_ref().and_then(|status| status.start_time);
    let related = |event: &&Event| match event.involved_object.kind.as_str() {
        "Pod" => {
            event.type_ != "Normal" && event.time().zip(start).is_some_and(|(time, start)| time >= start)
        }
        _ => event.involved_object.uid == uid,
    };
    let mut events: Vec<&Event> = found.events.iter().filter(related).collect();
    events.sort_by_key(|event| event.time());
    for event in events.iter().rev().take(EVENTS) {
        let times =
            event.count.filter(|count| *count > 1).map_or(String::new(), |count| format!(" ({count} times)"));
        let kind = event.involved_object.kind.to_lowercase();
        let kind = if kind == "pod" { "pod" } else { "session" };
        timeline.add(event.time(), format!("Event {} on the {kind}{times}: {}", event.reason, event.message));
    }
}

/// Replaces URLs by their redacted form: the platform's messages may contain them as in the spec.
fn without_userinfo(text: &str, found: &Gathered) -> String {
    let url = found.session.workflow().map(|workflow| workflow.git_url.as_str()).unwrap_or_default();
    let text = if url.is_empty() { text.to_owned() } else { text.replace(url, &redacted(url)) };
    let word = |word: &str| if word.contains("://") { redacted(word) } else { word.to_owned() };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn of(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0)
}

fn to_the_second(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}
