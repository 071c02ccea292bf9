//! Label selectors: the implication of requirements, and selectors that exclude every session pod. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// One requirement of a label selector; `matchLabels` are requirements with `In`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: String,
    values: BTreeSet<String>,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.operator)?;
        let values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        if values.is_empty() { Ok(()) } else { write!(f, " [{}]", values.join(", ")) }
    }
}

pub fn requirements(selector: Option<&LabelSelector>) -> Vec<Requirement> {
    let labels = selector.iter().flat_map(|selector| selector.match_labels.iter().flatten());
    let labels = labels.map(|(key, value)| Requirement {
        key: key.clone(),
        operator: "In".to_owned(),
        values: [value.clone()].into(),
    });
    let expressions = selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    let expressions = expressions.map(|expression| Requirement {
        key: expression.key.clone(),
        operator: expression.operator.clone(),
        values: expression.values.iter().flatten().cloned().collect(),
    });
    labels.chain(expressions).collect()
}

impl Requirement {
    /// Reports whether every set of labels that meets this requirement meets `other`.
    pub fn implies(&self, other: &Self) -> bool {
        self.key == other.key
            && match (self.operator.as_str(), other.operator.as_str()) {
                ("In", "In") => self.values.is_subset(&other.values),
                ("In", "NotIn") => self.values.is_disjoint(&other.values),
                ("NotIn", "NotIn") => self.values.is_superset(&other.values),
                ("In" | "Exists", "Exists") | ("DoesNotExist", "NotIn" | "DoesNotExist") => true,
                _ => false,
            }
    }

    fn is_met_by(&self, value: Option<&str>) -> bool {
        match (self.operator.as_str(), value) {
            ("In", Some(value)) => self.values.contains(value),
            ("NotIn", Some(value)) => !self.values.contains(value),
            ("Exists", Some(_)) | ("NotIn" | "DoesNotExist", None) => true,
            _ => false,
        }
    }
}

pub enum Label {
    Value(&'static str),
    /// Present, with any value.
    Any,
}

/// The labels of every session pod, or of every namespace with sessions.
pub struct KnownLabels<'a> {
    pub labels: &'a [(&'a str, Label)],
    /// True if there are no other labels.
    pub complete: bool,
}

impl KnownLabels<'_> {
    /// Returns a requirement that no object with these labels meets together with the others.
    pub fn first_unmet<'r>(&self, requirements: &'r [Requirement]) -> Option<&'r Requirement> {
        let mut by_key: BTreeMap<&str, Vec<&Requirement>> = BTreeMap::new();
        for requirement in requirements {
            by_key.entry(&requirement.key).or_default().push(requirement);
        }
        by_key.into_iter().find_map(|(key, requirements)| {
            let known = self.labels.iter().find(|(label, _)| *label == key).map(|(_, label)| label);
            match known {
                Some(Label::Value(value)) => requirements.into_iter().find(|one| !one.is_met_by(Some(value))),
                Some(Label::Any) => unsatisfiable(&requirements, false),
                None if self.complete => requirements.into_iter().find(|one| !one.is_met_by(None)),
                None => unsatisfiable(&requirements, true),
            }
        })
    }
}

/// Returns one of the requirements on a label if no value (or, if allowed, absence) of it meets them all.
fn unsatisfiable<'r>(requirements: &[&'r Requirement], may_be_absent: bool) -> Option<&'r Requirement> {
    // Any value that is not named stands for all the others.
    let candidates = requirements.iter().flat_map(|one| &one.values).map(|value| Some(value.as_str()));
    let candidates = candidates.chain([Some("\0")]).chain(may_be_absent.then_some(None));
    let met = |value: Option<&str>| requirements.iter().all(|one| one.is_met_by(value));
    let satisfiable = candidates.into_iter().any(met);
    if satisfiable { None } else { requirements.last().copied() }
}
