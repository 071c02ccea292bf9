//! The init container's security context, which passes Pod Security `restricted`.

use serde_json::{Value, json};

use super::pod::Pod;
use crate::admission::json::text;

/// User of the init container if the runner is root: that of the image.
const IMAGE_USER: i64 = 1001;

/// Builds the context from that of a container of our name, or from none. Fields that others added stay, unless
/// they widen what the container may do.
///
/// User and group are the runner's and never invented, because OpenShift assigns them: if the runner has none,
/// both containers run as the users of their images.
pub fn wanted(pod: &Pod<'_>, current: &Value) -> Value {
    let mut context = if current.is_object() { current.clone() } else { json!({}) };
    let id = |field: &str| {
        let of = |holder: &Value| holder["securityContext"][field].as_i64();
        of(pod.runner).or_else(|| of(pod.spec))
    };
    let user = id("runAsUser").map(|user| if user == 0 { IMAGE_USER } else { user });
    if let Some(members) = context.as_object_mut() {
        let widens = |context: &Value, field: &str| match field {
            "privileged" => context["privileged"] == true,
            "procMount" => !matches!(text(context, "procMount"), "" | "Default"),
            _ => context["runAsUser"] == 0,
        };
        for field in ["privileged", "procMount", "runAsUser"] {
            if widens(current, field) {
                members.shift_remove(field);
            }
        }
    }
    context["allowPrivilegeEscalation"] = json!(false);
    context["capabilities"] = json!({"drop": ["ALL"]});
    context["readOnlyRootFilesystem"] = json!(true);
    context["runAsNonRoot"] = json!(true);
    context["seccompProfile"] = json!({"type": "RuntimeDefault"});
    // Group 0 is not root, and may be what makes files accessible.
    for (field, id) in [("runAsUser", user), ("runAsGroup", id("runAsGroup"))] {
        if let Some(id) = id {
            context[field] = json!(id);
        }
    }
    context
}
