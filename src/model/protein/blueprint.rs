//! All parameters: their names, which are those of Proteina's state dict, their shapes, their places, their initial
//! laws. A parameter is known by its index among the layout's spans.
//!
//! The buffer holds stem, layers and pair updates in the order of the forward pass, then the decoder, so that the
//! way back finishes runs of it, from the last to the first. What makes attention biases of pairs belongs to the stem,
//! for all layers: without pair updates they are one product. Matrices that act on the same rows lie side by
//! side (`to_qkv` and `to_g`; the gains and shifts of an adaptive norm; all layers' `to_bias`), so that an engine may
//! see them as one.

use std::ops::Range;

use super::ProteinConfig;
use crate::model::Layout;
use crate::model::layers::{Declaration, Law, LayerNorm, Linear, LinearInit, Projection};
use crate::{Error, Result};

/// The most parameters, 8 GiB in f32: each limit of the configuration alone would still let their product
/// exceed any memory.
const MAX_PARAMETERS: usize = 1 << 31;

/// How many times wider than the conditioning vector its transitions are.
pub(super) const CONDITION_EXPANSION: usize = 2;

/// How many times wider than the pairs their transitions are.
pub(super) const PAIR_EXPANSION: usize = 2;

/// What stays the same whatever the parameters' values.
#[derive(Debug)]
pub(super) struct Blueprint {
    pub(super) config: ProteinConfig,
    pub(super) layout: Layout,
    /// The runs of the buffer in the order of the way back: decoder; from the last layer to the first, the pair
    /// update after it (if there is one) and the layer; stem.
    pub(super) units: Vec<Range<usize>>,
    pub(super) stem: StemParts,
    pub(super) layers: Vec<LayerParts>,
    /// The pair update after each layer.
    pub(super) updates: Vec<Option<UpdateParts>>,
    pub(super) decoder: DecoderParts,
}

impl Blueprint {
    /// The parameters of a network of this shape and their initial laws.
    ///
    /// # Errors
    /// [`Error::Config`] if the shape is impossible or has more than 2³¹ parameters.
    pub(super) fn new(config: ProteinConfig) -> Result<(Self, Vec<Law>)> {
        config.validate()?;
        let mut declare = Declaration::default();
        let mut ends = vec![0];
        let stem = StemParts::declare(&mut declare, &config);
        ends.push(declare.len());
        let (mut layers, mut updates) = (Vec::new(), Vec::new());
        for index in 0..config.layers {
            layers.push(LayerParts::declare(&mut declare, &config, index));
            ends.push(declare.len());
            let update = UpdateParts::declare(&mut declare, &config, index);
            if update.is_some() {
                ends.push(declare.len());
            }
            updates.push(update);
        }
        let decoder = DecoderParts::declare(&mut declare, &config);
        ends.push(declare.len());
        let units = ends.windows(2).rev().map(|ends| ends[0]..ends[1]).collect();
        let (layout, laws) = declare.finish();
        if layout.len() > MAX_PARAMETERS {
            let (found, ProteinConfig { hidden, layers, .. }) = (layout.len(), &config);
            return Err(Error::Config(format!(
                "model: hidden {hidden}, layers {layers} and the other widths make {found} parameters, but at most \
                 {MAX_PARAMETERS} are allowed"
            )));
        }
        Ok((Blueprint { config, layout, units, stem, layers, updates, decoder }, laws))
    }

    /// The runs of layers that see the same pairs, in order; an update stands between two of them.
    pub(super) fn segments(&self) -> Vec<Range<usize>> {
        let mut segments = Vec::new();
        let mut start = 0;
        for end in 1..=self.layers.len() {
            if end == self.layers.len() || self.updates[end - 1].is_some() {
                segments.push(start..end);
                start = end;
            }
        }
        segments
    }

    /// That these are as many parameters as the network has.
    pub(super) fn check_len<T>(&self, parameters: &[T]) -> Result<()> {
        match (parameters.len(), self.layout.len()) {
            (found, expected) if found == expected => Ok(()),
            (found, expected) => {
                Err(Error::Checkpoint(format!("{found} parameters given to a network that has {expected}")))
            }
        }
    }
}

/// Before the layers.
#[derive(Debug)]
pub(super) struct StemParts {
    /// The registers, (r, d).
    pub(super) registers: usize,
    /// Of the noised positions, (d, 3).
    pub(super) positions: Projection,
    /// Of the sequence features, (d, index + 4).
    pub(super) sequence: Projection,
    pub(super) condition: ConditionParts,
    pub(super) pairs: PairParts,
    /// Per layer, what turns a pair into attention biases.
    pub(super) biases: Vec<BiasParts>,
}

/// The conditioning vector.
#[derive(Debug)]
pub(super) struct ConditionParts {
    /// Tables of the levels C, A and T, (classes + 1, fold); the last row is the null class.
    pub(super) folds: [usize; 3],
    /// Of time and fold, (condition, time + 3 fold).
    pub(super) projection: Projection,
    /// Two transitions in a row.
    pub(super) transitions: [TransitionParts; 2],
}

/// y = (v · silu(g)) W2ᵀ with [v, g] = x W1ᵀ.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransitionParts {
    /// W1 (2 e width, width): first the values' rows, then the gates'.
    pub(super) widen: Projection,
    /// W2 (width, e width).
    pub(super) narrow: Projection,
}

/// The pairs before the layers.
#[derive(Debug)]
pub(super) struct PairParts {
    /// Of the binned features, (p, bins); columns: separation, distances fed back, distances of x_t.
    pub(super) projection: Projection,
    pub(super) norm: LayerNorm,
    /// Of the time embedding, (condition, time).
    pub(super) condition: Projection,
    pub(super) condition_norm: LayerNorm,
    pub(super) adaptive: AdaptiveParts,
}

/// LN(x) · sigmoid(γ(LN(c))) + β(LN(c)).
#[derive(Clone, Copy, Debug)]
pub(super) struct AdaptiveParts {
    /// The affine norm of c.
    pub(super) norm: LayerNorm,
    /// γ, (width, condition).
    pub(super) gain: Linear,
    /// β, (width, condition).
    pub(super) shift: Projection,
}

/// What turns pairs into a layer's attention biases.
#[derive(Clone, Copy, Debug)]
pub(super) struct BiasParts {
    /// (h, p).
    pub(super) projection: Projection,
    pub(super) norm: LayerNorm,
}

/// A layer: attention and transition.
#[derive(Debug)]
pub(super) struct LayerParts {
    pub(super) attention: AttentionParts,
    pub(super) transition: GatedTransitionParts,
}

/// An attention block.
#[derive(Debug)]
pub(super) struct AttentionParts {
    pub(super) adaptive: AdaptiveParts,
    pub(super) norm: LayerNorm,
    /// (3 h·width, d): queries, keys, values.
    pub(super) qkv: Linear,
    /// (h·width, d).
    pub(super) gate: Linear,
    pub(super) query_norm: LayerNorm,
    pub(super) key_norm: LayerNorm,
    /// (d, h·width).
    pub(super) output: Linear,
    /// The gate before the residual, (d, condition).
    pub(super) scale: Linear,
}

/// A transition block.
#[derive(Debug)]
pub(super) struct GatedTransitionParts {
    pub(super) adaptive: AdaptiveParts,
    pub(super) transition: TransitionParts,
    /// The gate before the residual, (d, condition).
    pub(super) scale: Linear,
}

/// A pair update.
#[derive(Debug)]
pub(super) struct UpdateParts {
    pub(super) token_norm: LayerNorm,
    /// (2 p, d): first the half that is indexed by the second residue, then the half that is by the first.
    pub(super) tokens: Projection,
    /// Outgoing, incoming.
    pub(super) triangles: Option<[TriangleParts; 2]>,
    pub(super) norm: LayerNorm,
    /// (2 p, p) and (p, 2 p).
    pub(super) transition: [Linear; 2],
}

/// A triangle multiplication.
#[derive(Debug)]
pub(super) struct TriangleParts {
    pub(super) norm: LayerNorm,
    /// Values and gates of the first factor, (c, p) each.
    pub(super) first: [Linear; 2],
    /// Values and gates of the second factor, (c, p) each.
    pub(super) second: [Linear; 2],
    pub(super) output_norm: LayerNorm,
    /// (p, c).
    pub(super) output: Linear,
    /// (p, p).
    pub(super) gate: Linear,
}

/// After the layers.
#[derive(Debug)]
pub(super) struct DecoderParts {
    pub(super) norm: LayerNorm,
    /// (3, d).
    pub(super) projection: Projection,
    /// The distogram's norm and logits (buckets, p), with pair updates.
    pub(super) distogram: Option<(LayerNorm, Linear)>,
}

impl StemParts {
    fn declare(declare: &mut Declaration, config: &ProteinConfig) -> Self {
        let ProteinConfig { hidden, heads, pair, .. } = *config;
        let part = |layer: usize, part: &str| format!("transformer_layers.{layer}.mhba.mha.{part}");
        let registers = declare.tensor("registers".into(), &[config.registers, hidden], Law::Normal(0.05));
        let positions = declare.projection("linear_3d_embed", 3, hidden, LinearInit::FanIn);
        let features = config.sequence_features();
        let sequence = declare.projection("init_repr_factory.linear_out", features, hidden, LinearInit::FanIn);
        let condition = ConditionParts::declare(declare, config);
        let pairs = PairParts::declare(declare, config);
        let mut to_bias = |layer| declare.projection(&part(layer, "to_bias"), pair, heads, LinearInit::FanIn);
        let projections: Vec<Projection> = (0..config.layers).map(&mut to_bias).collect();
        let biases = projections.into_iter().enumerate();
        let mut with_norm = |(layer, projection)| {
            let norm = declare.layer_norm(&part(layer, "pair_norm"), pair);
            BiasParts { projection, norm }
        };
        let biases = biases.map(&mut with_norm).collect();
        StemParts { registers, positions, sequence, condition, pairs, biases }
    }
}

impl ConditionParts {
    fn declare(declare: &mut Declaration, config: &ProteinConfig) -> Self {
        let ProteinConfig { condition, time, fold, .. } = *config;
        let mut level = 0;
        let folds = ["C", "A", "T"].map(|name| {
            let rows = config.fold_classes[level] + 1;
            level += 1;
            declare.embedding(&format!("cond_factory.feat_creators.1.embedding_{name}"), rows, fold)
        });
        let inputs = time + 3 * fold;
        let projection = declare.projection("cond_factory.linear_out", inputs, condition, LinearInit::FanIn);
        let transitions = ["transition_c_1", "transition_c_2"]
            .map(|name| TransitionParts::declare(declare, name, condition, CONDITION_EXPANSION));
        ConditionParts { folds, projection, transitions }
    }
}

impl TransitionParts {
    fn declare(declare: &mut Declaration, name: &str, width: usize, expansion: usize) -> Self {
        let inside = expansion * width;
        TransitionParts {
            widen: declare.projection(&format!("{name}.swish_linear.0"), width, 2 * inside, LinearInit::FanIn),
            narrow: declare.projection(&format!("{name}.linear_out"), inside, width, LinearInit::FanIn),
        }
    }
}

impl PairParts {
    fn declare(declare: &mut Declaration, config: &ProteinConfig) -> Self {
        let ProteinConfig { pair, condition, time, .. } = *config;
        let name = |part: &str| format!("pair_repr_builder.{part}");
        let features = config.pair_features();
        PairParts {
            projection: declare.projection(&name("init_repr_factory.linear_out"), features, pair, LinearInit::FanIn),
            norm: declare.layer_norm(&name("init_repr_factory.ln_out"), pair),
            condition: declare.projection(&name("cond_factory.linear_out"), time, condition, LinearInit::FanIn),
            condition_norm: declare.layer_norm(&name("cond_factory.ln_out"), condition),
            adaptive: AdaptiveParts::declare(declare, &name("adaln"), condition, pair),
        }
    }
}

impl AdaptiveParts {
    fn declare(declare: &mut Declaration, name: &str, condition: usize, width: usize) -> Self {
        let norm = declare.layer_norm(&format!("{name}.norm_cond"), condition);
        let bound = Law::Uniform(1.0 / (condition as f64).sqrt());
        let mut tensor = |part: &str, shape: &[usize]| declare.tensor(format!("{name}.{part}"), shape, bound.clone());
        let weight = tensor("to_gamma.0.weight", &[width, condition]);
        let shift = Projection { weight: tensor("to_beta.weight", &[width, condition]) };
        let gain = Linear { weight, bias: tensor("to_gamma.0.bias", &[width]) };
        AdaptiveParts { norm, gain, shift }
    }
}

impl LayerParts {
    fn declare(declare: &mut Declaration, config: &ProteinConfig, index: usize) -> Self {
        let name = format!("transformer_layers.{index}");
        LayerParts {
            attention: AttentionParts::declare(declare, config, &format!("{name}.mhba")),
            transition: GatedTransitionParts::declare(declare, config, &format!("{name}.transition")),
        }
    }
}

/// The gate before a residual: nearly shut at first, whatever the conditioning.
fn scale(declare: &mut Declaration, config: &ProteinConfig, name: &str) -> Linear {
    let name = format!("{name}.scale_output.to_adaln_zero_gamma.0");
    declare.linear(&name, config.condition, config.hidden, LinearInit::Constant(0.0, -2.0))
}

impl AttentionParts {
    fn declare(declare: &mut Declaration, config: &ProteinConfig, name: &str) -> Self {
        let (hidden, inner) = (config.hidden, config.inner());
        let part = |part: &str| format!("{name}.mha.{part}");
        let adaptive = AdaptiveParts::declare(declare, &format!("{name}.adaln"), config.condition, hidden);
        let norm = declare.layer_norm(&part("node_norm"), hidden);
        let bound = Law::Uniform(1.0 / (hidden as f64).sqrt());
        let mut tensor = |name: &str, shape: &[usize]| declare.tensor(part(name), shape, bound.clone());
        let weights = [tensor("to_qkv.weight", &[3 * inner, hidden]), tensor("to_g.weight", &[inner, hidden])];
        let biases = [tensor("to_qkv.bias", &[3 * inner]), tensor("to_g.bias", &[inner])];
        AttentionParts {
            adaptive,
            norm,
            qkv: Linear { weight: weights[0], bias: biases[0] },
            gate: Linear { weight: weights[1], bias: biases[1] },
            query_norm: declare.layer_norm(&part("q_layer_norm"), inner),
            key_norm: declare.layer_norm(&part("k_layer_norm"), inner),
            output: declare.linear(&part("to_out_node"), inner, hidden, LinearInit::FanIn),
            scale: scale(declare, config, name),
        }
    }
}

impl GatedTransitionParts {
    fn declare(declare: &mut Declaration, config: &ProteinConfig, name: &str) -> Self {
        let inside = format!("{name}.transition");
        GatedTransitionParts {
            adaptive: AdaptiveParts::declare(declare, &format!("{name}.adaln"), config.condition, config.hidden),
            transition: TransitionParts::declare(declare, &inside, config.hidden, config.expansion),
            scale: scale(declare, config, name),
        }
    }
}

impl UpdateParts {
    /// The update after layer `index`, if there is one.
    fn declare(declare: &mut Declaration, config: &ProteinConfig, index: usize) -> Option<Self> {
        let updates = config.updates_after(index)?;
        let (hidden, pair) = (config.hidden, config.pair);
        let name = |part: &str| format!("pair_update_layers.{index}.{part}");
        let width = updates.triangle_width.min(pair);
        let mut triangle = |part: &str| TriangleParts::declare(declare, &name(part), pair, width);
        let triangles = updates.triangles.then(|| ["tri_mult_out", "tri_mult_in"].map(&mut triangle));
        let inside = PAIR_EXPANSION * pair;
        Some(UpdateParts {
            token_norm: declare.layer_norm(&name("layer_norm_in"), hidden),
            tokens: declare.projection(&name("linear_x"), hidden, 2 * pair, LinearInit::FanIn),
            triangles,
            norm: declare.layer_norm(&name("transition_out.layer_norm"), pair),
            transition: [
                declare.linear(&name("transition_out.linear_1"), pair, inside, LinearInit::VarianceNormal(2.0)),
                declare.linear(&name("transition_out.linear_2"), inside, pair, LinearInit::Constant(0.0, 0.0)),
            ],
        })
    }
}

impl TriangleParts {
    fn declare(declare: &mut Declaration, name: &str, pair: usize, width: usize) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        let open = LinearInit::Constant(0.0, 1.0);
        let norm = declare.layer_norm(&part("layer_norm_in"), pair);
        let mut factor = |which: &str| {
            [("p", LinearInit::VarianceNormal(1.0)), ("g", open)]
                .map(|(kind, init)| declare.linear(&part(&format!("linear_{which}_{kind}")), pair, width, init))
        };
        let (first, second) = (factor("a"), factor("b"));
        TriangleParts {
            norm,
            first,
            second,
            output_norm: declare.layer_norm(&part("layer_norm_out"), width),
            output: declare.linear(&part("linear_z"), width, pair, LinearInit::Constant(0.0, 0.0)),
            gate: declare.linear(&part("linear_g"), pair, pair, open),
        }
    }
}

impl DecoderParts {
    fn declare(declare: &mut Declaration, config: &ProteinConfig) -> Self {
        let norm = declare.layer_norm("coors_3d_decoder.0", config.hidden);
        let projection = declare.projection("coors_3d_decoder.1", config.hidden, 3, LinearInit::FanIn);
        let distogram = config.pair_updates.as_ref().map(|updates| {
            let norm = declare.layer_norm("pair_head_prediction.0", config.pair);
            (norm, declare.linear("pair_head_prediction.1", config.pair, updates.buckets, LinearInit::FanIn))
        });
        DecoderParts { norm, projection, distogram }
    }
}

#[cfg(test)]
mod tests;
