//! Object metadata without the fields that are not read here, left out while it is decoded.
//!
//! The managed fields of an object alone are larger than all that is read, and a list decoded with them would leave its
//! memory with the process.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{Deserialize, Deserializer};
use workflow_contract::names::{FORCE_PROMPT_ANNOTATION, INJECT_ANNOTATION, STAMP_ANNOTATION};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Trimmed {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    generation: Option<i64>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    owner_references: Option<Vec<OwnerReference>>,
    annotations: Option<TrimmedAnnotations>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TrimmedAnnotations {
    #[serde(rename = "workflow.ambient-code.io/injected")]
    stamp: Option<String>,
    #[serde(rename = "workflow.ambient-code.io/inject")]
    inject: Option<String>,
    #[serde(rename = "ambient-code.io/force-execute-prompt")]
    force_prompt: Option<String>,
}

/// For serde's `deserialize_with`.
pub fn trimmed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let read = Trimmed::deserialize(deserializer)?;
    let TrimmedAnnotations { stamp, inject, force_prompt } = read.annotations.unwrap_or_default();
    let kept =
        [(STAMP_ANNOTATION, stamp), (INJECT_ANNOTATION, inject), (FORCE_PROMPT_ANNOTATION, force_prompt)];
    let annotations: BTreeMap<_, _> =
        kept.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Ok(ObjectMeta {
        name: read.name,
        namespace: read.namespace,
        uid: read.uid,
        generation: read.generation,
        resource_version: read.resource_version,
        creation_timestamp: read.creation_timestamp,
        deletion_timestamp: read.deletion_timestamp,
        owner_references: read.owner_references,
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_only_the_metadata_that_is_read() {
        let all = serde_json::json!({
            "name": "n", "resourceVersion": "7", "managedFields": [{"manager": "kubelet"}], "labels": {"a": "b"},
            "annotations": {STAMP_ANNOTATION: "stamp", INJECT_ANNOTATION: "x", FORCE_PROMPT_ANNOTATION: "y", "other": "value"},
        });
        let annotations =
            [(STAMP_ANNOTATION, "stamp"), (INJECT_ANNOTATION, "x"), (FORCE_PROMPT_ANNOTATION, "y")];
        let kept = ObjectMeta {
            name: Some("n".into()),
            resource_version: Some("7".into()),
            annotations: Some(annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        };
        assert_eq!(trimmed(all).unwrap(), kept);
        assert_eq!(trimmed(serde_json::json!({"annotations": null})).unwrap(), ObjectMeta::default());
    }
}
