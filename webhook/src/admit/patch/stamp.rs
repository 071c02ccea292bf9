//! The stamp: what was injected, for which session, readable by whoever sees the pod.

use workflow_contract::Stamp;
use workflow_contract::names::STAMP_ANNOTATION;

use super::ops::{Ops, Path};
use super::pod::Pod;
use crate::admit::plan::Plan;
use crate::config::Config;
use json_index::{ToJson, object};

/// The annotations of a pod that has none yet.
struct Annotations {
    stamp: String,
}

impl ToJson for Annotations {
    fn to_json(&self, out: &mut Vec<u8>) {
        object(out, |members| members.add(STAMP_ANNOTATION, &*self.stamp));
    }
}

/// Writes the annotation.
pub fn write(ops: &mut Ops, pod: &Pod<'_>, plan: &Plan<'_>, config: &Config) {
    let stamp = Stamp {
        source: plan.source.clone(),
        generation: plan.session.metadata.generation.unwrap_or_default(),
        session_uid: plan.session_uid.to_owned(),
        image: config.image.clone(),
    };
    let value = stamp.to_annotation().unwrap_or_default();
    let annotations = pod.metadata.get("annotations");
    let path = Path::METADATA.below("annotations");
    if !annotations.is_object() {
        ops.add(path, &Annotations { stamp: value });
    } else if annotations.get(STAMP_ANNOTATION).as_str() != Some(&value) {
        ops.add(path.below(STAMP_ANNOTATION), &*value);
    }
}
