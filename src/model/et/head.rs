//! After the layers: scalars and vectors become one vector per atom.

use candle_core::Tensor;

use super::{EtConfig, State, Trace};
use crate::Result;
use crate::model::layers::{Declaration, LayerNorm, Linear, LinearInit, Projection};

/// The head's parameters: a layer norm and two gated blocks.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) norm: LayerNorm,
    pub(super) blocks: [GatedBlock; 2],
}

impl Head {
    pub(super) fn declare(declare: &mut Declaration, config: &EtConfig) -> Self {
        let (hidden, half) = (config.hidden, config.hidden / 2);
        Head {
            norm: declare.layer_norm("network.representation_model.out_norm", hidden),
            blocks: [
                GatedBlock::declare(declare, config, 0, Widths { inputs: hidden, scalars: half, vectors: half }),
                GatedBlock::declare(declare, config, 1, Widths { inputs: half, scalars: hidden, vectors: 1 }),
            ],
        }
    }

    /// One vector per atom, (3, N, 1), not centred.
    pub(super) fn forward(&self, w: &[Tensor], state: &State, trace: &mut Trace<'_>) -> Result<Tensor> {
        let x = self.norm.forward(w, &state.x)?;
        trace("out_norm", &x);
        let mut state = self.blocks[0].forward(w, &State { x, vec: state.vec.clone() })?;
        state.x = state.x.silu()?;
        trace("out0.x", &state.x);
        trace("out0.v", &state.vec);
        let last = self.blocks[1].forward(w, &state)?;
        trace("out1.x", &last.x);
        trace("out1.v", &last.vec);
        Ok(last.vec)
    }
}

/// Channels of a block: as many scalars as vectors come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub(super) inputs: usize,
    pub(super) scalars: usize,
    pub(super) vectors: usize,
}

impl Widths {
    /// Numbers that the update gives: scalars and gates.
    pub(super) fn update(self) -> usize {
        self.scalars + self.vectors
    }
}

/// [s, gate] = update_net([x, ‖V vec1ᵀ‖]); V ← gate · V vec2ᵀ.
#[derive(Debug)]
pub(super) struct GatedBlock {
    pub(super) widths: Widths,
    pub(super) measured: Projection,
    pub(super) passed: Projection,
    pub(super) update: [Linear; 2],
    pub(super) norm: Option<LayerNorm>,
}

impl GatedBlock {
    fn declare(declare: &mut Declaration, config: &EtConfig, index: usize, widths: Widths) -> Self {
        let Widths { inputs, scalars, vectors } = widths;
        let name = |part: &str| format!("network.output_model.output_network.{index}.{part}");
        // With the norm in between, the second linear layer moves up one place.
        let second = if config.output_layer_norm { "update_net.3" } else { "update_net.2" };
        GatedBlock {
            widths,
            measured: declare.projection(&name("vec1_proj"), inputs, inputs, LinearInit::Xavier),
            passed: declare.projection(&name("vec2_proj"), inputs, vectors, LinearInit::Xavier),
            update: [
                declare.linear(&name("update_net.0"), 2 * inputs, inputs, LinearInit::Xavier),
                declare.linear(&name(second), inputs, scalars + vectors, LinearInit::Xavier),
            ],
            norm: config.output_layer_norm.then(|| declare.layer_norm(&name("update_net.1"), inputs)),
        }
    }

    fn forward(&self, w: &[Tensor], state: &State) -> Result<State> {
        let length = lengths(&self.measured.forward(w, &state.vec)?)?;
        let mut update = self.update[0].forward(w, &Tensor::cat(&[&state.x, &length], 1)?)?;
        if let Some(norm) = &self.norm {
            update = norm.forward(w, &update)?;
        }
        let update = self.update[1].forward(w, &update.silu()?)?;
        let gate = update.narrow(1, self.widths.scalars, self.widths.vectors)?;
        Ok(State {
            x: update.narrow(1, 0, self.widths.scalars)?,
            vec: self.passed.forward(w, &state.vec)?.broadcast_mul(&gate)?,
        })
    }
}

/// Euclidean lengths of vectors (3, N, C), as the reference takes them: if *any* of an atom's 3 C numbers is
/// exactly zero, all its lengths are zero and have no gradient. So an O(3) model is not equivariant at exactly
/// planar, axis-aligned molecules; and atoms without neighbours are safe.
fn lengths(vectors: &Tensor) -> Result<Tensor> {
    let squares = vectors.sqr()?.sum(0)?;
    let fixed = vectors.detach();
    let zeros = fixed.eq(&fixed.zeros_like()?)?.to_dtype(vectors.dtype())?.sum((0, 2))?;
    let whole = zeros.eq(&zeros.zeros_like()?)?.unsqueeze(1)?.broadcast_as(squares.shape())?;
    // Squares may also vanish by underflow, where the root has no derivative. NaN must stay NaN: ask for "not 0".
    let seen = (whole * squares.detach().ne(&squares.zeros_like()?)?)?;
    let safe = seen.where_cond(&squares, &squares.ones_like()?)?.sqrt()?;
    Ok(seen.where_cond(&safe, &safe.zeros_like()?)?)
}
