//! Variables of the init container, of the runner, of the other init containers.

use serde_json::{Value, json};
use workflow_injector::config::parse;

use crate::fixtures::{
    container, entries, init, injected, injected_by, pod, pod_with_existing_container, secret_key, session,
    set, value, with,
};

const RUNNER: &str = "/spec/containers/0";
const HYDRATE: &str = "/spec/initContainers/0";

fn runner(pod: &Value) -> &Value {
    container(pod, "ambient-code-runner")
}

#[test]
fn source_is_passed_byte_for_byte_including_userinfo() {
    let workflow =
        json!({"gitUrl": "https://u:p@git.example/o/r.git", "branch": "feature/x", "path": " /a//b/ "});
    let pod = injected(&pod(), &with(session(), [("/spec/activeWorkflow", workflow)]));
    assert_eq!(value(init(&pod), "WORKFLOW_GIT_URL"), Some("https://u:p@git.example/o/r.git"));
    assert_eq!(value(init(&pod), "WORKFLOW_BRANCH"), Some("feature/x"));
    assert_eq!(value(init(&pod), "WORKFLOW_PATH"), Some(" /a//b/ "));
    assert_eq!(value(init(&pod), "WORKFLOW_ROOT"), Some("/workspace/workflows"));
}

#[test]
fn blank_branch_or_path_means_the_default() {
    for blank in [Value::Null, json!(""), json!("  ")] {
        let workflow = json!({"gitUrl": "https://git.example/o/r", "branch": blank, "path": blank});
        let session = with(session(), [("/spec/activeWorkflow", workflow)]);
        for before in [pod(), injected(&pod(), &crate::fixtures::session())] {
            let pod = injected(&before, &session);
            assert_eq!(value(init(&pod), "WORKFLOW_BRANCH"), None);
            assert_eq!(value(init(&pod), "WORKFLOW_PATH"), None);
            assert_eq!(value(runner(&pod), "ACTIVE_WORKFLOW_BRANCH"), Some("main"));
            assert_eq!(value(runner(&pod), "ACTIVE_WORKFLOW_PATH"), None);
        }
    }
}

#[test]
fn limits_and_policy_come_from_the_config() {
    let config = parse(
        "timeout: 30s\nmaxBytes: 1Mi\nmaxFiles: 7\nallowedHosts: [git.example]\nallowedSchemes: [https]\n\
         submodules: recursive\nunsafeLinks: refuse\n\
         githubHosts: [ghe.example]\ngitlabHosts: [gl.example]\nlogFormat: json\ncredentialsSecret: ''",
    )
    .unwrap();
    let pod = injected_by(&pod(), &session(), &config);
    for (name, wanted) in [
        ("WORKFLOW_TIMEOUT", Some("30s")),
        ("WORKFLOW_MAX_BYTES", Some("1Mi")),
        ("WORKFLOW_MAX_FILES", Some("7")),
        ("WORKFLOW_ALLOWED_HOSTS", Some("git.example")),
        ("WORKFLOW_SUBMODULES", Some("recursive")),
        ("WORKFLOW_UNSAFE_LINKS", Some("refuse")),
        ("WORKFLOW_ALLOWED_SCHEMES", Some("https")),
        ("WORKFLOW_GITHUB_HOSTS", Some("ghe.example")),
        ("WORKFLOW_GITLAB_HOSTS", Some("gl.example")),
        ("WORKFLOW_CREDENTIALS_DIR", None),
        ("LOG_FORMAT", Some("json")),
    ] {
        assert_eq!(value(init(&pod), name), wanted, "{name}");
    }
}

#[test]
fn keys_of_the_rule_that_applies_are_passed_and_nobody_else_sets_them() {
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let config = parse(&format!(
        "verify: [{{repositories: ['https://git.example/acme/*'], require: commit, sshSigners: 'a {KEY} $(X)'}}]"
    ))
    .unwrap();
    let of = |url: &str, before: &Value| {
        let session = with(
            session(),
            [
                ("/spec/activeWorkflow", json!({"gitUrl": url})),
                ("/spec/environmentVariables", json!({"WORKFLOW_SIGNERS": ""})),
            ],
        );
        injected_by(before, &session, &config)
    };
    let signed = json!({"require": "commit", "sshSigners": format!("a {KEY} $$(X)")}).to_string();
    let mut existing = pod_with_existing_container();
    set(&mut existing, "/spec/initContainers/0/env", json!([{"name": "WORKFLOW_SIGNERS", "value": "{}"}]));
    for before in [pod(), existing] {
        for url in
            ["https://git.example/acme/flow", "git@GIT.example:acme/flow.git", "https://git.example/ACME/x"]
        {
            let pod = of(url, &before);
            assert_eq!(entries(init(&pod), "WORKFLOW_SIGNERS").len(), 1);
            assert_eq!(value(init(&pod), "WORKFLOW_SIGNERS"), Some(signed.as_str()), "{url}");
            // Applying it again changes nothing.
            assert_eq!(of(url, &pod), pod);
        }
        // Set all the same, so that no `envFrom` can.
        assert_eq!(value(init(&of("https://git.example/o/r", &before)), "WORKFLOW_SIGNERS"), Some(""));
    }
}

#[test]
fn policy_is_never_taken_from_the_pod_or_the_author() {
    let author = json!({"WORKFLOW_ALLOWED_HOSTS": "*", "WORKFLOW_TIMEOUT": "9h"});
    let session = with(session(), [("/spec/environmentVariables", author)]);
    let mut pod = pod_with_existing_container();
    set(&mut pod, "/spec/containers/0/env", json!([{"name": "WORKFLOW_ALLOWED_HOSTS", "value": "*"}]));
    let pod = injected(&pod, &session);
    assert_eq!(value(init(&pod), "WORKFLOW_ALLOWED_HOSTS"), Some(""));
    assert_eq!(value(init(&pod), "WORKFLOW_TIMEOUT"), Some("120s"));
    assert_eq!(value(init(&pod), "WORKFLOW_TERMINATION_LOG"), None);
    assert_eq!(value(init(&pod), "OTHER_INJECTOR"), Some("stays"));
}

#[test]
fn every_dollar_in_a_value_is_doubled() {
    let hostile = "$(BOT_TOKEN)";
    let workflow = json!({"gitUrl": format!("https://h/{hostile}/r"), "branch": hostile, "path": hostile});
    let session = with(session(), [("/spec/activeWorkflow", workflow)]);
    let mut pod = pod();
    set(&mut pod, &format!("{RUNNER}/env/-"), json!({"name": "GITHUB_TOKEN", "value": hostile}));
    let config = parse("proxy: {https: 'http://u:$(BOT_TOKEN)@proxy'}").unwrap();
    let pod = injected_by(&pod, &session, &config);
    assert_eq!(value(init(&pod), "WORKFLOW_GIT_URL"), Some("https://h/$$(BOT_TOKEN)/r"));
    assert_eq!(value(runner(&pod), "ACTIVE_WORKFLOW_GIT_URL"), Some("https://h/$$(BOT_TOKEN)/r"));
    let ours = init(&pod)["env"].as_array().unwrap().iter();
    let of_runner =
        ["ACTIVE_WORKFLOW_BRANCH", "ACTIVE_WORKFLOW_PATH"].map(|name| entries(runner(&pod), name)[0]);
    for entry in ours.chain(of_runner) {
        let text = entry["value"].as_str().unwrap_or_default();
        assert!(!text.replace("$$", "").contains('$'), "{entry}");
    }
}

#[test]
fn platform_variables_are_copied_by_reference_from_hydrate_else_from_the_runner() {
    let pod = with(
        pod(),
        [
            (&*format!("{RUNNER}/env/-"), json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"})),
            (&*format!("{RUNNER}/env/-"), json!({"name": "BACKEND_API_URL", "value": "http://overridden"})),
            (&*format!("{HYDRATE}/env/-"), json!({"name": "no_proxy", "value": ".svc"})),
            (
                &*format!("{HYDRATE}/env/-"),
                json!({"name": "SSL_CERT_FILE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}),
            ),
        ],
    );
    let pod = injected(&pod, &session());
    let hydrate = container(&pod, "init-hydrate");
    for name in ["BACKEND_API_URL", "PROJECT_NAME", "SESSION_NAME", "BOT_TOKEN", "SSL_CERT_FILE", "no_proxy"]
    {
        assert_eq!(entries(init(&pod), name), entries(hydrate, name), "{name}");
    }
    assert_eq!(value(init(&pod), "HTTPS_PROXY"), Some("http://proxy:3128"));
    for never in ["AWS_ACCESS_KEY_ID", "MY_OWN", "ANTHROPIC_API_KEY", "S3_BUCKET", "INITIAL_PROMPT"] {
        assert_eq!(value(init(&pod), never), None, "{never}");
    }
}

#[test]
fn without_hydrate_the_runners_variables_are_copied() {
    let pod = with(pod(), [("/spec/initContainers", Value::Null)]);
    let pod = injected(&pod, &session());
    assert_eq!(value(init(&pod), "PROJECT_NAME"), Some("team-a"));
    assert_eq!(value(init(&pod), "BOT_TOKEN"), None);
}

#[test]
fn variables_of_the_author_do_not_control_the_fetch() {
    let names =
        ["BACKEND_API_URL", "HTTPS_PROXY", "SSL_CERT_FILE", "BOT_TOKEN", "PROJECT_NAME", "SESSION_NAME"];
    let author: Value = names
        .iter()
        .map(|name| ((*name).to_owned(), json!("evil")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut pod = pod();
    for name in names {
        set(&mut pod, &format!("{HYDRATE}/env/-"), json!({"name": name, "value": "evil"}));
        set(&mut pod, &format!("{RUNNER}/env/-"), json!({"name": name, "value": "evil"}));
    }
    let session = with(session(), [("/spec/environmentVariables", author)]);
    let mut brought = injected(&pod, &session);
    set(&mut brought, "/spec/initContainers/1/env/-", json!({"name": "HTTPS_PROXY", "value": "evil"}));
    for pod in [injected(&pod, &session), injected(&brought, &session)] {
        for name in names {
            assert_eq!(value(init(&pod), name), None, "{name}");
        }
    }
}

#[test]
fn configured_proxy_wins_in_both_spellings() {
    let config = parse("proxy: {https: 'http://ours', no: .svc}").unwrap();
    let mut pod = pod();
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY"] {
        set(&mut pod, &format!("{HYDRATE}/env/-"), json!({"name": name, "value": "http://theirs"}));
    }
    let author = json!({"HTTPS_PROXY": "http://evil"});
    let pod = injected_by(&pod, &with(session(), [("/spec/environmentVariables", author)]), &config);
    assert_eq!(value(init(&pod), "HTTPS_PROXY"), Some("http://ours"));
    assert_eq!(value(init(&pod), "https_proxy"), None);
    assert_eq!(value(init(&pod), "NO_PROXY"), Some(".svc"));
    assert_eq!(value(init(&pod), "HTTP_PROXY"), Some("http://theirs"));
}

#[test]
fn tokens_from_secrets_are_passed_in_the_order_of_env_from() {
    let sources = json!([
        {"secretRef": {"name": "first"}},
        {"configMapRef": {"name": "map"}},
        {"prefix": "GITHUB_", "secretRef": {"name": "prefixed", "optional": true}},
        {"secretRef": {"name": "last"}},
    ]);
    let pod = injected(&with(pod(), [(&format!("{RUNNER}/envFrom"), sources)]), &session());
    assert_eq!(
        entries(init(&pod), "GITHUB_TOKEN"),
        [
            &secret_key("GITHUB_TOKEN", "first", "GITHUB_TOKEN"),
            &secret_key("GITHUB_TOKEN", "prefixed", "TOKEN"),
            &secret_key("GITHUB_TOKEN", "last", "GITHUB_TOKEN"),
        ]
    );
    assert_eq!(entries(init(&pod), "GITLAB_TOKEN").len(), 2);
    assert!(init(&pod)["envFrom"].is_null());
}

#[test]
fn token_in_the_runners_env_wins() {
    let own = json!({"name": "GITHUB_TOKEN", "value": "t0ken"});
    let author = json!({"GITHUB_TOKEN": "t0ken"});
    let pod = with(pod(), [(&format!("{RUNNER}/env/-"), own.clone())]);
    let pod = injected(&pod, &with(session(), [("/spec/environmentVariables", author)]));
    assert_eq!(entries(init(&pod), "GITHUB_TOKEN"), [&own]);
}

#[test]
fn runner_variables_name_the_delivered_source() {
    let mut pod = pod();
    for name in ["ACTIVE_WORKFLOW_GIT_URL", "ACTIVE_WORKFLOW_PATH"] {
        set(&mut pod, &format!("{RUNNER}/env/-"), json!({"name": name, "value": "https://other/x"}));
    }
    let pod = injected(&pod, &session());
    assert_eq!(value(runner(&pod), "ACTIVE_WORKFLOW_GIT_URL"), Some("https://git.example/org/flows.git"));
    assert_eq!(value(runner(&pod), "ACTIVE_WORKFLOW_PATH"), Some("flows/review"));
}

#[test]
fn other_init_containers_have_no_workflow_variables() {
    let sidecar = json!({"name": "s", "restartPolicy": "Always", "env": [{"name": "ACTIVE_WORKFLOW_PATH", "value": "x"}]});
    let pod = injected(&with(pod(), [("/spec/initContainers/-", sidecar)]), &session());
    for name in ["ACTIVE_WORKFLOW_GIT_URL", "ACTIVE_WORKFLOW_BRANCH", "ACTIVE_WORKFLOW_PATH"] {
        assert_eq!(value(container(&pod, "init-hydrate"), name), None);
        assert_eq!(value(container(&pod, "s"), name), None);
    }
}

#[test]
fn prompt_of_a_session_that_never_ran_is_not_lost() {
    let resumed = with(pod(), [(&format!("{RUNNER}/env/-"), json!({"name": "IS_RESUME", "value": "true"}))]);
    assert_eq!(value(runner(&injected(&resumed, &session())), "IS_RESUME"), None);
    for status in ["True", "False", "Unknown"] {
        let condition = json!({"type": "RunnerStarted", "status": status});
        let session = with(session(), [("/status/conditions/-", condition)]);
        assert_eq!(value(runner(&injected(&resumed, &session)), "IS_RESUME"), Some("true"), "{status}");
    }
    let no_status = with(session(), [("/status", Value::Null)]);
    assert_eq!(value(runner(&injected(&resumed, &no_status)), "IS_RESUME"), None);
}

#[test]
fn prompt_of_a_session_stopped_before_any_pod_is_not_lost() {
    let resumed = with(pod(), [(&format!("{RUNNER}/env/-"), json!({"name": "IS_RESUME", "value": "true"}))]);
    let stopped = json!({"type": "RunnerStarted", "status": "False", "reason": "UserStopped"});
    let stopped = with(session(), [("/status/conditions/-", stopped), ("/metadata/generation", json!(1))]);
    assert_eq!(value(runner(&injected(&resumed, &stopped)), "IS_RESUME"), None);
    let delivered = json!({"type": "WorkflowReconciled", "status": "Unknown", "reason": "Fetching"});
    let ran = with(stopped, [("/status/conditions/-", delivered)]);
    assert_eq!(value(runner(&injected(&resumed, &ran)), "IS_RESUME"), Some("true"));
}
