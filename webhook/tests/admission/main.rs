//! Claims about admission, on pods as an API server sends them.

mod container;
mod environment;
mod fixtures;
mod plan;
mod properties;
mod render;
mod router;
mod security;
mod volumes;
