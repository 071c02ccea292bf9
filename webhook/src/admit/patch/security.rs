//! The init container's security context: passes Pod Security `restricted`.

use json_patch::jsonptr::PointerBuf;
use serde_json::{Map, Value, json};

use super::ops::{Ops, below};
use super::pod::Pod;
use crate::admit::json::{self, Json};

/// Who the init container is where the runner is root: the user of the image.
const IMAGE_USER: i64 = 1001;

/// What the init container's context is to contain. Who it runs as is taken from the runner and
/// never invented, because on OpenShift the uid is assigned: a runner that says nothing leaves it to
/// the image, on both sides.
pub fn wanted(pod: &Pod<'_, '_>) -> Map<String, Value> {
    let mut context = Map::new();
    context.insert("allowPrivilegeEscalation".into(), json!(false));
    context.insert("capabilities".into(), json!({"drop": ["ALL"]}));
    context.insert("readOnlyRootFilesystem".into(), json!(true));
    context.insert("runAsNonRoot".into(), json!(true));
    context.insert("seccompProfile".into(), json!({"type": "RuntimeDefault"}));
    for field in ["runAsUser", "runAsGroup"] {
        let says = |holder: &Json<'_>| json::get(json::get(holder, "securityContext"), field).as_i64();
        match says(pod.runner).or_else(|| says(pod.spec)) {
            Some(0) => drop(context.insert(field.into(), json!(IMAGE_USER))),
            Some(id) => drop(context.insert(field.into(), json!(id))),
            None => {}
        }
    }
    context
}

/// Brings a context to the wanted one. What others added stays, unless it widens what we may do.
pub fn bring(ops: &mut Ops, container: &Json<'_>, at: &PointerBuf, wanted: Map<String, Value>) {
    let current = json::get(container, "securityContext");
    let path = below(at, "securityContext");
    if !current.is_object() {
        return ops.add(path, Value::Object(wanted));
    }
    let root = |field: &str| json::get(current, field).as_i64() == Some(0) && !wanted.contains_key(field);
    let widening = [
        ("privileged", json::get(current, "privileged").as_bool() == Some(true)),
        ("procMount", !matches!(json::text(current, "procMount"), "" | "Default")),
        ("runAsUser", root("runAsUser")),
        ("runAsGroup", root("runAsGroup")),
    ];
    for (field, _) in widening.into_iter().filter(|(_, is)| *is) {
        ops.remove(below(&path, field));
    }
    for (field, value) in wanted {
        if json::owned(json::get(current, &field)) != value {
            ops.add(below(&path, &*field), value);
        }
    }
}
