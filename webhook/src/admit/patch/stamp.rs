//! The stamp: what was injected, for which session, readable by whoever sees the pod.

use json_patch::jsonptr::PointerBuf;
use serde_json::{Value, json};
use workflow_contract::Stamp;
use workflow_contract::names::STAMP_ANNOTATION;

use super::ops::Ops;
use super::pod::Pod;
use crate::admit::json;
use crate::admit::plan::Plan;
use crate::config::Config;

/// Writes the annotation.
pub fn write(ops: &mut Ops, pod: &Pod<'_, '_>, plan: &Plan<'_>, config: &Config) {
    let stamp = Stamp {
        source: plan.source.clone(),
        generation: plan.session.metadata.generation.unwrap_or_default(),
        session_uid: plan.session_uid.to_owned(),
        image: config.image.clone(),
    };
    let value = Value::from(stamp.to_annotation().unwrap_or_default());
    let annotations = json::get(pod.metadata, "annotations");
    if !annotations.is_object() {
        ops.add(PointerBuf::from_tokens(["metadata", "annotations"]), json!({STAMP_ANNOTATION: value}));
    } else if json::get(annotations, STAMP_ANNOTATION).as_str() != value.as_str() {
        ops.add(PointerBuf::from_tokens(["metadata", "annotations", STAMP_ANNOTATION]), value);
    }
}
