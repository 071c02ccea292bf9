//! The MutatingWebhookConfiguration at run time: its CA bundle and owner, what replicas conclude from it, and how it
//! differs from the shipped one.

pub mod ca_bundle;
pub mod compare;
pub mod readiness;
