//! The termination message file.

use std::fs;
use std::path::Path;

use workflow_contract::termination::Details;
use workflow_contract::{Exit, Termination};

/// Writes the termination message, and the same to the log. A failure is only logged, because it does not
/// change the outcome of the run.
pub fn write(file: &Path, message: &str, details: Details) {
    let reason = details.reason;
    if reason == Exit::Reconciled {
        tracing::info!(%reason, termination_message = message, "workflow delivered");
    } else {
        tracing::error!(%reason, termination_message = message, "workflow not delivered");
    }
    let message = Termination { message: message.to_owned(), details: Some(details) }.render();
    if let Err(error) = fs::write(file, message) {
        tracing::warn!(file = %file.display(), %error, "failed to write the termination message");
    }
}
