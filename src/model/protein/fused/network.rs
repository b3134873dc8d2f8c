//! The fused network as the rest of the crate sees it.

use std::ops::Range;

use super::conditions::{self, zeroed};
use super::context::{Context, at_weight, linear, linear_back};
use super::layer::Layer;
use super::layer_back::LayerBack;
use super::pairs::{Packed, Pairs};
use super::plan::Plan;
use super::site::{Residual, add_residual, add_residual_back};
use super::stem;
use super::tape::{LayerTape, Scratch, Tape};
use crate::diffusion::{Denoiser, Input, Ready, Recording};
use crate::geometry::{Clouds, Point};
use crate::model::engine::{
    Gradients, Lease, Pool, Products, Store, Weights, affine_rows, affine_rows_back, normalise_rows,
    normalise_rows_back,
};
use crate::model::layers::{Law, initial_values};
use crate::model::protein::ProteinConfig;
use crate::model::protein::blueprint::Blueprint;
use crate::model::protein::chain::{ANGSTROMS, Chain};
use crate::model::{Layout, Network, Precision};
use crate::{Error, Result};

/// A protein-backbone network of some shape, without values, on the fused engine.
#[derive(Debug)]
pub struct FusedProteinNetwork {
    blueprint: Blueprint,
    laws: Vec<Law>,
    products: Products,
    workspaces: Pool<Workspace>,
    packed: Pool<Packed>,
}

/// Everything that a forward and backward pass writes to.
#[derive(Debug, Default)]
struct Workspace {
    tape: Tape,
    scratch: Scratch,
}

impl FusedProteinNetwork {
    /// Whether a network of this shape can be computed here: any without pair updates.
    pub fn supports(config: &ProteinConfig) -> bool {
        config.pair_updates.is_none()
    }

    /// A network that computes in f32, with the operands of its large products in `precision`.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration is impossible, or [`FusedProteinNetwork::supports`] denies it.
    pub fn new(config: ProteinConfig, precision: Precision) -> Result<Self> {
        if !Self::supports(&config) {
            return Err(Error::Config(
                "the fused engine knows no pair updates: it needs model.pair_updates to be null".into(),
            ));
        }
        let (blueprint, laws) = Blueprint::new(config)?;
        let (workspaces, packed) = (Pool::default(), Pool::default());
        Ok(FusedProteinNetwork { blueprint, laws, products: Products { precision }, workspaces, packed })
    }

    /// [`Network::bind`], with the type known.
    pub fn denoiser<'a>(&'a self, parameters: &'a [f32]) -> Result<FusedProteinDenoiser<'a>> {
        let blueprint = &self.blueprint;
        blueprint.check_len(parameters)?;
        let weights = Weights { layout: &blueprint.layout, numbers: parameters };
        let mut packed = self.packed.lease();
        packed.set(&blueprint.stem, &blueprint.config, weights);
        Ok(FusedProteinDenoiser { network: self, weights, packed })
    }
}

/// A fused network with values. Several threads may predict, record and walk back at once.
#[derive(Debug)]
pub struct FusedProteinDenoiser<'a> {
    network: &'a FusedProteinNetwork,
    weights: Weights<'a>,
    packed: Lease<'a, Packed>,
}

/// A forward pass of a [`FusedProteinDenoiser`].
#[derive(Debug)]
pub struct FusedProteinRecording<'a> {
    denoiser: &'a FusedProteinDenoiser<'a>,
    workspace: Lease<'a, Workspace>,
    prediction: Clouds,
}

impl FusedProteinDenoiser<'_> {
    /// [`Denoiser::record`], with the type known.
    pub fn recording(&self, input: Input<'_>) -> Result<FusedProteinRecording<'_>> {
        let mut workspace = self.network.workspaces.lease();
        let prediction = self.run(input, &mut workspace, true)?;
        Ok(FusedProteinRecording { denoiser: self, workspace, prediction })
    }

    /// The prediction; what the way back needs is kept if `keep` says so.
    fn run(&self, input: Input<'_>, workspace: &mut Workspace, keep: bool) -> Result<Clouds> {
        let blueprint = &self.network.blueprint;
        let chains = Chain::all(&blueprint.config, input)?;
        let Workspace { tape, scratch } = workspace;
        tape.plan.set(&blueprint.config, &chains);
        self.forward(tape, scratch, keep);
        let point = |u: &[f32]| -> Point { [u[0], u[1], u[2]].map(|u| ANGSTROMS * f64::from(u)) };
        let residues = tape.plan.segments.iter().flat_map(|segment| segment.residues.clone());
        let points = residues.map(|token| point(&tape.decoder.output[3 * token..])).collect();
        Ok(input.x_t.with_points(points))
    }

    fn context<'b>(&'b self, plan: &'b Plan) -> Context<'b> {
        let FusedProteinNetwork { blueprint, products, .. } = self.network;
        Context { config: &blueprint.config, weights: self.weights, products: *products, plan }
    }

    fn forward(&self, tape: &mut Tape, scratch: &mut Scratch, keep: bool) {
        let Tape { plan, conditions, pairs, layers, decoder, state } = tape;
        let (context, blueprint) = (self.context(plan), &self.network.blueprint);
        let (stem, d) = (&blueprint.stem, blueprint.config.hidden);
        conditions::forward(&stem.condition, context, conditions);
        Pairs { context, parts: &stem.pairs, packed: &self.packed }.forward(pairs, scratch);
        stem::forward(stem, context, state);
        // A layer and the one before it.
        let tapes = if keep { blueprint.layers.len() } else { 2 };
        if layers.len() < tapes {
            layers.resize_with(tapes, LayerTape::default);
        }
        for (index, parts) in blueprint.layers.iter().enumerate() {
            let [tape, last] = two(layers, index % tapes, index.checked_sub(1).map(|last| last % tapes));
            let (Some(tape), last) = (tape, last.map(|last| &mut last.transition)) else { return };
            Layer { parts, index, context }.forward(conditions, &pairs.biases, last, state, tape, scratch);
        }
        let last = &mut layers[(blueprint.layers.len() - 1) % tapes].transition;
        let residual = Residual { output: &mut last.tokens, bias: None, gate: &last.gate.rows };
        add_residual(residual, d, &plan.groups, state);
        let parts = &blueprint.decoder;
        decoder.normal.resize(state.len()).copy_from_slice(state);
        normalise_rows(&mut decoder.normal, d, decoder.scale.resize(plan.tokens));
        let tokens = decoder.tokens.resize(state.len());
        affine_rows(&decoder.normal, self.weights.norm(&parts.norm), tokens);
        let output = decoder.output.resize(plan.tokens * 3);
        linear(context.exact(), tokens, self.weights.get(parts.projection.weight), d, output);
    }
}

/// A tape and the one before it.
fn two(tapes: &mut [LayerTape], index: usize, last: Option<usize>) -> [Option<&mut LayerTape>; 2] {
    match last {
        None => [tapes.get_mut(index), None],
        Some(last) => tapes.get_disjoint_mut([index, last]).map_or([None, None], |found| found.map(Some)),
    }
}

impl Denoiser for FusedProteinDenoiser<'_> {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        self.run(input, &mut self.network.workspaces.lease(), false)
    }

    fn record(&self, input: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        Ok(Box::new(self.recording(input)?))
    }
}

impl Recording for FusedProteinRecording<'_> {
    fn prediction(&self) -> &Clouds {
        &self.prediction
    }

    fn backward(
        mut self: Box<Self>,
        at_prediction: &Clouds,
        gradient: &mut [f32],
        ready: &mut Ready<'_>,
    ) -> Result<()> {
        let (denoiser, blueprint) = (self.denoiser, &self.denoiser.network.blueprint);
        let Workspace { tape, scratch } = &mut *self.workspace;
        // The units come in the order of the walk: decoder, layers from the last, stem.
        let mut units = blueprint.units.iter();
        let mut unit = |work: &mut dyn FnMut(&mut Gradients<'_>)| {
            let Some(range) = units.next() else { return Ok(()) };
            let numbers = &mut gradient[range.clone()];
            work(&mut Gradients::new(&blueprint.layout, range, numbers, Store::Replace));
            ready(range.clone(), numbers)
        };
        unit(&mut |gradients| denoiser.decode_back(tape, at_prediction, gradients))?;
        let Tape { plan, conditions, pairs, layers, state: at_state, .. } = tape;
        let context = denoiser.context(plan);
        conditions.at_rows.zeros(conditions.rows.len());
        conditions.at_normal.zeros(conditions.rows.len());
        for (index, parts) in blueprint.layers.iter().enumerate().rev() {
            unit(&mut |gradients| {
                let [tape, last] = two(layers, index, index.checked_sub(1));
                let (Some(tape), last) = (tape, last.map(|last| &mut last.transition)) else { return };
                let layer = Layer { parts, index, context };
                LayerBack { layer, tape, gradients, scratch }.run(conditions, &mut pairs.biases, last, at_state);
            })?;
        }
        unit(&mut |gradients| {
            let stem = &blueprint.stem;
            stem::back(stem, context, gradients, at_state);
            let of = Pairs { context, parts: &stem.pairs, packed: &denoiser.packed };
            of.back(&stem.biases, gradients, pairs, scratch);
            conditions::back(&stem.condition, context, gradients, conditions, scratch);
        })
    }
}

impl FusedProteinDenoiser<'_> {
    /// From the prediction to the state after the layers, whose gradient takes its place.
    fn decode_back(&self, tape: &mut Tape, at_prediction: &Clouds, gradients: &mut Gradients<'_>) {
        let Tape { plan, layers, decoder, state, .. } = tape;
        let (context, w, blueprint) = (self.context(plan), self.weights, &self.network.blueprint);
        let (parts, d) = (&blueprint.decoder, blueprint.config.hidden);
        // Registers predict nothing.
        let at_output = decoder.output.zeros(plan.tokens * 3);
        let residues = plan.segments.iter().flat_map(|segment| segment.residues.clone());
        for (token, g) in residues.zip(at_prediction.points()) {
            (0..3).for_each(|axis| at_output[3 * token + axis] = (ANGSTROMS * g[axis]) as f32);
        }
        let at_weights = gradients.get(parts.projection.weight);
        at_weight(context.exact(), at_output, &decoder.tokens, d, at_weights);
        linear_back(context.exact(), at_output, w.get(parts.projection.weight), d, state);
        let at_norm = zeroed(gradients.norm(&parts.norm));
        affine_rows_back(state, &decoder.normal, w.get(parts.norm.weight), at_norm);
        normalise_rows_back(state, &decoder.normal, &decoder.scale, d);
        let residual = layers[blueprint.layers.len() - 1].transition.residual_back(None);
        add_residual_back(residual, d, &plan.groups, state);
    }
}

impl Network for FusedProteinNetwork {
    fn layout(&self) -> &Layout {
        &self.blueprint.layout
    }

    fn initialize(&self, seed: u64) -> Vec<f32> {
        initial_values(&self.blueprint.layout, &self.laws, seed)
    }

    fn units(&self) -> &[Range<usize>] {
        &self.blueprint.units
    }

    fn bind<'a>(&'a self, parameters: &'a [f32]) -> Result<Box<dyn Denoiser + Send + Sync + 'a>> {
        Ok(Box::new(self.denoiser(parameters)?))
    }
}
