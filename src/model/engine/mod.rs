//! The CPU engine.

// Only the tests use it until the engine's products go through it.
#[allow(dead_code)]
pub(crate) mod bf16;
