//! One attention layer: messages along edges update scalars and vectors.

use candle_core::Tensor;

use super::{Context, EtConfig, State, Trace, part};
use crate::Result;
use crate::model::layers::{Declaration, LayerNorm, Linear, LinearInit, Projection};

/// A layer's parameters.
#[derive(Debug)]
pub(super) struct Layer {
    heads: usize,
    parts: usize,
    pub(super) mixing: [Linear; 2],
    pub(super) norm: LayerNorm,
    pub(super) query: (Linear, LayerNorm),
    pub(super) key: (Linear, LayerNorm),
    pub(super) value: Linear,
    pub(super) vectors: Projection,
    pub(super) key_filter: Linear,
    pub(super) value_filter: Linear,
    pub(super) output: Linear,
}

impl Layer {
    pub(super) fn declare(declare: &mut Declaration, config: &EtConfig, index: usize) -> Self {
        let (hidden, filter_inputs) = (config.hidden, config.rbf + 1);
        let name = |part: &str| format!("network.representation_model.attention_layers.{index}.{part}");
        let mut linear = |part: &str, inputs, outputs, init| declare.linear(&name(part), inputs, outputs, init);
        let mixing = [
            linear("mixing_mlp.0", 2 * hidden + 1, hidden, LinearInit::FanIn),
            linear("mixing_mlp.2", hidden, hidden, LinearInit::FanIn),
        ];
        let query = linear("q_proj.0", hidden, hidden, LinearInit::Xavier);
        let key = linear("k_proj.0", hidden, hidden, LinearInit::Xavier);
        Layer {
            heads: config.heads,
            parts: config.parts(),
            mixing,
            value: linear("v_proj", hidden, config.parts() * hidden, LinearInit::FanInNoBias),
            key_filter: linear("dk_proj", filter_inputs, hidden, LinearInit::Xavier),
            value_filter: linear("dv_proj", filter_inputs, config.parts() * hidden, LinearInit::Xavier),
            output: linear("o_proj", hidden, 3 * hidden, LinearInit::Xavier),
            norm: declare.layer_norm(&name("layernorm"), hidden),
            query: (query, declare.layer_norm(&name("q_proj.1"), hidden)),
            key: (key, declare.layer_norm(&name("k_proj.1"), hidden)),
            vectors: declare.projection(&name("vec_proj"), hidden, 3 * hidden, LinearInit::Xavier),
        }
    }

    /// x ← x + ⟨w1, w2⟩ o2 + o3 and V ← V + w3 o1 + W, where [w1 w2 w3] = V vec_projᵀ and
    /// [o1 o2 o3] = o_proj X; X and W are the sums of the scalar and the vector messages.
    pub(super) fn forward(&self, context: Context<'_>, state: &State, trace: &mut Trace<'_>) -> Result<State> {
        let Context { w, .. } = context;
        let mixed = self.mix(context, &state.x, trace)?;
        let value = self.value.forward(w, &mixed)?;
        trace("v", &value);
        let attention = self.attention(context, &mixed, trace)?;
        let scalar = self.sum_scalars(context, &value, &attention)?;
        trace("x_agg", &scalar);
        let vector = self.sum_vectors(context, &value, &state.vec)?;
        trace("vec_agg", &vector);

        let hidden = state.x.dim(1)?;
        let output = self.output.forward(w, &scalar)?;
        trace("o", &output);
        let o = |p: usize| output.narrow(1, p * hidden, hidden);
        let projected = self.vectors.forward(w, &state.vec)?;
        trace("vecproj", &projected);
        let v = |p: usize| projected.narrow(2, p * hidden, hidden);
        let inner = v(0)?.mul(&v(1)?)?.sum(0)?;
        Ok(State {
            x: ((&state.x + inner.mul(&o(1)?)?)? + o(2)?)?,
            vec: ((&state.vec + v(2)?.broadcast_mul(&o(0)?)?)? + vector)?,
        })
    }

    /// LN(mixing([x, t, a])), (N, H).
    fn mix(&self, context: Context<'_>, x: &Tensor, trace: &mut Trace<'_>) -> Result<Tensor> {
        let Context { w, given, embedded } = context;
        let all = Tensor::cat(&[x, &given.time, &embedded.atoms], 1)?;
        let mixed = self.mixing[1].forward(w, &self.mixing[0].forward(w, &all)?.silu()?)?;
        trace("mixing", &mixed);
        let mixed = self.norm.forward(w, &mixed)?;
        trace("layernorm", &mixed);
        Ok(mixed)
    }

    /// att = silu(Σ_d q_i k_j dk) C(D), (E, h): no softmax.
    fn attention(&self, context: Context<'_>, mixed: &Tensor, trace: &mut Trace<'_>) -> Result<Tensor> {
        let Context { w, given, embedded } = context;
        let query = self.query.1.forward(w, &self.query.0.forward(w, mixed)?)?;
        trace("q", &query);
        let key = self.key.1.forward(w, &self.key.0.forward(w, mixed)?)?;
        trace("k", &key);
        let filter = embedded.edges.matmul(&self.key_filter.augmented(w)?.t()?)?.silu()?;
        let product = given.edges.at_targets(&query)?.mul(&given.edges.at_sources(&key)?)?.mul(&filter)?;
        let attention = product.matmul(&given.heads)?.silu()?.broadcast_mul(&given.edges.envelope)?;
        trace("attn", &attention);
        Ok(attention)
    }

    /// X_i = Σ_j s_ji att_ji, (N, H).
    fn sum_scalars(&self, context: Context<'_>, value: &Tensor, attention: &Tensor) -> Result<Tensor> {
        let given = context.given;
        let messages = self.factor(context, value, 0)?.mul(&attention.matmul(&given.heads.t()?)?)?;
        given.edges.sum_at_targets(&messages, given.atoms)
    }

    /// W_i = Σ_j V_j v1 + u v2 [+ (u × V_j) v3], (3, N, H): neither attention nor envelope.
    fn sum_vectors(&self, context: Context<'_>, value: &Tensor, vec: &Tensor) -> Result<Tensor> {
        let Context { given, .. } = context;
        let edges = &given.edges;
        let (v1, v2) = (self.factor(context, value, 1)?, self.factor(context, value, 2)?);
        let v3 = if self.parts == 4 { Some(self.factor(context, value, 3)?) } else { None };
        let at_source = (0..3).map(|axis| edges.at_sources(&vec.get(axis)?)).collect::<Result<Vec<_>>>()?;
        let mut sums = Vec::with_capacity(3);
        for axis in 0..3 {
            let mut messages = (at_source[axis].mul(&v1)? + v2.broadcast_mul(&edges.direction[axis])?)?;
            if let Some(v3) = &v3 {
                messages = (messages + cross(&edges.direction, &at_source, axis)?.mul(v3)?)?;
            }
            sums.push(edges.sum_at_targets(&messages, given.atoms)?);
        }
        Ok(Tensor::stack(&sums, 0)?)
    }

    /// Part `p` of [s v1 v2 v3]_ji = v_j silu(dv_proj f_ji), (E, H). The split lies inside each head; it is
    /// made on the N rows of v and on the weights of dv_proj, not on the many rows of the edges.
    fn factor(&self, context: Context<'_>, value: &Tensor, p: usize) -> Result<Tensor> {
        let Context { w, given, embedded } = context;
        let (atoms, hidden) = (value.dim(0)?, value.dim(1)? / self.parts);
        let value = part(value, atoms * self.heads, self.parts, p, (atoms, hidden))?;
        let inputs = embedded.edges.dim(1)?;
        let weight = part(&self.value_filter.augmented(w)?, self.heads, self.parts, p, (hidden, inputs))?;
        let filter = embedded.edges.matmul(&weight.t()?)?.silu()?;
        Ok(given.edges.at_sources(&value)?.mul(&filter)?)
    }
}

/// The component of a × b along an axis, a (E, 1) being the same in all channels of b (E, H).
fn cross(a: &[Tensor; 3], b: &[Tensor], axis: usize) -> Result<Tensor> {
    let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
    Ok((b[last].broadcast_mul(&a[next])? - b[next].broadcast_mul(&a[last])?)?)
}
