//! One layer over all tokens of a batch. The plain layer states the equations.

use super::attention::Attention;
use super::conditions::Normalised;
use super::context::{Context, linear};
use super::queries::{self, Queries};
use super::site::{Residual, Site};
use super::tape::{ConditionsTape, LayerTape, OutputTape, Scratch};
use crate::model::engine::gated_silu;
use crate::model::protein::blueprint::LayerParts;

/// A layer with what it needs besides the state.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) parts: &'a LayerParts,
    /// Its index.
    pub(super) index: usize,
    pub(super) context: Context<'a>,
}

impl<'a> Layer<'a> {
    /// The site before the attention.
    pub(super) fn attention_site(self) -> Site<'a> {
        let second = Some(self.context.weights.norm(&self.parts.attention.norm));
        Site { width: self.context.config.hidden, groups: &self.context.plan.groups, second }
    }

    /// The site before the transition.
    pub(super) fn transition_site(self) -> Site<'a> {
        Site { width: self.context.config.hidden, groups: &self.context.plan.groups, second: None }
    }

    pub(super) fn attention<'b>(self, queries: &'b [f32], rows: &'b [f32]) -> Attention<'b>
    where
        'a: 'b,
    {
        Attention { context: self.context, layer: self.index, queries, rows }
    }

    /// The matrix of queries, keys, values and gates, (4i, d), and its bias.
    pub(super) fn heads(self) -> [&'a [f32]; 2] {
        let parts = &self.parts.attention;
        [(parts.qkv.weight, parts.gate.weight), (parts.qkv.bias, parts.gate.bias)]
            .map(|(first, last)| self.context.weights.run(first, last))
    }

    /// Takes the state and the last layer's output, which is yet to be added; leaves the state after the attention, to
    /// which the tape's output of the transition is yet to be added.
    pub(super) fn forward(
        self,
        conditions: &ConditionsTape,
        biases: &[f32],
        last: Option<&mut OutputTape>,
        state: &mut [f32],
        tape: &mut LayerTape,
        scratch: &mut Scratch,
    ) {
        self.condition(conditions, tape);
        let residual = last.map(|last| Residual { output: &mut last.tokens, bias: None, gate: &last.gate.rows });
        let tokens = scratch.tokens.resize(state.len());
        self.attention_site().enter(residual, state, &mut tape.attention_site, tokens);
        self.attend(biases, tape, scratch);
        let attention = &mut tape.attention;
        let bias = Some(self.context.weights.get(self.parts.attention.output.bias));
        let residual = Residual { output: &mut attention.tokens, bias, gate: &attention.gate.rows };
        self.transition_site().enter(Some(residual), state, &mut tape.transition_site, &mut scratch.tokens);
        self.change(tape, scratch);
    }

    /// The rows of the layer's gains, shifts and gates.
    fn condition(self, conditions: &ConditionsTape, tape: &mut LayerTape) {
        let (context, parts) = (self.context, self.parts);
        let given = Normalised { rows: &conditions.normal, width: context.config.condition };
        tape.attention_site.adaptive.forward(&parts.attention.adaptive, context, given);
        tape.transition_site.adaptive.forward(&parts.transition.adaptive, context, given);
        tape.attention.gate.forward(&parts.attention.scale, context, &conditions.rows);
        tape.transition.gate.forward(&parts.transition.scale, context, &conditions.rows);
    }

    /// Attention of the tokens in `scratch.tokens`.
    fn attend(self, biases: &[f32], tape: &mut LayerTape, scratch: &mut Scratch) {
        let Context { config, weights: w, products, plan } = self.context;
        let (t, d, i, parts) = (plan.tokens, config.hidden, config.inner(), &self.parts.attention);
        let [weight, bias] = self.heads();
        let rows = tape.heads.resize(t * 4 * i);
        linear(products, &scratch.tokens, weight, d, rows);
        queries::split(rows, bias, [tape.query_scale.resize(t), tape.key_scale.resize(t)]);
        let q = scratch.queries.resize(t * i);
        Queries::new(parts, self.context).forward(rows, &mut scratch.rows[0], q);
        let gathered = tape.gathered.resize(t * i);
        self.attention(q, rows).forward(biases, &mut tape.weights, gathered);
        let gated = scratch.gathered.resize(t * i);
        queries::gate(gathered, rows, i, gated);
        linear(products, gated, w.get(parts.output.weight), i, tape.attention.tokens.resize(t * d));
    }

    /// The transition of the tokens in `scratch.tokens`.
    fn change(self, tape: &mut LayerTape, scratch: &mut Scratch) {
        let Context { config, weights: w, products, plan } = self.context;
        let (t, d, parts) = (plan.tokens, config.hidden, &self.parts.transition.transition);
        let inside = config.expansion * d;
        let wide = tape.wide.resize(t * 2 * inside);
        linear(products, &scratch.tokens, w.get(parts.widen.weight), d, wide);
        gated_silu(wide, inside, scratch.inside.resize(t * inside));
        let output = tape.transition.tokens.resize(t * d);
        linear(products, &scratch.inside, w.get(parts.narrow.weight), inside, output);
    }
}
