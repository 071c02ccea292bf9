//! Each kind of broken installation, and the words of its remedy.

use super::*;
use crate::cli::check::evidence::FailedSession;
use crate::cli::check::rights::RIGHTS;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use workflow_certs::rotation::{Action, apply};
use workflow_certs::{Lifetimes, State, store};

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn state() -> State {
    let names = [format!("{INJECTOR}.{INJECTOR}.svc")];
    apply(Action::Start, None, &names, now(), &Lifetimes::default()).unwrap()
}

/// A state of other keys.
fn another() -> State {
    state()
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn registration(bundle: &str) -> MutatingWebhookConfiguration {
    let mut shipped: Value = serde_saphyr::from_str(registration::SHIPPED).unwrap();
    shipped["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Namespace", "name": INJECTOR, "uid": "u"}]);
    shipped["webhooks"][0]["clientConfig"]["caBundle"] = json!(ByteString(bundle.as_bytes().to_vec()));
    typed(shipped)
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
            &format!("denied the request: {DENIAL_PREFIX}the session does not exist"),
        )),
        registration: Some(Some(registration(&state.bundle()))),
        namespace_uid: Some("u".to_owned()),
        deployment: Some(deployment(2, &["serve"])),
        pods: vec![pod("i:1", None), pod("i:1", None)],
        told: [("p".to_owned(), told(env!("CARGO_PKG_VERSION")))].into(),
        endpoints: Some(2),
        config: Some("image: f:1".to_owned()),
        sessions: Some(vec![]),
        secret: Some(Secret { data: Some(store::encode(&state).unwrap()), ..Secret::default() }),
        ..Evidence::default()
    }
}

fn told(version: &str) -> Told {
    Told { version: Some(version.to_owned()), config_current: Some(true), ..Told::default() }
}

fn failures(evidence: &Evidence) -> Vec<String> {
    let findings = judge(evidence, now());
    findings.iter().filter(|finding| !finding.is_ok()).map(ToString::to_string).collect()
}

#[test]
fn a_sound_installation_passes_every_line() {
    let lines: Vec<String> = judge(&sound(), now()).iter().map(ToString::to_string).collect();
    assert_eq!(failures(&sound()), [""; 0]);
    assert_eq!(lines.len(), 9, "{lines:?}");
    assert!(lines[0].starts_with("ok      admission     "), "{lines:?}");
}

#[test]
fn the_dry_run_names_what_is_broken_on_the_way() {
    let table = [
        (DryRun::Accepted, "the line `registration`"),
        (failed_call("x509: certificate signed by unknown authority"), "caBundle does not fit"),
        (failed_call("x509: certificate has expired or is not yet valid"), "the certificate is over"),
        (failed_call("no endpoints available for service \"workflow-injector\""), "the line `service`"),
        (failed_call("service \"workflow-injector\" not found"), "the Service is missing"),
        (failed_call("dial tcp 10.0.0.1:443: connect: connection refused"), "nothing listens"),
        (failed_call("context deadline exceeded"), "port 8443"),
        (failed_call("something new"), "see the logs"),
        (refused(503, &format!("denied the request: {DENIAL_PREFIX}forbidden")), "can't look up sessions"),
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
        (Some(empty), "is missing, no pod is injected"),
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
    let damaged = typed(json!({"metadata": {"labels": {"app.kubernetes.io/name": INJECTOR}}}));
    let lines = failures(&Evidence { secret: damaged, ..sound() });
    assert!(lines[0].contains("rotation.json") && lines[0].contains("delete it"), "{lines:?}");
    let foreign = typed(json!({"metadata": {}, "type": "kubernetes.io/tls"}));
    let lines = failures(&Evidence { secret: foreign, ..sound() });
    assert!(
        lines[0].contains("its type is kubernetes.io/tls") && lines[0].contains("delete it"),
        "{lines:?}"
    );
    let lines = failures(&Evidence { registration: Some(Some(registration(&state().bundle()))), ..sound() });
    assert!(
        lines[0].starts_with("FAILED  certificate ") && lines[0].contains("does not trust it"),
        "{lines:?}"
    );
    let later = now() + Lifetimes::default().serving;
    assert!(judge(&sound(), later).iter().any(|line| line.to_string().contains("expired at")));
}

#[test]
fn replicas_must_be_ready_and_run_one_image() {
    let broken = Evidence {
        deployment: Some(deployment(1, &["serve"])),
        pods: vec![pod("i:1", None), pod("i:2", Some("ImagePullBackOff"))],
        ..sound()
    };
    let lines = failures(&broken);
    assert!(lines[0].contains("1 of 2 are ready; p waits with ImagePullBackOff: its image i:2"), "{lines:?}");
    assert!(lines[1].contains("two versions serve at once: 1 of i:1, 1 of i:2"), "{lines:?}");
    let lines = failures(&Evidence { deployment: None, pods: vec![], ..sound() });
    assert!(lines[0].contains("there is no Deployment") && lines[1].contains("no replica runs"), "{lines:?}");
}

#[test]
fn replicas_that_are_not_ready_say_why_themselves() {
    let missing = Told { missing: Some("no certificate loaded yet".to_owned()), ..told("1") };
    let evidence = Evidence {
        deployment: Some(deployment(0, &["serve"])),
        told: [("p".to_owned(), missing)].into(),
        ..sound()
    };
    let lines = failures(&evidence);
    assert!(lines[0].ends_with("0 of 2 are ready; p says: no certificate loaded yet"), "{lines:?}");
}

#[test]
fn one_image_of_two_versions_and_another_version_than_this_programs_are_told() {
    let two = [("p".to_owned(), told("1")), ("q".to_owned(), told("2"))];
    let lines = failures(&Evidence { told: two.into(), ..sound() });
    assert!(lines[0].contains("two versions serve at once: 1, 2"), "{lines:?}");
    let lines = failures(&Evidence { told: [("p".to_owned(), told("0.0.1"))].into(), ..sound() });
    assert!(lines[0].starts_with("FAILED  versions ") && lines[0].contains("run 0.0.1"), "{lines:?}");
    let silent = Evidence { told: [].into(), ..sound() };
    assert_eq!(failures(&silent), [""; 0], "not every cluster lets the API server reach that port");
}

#[test]
fn the_service_must_lead_somewhere() {
    let table = [
        (None, 2, "there is no Service"),
        (Some(0), 2, "its selector or port does not fit"),
        (Some(0), 0, "see the line `replicas`"),
    ];
    for (endpoints, ready, words) in table {
        let deployment = Some(deployment(ready, &["serve"]));
        let lines = failures(&Evidence { deployment, endpoints, ..sound() });
        let line = lines.iter().find(|line| line.starts_with("FAILED  service "));
        assert!(line.is_some_and(|line| line.contains(words)), "{lines:?}");
    }
}

#[test]
fn a_right_that_is_missing_is_named_with_what_fails_without_it() {
    let status = RIGHTS.iter().find(|right| right.resource == "agenticsessions/status").unwrap();
    let lines = failures(&Evidence { denied: vec![(*status, "update"), (RIGHTS[0], "get")], ..sound() });
    let words = "may not update agenticsessions/status.vteam.ambient-code (and 1 more): no session is told";
    assert!(lines[0].starts_with("FAILED  rights ") && lines[0].contains(words), "{lines:?}");
}

#[test]
fn the_configuration_must_be_readable_and_in_use() {
    let lines = failures(&Evidence { config: Some("imagee: x".to_owned()), ..sound() });
    assert!(lines[0].contains("config.yaml is refused") && lines[0].contains("edit configmap"), "{lines:?}");
    let lines = failures(&Evidence { config: None, ..sound() });
    assert!(lines[0].contains("has no config.yaml"), "{lines:?}");
    let late = Told { config_current: Some(false), ..told(env!("CARGO_PKG_VERSION")) };
    let lines = failures(&Evidence { told: [("p".to_owned(), late)].into(), ..sound() });
    assert!(lines[0].contains("1 replicas refused"), "{lines:?}");
}

#[test]
fn pods_that_wait_for_the_init_containers_image_are_an_image_that_cant_be_pulled() {
    let waits = |pod: &str| Unpulled { pod: pod.to_owned(), image: "f:none".to_owned() };
    let lines = failures(&Evidence { unpulled: vec![waits("a/s-runner"), waits("b/t-runner")], ..sound() });
    assert!(
        lines[0].starts_with("FAILED  image ") && lines[0].contains("f:none can't be pulled, 2 pods"),
        "{lines:?}"
    );
}

#[test]
fn failed_sessions_count_and_break_no_line() {
    let failed = FailedSession {
        session: "team/s".to_owned(),
        reason: "RefNotFound".to_owned(),
        message: "no branch \u{1b}[31mmian; did you mean main?".to_owned(),
        since: None,
    };
    let lines = failures(&Evidence { sessions: Some(vec![failed]), ..sound() });
    assert_eq!(
        lines,
        ["FAILED  sessions      team/s: RefNotFound: no branch \\u{1b}[31mmian; did you mean main?"]
    );
}

#[test]
fn what_was_not_looked_at_is_not_printed() {
    let before = Evidence { dry_run: None, registration: None, sessions: None, ..sound() };
    let abouts: Vec<&str> = judge(&before, now()).iter().map(|finding| finding.about).collect();
    assert_eq!(abouts, ["certificate", "replicas", "service", "versions", "rights", "config"]);
    let elsewhere =
        Evidence { deployment: Some(deployment(2, &["serve", "--tls-dir=/tls"])), secret: None, ..sound() };
    assert!(judge(&elsewhere, now()).iter().all(|finding| finding.about != "certificate"));
}

#[test]
fn the_certificate_of_another_issuer_is_read_where_it_is_mounted() {
    for args in [&["serve", "--tls-dir=/tls/"][..], &["serve", "--tls-dir", "/tls"]] {
        let mut deployment = deployment(2, args);
        let spec = &mut deployment.data["spec"]["template"]["spec"];
        spec["containers"][0]["volumeMounts"] = json!([{"name": "pair", "mountPath": "/tls"}]);
        spec["volumes"] = json!([{"name": "pair", "secret": {"secretName": "issued"}}]);
        assert!(!is_self_managed(Some(&deployment)));
        assert_eq!(certificate_secret(Some(&deployment)).as_deref(), Some("issued"));

        let absent = Evidence { deployment: Some(deployment.clone()), secret: None, ..sound() };
        assert!(failures(&absent)[0].contains("the Secret issued is missing; its issuer"));
        let state = state();
        let pair =
            json!({"data": {"tls.crt": ByteString(state.serving.pair.certificate.clone().into_bytes())}});
        let issued = |bundle: &str| Evidence {
            deployment: Some(deployment.clone()),
            secret: Some(typed(pair.clone())),
            registration: Some(Some(registration(bundle))),
            ..sound()
        };
        assert_eq!(failures(&issued(&state.bundle())), [""; 0]);
        assert!(failures(&issued(&another().bundle()))[0].contains("does not trust it"));
    }
    assert_eq!(certificate_secret(None).as_deref(), Some("workflow-injector-tls"));
}

#[test]
fn a_replica_that_serves_an_old_certificate_is_named() {
    let late = Told { expires: Some(now()), ..told(env!("CARGO_PKG_VERSION")) };
    let lines = failures(&Evidence { told: [("p".to_owned(), late)].into(), ..sound() });
    assert!(lines[0].contains("p still serves one that expired"), "{lines:?}");
}
