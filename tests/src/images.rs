//! Names of the images that the tests' own pods run.

use std::path::Path;

use anyhow::Context;

use crate::cluster::checkout;

/// Variable with the fake runner's image.
const SESSION_RUNNER_IMAGE: &str = "SESSION_RUNNER_IMAGE";
/// File that the images' build writes, with lines `NAME=IMAGE`.
const IMAGES: &str = "target/images.env";

/// The fake runner's image: from the environment, else from the last build.
pub fn session_runner() -> anyhow::Result<String> {
    if let Some(image) = std::env::var(SESSION_RUNNER_IMAGE).ok().filter(|image| !image.is_empty()) {
        return Ok(image);
    }
    let text = std::fs::read_to_string(checkout().join(IMAGES)).unwrap_or_default();
    lookup(&text, SESSION_RUNNER_IMAGE)
        .map(str::to_owned)
        .with_context(|| format!("{SESSION_RUNNER_IMAGE} is neither set nor in {IMAGES}: run `make images`"))
}

/// The images of the injector and of its init container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The injector's.
    pub injector: String,
    /// The init container's.
    pub fetcher: String,
}

impl Build {
    /// Of the checkout in `directory`.
    pub(crate) fn of(directory: &Path) -> anyhow::Result<Self> {
        let file = directory.join(IMAGES);
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let image = |name: &str| {
            lookup(&text, name)
                .map(str::to_owned)
                .with_context(|| format!("{name} is not in {}", file.display()))
        };
        Ok(Self { injector: image("WORKFLOW_INJECTOR_IMAGE")?, fetcher: image("INIT_FETCHER_IMAGE")? })
    }
}

/// The value of `name` in lines `NAME=VALUE`; the last one counts, as in a shell.
fn lookup<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .rev()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_value_of_a_name() {
        let text = "# built\nA=1\nSESSION_RUNNER_IMAGE=local.test/session-runner:1\nB=2\nA=3\n";
        assert_eq!(lookup(text, "SESSION_RUNNER_IMAGE"), Some("local.test/session-runner:1"));
        assert_eq!(lookup(text, "A"), Some("3"));
        assert_eq!(lookup(text, "C"), None);
    }
}
