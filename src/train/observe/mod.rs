//! What a run tells while it runs: one [`Metrics`] value per step, written to TensorBoard event files by
//! [`tensorboard::EventWriter`] and to a file of JSON lines by [`jsonl::JsonlWriter`].
//!
//! Both writers are opened with the first step that the session will write. What an earlier session wrote of
//! that step and later ones, after its last checkpoint, is superseded, so that no curve runs twice.

pub mod jsonl;
mod protobuf;
pub mod tensorboard;

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// The named numbers of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The optimizer step.
    pub step: u64,
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The values, under names in TensorBoard's style such as `loss/train` or `time/forward`.
    pub values: BTreeMap<String, f64>,
}

impl Metrics {
    /// No values yet, for a step at a time in seconds since 1970.
    pub fn new(step: u64, wall_time: f64) -> Self {
        Metrics { step, wall_time, values: BTreeMap::new() }
    }

    /// Adds a value, or replaces the one of the same name.
    pub fn set(&mut self, name: impl Into<String>, value: f64) {
        self.values.insert(name.into(), value);
    }
}

/// One flat object, `{"step": 3, "wall_time": 1.7e9, "loss/train": 0.5}`. Values that are not finite, which JSON
/// cannot write, become null. `step` and `wall_time` are those of the record, never a value of that name.
impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("step", &self.step)?;
        map.serialize_entry("wall_time", &self.wall_time)?;
        for (name, value) in self.values.iter().filter(|(name, _)| !matches!(name.as_str(), "step" | "wall_time")) {
            map.serialize_entry(name, &value.is_finite().then_some(value))?;
        }
        map.end()
    }
}
