//! Types of more than one module.

use std::sync::Arc;

/// A CA bundle in PEM; `None` while it is unknown.
pub type Bundle = Option<Arc<str>>;

/// The reason why certificates can't be maintained or served as they should be; `None` if there is none.
pub type Fault = Option<String>;
