//! The way back through a layer.

use super::conditions::{Normalised, zeroed};
use super::context::{Context, at_weight, linear_back};
use super::layer::Layer;
use super::queries::{self, Queries};
use super::site::ResidualBack;
use super::tape::{ConditionsTape, LayerTape, OutputTape, Scratch};
use crate::model::engine::{Gradients, gated_silu_back};

/// A layer on the way back: what the forward pass left, and where gradients go.
pub(super) struct LayerBack<'a, 'g> {
    pub(super) layer: Layer<'a>,
    pub(super) tape: &'a mut LayerTape,
    /// The gradients at the layer's parameters.
    pub(super) gradients: &'a mut Gradients<'g>,
    pub(super) scratch: &'a mut Scratch,
}

impl OutputTape {
    /// The way back of adding this output to the state, with the gradient at its gate yet to be summed.
    pub(super) fn residual_back<'a>(&'a mut self, at_bias: Option<&'a mut [f32]>) -> ResidualBack<'a> {
        let gate = &mut self.gate;
        gate.at_rows.zeros(gate.rows.len());
        ResidualBack { output: &mut self.tokens, at_bias, gate: &gate.rows, at_gate: &mut gate.at_rows }
    }
}

impl LayerBack<'_, '_> {
    /// `at_state` is the gradient at the state after the attention, the tape's output of the transition holds that at
    /// itself. Receives the gradient at the state before the layer; the gradient at the last layer's output
    /// takes its place.
    pub(super) fn run(
        mut self,
        conditions: &mut ConditionsTape,
        biases: &mut [f32],
        last: Option<&mut OutputTape>,
        at_state: &mut [f32],
    ) {
        self.change_back();
        let LayerTape { transition_site, attention, .. } = &mut *self.tape;
        transition_site.adaptive.at_rows.zeros(transition_site.adaptive.rows.len());
        let at_bias = self.gradients.get(self.layer.parts.attention.output.bias);
        at_bias.fill(0.0);
        let residual = attention.residual_back(Some(at_bias));
        let site = self.layer.transition_site();
        site.leave(&mut self.scratch.at_tokens, at_state, transition_site, None, Some(residual));

        self.attend_back(biases);
        let site = &mut self.tape.attention_site;
        site.adaptive.at_rows.zeros(site.adaptive.rows.len());
        let at_second = zeroed(self.gradients.norm(&self.layer.parts.attention.norm));
        let residual = last.map(|last| last.residual_back(None));
        self.layer.attention_site().leave(&mut self.scratch.at_tokens, at_state, site, Some(at_second), residual);
        self.condition_back(conditions);
    }

    /// From the transition's output to the tokens it saw, in `scratch.at_tokens`.
    fn change_back(&mut self) {
        let Context { config, weights: w, products, plan } = self.layer.context;
        let (t, d, parts) = (plan.tokens, config.hidden, &self.layer.parts.transition.transition);
        let (inside, scratch, tape) = (config.expansion * d, &mut *self.scratch, &mut *self.tape);
        let at_output = &tape.transition.tokens;
        let at_inside = scratch.inside.resize(t * inside);
        linear_back(products, at_output, w.get(parts.narrow.weight), inside, at_inside);
        gated_silu_back(&mut tape.wide, inside, at_inside);
        at_weight(products, at_output, at_inside, inside, self.gradients.get(parts.narrow.weight));
        let tokens = scratch.tokens.resize(t * d);
        self.layer.transition_site().again(&tape.transition_site, tokens);
        at_weight(products, &tape.wide, tokens, d, self.gradients.get(parts.widen.weight));
        linear_back(products, &tape.wide, w.get(parts.widen.weight), d, scratch.at_tokens.resize(t * d));
    }

    /// From the attention's output to the tokens it saw, in `scratch.at_tokens`. The gradients at the biases take the
    /// biases' place.
    fn attend_back(&mut self, biases: &mut [f32]) {
        let Context { config, weights: w, products, plan } = self.layer.context;
        let (t, d, i, parts) = (plan.tokens, config.hidden, config.inner(), &self.layer.parts.attention);
        let (scratch, tape, gradients) = (&mut *self.scratch, &mut *self.tape, &mut *self.gradients);
        let (at_output, rows) = (&tape.attention.tokens, &*tape.heads);
        let at_gathered = scratch.gathered.resize(t * i);
        linear_back(products, at_output, w.get(parts.output.weight), i, at_gathered);
        let at_rows = scratch.at_heads.resize(t * 4 * i);
        queries::gate_back(at_gathered, &mut tape.gathered, rows, i, at_rows);
        at_weight(products, at_output, &tape.gathered, i, gradients.get(parts.output.weight));

        let (of, q) = (Queries::new(parts, self.layer.context), scratch.queries.resize(t * i));
        of.forward(rows, &mut scratch.rows[0], q);
        let attention = self.layer.attention(q, rows);
        attention.back(at_gathered, &tape.weights, biases, at_rows, &mut scratch.scores);
        of.back(at_rows, rows, &mut scratch.rows[0], gradients);
        let at_bias = gradients.run(parts.qkv.bias, parts.gate.bias);
        queries::join(at_rows, rows, at_bias, [&tape.query_scale, &tape.key_scale]);
        let tokens = scratch.tokens.resize(t * d);
        self.layer.attention_site().again(&tape.attention_site, tokens);
        at_weight(products, at_rows, tokens, d, gradients.run(parts.qkv.weight, parts.gate.weight));
        linear_back(products, at_rows, self.layer.heads()[0], d, scratch.at_tokens.resize(t * d));
    }

    /// From the rows of gains, shifts and gates to the conditioning.
    fn condition_back(&mut self, conditions: &mut ConditionsTape) {
        let Layer { context, parts, .. } = self.layer;
        let (scratch, tape, gradients) = (&mut *self.scratch, &mut *self.tape, &mut *self.gradients);
        let ConditionsTape { rows, normal, at_rows, at_normal, .. } = conditions;
        let given = Normalised { rows: normal, width: context.config.condition };
        for (site, parts) in [
            (&mut tape.attention_site, &parts.attention.adaptive),
            (&mut tape.transition_site, &parts.transition.adaptive),
        ] {
            site.adaptive.back(parts, context, gradients, given, at_normal, scratch);
        }
        for (output, parts) in
            [(&mut tape.attention, &parts.attention.scale), (&mut tape.transition, &parts.transition.scale)]
        {
            output.gate.back(parts, context, gradients, rows, at_rows);
        }
    }
}
