//! The annotation that records the injected source and its session.

use serde_json::{Value, json};
use workflow_contract::Stamp;
use workflow_contract::names::STAMP_ANNOTATION;

use super::pod::Pod;
use crate::admission::plan::Plan;
use crate::config::Config;

/// Builds the pod's annotations.
pub fn wanted(pod: &Pod<'_>, plan: &Plan<'_>, config: &Config) -> Value {
    let current = &pod.metadata["annotations"];
    let mut annotations = if current.is_object() { current.clone() } else { json!({}) };
    annotations[STAMP_ANNOTATION] = json!(stamp(plan, config).to_annotation().unwrap_or_default());
    annotations
}

/// Builds the record of a delivery.
pub fn stamp(plan: &Plan<'_>, config: &Config) -> Stamp {
    Stamp {
        source: plan.source.clone(),
        generation: plan.session.metadata.generation.unwrap_or_default(),
        session_uid: plan.session_uid.to_owned(),
        image: config.image.clone(),
    }
}
