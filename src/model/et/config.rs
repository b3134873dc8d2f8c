use serde::{Deserialize, Serialize};

use crate::model::graph::{GraphRule, Neighbourhood};
use crate::{Error, Result};

/// The shape of an ET-Flow network. The defaults are those of ET-Flow's `drugs-o3`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EtConfig {
    /// Channels per atom, H: even, a multiple of `heads`, up to 16384.
    pub hidden: usize,
    /// Number of attention layers, up to 1024.
    pub layers: usize,
    /// Attention heads, h, up to 4096.
    pub heads: usize,
    /// Radial basis functions of the squared distance, K, up to 4096.
    pub rbf: usize,
    /// Atoms within this distance are neighbours, Å. (The filters act on squared distances, so that attention
    /// itself ends at its square root.)
    pub cutoff: f64,
    /// The cap on neighbours per atom, for the graph rules that have one, up to 4096.
    pub max_neighbours: usize,
    /// Rows of the element tables: atomic numbers must be below. Up to 256.
    pub max_z: usize,
    /// Whether messages may contain cross products. With them the network tells a molecule from its mirror
    /// image (SO(3)); without, it is blind to handedness (O(3)).
    pub so3: bool,
    /// A layer norm inside the two blocks of the head, as in ET-Flow's QM9 recipes.
    pub output_layer_norm: bool,
    /// How neighbours are chosen. `etflow-index` is what published weights need; the other two do not depend
    /// on the order of the atoms.
    pub graph: GraphRule,
}

impl Default for EtConfig {
    fn default() -> Self {
        EtConfig {
            hidden: 160,
            layers: 20,
            heads: 8,
            rbf: 64,
            cutoff: 10.0,
            max_neighbours: 32,
            max_z: 100,
            so3: false,
            output_layer_norm: false,
            graph: GraphRule::EtflowIndex,
        }
    }
}

impl EtConfig {
    /// Checks what the types cannot: [`Error::Config`] names the key, its value and what is allowed.
    pub fn validate(&self) -> Result<()> {
        // Far beyond any use; a number from a damaged or forged file must not ask for all memory.
        for (key, value, allowed) in [
            ("hidden", self.hidden, 2..=16384),
            ("layers", self.layers, 1..=1024),
            ("heads", self.heads, 1..=4096),
            ("rbf", self.rbf, 2..=4096),
            ("max_neighbours", self.max_neighbours, 1..=4096),
            ("max_z", self.max_z, 2..=256),
        ] {
            if !allowed.contains(&value) {
                let (least, most) = allowed.into_inner();
                return Err(Error::Config(format!("model: {key} is {value}, but must be {least} to {most}")));
            }
        }
        if !self.hidden.is_multiple_of(self.heads) || !self.hidden.is_multiple_of(2) {
            let (hidden, heads) = (self.hidden, self.heads);
            let message = format!("model: hidden is {hidden}, but must be even and a multiple of heads ({heads})");
            return Err(Error::Config(message));
        }
        if !(self.cutoff > 0.0 && self.cutoff <= 1e6) {
            let message = format!("model: cutoff is {} Å, but must lie in (0, 1e6]", self.cutoff);
            return Err(Error::Config(message));
        }
        Ok(())
    }

    /// The rule that makes the edges.
    pub(super) fn neighbourhood(&self) -> Neighbourhood {
        Neighbourhood { rule: self.graph, cutoff: self.cutoff, max_neighbours: self.max_neighbours }
    }

    /// Factors that a neighbour contributes per head: scalar, vector, direction, and the cross product's.
    pub(super) fn parts(&self) -> usize {
        if self.so3 { 4 } else { 3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_impossible_shapes_are_refused() {
        assert!(serde_json::from_str::<EtConfig>(r#"{"hiden": 3}"#).unwrap_err().to_string().contains("hiden"));
        let parsed: EtConfig = serde_json::from_str(r#"{"hidden": 24, "heads": 5, "graph": "all-pairs"}"#).unwrap();
        assert_eq!(parsed.graph, GraphRule::AllPairs);
        let refused = [
            (parsed, "multiple of heads (5)"),
            (EtConfig { hidden: 9, heads: 3, ..Default::default() }, "even"),
            (EtConfig { layers: 0, ..Default::default() }, "layers is 0"),
            (EtConfig { cutoff: f64::NAN, ..Default::default() }, "cutoff is NaN"),
            (EtConfig { cutoff: 0.0, ..Default::default() }, "cutoff is 0"),
            (EtConfig { hidden: 16386, ..Default::default() }, "hidden is 16386"),
            (EtConfig { hidden: usize::MAX - 7, ..Default::default() }, "hidden is"),
            (EtConfig { layers: 1025, ..Default::default() }, "layers is 1025"),
            (EtConfig { rbf: 4097, ..Default::default() }, "rbf is 4097"),
            (EtConfig { max_neighbours: 4097, ..Default::default() }, "max_neighbours is 4097"),
            (EtConfig { max_z: 257, ..Default::default() }, "max_z is 257"),
        ];
        for (config, part) in refused {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(EtConfig::default().validate().is_ok());
    }
}
