//! The vocabulary that the parts of workflow-injector share.
//!
//! ```text
//!  webhook ──environment (env), stamp annotation (stamp)──> pod ──> init-fetcher
//!  init-fetcher ──exit code (exit), termination message (termination)──> webhook
//!  webhook ──condition reasons (condition)──> AgenticSession
//! ```
//!
//! Both ends use the same code, so that each value is parsed as it was written. Everything here is pure: no I/O, no
//! clock, no client, no process environment.

pub mod condition;
pub mod env;
pub mod exit;
pub mod limits;
pub mod names;
pub mod path;
pub mod policy;
mod redact;
pub mod reference;
pub mod secret;
pub mod settings;
pub mod source;
pub mod stamp;
pub mod termination;
pub mod text;
pub mod url;
pub mod verify;

pub use exit::Exit;
pub use path::RepoPath;
pub use policy::Policy;
pub use reference::RefName;
pub use secret::Secret;
pub use settings::{LogFormat, Submodules, UnsafeLinks};
pub use source::Source;
pub use stamp::Stamp;
pub use termination::Termination;
pub use url::{RepoUrl, Scheme};
