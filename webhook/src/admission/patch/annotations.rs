//! The annotation that records the injected source and its session.

use serde_json::Value;
use workflow_contract::Stamp;

use crate::admission::plan::Plan;
use crate::config::Config;

/// Builds the value of the annotation.
pub fn wanted(plan: &Plan<'_>, config: &Config) -> Value {
    stamp(plan, config).to_annotation().unwrap_or_default().into()
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
