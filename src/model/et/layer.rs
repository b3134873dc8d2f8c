//! One attention layer: messages along edges update scalars and vectors.

use candle_core::Tensor;

use super::input::{EdgeTensors, Prepared};
use super::{Embedded, EtConfig, State, Trace, part};
use crate::Result;
use crate::model::layers::{Declaration, LayerNorm, Linear, LinearInit, Projection};

/// A layer's parameters.
#[derive(Debug)]
pub(super) struct Layer {
    heads: usize,
    parts: usize,
    mixing: [Linear; 2],
    norm: LayerNorm,
    query: (Linear, LayerNorm),
    key: (Linear, LayerNorm),
    value: Linear,
    vectors: Projection,
    key_filter: Linear,
    value_filter: Linear,
    output: Linear,
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
            vectors: declare.projection(&name("vec_proj"), hidden, 3 * hidden),
        }
    }

    /// x ← x + ⟨w1, w2⟩ o2 + o3 and V ← V + w3 o1 + W, where [w1 w2 w3] = V vec_projᵀ and
    /// [o1 o2 o3] = o_proj X; X and W are the sums of the scalar and the vector messages.
    pub(super) fn forward(
        &self,
        w: &[Tensor],
        given: &Prepared,
        embedded: &Embedded,
        state: &State,
        trace: &mut Trace<'_>,
    ) -> Result<State> {
        let mixed = self.mix(w, given, embedded, &state.x, trace)?;
        let value = self.value.forward(w, &mixed)?;
        trace("v", &value);
        let attention = self.attention(w, given, &embedded.edges, &mixed, trace)?;
        let scalar = self.sum_scalars(w, given, embedded, &value, &attention)?;
        trace("x_agg", &scalar);
        let vector = self.sum_vectors(w, given, embedded, &value, &state.vec)?;
        trace("vec_agg", &vector);

        let hidden = self.width(state)?;
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

    fn width(&self, state: &State) -> Result<usize> {
        Ok(state.x.dim(1)?)
    }

    /// LN(mixing([x, t, a])), (N, H).
    fn mix(
        &self,
        w: &[Tensor],
        given: &Prepared,
        embedded: &Embedded,
        x: &Tensor,
        trace: &mut Trace<'_>,
    ) -> Result<Tensor> {
        let all = Tensor::cat(&[x, &given.time, &embedded.atoms], 1)?;
        let mixed = self.mixing[1].forward(w, &self.mixing[0].forward(w, &all)?.silu()?)?;
        trace("mixing", &mixed);
        let mixed = self.norm.forward(w, &mixed)?;
        trace("layernorm", &mixed);
        Ok(mixed)
    }

    /// att = silu(Σ_d q_i k_j dk) C(D), (E, h): no softmax.
    fn attention(
        &self,
        w: &[Tensor],
        given: &Prepared,
        features: &Tensor,
        mixed: &Tensor,
        trace: &mut Trace<'_>,
    ) -> Result<Tensor> {
        let edges = &given.edges;
        let query = self.query.1.forward(w, &self.query.0.forward(w, mixed)?)?;
        trace("q", &query);
        let key = self.key.1.forward(w, &self.key.0.forward(w, mixed)?)?;
        trace("k", &key);
        let filter = features.matmul(&self.key_filter.augmented(w)?.t()?)?.silu()?;
        let product = edges.at_targets(&query)?.mul(&edges.at_sources(&key)?)?.mul(&filter)?;
        let attention = product.matmul(&given.heads)?.silu()?.broadcast_mul(&edges.envelope)?;
        trace("attn", &attention);
        Ok(attention)
    }

    /// X_i = Σ_j s_ji att_ji, (N, H).
    fn sum_scalars(
        &self,
        w: &[Tensor],
        given: &Prepared,
        embedded: &Embedded,
        value: &Tensor,
        attention: &Tensor,
    ) -> Result<Tensor> {
        let factor = self.factor(w, &given.edges, embedded, value, 0)?;
        let messages = factor.mul(&attention.matmul(&given.heads.t()?)?)?;
        given.edges.sum_at_targets(&messages, given.atoms)
    }

    /// W_i = Σ_j V_j v1 + u v2 [+ (u × V_j) v3], (3, N, H): neither attention nor envelope.
    fn sum_vectors(
        &self,
        w: &[Tensor],
        given: &Prepared,
        embedded: &Embedded,
        value: &Tensor,
        vec: &Tensor,
    ) -> Result<Tensor> {
        let edges = &given.edges;
        let factor = |p| self.factor(w, edges, embedded, value, p);
        let (v1, v2) = (factor(1)?, factor(2)?);
        let v3 = if self.parts == 4 { Some(factor(3)?) } else { None };
        let at_source = [0, 1, 2].map(|axis| vec.get(axis).map(|v| edges.at_sources(&v)));
        let at_source: Vec<Tensor> = at_source.into_iter().map(|v| v?).collect::<Result<_>>()?;
        let mut sums = Vec::with_capacity(3);
        for axis in 0..3 {
            let mut messages = (at_source[axis].mul(&v1)? + edges.direction[axis].mul(&v2)?)?;
            if let Some(v3) = &v3 {
                messages = (messages + cross(&edges.direction, &at_source, axis)?.mul(v3)?)?;
            }
            sums.push(edges.sum_at_targets(&messages, given.atoms)?);
        }
        Ok(Tensor::stack(&sums, 0)?)
    }

    /// Part `p` of [s v1 v2 v3]_ji = v_j silu(dv_proj f_ji), (E, H). The split lies inside each head; it is
    /// made on the N rows of v and on the weights of dv_proj, not on the many rows of the edges.
    fn factor(
        &self,
        w: &[Tensor],
        edges: &EdgeTensors,
        embedded: &Embedded,
        value: &Tensor,
        p: usize,
    ) -> Result<Tensor> {
        let (atoms, hidden) = (value.dim(0)?, value.dim(1)? / self.parts);
        let value = part(value, atoms * self.heads, self.parts, p, (atoms, hidden))?;
        let inputs = embedded.edges.dim(1)?;
        let weight = part(&self.value_filter.augmented(w)?, self.heads, self.parts, p, (hidden, inputs))?;
        let filter = embedded.edges.matmul(&weight.t()?)?.silu()?;
        Ok(edges.at_sources(&value)?.mul(&filter)?)
    }
}

/// The component of a × b along an axis.
fn cross(a: &[Tensor; 3], b: &[Tensor], axis: usize) -> Result<Tensor> {
    let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
    Ok((a[next].mul(&b[last])? - a[last].mul(&b[next])?)?)
}
