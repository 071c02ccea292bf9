//! Builds sessions as users create them.

use serde_json::{Map, Value, json};
use workflow_contract::names::{INJECT_ANNOTATION, OPT_OUT};

use super::{Session, resource};

/// Describes an AgenticSession.
#[derive(Clone)]
pub struct SessionBuilder {
    name: String,
    spec: Map<String, Value>,
    annotations: Vec<(String, String)>,
}

impl SessionBuilder {
    /// Describes a session with a prompt and no workflow.
    pub fn new(name: &str) -> Self {
        let spec = Map::from_iter([("initialPrompt".to_owned(), json!("Say hello"))]);
        Self { name: name.to_owned(), spec, annotations: Vec::new() }
    }

    /// Selects the whole repository at `branch`.
    #[must_use]
    pub fn workflow(self, git_url: &str, branch: &str) -> Self {
        self.active_workflow(json!({ "gitUrl": git_url, "branch": branch }))
    }

    /// Selects the directory `path` of the repository at `branch`.
    #[must_use]
    pub fn workflow_path(self, git_url: &str, branch: &str, path: &str) -> Self {
        self.active_workflow(json!({ "gitUrl": git_url, "branch": branch, "path": path }))
    }

    /// Adds a variable of the user's, for the runner and init-hydrate.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        let variables = self.spec.entry("environmentVariables").or_insert_with(|| json!({}));
        variables[name] = json!(value);
        self
    }

    #[must_use]
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves the session to the platform's own delivery: the injector neither changes its pod nor writes its status.
    #[must_use]
    pub fn without_injection(self) -> Self {
        self.annotation(INJECT_ANNOTATION, OPT_OUT)
    }

    /// The object to create.
    pub fn build(self) -> Session {
        let mut session = Session::new(&self.name, &resource()).data(json!({ "spec": self.spec }));
        session.metadata.annotations =
            (!self.annotations.is_empty()).then(|| self.annotations.into_iter().collect());
        session
    }

    fn active_workflow(mut self, workflow: Value) -> Self {
        self.spec.insert("activeWorkflow".to_owned(), workflow);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_only_the_requested_fields() {
        let session = SessionBuilder::new("s")
            .workflow_path("https://h/r.git", "dev", "a/b")
            .variable("A", "1")
            .variable("B", "2")
            .without_injection()
            .build();
        assert_eq!(
            serde_json::to_value(session).unwrap(),
            json!({
                "apiVersion": "vteam.ambient-code/v1alpha1",
                "kind": "AgenticSession",
                "metadata": { "name": "s", "annotations": { "workflow.ambient-code.io/inject": "false" } },
                "spec": {
                    "initialPrompt": "Say hello",
                    "activeWorkflow": { "gitUrl": "https://h/r.git", "branch": "dev", "path": "a/b" },
                    "environmentVariables": { "A": "1", "B": "2" },
                },
            })
        );
    }
}
