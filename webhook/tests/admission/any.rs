//! Random pods and sessions.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixtures::{pod, session, set};

const VARIABLES: [&str; 12] = [
    "ACTIVE_WORKFLOW_GIT_URL",
    "ACTIVE_WORKFLOW_BRANCH",
    "ACTIVE_WORKFLOW_PATH",
    "IS_RESUME",
    "BOT_TOKEN",
    "BACKEND_API_URL",
    "HTTPS_PROXY",
    "GITHUB_TOKEN",
    "WORKFLOW_ALLOWED_HOSTS",
    "WORKFLOW_PORT",
    "PATH",
    "OTHER",
];

/// Members that are absent, null or have a value.
fn object(members: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(key, value)| {
            option::of(value).prop_map(move |value| value.map(|value| (key.to_owned(), value)))
        })
        .collect();
    members.prop_map(|members| Value::Object(members.into_iter().flatten().collect())).boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::sample::select(values).prop_map(Value::from).boxed()
}

fn list(item: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 6 => vec(item, 0..5).prop_map(Value::Array)].boxed()
}

fn entry() -> BoxedStrategy<Value> {
    let plain = ("[a$()]{0,6}", proptest::sample::select(&VARIABLES[..]))
        .prop_map(|(value, name)| json!({"name": name, "value": value}));
    let reference = proptest::sample::select(&VARIABLES[..])
        .prop_map(|name| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}));
    let bare = proptest::sample::select(&VARIABLES[..]).prop_map(|name| json!({"name": name}));
    prop_oneof![plain, reference, bare].boxed()
}

fn mount() -> BoxedStrategy<Value> {
    let path = one_of(&[
        "/workspace",
        "/workspace/",
        "/workspace/workflows",
        "/app",
        "/etc/pki/tls/certs/ca-bundle.crt",
    ]);
    let mounts = (
        one_of(&["workspace", "workflows", "other"]),
        path,
        option::of(one_of(&["a", "b"])),
        option::of(any::<bool>().prop_map(Value::from)),
    );
    mounts
        .prop_map(|(name, path, sub_path, read_only)| {
            let mut mount = json!({"name": name, "mountPath": path});
            for (key, value) in [("subPath", sub_path), ("readOnly", read_only)] {
                if let Some(value) = value {
                    mount[key] = value;
                }
            }
            mount
        })
        .boxed()
}

/// Mounts with different paths, as the API server demands.
fn mounts() -> BoxedStrategy<Value> {
    list(mount())
        .prop_map(|mounts| {
            let mut observed = Vec::new();
            let Value::Array(mounts) = mounts else { return mounts };
            let place = |mount: &Value| mount["mountPath"].as_str().unwrap().trim_end_matches('/').to_owned();
            let first = mounts.into_iter().filter(|mount| {
                let place = place(mount);
                let new = !observed.contains(&place);
                observed.push(place);
                new
            });
            Value::Array(first.collect())
        })
        .boxed()
}

fn security_context() -> BoxedStrategy<Value> {
    let id = || prop_oneof![Just(json!(0)), Just(json!(7)), Just(Value::Null)].boxed();
    object(vec![
        ("runAsUser", id()),
        ("runAsGroup", id()),
        ("privileged", any::<bool>().prop_map(Value::from).boxed()),
        ("capabilities", Just(json!({"add": ["NET_ADMIN"]})).boxed()),
        ("future", Just(json!({"x": 1})).boxed()),
    ])
}

/// A container without its name.
fn container() -> BoxedStrategy<Value> {
    object(vec![
        ("image", one_of(&["a", "localhost/init-fetcher:0.1.0"])),
        ("command", Just(json!(["x"])).boxed()),
        ("restartPolicy", one_of(&["Always"])),
        ("env", list(entry())),
        (
            "envFrom",
            list(
                prop_oneof![
                    Just(json!({"secretRef": {"name": "s"}})),
                    Just(json!({"prefix": "GIT", "secretRef": {"name": "p"}})),
                    Just(json!({"configMapRef": {"name": "c"}})),
                ]
                .boxed(),
            ),
        ),
        ("volumeMounts", mounts()),
        ("securityContext", security_context()),
        ("resources", prop_oneof![Just(json!({})), Just(json!({"limits": {"cpu": "1"}}))].boxed()),
        ("future", Just(json!([{"deep": null}])).boxed()),
    ])
}

fn named(name: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    (name, container())
        .prop_map(|(name, mut container)| {
            container["name"] = name;
            container
        })
        .boxed()
}

/// Containers with different names.
fn containers(names: &'static [&'static str]) -> BoxedStrategy<Value> {
    list(named(one_of(names)))
        .prop_map(|containers| {
            let Value::Array(mut containers) = containers else { return containers };
            containers.sort_by_key(|container| container["name"].to_string());
            containers.dedup_by_key(|container| container["name"].to_string());
            containers.reverse();
            Value::Array(containers)
        })
        .boxed()
}

fn volumes() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!([{"name": "workspace", "emptyDir": {}}])),
        Just(json!([{"name": "workflows", "hostPath": {"path": "/x"}}, {"name": "workflow-credentials", "secret": {"secretName": "y"}}])),
    ]
    .boxed()
}

prop_compose! {
    /// A session pod of any shape that an API server accepts, and some that it does not.
    pub fn any_pod()(
        init in containers(&["init-hydrate", "init-workflow", "mesh", "late"]),
        others in containers(&["state-sync", "side"]),
        runner in named(one_of(&["ambient-code-runner"])),
        volumes in volumes(),
        context in security_context(),
        annotations in prop_oneof![Just(Value::Null), Just(json!({"a~b/c": "d"}))],
    ) -> Value {
        let mut containers = match others { Value::Array(list) => list, _ => Vec::new() };
        containers.insert(containers.len() / 2, runner);
        let mut pod = pod();
        set(&mut pod, "/metadata/annotations", annotations);
        set(&mut pod, "/spec/initContainers", init);
        set(&mut pod, "/spec/containers", Value::Array(containers));
        set(&mut pod, "/spec/volumes", volumes);
        set(&mut pod, "/spec/securityContext", context);
        pod
    }
}

prop_compose! {
    /// Its session, with any workflow.
    pub fn any_session()(
        url in "(https://h/[a-z$()\\PC]{1,9}|\\PC{1,9})",
        branch in option::of("\\PC{0,6}"),
        path in option::of("[a-z/.$(){}\\x00]{0,9}"),
        author in vec(proptest::sample::select(&VARIABLES[..]), 0..4),
        ran in any::<bool>(),
    ) -> Value {
        let mut session = session();
        set(&mut session, "/spec/activeWorkflow", json!({"gitUrl": format!("x{url}"), "branch": branch, "path": path}));
        let author: serde_json::Map<_, _> = author.into_iter().map(|name| (name.to_owned(), json!("v"))).collect();
        set(&mut session, "/spec/environmentVariables", Value::Object(author));
        if ran {
            set(&mut session, "/status/conditions/-", json!({"type": "RunnerStarted", "status": "True"}));
        }
        session
    }
}
