//! Volumes and mounts: the place where the workflow is published, git credentials, the CA bundle.

use serde_json::{Value, json};
use workflow_contract::names::{WORKFLOWS_ROOT, WORKFLOWS_VOLUME, WORKSPACE_MOUNT};

use super::ops::{Ops, below, item};
use super::pod::Pod;
use crate::admit::json::{self, Json};
use crate::config::Config;
use json_patch::jsonptr::PointerBuf;

/// Where the Secret with git credentials is mounted in the init container.
pub const CREDENTIALS_DIR: &str = "/var/run/secrets/workflow-credentials";
/// Name of the volume with git credentials.
const CREDENTIALS_VOLUME: &str = "workflow-credentials";
/// Where the platform mounts its CA bundle, as a file.
const CA_BUNDLE: &str = "/etc/pki/tls/certs/ca-bundle.crt";

/// Adds the volumes that are missing, and the runner's mount where it has no workspace. Returns the
/// mounts that the init container is to have.
pub fn write(ops: &mut Ops, pod: &Pod<'_, '_>, config: &Config) -> Vec<Value> {
    let mut volumes = Volumes { existing: json::list(pod.spec, "volumes"), added: Vec::new() };
    let mut mounts: Vec<Value> =
        [WORKSPACE_MOUNT, WORKFLOWS_ROOT].iter().filter_map(|path| shared(pod.runner, path)).collect();
    if mounts.is_empty() {
        let name = volumes.ensure(WORKFLOWS_VOLUME, json!({"emptyDir": {}}), |volume| {
            !json::get(volume, "emptyDir").is_null()
        });
        let mount = json!({"name": name, "mountPath": WORKFLOWS_ROOT});
        let path = below(&item("containers", pod.runner_index), "volumeMounts");
        ops.append(&path, json::get(pod.runner, "volumeMounts").is_array(), vec![mount.clone()]);
        mounts.push(mount);
    }
    if let Some(secret) = &config.credentials_secret {
        let source = json!({"secret": {"secretName": secret, "optional": true}});
        let name = volumes.ensure(CREDENTIALS_VOLUME, source, |volume| {
            let found = json::get(volume, "secret");
            json::text(found, "secretName") == secret && json::get(found, "optional").as_bool() == Some(true)
        });
        mounts.push(json!({"name": name, "mountPath": CREDENTIALS_DIR, "readOnly": true}));
    }
    mounts.extend(std::iter::once(pod.runner).chain(pod.hydrate).find_map(ca_bundle));
    let path = PointerBuf::from_tokens(["spec", "volumes"]);
    ops.append(&path, json::get(pod.spec, "volumes").is_array(), volumes.added);
    mounts
}

/// Brings the mounts of a container of our name to the wanted ones; others stay.
pub fn bring(ops: &mut Ops, container: &Json<'_>, at: &PointerBuf, wanted: Vec<Value>) {
    let current = json::list(container, "volumeMounts");
    let path = below(at, "volumeMounts");
    let mut missing = Vec::new();
    for mount in wanted {
        let place = mount["mountPath"].as_str().unwrap_or_default();
        match current.iter().position(|found| mount_path(found) == place) {
            Some(index) if same(&current[index], &mount) => {}
            Some(index) => ops.replace(below(&path, index), mount),
            None => missing.push(mount),
        }
    }
    ops.append(&path, json::get(container, "volumeMounts").is_array(), missing);
}

struct Volumes<'v, 'a> {
    existing: &'v [Json<'a>],
    added: Vec<Value>,
}

impl Volumes<'_, '_> {
    /// The name of a volume with that source: one that `is_ours`, else one that is added. A name that
    /// somebody else's volume has already gets a number.
    fn ensure(&mut self, name: &str, source: Value, is_ours: impl Fn(&Json<'_>) -> bool) -> String {
        let mut candidate = name.to_owned();
        let mut number = 1;
        while let Some(index) = json::position(self.existing, &candidate) {
            if is_ours(&self.existing[index]) {
                return candidate;
            }
            number += 1;
            candidate = format!("{name}-{number}");
        }
        let mut volume = source;
        volume["name"] = Value::from(candidate.as_str());
        self.added.push(volume);
        candidate
    }
}

/// The runner's mount at exactly this path, writable, for the init container. A workspace whose
/// sub-path comes from variables is passed over, because the variables are the runner's. Where the
/// workflows' own folder is so mounted there is no other place: the kubelet says what is missing.
fn shared(runner: &Json<'_>, path: &str) -> Option<Value> {
    let found = json::list(runner, "volumeMounts").iter().find(|mount| mount_path(mount) == path)?;
    let mut mount = json!({"name": json::text(found, "name"), "mountPath": path});
    for key in ["subPath", "subPathExpr"] {
        let sub_path = json::text(found, key);
        if !sub_path.is_empty() {
            mount[key] = Value::from(sub_path);
        }
    }
    (path != WORKSPACE_MOUNT || mount["subPathExpr"].is_null()).then_some(mount)
}

fn ca_bundle(container: &Json<'_>) -> Option<Value> {
    let found = json::list(container, "volumeMounts").iter().find(|mount| mount_path(mount) == CA_BUNDLE)?;
    if !json::text(found, "subPathExpr").is_empty() {
        return None;
    }
    Some(json::owned(found))
}

fn mount_path<'v>(mount: &'v Json<'_>) -> &'v str {
    let path = json::text(mount, "mountPath");
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { path } else { trimmed }
}

fn same(found: &Json<'_>, wanted: &Value) -> bool {
    let wanted_text = |key: &str| wanted[key].as_str().unwrap_or_default();
    let read_only = |value: Option<bool>| value.unwrap_or_default();
    ["name", "subPath", "subPathExpr"].iter().all(|key| json::text(found, key) == wanted_text(key))
        && read_only(json::get(found, "readOnly").as_bool()) == read_only(wanted["readOnly"].as_bool())
}
