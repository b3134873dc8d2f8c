//! The shape of the network.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The shape of a protein-backbone network. The defaults are those of the small model that Proteina's authors
/// released (60 million parameters, no pair updates).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProteinConfig {
    /// Channels per residue, d, up to 16384.
    pub hidden: usize,
    /// Number of attention layers, up to 1024.
    pub layers: usize,
    /// Attention heads, h, up to 1024.
    pub heads: usize,
    /// Channels per head, up to 4096; `heads` × `head_width` need not equal `hidden`.
    pub head_width: usize,
    /// Channels per pair of residues, p, up to 4096.
    pub pair: usize,
    /// Channels of the conditioning vector, up to 16384.
    pub condition: usize,
    /// Channels of the time embedding: even, 4 to 4096.
    pub time: usize,
    /// Channels of the embedding of residue numbers: even, 2 to 4096.
    pub index: usize,
    /// Channels of the fold class's embedding per level, up to 4096.
    pub fold: usize,
    /// Fold classes of the levels C, A and T, up to a million each; each table has one row more, for "not told".
    pub fold_classes: [usize; 3],
    /// Learned tokens that stand before the residues, up to 1024.
    pub registers: usize,
    /// How many times wider than `hidden` the layers' transitions are, up to 16.
    pub expansion: usize,
    /// Bins of the separation of two residues along the chain: odd, 3 to 4095.
    pub separation_bins: usize,
    /// Bins of the distances in the fed-back prediction, 3 to 4096.
    pub self_condition_bins: usize,
    /// Bins of the distances in x_t, 3 to 4096.
    pub distance_bins: usize,
    /// In which order the columns of the sequence features stand; matters to published weights alone.
    pub features: FeatureOrder,
    /// Whether and how layers update the pairs, with a distogram as an auxiliary prediction.
    pub pair_updates: Option<PairUpdates>,
}

/// The order of the columns of the sequence features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureOrder {
    /// Residue number, break, fed-back position: the small model.
    #[default]
    BreakFirst,
    /// Residue number, fed-back position, break: the larger models.
    PositionFirst,
}

/// Updates of the pairs between layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairUpdates {
    /// The pairs are updated after the layers 0, `every`, 2 `every` …, but not after the last.
    pub every: usize,
    /// Whether an update contains triangle multiplications.
    pub triangles: bool,
    /// Channels inside of a triangle multiplication, up to 4096; no more than `pair` are made.
    pub triangle_width: usize,
    /// Buckets of the distogram, 3 to 4096: distances from 0 to 1 nm, the last for all above.
    pub buckets: usize,
}

impl Default for ProteinConfig {
    fn default() -> Self {
        ProteinConfig {
            hidden: 512,
            layers: 10,
            heads: 8,
            head_width: 64,
            pair: 256,
            condition: 512,
            time: 256,
            index: 128,
            fold: 256,
            fold_classes: [5, 43, 1336],
            registers: 10,
            expansion: 4,
            separation_bins: 127,
            self_condition_bins: 128,
            distance_bins: 64,
            features: FeatureOrder::BreakFirst,
            pair_updates: None,
        }
    }
}

impl Default for PairUpdates {
    fn default() -> Self {
        PairUpdates { every: 2, triangles: true, triangle_width: 196, buckets: 64 }
    }
}

impl ProteinConfig {
    /// Checks what the types cannot: [`Error::Config`] names the key, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        // Far beyond any use; a number from a damaged or forged file must not ask for all memory.
        let mut ranges = vec![
            ("hidden", self.hidden, 1..=16384),
            ("layers", self.layers, 1..=1024),
            ("heads", self.heads, 1..=1024),
            ("head_width", self.head_width, 1..=4096),
            ("pair", self.pair, 1..=4096),
            ("condition", self.condition, 1..=16384),
            ("time", self.time, 4..=4096),
            ("index", self.index, 2..=4096),
            ("fold", self.fold, 1..=4096),
            ("fold_classes (level C)", self.fold_classes[0], 0..=1_000_000),
            ("fold_classes (level A)", self.fold_classes[1], 0..=1_000_000),
            ("fold_classes (level T)", self.fold_classes[2], 0..=1_000_000),
            ("registers", self.registers, 0..=1024),
            ("expansion", self.expansion, 1..=16),
            ("separation_bins", self.separation_bins, 3..=4095),
            ("self_condition_bins", self.self_condition_bins, 3..=4096),
            ("distance_bins", self.distance_bins, 3..=4096),
        ];
        if let Some(updates) = &self.pair_updates {
            ranges.push(("pair_updates.every", updates.every, 1..=1024));
            ranges.push(("pair_updates.triangle_width", updates.triangle_width, 1..=4096));
            ranges.push(("pair_updates.buckets", updates.buckets, 3..=4096));
        }
        for (key, value, allowed) in ranges {
            if !allowed.contains(&value) {
                let (least, most) = allowed.into_inner();
                return Err(Error::Config(format!("model: {key} is {value}, but must be {least} to {most}")));
            }
        }
        for (key, value, rest, kind) in [
            ("time", self.time, 0, "even"),
            ("index", self.index, 0, "even"),
            ("separation_bins", self.separation_bins, 1, "odd"),
        ] {
            if value % 2 != rest {
                return Err(Error::Config(format!("model: {key} is {value}, but must be {kind}")));
            }
        }
        Ok(())
    }

    /// Channels of all heads together.
    pub(super) fn inner(&self) -> usize {
        self.heads * self.head_width
    }

    /// Columns of the sequence features: residue number, break, fed-back position.
    pub(super) fn sequence_features(&self) -> usize {
        self.index + 4
    }

    /// Columns of the pair features: bins of separation, of distances in the fed-back prediction, in x_t.
    pub(super) fn pair_features(&self) -> usize {
        self.separation_bins + self.self_condition_bins + self.distance_bins
    }

    /// The pair updates after layer `index`, if there are any.
    pub(super) fn updates_after(&self, index: usize) -> Option<&PairUpdates> {
        let due = |updates: &&PairUpdates| index + 1 < self.layers && index.is_multiple_of(updates.every);
        self.pair_updates.as_ref().filter(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<ProteinConfig>(r#"{"hiden": 3}"#).unwrap_err().to_string().contains("hiden"));
        let unknown = serde_json::from_str::<ProteinConfig>(r#"{"pair_updates": {"ever": 3}}"#);
        assert!(unknown.unwrap_err().to_string().contains("ever"));
        let text = r#"{"heads": 12, "head_width": 42, "features": "position-first", "pair_updates": {"every": 3}}"#;
        let parsed: ProteinConfig = serde_json::from_str(text).unwrap();
        assert_eq!((parsed.inner(), parsed.features), (504, FeatureOrder::PositionFirst));
        assert_eq!(parsed.pair_updates, Some(PairUpdates { every: 3, ..PairUpdates::default() }));
        assert!(parsed.validate().is_ok() && ProteinConfig::default().validate().is_ok());
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let default = ProteinConfig::default;
        let updates = |updates| ProteinConfig { pair_updates: Some(updates), ..default() };
        let refused = [
            (ProteinConfig { hidden: 0, ..default() }, "hidden is 0, but must be 1 to 16384"),
            (ProteinConfig { hidden: usize::MAX, ..default() }, "hidden is"),
            (ProteinConfig { layers: 1025, ..default() }, "layers is 1025"),
            (ProteinConfig { heads: 0, ..default() }, "heads is 0"),
            (ProteinConfig { head_width: 4097, ..default() }, "head_width is 4097"),
            (ProteinConfig { pair: 0, ..default() }, "pair is 0"),
            (ProteinConfig { condition: 0, ..default() }, "condition is 0"),
            (ProteinConfig { time: 2, ..default() }, "time is 2, but must be 4 to 4096"),
            (ProteinConfig { time: 255, ..default() }, "time is 255, but must be even"),
            (ProteinConfig { index: 127, ..default() }, "index is 127, but must be even"),
            (ProteinConfig { fold: 0, ..default() }, "fold is 0"),
            (ProteinConfig { fold_classes: [5, 43, 1_000_001], ..default() }, "fold_classes (level T) is 1000001"),
            (ProteinConfig { registers: 1025, ..default() }, "registers is 1025"),
            (ProteinConfig { expansion: 17, ..default() }, "expansion is 17"),
            (ProteinConfig { separation_bins: 126, ..default() }, "separation_bins is 126, but must be odd"),
            (ProteinConfig { self_condition_bins: 2, ..default() }, "self_condition_bins is 2"),
            (ProteinConfig { distance_bins: 5000, ..default() }, "distance_bins is 5000"),
            (updates(PairUpdates { every: 0, ..Default::default() }), "pair_updates.every is 0"),
            (updates(PairUpdates { triangle_width: 0, ..Default::default() }), "pair_updates.triangle_width is 0"),
            (updates(PairUpdates { buckets: 1, ..Default::default() }), "pair_updates.buckets is 1"),
        ];
        for (config, part) in refused {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn pairs_are_updated_between_layers_alone() {
        let config = |layers, every| ProteinConfig {
            layers,
            pair_updates: Some(PairUpdates { every, ..Default::default() }),
            ..Default::default()
        };
        let after = |config: &ProteinConfig| -> Vec<usize> {
            (0..config.layers).filter(|&index| config.updates_after(index).is_some()).collect()
        };
        assert_eq!(after(&config(10, 2)), [0, 2, 4, 6, 8]);
        assert_eq!(after(&config(3, 2)), [0]);
        assert_eq!(after(&config(1, 1)), [0; 0]);
        assert_eq!(after(&ProteinConfig::default()), [0; 0]);
    }
}
