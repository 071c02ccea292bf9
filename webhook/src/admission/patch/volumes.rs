//! Volumes and mounts: the volume to publish to, git credentials, the CA bundle; and pull secrets.

use std::borrow::Cow;
use std::iter;

use serde_json::{Value, json};
use workflow_contract::names::{WORKFLOWS_ROOT, WORKFLOWS_VOLUME, WORKSPACE_MOUNT};

use super::pod::Pod;
use super::reconcile::List;
use crate::admission::json::{items, text};
use crate::config::Config;

/// Mount path of the Secret with git credentials in the init container.
pub const CREDENTIALS_DIR: &str = "/var/run/secrets/workflow-credentials";
const CREDENTIALS_VOLUME: &str = "workflow-credentials";
/// File at which the platform mounts its CA bundle.
pub const CA_BUNDLE: &str = "/etc/pki/tls/certs/ca-bundle.crt";
/// Directory of [`CA_BUNDLE`]; the volume of a bundle that the runner mounts by `subPath` is mounted there as a whole.
const CA_DIRECTORY: &str = "/etc/pki/tls/certs";
/// Mount path of a shared volume of which the runner mounts a part.
const WHOLE_VOLUME: &str = "/volume";

/// Volumes of the pod and mounts of its containers.
#[derive(Debug)]
pub struct Mounts<'v> {
    /// All volumes of the pod.
    pub volumes: List<'v>,
    pub runner: List<'v>,
    /// The mounts that the init container needs.
    pub init: Vec<Value>,
}

pub fn mounts<'v>(pod: &Pod<'v>, config: &Config) -> Mounts<'v> {
    let mut volumes = borrowed(&pod.spec["volumes"]);
    let mut runner = borrowed(&pod.runner["volumeMounts"]);
    let mut init: Vec<_> =
        [WORKSPACE_MOUNT, WORKFLOWS_ROOT].into_iter().filter_map(|path| shared(&runner, path)).collect();
    if init.is_empty() {
        let name = ensure(&mut volumes, WORKFLOWS_VOLUME, &json!({"emptyDir": {}}));
        let mount = json!({"name": name, "mountPath": WORKFLOWS_ROOT});
        runner.push(Cow::Owned(mount.clone()));
        init.push(mount);
    }
    if let Some(secret) = &config.credentials_secret {
        let source = json!({"secret": {"secretName": secret, "optional": true}});
        let name = ensure(&mut volumes, CREDENTIALS_VOLUME, &source);
        init.push(json!({"name": name, "readOnly": true, "mountPath": CREDENTIALS_DIR}));
    }
    init.extend(iter::once(pod.runner).chain(pod.hydrate()).find_map(ca_bundle).cloned());
    Mounts { volumes, runner, init }
}

fn borrowed(list: &Value) -> List<'_> {
    items(list).iter().map(Cow::Borrowed).collect()
}

/// Mounts of an ephemeral container, of a pod's existing volumes.
#[derive(Debug)]
pub struct LiveMounts {
    pub mounts: Vec<Value>,
    /// The directory to publish to.
    pub root: String,
    /// True if the Secret with git credentials is among them.
    pub has_credentials: bool,
    /// Path of the platform's CA bundle if it is another than [`CA_BUNDLE`].
    pub ca_file: Option<String>,
}

/// Builds the mounts of an ephemeral container, without `subPath`. None if the runner's workflows are on no volume, or
/// on a part of one that only the runner's variables name.
pub fn live(pod: &Pod<'_>, config: &Config) -> Option<LiveMounts> {
    let volumes = items(&pod.spec["volumes"]);
    let runner = items(&pod.runner["volumeMounts"]);
    let (path, below) = [(WORKFLOWS_ROOT, ""), (WORKSPACE_MOUNT, "/workflows")]
        .into_iter()
        .find(|(path, _)| runner.iter().any(|mount| mount_path(mount) == *path))?;
    let found = runner.iter().find(|mount| mount_path(mount) == path)?;
    if !text(found, "subPathExpr").is_empty() {
        return None;
    }
    let (mount_path, root) = match text(found, "subPath").trim_matches('/') {
        "" => (path, WORKFLOWS_ROOT.to_owned()),
        part => (WHOLE_VOLUME, format!("{WHOLE_VOLUME}/{part}{below}")),
    };
    let mut live = LiveMounts {
        mounts: vec![json!({"name": text(found, "name"), "mountPath": mount_path})],
        root,
        has_credentials: false,
        ca_file: None,
    };
    if let Some(secret) = &config.credentials_secret
        && let Some(volume) = volumes.iter().find(|volume| text(&volume["secret"], "secretName") == secret)
    {
        live.mounts
            .push(json!({"name": text(volume, "name"), "readOnly": true, "mountPath": CREDENTIALS_DIR}));
        live.has_credentials = true;
    }
    if let Some(bundle) = iter::once(pod.runner).chain(pod.hydrate()).find_map(ca_bundle) {
        let (path, file) = match text(bundle, "subPath").trim_matches('/') {
            "" => (CA_BUNDLE, None),
            part => (CA_DIRECTORY, Some(format!("{CA_DIRECTORY}/{part}"))),
        };
        live.mounts.push(json!({"name": text(bundle, "name"), "readOnly": true, "mountPath": path}));
        live.ca_file = file.filter(|file| file != CA_BUNDLE);
    }
    Some(live)
}

/// Builds the pod's `imagePullSecrets`: its own and those of the config.
pub fn pull_secrets<'v>(pod: &Pod<'v>, config: &Config) -> List<'v> {
    let mut secrets = borrowed(&pod.spec["imagePullSecrets"]);
    for name in &config.image_pull_secrets {
        if !secrets.iter().any(|found| text(found, "name") == name) {
            secrets.push(Cow::Owned(json!({"name": name})));
        }
    }
    secrets
}

/// Merges the mounts that the init container needs into those of a container of our name.
pub fn merged(current: &Value, wanted: &[Value]) -> Value {
    let mut mounts = items(current).to_vec();
    for wanted in wanted {
        match mounts.iter_mut().find(|mount| mount_path(mount) == mount_path(wanted)) {
            Some(mount) if is_same(mount, wanted) => {}
            Some(mount) => *mount = wanted.clone(),
            None => mounts.push(wanted.clone()),
        }
    }
    mounts.into()
}

/// Returns the name of a volume with that source, and adds one if there is none. A number is appended to a name
/// that another volume has.
fn ensure(volumes: &mut List<'_>, name: &str, source: &Value) -> String {
    let mut candidate = name.to_owned();
    let mut number = 1;
    while let Some(volume) = volumes.iter().find(|volume| text(volume, "name") == candidate) {
        if contains(volume, source) {
            return candidate;
        }
        number += 1;
        candidate = format!("{name}-{number}");
    }
    let mut volume = json!({"name": candidate});
    for (kind, source) in source.as_object().into_iter().flatten() {
        volume[kind] = source.clone();
    }
    volumes.push(Cow::Owned(volume));
    candidate
}

/// Reports whether `value` has all members of `part`, and perhaps more, such as defaults of the API server.
fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => {
            part.iter().all(|(name, part)| value.get(name).is_some_and(|value| contains(value, part)))
        }
        (value, part) => value == part,
    }
}

/// Builds the init container's counterpart of the runner's mount at exactly this path, writable. A workspace
/// with `subPathExpr` is left out, because its variables are the runner's; if the workflows' own directory is so
/// mounted, there is no alternative, and the kubelet reports which variable is missing.
fn shared(runner: &List<'_>, path: &str) -> Option<Value> {
    let found = runner.iter().find(|mount| mount_path(mount) == path)?;
    if path == WORKSPACE_MOUNT && !text(found, "subPathExpr").is_empty() {
        return None;
    }
    let mut mount = json!({"name": text(found, "name"), "mountPath": path});
    for field in ["subPath", "subPathExpr"] {
        if !text(found, field).is_empty() {
            mount[field] = found[field].clone();
        }
    }
    Some(mount)
}

fn ca_bundle(container: &Value) -> Option<&Value> {
    let mounts = items(&container["volumeMounts"]).iter();
    mounts
        .clone()
        .find(|mount| mount_path(mount) == CA_BUNDLE)
        .filter(|mount| text(mount, "subPathExpr").is_empty())
}

fn mount_path(mount: &Value) -> &str {
    let path = text(mount, "mountPath");
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { path } else { trimmed }
}

/// Reports whether two mounts of one path show the same files with the same access.
fn is_same(one: &Value, other: &Value) -> bool {
    let read_only = |mount: &Value| mount["readOnly"].as_bool().unwrap_or_default();
    ["name", "subPath", "subPathExpr"].iter().all(|field| text(one, field) == text(other, field))
        && read_only(one) == read_only(other)
}
