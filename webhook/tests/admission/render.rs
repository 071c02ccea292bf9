//! The command `render` as a process.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use json_patch::Patch;
use serde_json::{Value, json};

use crate::fixtures::{injected, pod, session, with};

fn render(dir: &Path, pod: &str, session: &Value, more: &[&str]) -> Output {
    let session_file = dir.join("session.json");
    std::fs::write(&session_file, session.to_string()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_workflow-injector"))
        .args(["render", "--pod", "-", "--session"])
        .arg(&session_file)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that ends before it reads closes the pipe; its output has the error.
    let _ = child.stdin.take().unwrap().write_all(pod.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn json_in_is_json_out() {
    let dir = tempfile::tempdir().unwrap();
    let output = render(dir.path(), &pod().to_string(), &session(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), injected(&pod(), &session()));
}

#[test]
fn yaml_in_is_yaml_out_and_means_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let tricky = json!([
        "yes",
        "1",
        "0x10",
        "null",
        "~",
        "1e3",
        "a: b",
        "# x",
        "",
        " ",
        "on",
        "multi\nline\n",
        "1_000"
    ]);
    let pod = with(pod(), [("/spec/containers/0/args", tricky)]);
    let yaml = serde_saphyr::to_string(&pod).unwrap();
    let output = render(dir.path(), &yaml, &session(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).starts_with('{'));
    let back: Value = serde_saphyr::from_str(text(&output.stdout)).unwrap();
    assert_eq!(back, injected(&pod, &session()));
}

#[test]
fn the_patch_applies_to_the_pod() {
    let dir = tempfile::tempdir().unwrap();
    let output = render(dir.path(), &pod().to_string(), &session(), &["-o", "patch"]);
    let mut patched = pod();
    let patch: Patch = serde_json::from_slice(&output.stdout).unwrap();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched, injected(&pod(), &session()));
}

#[test]
fn unchanged_pod_is_printed_and_the_remark_goes_to_stderr() {
    let dir = tempfile::tempdir().unwrap();
    let idle = with(session(), [("/spec/activeWorkflow", Value::Null)]);
    let output = render(dir.path(), &pod().to_string(), &idle, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), pod());
    assert_eq!(text(&output.stderr), "unchanged: session without a workflow\n");
    let output = render(dir.path(), &pod().to_string(), &idle, &["-o", "patch"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "[]\n"));
}

#[test]
fn exits_1_with_the_denial() {
    let dir = tempfile::tempdir().unwrap();
    for (pointer, value) in [("/metadata/uid", json!("other")), ("/metadata/name", json!("other"))] {
        let output = render(dir.path(), &pod().to_string(), &with(session(), [(pointer, value)]), &[]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        assert!(text(&output.stderr).contains("denies this pod"), "{}", text(&output.stderr));
    }
}

#[test]
fn exits_2_for_unreadable_input() {
    let dir = tempfile::tempdir().unwrap();
    for (pod, words) in [("{", "not valid JSON"), ("a: [", "not valid YAML"), ("kind: Job", "expected a Pod")]
    {
        let output = render(dir.path(), pod, &session(), &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    let output = render(dir.path(), "", &session(), &["--config", "/nonexistent/config.yaml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn denies_pod_of_a_session_in_another_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = with(session(), [("/metadata/namespace", json!("elsewhere"))]);
    let output = render(dir.path(), &pod().to_string(), &elsewhere, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
}

#[test]
fn broken_file_is_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let broken = "kind: Pod\nspec:\n  password: s3cret\n  x: [\n";
    let output = render(dir.path(), broken, &session(), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!text(&output.stderr).contains("s3cret"), "{}", text(&output.stderr));
}

#[test]
fn order_of_fields_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let pod =
        with(pod(), [("/spec/zebra", json!({"z": 1, "a": {"y": 1, "b": 2}})), ("/spec/aardvark", json!(1))]);
    let output = render(dir.path(), &pod.to_string(), &session(), &[]);
    let rendered: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let is_kept = |pointer: &str| {
        let (before, after) = (keys(pod.pointer(pointer).unwrap()), keys(rendered.pointer(pointer).unwrap()));
        assert_eq!(after[..before.len()], before, "{pointer}");
    };
    for pointer in ["", "/metadata", "/spec", "/spec/zebra", "/spec/zebra/a", "/spec/containers/0"] {
        is_kept(pointer);
    }
}
