//! The state that all connections of a proxy share.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustls::ServerConfig;

use super::fault::{Fault, Phase, When};

/// A fault and when it happens.
pub struct Rule {
    pub phase: Phase,
    pub when: When,
    pub fault: Fault,
    pub met: AtomicU32,
}

/// State of all connections.
pub struct Shared {
    pub server: SocketAddr,
    pub tls: Option<Arc<ServerConfig>>,
    pub rules: Vec<Rule>,
    pub requests: Mutex<Vec<String>>,
    pub faults: Mutex<u32>,
    pub fault_happened: Condvar,
    pub ended: AtomicBool,
}

impl Shared {
    /// The fault that happens now, if any.
    pub fn fault(&self, phase: Phase, with_credential: bool) -> Option<&Fault> {
        let rule = self.rules.iter().find(|rule| {
            rule.phase == phase
                && match rule.when {
                    When::Always => true,
                    When::First(times) => rule.met.fetch_add(1, Ordering::SeqCst) < times,
                    When::WithoutCredential => !with_credential,
                    When::WithCredential => with_credential,
                }
        })?;
        Some(&rule.fault)
    }

    pub fn happened(&self) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.fault_happened.notify_all();
    }
}
