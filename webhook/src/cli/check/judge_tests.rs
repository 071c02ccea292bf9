//! Each kind of broken installation, and the words of its remedy.

use super::*;
use k8s_openapi::ByteString;
use serde_json::json;
use workflow_certs::rotate::{Action, apply};
use workflow_certs::{Lifetimes, State};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn state() -> State {
    let names = [format!("{INJECTOR}.{INJECTOR}.svc")];
    apply(Action::Start, None, &names, now(), &Lifetimes::default()).unwrap()
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn registration(bundle: &str) -> MutatingWebhookConfiguration {
    typed(json!({
        "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": INJECTOR, "uid": "u"}]},
        "webhooks": [{
            "name": "inject.workflow.ambient-code.io", "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "failurePolicy": "Fail",
            "clientConfig": {"caBundle": ByteString(bundle.as_bytes().to_vec())},
        }],
    }))
}

fn pod(image: &str, waiting: Option<&str>) -> DynamicObject {
    let state = waiting.map_or(json!({}), |reason| json!({"waiting": {"reason": reason}}));
    typed(json!({
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": image}]},
        "status": {"containerStatuses": [{
            "name": "c", "image": image, "imageID": "", "ready": waiting.is_none(), "restartCount": 0, "state": state,
        }]},
    }))
}

fn deployment(ready: i32, args: &[&str]) -> DynamicObject {
    let labels = json!({"a": "b"});
    typed(json!({
        "spec": {
            "replicas": 2, "selector": {"matchLabels": labels},
            "template": {"spec": {"containers": [{"name": "c", "args": args}]}},
        },
        "status": {"readyReplicas": ready},
    }))
}

fn refused(code: u16, message: &str) -> DryRun {
    let message = format!("admission webhook \"inject.workflow.ambient-code.io\" {message}");
    DryRun::Refused { code, message }
}

fn failed_call(why: &str) -> DryRun {
    let message = format!(
        "Internal error occurred: failed calling webhook \"inject.workflow.ambient-code.io\": \
         failed to call webhook: Post \"https://workflow-injector.workflow-injector.svc:443/mutate?timeout=5s\": {why}"
    );
    DryRun::Refused { code: 500, message }
}

fn sound() -> Evidence {
    let state = state();
    Evidence {
        dry_run: Some(refused(
            403,
            &format!("denied the request: {REFUSAL_PREFIX}the session does not exist"),
        )),
        registration: Some(Some(registration(&state.bundle()))),
        namespace_uid: Some("u".to_owned()),
        deployment: Some(deployment(2, &["serve"])),
        pods: vec![pod("i:1", None), pod("i:1", None)],
        secret: Some(Secret { data: Some(store::encode(&state).unwrap()), ..Secret::default() }),
    }
}

fn failures(evidence: &Evidence) -> Vec<String> {
    let findings = judge(evidence, now());
    findings.iter().filter(|finding| !finding.is_ok()).map(ToString::to_string).collect()
}

#[test]
fn a_sound_installation_passes_every_line() {
    let lines: Vec<String> = judge(&sound(), now()).iter().map(ToString::to_string).collect();
    assert_eq!(failures(&sound()), [""; 0]);
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines[0].starts_with("ok      admission     "), "{lines:?}");
}

#[test]
fn the_dry_run_names_what_is_broken_on_the_way() {
    let table = [
        (DryRun::Accepted, "kubectl apply -k manifests/registration"),
        (failed_call("x509: certificate signed by unknown authority"), "caBundle does not fit"),
        (failed_call("x509: certificate has expired or is not yet valid"), "the certificate is over"),
        (failed_call("no endpoints available for service \"workflow-injector\""), "no replica is ready"),
        (failed_call("service \"workflow-injector\" not found"), "the Service is missing"),
        (failed_call("dial tcp 10.0.0.1:443: connect: connection refused"), "nothing listens"),
        (failed_call("context deadline exceeded"), "port 8443"),
        (failed_call("something new"), "see the logs"),
        (refused(503, &format!("denied the request: {REFUSAL_PREFIX}forbidden")), "can't look up sessions"),
        (refused(403, "denied the request: no"), "somebody else refused"),
        (DryRun::Refused { code: 403, message: "pods is forbidden".into() }, "--namespace"),
    ];
    for (dry_run, remedy) in table {
        let lines = failures(&Evidence { dry_run: Some(dry_run.clone()), ..sound() });
        assert_eq!(lines.len(), 1, "{dry_run:?}");
        assert!(lines[0].starts_with("FAILED  admission ") && lines[0].contains(remedy), "{lines:?}");
        assert!(!lines[0].contains('\n'));
    }
}

#[test]
fn the_registration_must_be_whole_and_ours() {
    let bundle = state().bundle();
    let mut open = registration(&bundle);
    open.webhooks.as_mut().unwrap()[0].failure_policy = Some("Ignore".to_owned());
    let mut bare = registration(&bundle);
    bare.webhooks.as_mut().unwrap()[0].client_config.ca_bundle = None;
    let mut empty = registration(&bundle);
    empty.webhooks = None;
    for (found, word) in [
        (None, "there is none"),
        (Some(open), "failurePolicy"),
        (Some(bare), "no caBundle"),
        (Some(empty), "no webhooks"),
    ] {
        let lines = failures(&Evidence { registration: Some(found), ..sound() });
        assert!(lines[0].starts_with("FAILED  registration ") && lines[0].contains(word), "{lines:?}");
    }
    let lines = failures(&Evidence { namespace_uid: Some("another".to_owned()), ..sound() });
    assert!(lines[0].contains("does not own it"), "{lines:?}");
}

#[test]
fn the_certificate_must_be_there_in_time_and_trusted() {
    let lines = failures(&Evidence { secret: None, ..sound() });
    assert!(lines[0].contains("is missing"), "{lines:?}");
    let damaged = Some(Secret::default());
    let lines = failures(&Evidence { secret: damaged, ..sound() });
    assert!(lines[0].contains("rotation.json") && lines[0].contains("delete it"), "{lines:?}");
    let lines = failures(&Evidence { registration: Some(Some(registration(&state().bundle()))), ..sound() });
    assert!(
        lines[0].starts_with("FAILED  certificate ") && lines[0].contains("does not trust it"),
        "{lines:?}"
    );
    let later = now() + Lifetimes::default().leaf;
    assert!(judge(&sound(), later).iter().any(|line| line.to_string().contains("it expired at")));
}

#[test]
fn replicas_must_be_ready_and_run_one_image() {
    let broken = Evidence {
        deployment: Some(deployment(1, &["serve"])),
        pods: vec![pod("i:1", None), pod("i:2", Some("ImagePullBackOff"))],
        ..sound()
    };
    let lines = failures(&broken);
    assert!(lines[0].contains("1 of 2 are ready: p waits with ImagePullBackOff"), "{lines:?}");
    assert!(lines[1].contains("two versions serve at once: 1 of i:1, 1 of i:2"), "{lines:?}");
    let lines = failures(&Evidence { deployment: None, pods: vec![], ..sound() });
    assert!(lines[0].contains("there is no Deployment") && lines[1].contains("no replica runs"), "{lines:?}");
}

#[test]
fn what_was_not_looked_at_is_not_printed() {
    let before = Evidence { dry_run: None, registration: None, ..sound() };
    let abouts: Vec<&str> = judge(&before, now()).iter().map(|finding| finding.about).collect();
    assert_eq!(abouts, ["certificate", "replicas", "versions"]);
    let folder =
        Evidence { deployment: Some(deployment(2, &["serve", "--tls-dir=/tls"])), secret: None, ..sound() };
    assert!(judge(&folder, now()).iter().all(|finding| finding.about != "certificate"));
}
