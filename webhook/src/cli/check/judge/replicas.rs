//! The replicas: whether they are ready, reached through the Service, and of one version.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use kube::core::DynamicObject;
use workflow_contract::names::INJECTOR;

use super::{Verdict, list};
use crate::cli::check::evidence::Evidence;
use crate::status::outcome::NO_IMAGE;

/// Version of this program, which knows the manifests of the same version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn ready(deployment: &DynamicObject) -> (i64, i64) {
    let ready = deployment.data["status"]["readyReplicas"].as_i64().unwrap_or(0);
    (ready, deployment.data["spec"]["replicas"].as_i64().unwrap_or(1))
}

pub fn replicas(evidence: &Evidence) -> Verdict {
    let Some(deployment) = &evidence.deployment else {
        return Err(format!("there is no Deployment {INJECTOR}; `make install` makes it"));
    };
    let (ready, wanted) = ready(deployment);
    if wanted > 0 && ready >= wanted {
        return Ok(format!("{ready} of {wanted} are ready"));
    }
    if wanted == 0 {
        return Err(format!(
            "it is scaled to 0; kubectl -n {INJECTOR} scale deployment {INJECTOR} --replicas=2"
        ));
    }
    let why = evidence.pods.iter().find_map(waiting).or_else(|| {
        let unready = evidence.told.iter().find_map(|(pod, told)| Some((pod, told.missing.as_ref()?)));
        unready.map(|(pod, missing)| format!("{pod} says: {missing}"))
    });
    let why = why.unwrap_or_else(|| format!("kubectl -n {INJECTOR} describe pods"));
    Err(format!("{ready} of {wanted} are ready; {why}"))
}

/// Why a pod's container does not run, in the kubelet's words, and what to do.
fn waiting(pod: &DynamicObject) -> Option<String> {
    let statuses = list(&pod.data["status"]["containerStatuses"]);
    let (status, reason) =
        statuses.iter().find_map(|status| Some((status, status["state"]["waiting"]["reason"].as_str()?)))?;
    let name = pod.name_any();
    let remedy = if NO_IMAGE.contains(&reason) {
        let image = status["image"].as_str().unwrap_or_default();
        format!("its image {image} can't be pulled: correct the name, or the node's access to the registry")
    } else if reason == "CrashLoopBackOff" {
        format!("kubectl -n {INJECTOR} logs {name} --previous")
    } else {
        format!("kubectl -n {INJECTOR} describe pod {name}")
    };
    Some(format!("{name} waits with {reason}: {remedy}"))
}

pub fn service(endpoints: Option<usize>, deployment: Option<&DynamicObject>) -> Verdict {
    match endpoints {
        None => Err(format!("there is no Service {INJECTOR}; `make install` makes it")),
        Some(0) if deployment.is_some_and(|deployment| ready(deployment).0 > 0) => Err(format!(
            "it has no endpoint though replicas are ready, its selector or port does not fit them; `make install` puts it back \
             (kubectl -n {INJECTOR} describe service {INJECTOR})"
        )),
        Some(0) => Err("it has no endpoint; see the line `replicas`".to_owned()),
        Some(count) => Ok(format!("ready endpoints: {count}")),
    }
}

pub fn versions(evidence: &Evidence) -> Verdict {
    let mut images: BTreeMap<&str, usize> = BTreeMap::new();
    let here = || evidence.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    for container in here().flat_map(|pod| list(&pod.data["spec"]["containers"])) {
        *images.entry(container["image"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let all: Vec<String> = images.iter().map(|(image, count)| format!("{count} of {image}")).collect();
    let rollout = format!("kubectl -n {INJECTOR} rollout status deployment/{INJECTOR}, or rollout undo");
    match images.len() {
        0 => return Err("no replica runs; see the line `replicas`".to_owned()),
        1 => {}
        _ => return Err(format!("two versions serve at once: {}; {rollout}", all.join(", "))),
    }
    let told: BTreeSet<&str> = evidence.told.values().filter_map(|told| told.version.as_deref()).collect();
    let told: Vec<&str> = told.into_iter().collect();
    match told[..] {
        [] => Ok(format!("all replicas run one image: {}", all.join(", "))),
        [VERSION] => Ok(format!("all replicas run {VERSION}: {}", all.join(", "))),
        [other] => Err(format!(
            "the replicas run {other}, this program is {VERSION}; check with the program of that version, or upgrade: `make install`"
        )),
        _ => Err(format!("two versions serve at once: {}; {rollout}", told.join(", "))),
    }
}
