//! The init container's security context: passes Pod Security `restricted`.

use super::ops::{Ops, Path};
use super::pod::Pod;
use json_index::{Json, ToJson, object, to_json};

/// Who the init container is where the runner is root: the user of the image.
const IMAGE_USER: i64 = 1001;

/// What a context is to contain.
#[derive(Debug)]
pub struct Context(Vec<(&'static str, Setting)>);

#[derive(Debug)]
enum Setting {
    Flag(bool),
    Id(i64),
    Drop([&'static str; 1]),
    Profile(&'static str),
}

impl ToJson for Context {
    fn to_json(&self, out: &mut Vec<u8>) {
        object(out, |members| self.0.iter().for_each(|(field, setting)| members.add(field, setting)));
    }
}

impl ToJson for Setting {
    fn to_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Flag(flag) => flag.to_json(out),
            Self::Id(id) => id.to_json(out),
            Self::Drop(all) => object(out, |members| members.add("drop", &all[..])),
            Self::Profile(profile) => object(out, |members| members.add("type", profile)),
        }
    }
}

/// What the init container's context is to contain. Who it runs as is taken from the runner and
/// never invented, because on OpenShift the uid is assigned: a runner that says nothing leaves it to
/// the image, on both sides.
pub fn wanted(pod: &Pod<'_>) -> Context {
    let mut context = vec![
        ("allowPrivilegeEscalation", Setting::Flag(false)),
        ("capabilities", Setting::Drop(["ALL"])),
        ("readOnlyRootFilesystem", Setting::Flag(true)),
        ("runAsNonRoot", Setting::Flag(true)),
        ("seccompProfile", Setting::Profile("RuntimeDefault")),
    ];
    for field in ["runAsUser", "runAsGroup"] {
        let says = |holder: Json<'_>| holder.get("securityContext").get(field).as_i64();
        let id = says(pod.runner.json).or_else(|| says(pod.spec));
        // Group 0 is not root, and may be what makes files accessible; OpenShift assigns it.
        let root = field == "runAsUser" && id == Some(0);
        context.extend(id.map(|id| (field, Setting::Id(if root { IMAGE_USER } else { id }))));
    }
    Context(context)
}

/// Brings a context to the wanted one. What others added stays, unless it widens what we may do.
pub fn bring(ops: &mut Ops, container: Json<'_>, at: Path<'_>, wanted: &Context) {
    let current = container.get("securityContext");
    let path = at.below("securityContext");
    if !current.is_object() {
        return ops.add(path, wanted);
    }
    let root = |field: &str| {
        current.get(field).as_i64() == Some(0) && !wanted.0.iter().any(|(known, _)| *known == field)
    };
    let widening = [
        ("privileged", current.get("privileged").as_bool() == Some(true)),
        ("procMount", !matches!(current.text("procMount"), "" | "Default")),
        ("runAsUser", root("runAsUser")),
    ];
    for (field, _) in widening.into_iter().filter(|(_, is)| *is) {
        ops.remove(path.below(field));
    }
    for (field, setting) in &wanted.0 {
        if !current.get(field).means(&to_json(setting)) {
            ops.add(path.below(*field), setting);
        }
    }
}
