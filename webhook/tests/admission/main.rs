//! Claims about admission, on pods as an API server sends them, and about the commands around it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a fixture that fails is a test that fails")]

mod any;
mod claims;
mod container;
mod environment;
mod fixtures;
mod live;
mod plan;
mod properties;
mod render;
mod router;
mod security;
mod serve;
mod volumes;
