//! Volumes and mounts: the place where the workflow is published, git credentials, the CA bundle.

use std::borrow::Cow;

use workflow_contract::names::{WORKFLOWS_ROOT, WORKFLOWS_VOLUME, WORKSPACE_MOUNT};

use super::ops::{Ops, Path};
use super::pod::Pod;
use crate::config::Config;
use json_index::{Json, ToJson, object};

/// Where the Secret with git credentials is mounted in the init container.
pub const CREDENTIALS_DIR: &str = "/var/run/secrets/workflow-credentials";
/// Name of the volume with git credentials.
const CREDENTIALS_VOLUME: &str = "workflow-credentials";
/// Where the platform mounts its CA bundle, as a file.
const CA_BUNDLE: &str = "/etc/pki/tls/certs/ca-bundle.crt";

/// A mount of the init container.
#[derive(Debug, Clone)]
pub enum Mount<'v> {
    /// One of ours.
    New(NewMount<'v>),
    /// As another container has it.
    Copied(Json<'v>),
}

/// A mount that we make.
#[derive(Debug, Clone, Default)]
pub struct NewMount<'v> {
    name: Cow<'v, str>,
    read_only: bool,
    mount_path: &'static str,
    sub_path: &'v str,
    sub_path_expr: &'v str,
}

impl ToJson for Mount<'_> {
    fn to_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Copied(json) => json.to_json(out),
            Self::New(mount) => object(out, |members| {
                members.add("name", &mount.name);
                if mount.read_only {
                    members.add("readOnly", &true);
                }
                members.add("mountPath", mount.mount_path);
                for (name, path) in [("subPath", mount.sub_path), ("subPathExpr", mount.sub_path_expr)] {
                    if !path.is_empty() {
                        members.add(name, path);
                    }
                }
            }),
        }
    }
}

/// A volume that we make.
#[derive(Debug, Clone)]
struct Volume<'v> {
    name: Cow<'static, str>,
    source: Source<'v>,
}

#[derive(Debug, Clone, Copy)]
enum Source<'v> {
    EmptyDir,
    /// A Secret of this name, which may be absent.
    Secret(&'v str),
}

impl ToJson for Volume<'_> {
    fn to_json(&self, out: &mut Vec<u8>) {
        object(out, |members| {
            members.add("name", &self.name);
            match self.source {
                Source::EmptyDir => members.object("emptyDir", |_| {}),
                Source::Secret(name) => members.object("secret", |members| {
                    members.add("secretName", name);
                    members.add("optional", &true);
                }),
            }
        });
    }
}

/// Adds the volumes that are missing, and the runner's mount where it has no workspace. Returns the
/// mounts that the init container is to have.
pub fn write<'v>(ops: &mut Ops, pod: &Pod<'v>, config: &'v Config) -> Vec<Mount<'v>> {
    let mut volumes = Volumes { existing: pod.spec.get("volumes"), added: Vec::new() };
    let runner = pod.runner.json;
    let shared = |path: &'static str| shared(runner, path).map(Mount::New);
    let mut mounts: Vec<_> = [WORKSPACE_MOUNT, WORKFLOWS_ROOT].into_iter().filter_map(shared).collect();
    if mounts.is_empty() {
        let name =
            volumes.ensure(WORKFLOWS_VOLUME, Source::EmptyDir, |volume| !volume.get("emptyDir").is_null());
        let mount = Mount::New(NewMount { name, mount_path: WORKFLOWS_ROOT, ..NewMount::default() });
        let path = Path::CONTAINERS.below(pod.runner_index);
        let exists = runner.get("volumeMounts").is_array();
        ops.append(path.below("volumeMounts"), exists, std::slice::from_ref(&mount));
        mounts.push(mount);
    }
    if let Some(secret) = &config.credentials_secret {
        let source = Source::Secret(secret);
        let name = volumes.ensure(CREDENTIALS_VOLUME, source, |volume| {
            let found = volume.get("secret");
            found.text("secretName") == secret && found.get("optional").as_bool() == Some(true)
        });
        let mount_path = CREDENTIALS_DIR;
        mounts.push(Mount::New(NewMount { name, mount_path, read_only: true, ..NewMount::default() }));
    }
    let hydrate = pod.hydrate().map(|container| container.json);
    let bundle = std::iter::once(runner).chain(hydrate).find_map(ca_bundle);
    mounts.extend(bundle.map(Mount::Copied));
    ops.append(Path::SPEC.below("volumes"), volumes.existing.is_array(), &volumes.added);
    mounts
}

/// Adds the configured `imagePullSecrets` that the pod does not have.
pub fn pull_secrets(ops: &mut Ops, pod: &Pod<'_>, config: &Config) {
    let current = pod.spec.get("imagePullSecrets");
    let missing: Vec<_> = config
        .image_pull_secrets
        .iter()
        .filter(|name| !current.items().any(|found| found.text("name") == **name))
        .map(|name| LocalReference(name))
        .collect();
    ops.append(Path::SPEC.below("imagePullSecrets"), current.is_array(), &missing);
}

/// A reference to an object of the pod's namespace.
struct LocalReference<'v>(&'v str);

impl ToJson for LocalReference<'_> {
    fn to_json(&self, out: &mut Vec<u8>) {
        object(out, |members| members.add("name", self.0));
    }
}

/// Brings the mounts of a container of our name to the wanted ones; others stay.
pub fn bring<'v>(ops: &mut Ops, container: Json<'_>, at: Path<'_>, wanted: &[Mount<'v>]) {
    let current = container.get("volumeMounts");
    let path = at.below("volumeMounts");
    let mut missing: Vec<&Mount<'v>> = Vec::new();
    for mount in wanted {
        match current.items().enumerate().find(|(_, found)| mount_path(*found) == mount.path()) {
            Some((_, found)) if mount.is(found) => {}
            Some((index, _)) => ops.replace(path.below(index), mount),
            None => missing.push(mount),
        }
    }
    ops.append(path, current.is_array(), &missing);
}

struct Volumes<'v> {
    existing: Json<'v>,
    added: Vec<Volume<'v>>,
}

impl<'v> Volumes<'v> {
    /// The name of a volume with that source: one that `is_ours`, else one that is added. A name that
    /// somebody else's volume has already gets a number.
    fn ensure(
        &mut self,
        name: &'static str,
        source: Source<'v>,
        is_ours: impl Fn(Json<'_>) -> bool,
    ) -> Cow<'static, str> {
        let mut candidate = Cow::Borrowed(name);
        let mut number = 1;
        while let Some(volume) = self.existing.items().find(|volume| volume.text("name") == candidate) {
            if is_ours(volume) {
                return candidate;
            }
            number += 1;
            candidate = format!("{name}-{number}").into();
        }
        self.added.push(Volume { name: candidate.clone(), source });
        candidate
    }
}

/// The runner's mount at exactly this path, writable, for the init container. A workspace whose
/// sub-path comes from variables is passed over, because the variables are the runner's. Where the
/// workflows' own directory is so mounted there is no other place: the kubelet says what is missing.
fn shared<'v>(runner: Json<'v>, path: &'static str) -> Option<NewMount<'v>> {
    let found = runner.get("volumeMounts").items().find(|mount| mount_path(*mount) == path)?;
    let mount = NewMount {
        name: found.text("name").into(),
        read_only: false,
        mount_path: path,
        sub_path: found.text("subPath"),
        sub_path_expr: found.text("subPathExpr"),
    };
    (path != WORKSPACE_MOUNT || mount.sub_path_expr.is_empty()).then_some(mount)
}

fn ca_bundle(container: Json<'_>) -> Option<Json<'_>> {
    let found = container.get("volumeMounts").items().find(|mount| mount_path(*mount) == CA_BUNDLE)?;
    found.text("subPathExpr").is_empty().then_some(found)
}

fn mount_path(mount: Json<'_>) -> &str {
    let path = mount.text("mountPath");
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() { path } else { trimmed }
}

impl Mount<'_> {
    fn path(&self) -> &str {
        match self {
            Self::New(mount) => mount.mount_path,
            Self::Copied(mount) => mount_path(*mount),
        }
    }

    /// Whether that is what stands there, as far as it matters.
    fn is(&self, found: Json<'_>) -> bool {
        let read_only = |mount: Json<'_>| mount.get("readOnly").as_bool().unwrap_or_default();
        match self {
            Self::New(mount) => {
                texts(found) == [&*mount.name, mount.sub_path, mount.sub_path_expr]
                    && read_only(found) == mount.read_only
            }
            Self::Copied(mount) => texts(found) == texts(*mount) && read_only(found) == read_only(*mount),
        }
    }
}

fn texts(mount: Json<'_>) -> [&str; 3] {
    ["name", "subPath", "subPathExpr"].map(|key| mount.text(key))
}
