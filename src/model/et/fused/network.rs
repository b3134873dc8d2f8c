//! The fused network as the rest of the crate sees it.

use std::ops::Range;

use candle_core::DType;

use super::context::Context;
use super::head::{self, HeadBack};
use super::layer::LayerForward;
use super::layer_back::LayerBack;
use super::stem::{self, StemBack};
use super::tape::{AtEmbedded, Scratch, State, Tape};
use super::weights::FilterMap;
use crate::diffusion::{Denoiser, Input, Ready, Recording};
use crate::geometry::{Clouds, Point};
use crate::model::engine::{Buffer, Gradients, LANES, Lease, Pool, Products, Store, Weights};
use crate::model::et::input::check;
use crate::model::et::network::Blueprint;
use crate::model::et::tokens::Tokens;
use crate::model::et::{EtConfig, EtNetwork};
use crate::model::{Layout, Network, Precision};
use crate::{Error, Result};

/// Atoms in a chunk, at most (a larger molecule is a chunk of its own): few enough that a layer's arrays stay in the
/// cache, enough that the weights, read once per chunk, cost little.
const CHUNK: usize = 256;

/// An ET-Flow network of some shape, without values, on the fused engine.
#[derive(Debug)]
pub struct FusedEtNetwork {
    plain: EtNetwork,
    filters: FilterMap,
    products: Products,
    workspaces: Pool<Workspace>,
    packed: Pool<Packed>,
}

/// Filters as the kernels want them.
#[derive(Debug, Default)]
struct Packed {
    layers: Buffer,
    neighbours: Buffer,
}

/// Everything that a forward and backward pass writes to.
#[derive(Debug, Default)]
struct Workspace {
    tapes: Vec<Tape>,
    scratch: Scratch,
    at: State,
    at_embedded: AtEmbedded,
    at_vectors: Buffer,
}

impl FusedEtNetwork {
    /// Whether a network of this shape can be computed here: its widths must fit the vectors.
    pub fn supports(config: &EtConfig) -> bool {
        config.hidden.is_multiple_of(2 * LANES) && LANES.is_multiple_of(config.heads)
    }

    /// A network that computes in f32, with the operands of its large products in `precision`.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration is impossible, or [`FusedEtNetwork::supports`] denies it.
    pub fn new(config: EtConfig, precision: Precision) -> Result<Self> {
        if !Self::supports(&config) {
            let EtConfig { hidden, heads, .. } = config;
            return Err(Error::Config(format!(
                "the fused engine needs model.hidden to be a multiple of {} and model.heads to divide {LANES}; found \
                 {hidden} and {heads}",
                2 * LANES
            )));
        }
        // First, since it refuses sizes that no memory holds.
        let plain = EtNetwork::new(config, DType::F32)?;
        let filters = FilterMap::new(&plain.blueprint().config);
        let (workspaces, packed) = (Pool::default(), Pool::default());
        Ok(FusedEtNetwork { plain, filters, products: Products { precision }, workspaces, packed })
    }

    /// [`Network::bind`], with the type known.
    pub fn denoiser<'a>(&'a self, parameters: &'a [f32]) -> Result<FusedDenoiser<'a>> {
        let blueprint = self.plain.blueprint();
        blueprint.check_len(parameters)?;
        let weights = Weights { layout: &blueprint.layout, numbers: parameters };
        let mut packed = self.packed.lease();
        self.filters.pack(&blueprint.layers, weights, &mut packed.layers);
        stem::pack(&blueprint.stem, weights, &mut packed.neighbours);
        Ok(FusedDenoiser { network: self, blueprint, weights, packed })
    }
}

/// A fused network with values. Several threads may predict, record and walk back at once.
#[derive(Debug)]
pub struct FusedDenoiser<'a> {
    network: &'a FusedEtNetwork,
    blueprint: &'a Blueprint,
    weights: Weights<'a>,
    packed: Lease<'a, Packed>,
}

/// A forward pass of a [`FusedDenoiser`].
#[derive(Debug)]
pub struct FusedRecording<'a> {
    denoiser: &'a FusedDenoiser<'a>,
    workspace: Lease<'a, Workspace>,
    chunks: usize,
    prediction: Clouds,
}

impl FusedDenoiser<'_> {
    /// [`Denoiser::record`], with the type known.
    pub fn recording(&self, input: Input<'_>) -> Result<FusedRecording<'_>> {
        let mut workspace = self.network.workspaces.lease();
        let (prediction, chunks) = self.run(input, &mut workspace, true)?;
        Ok(FusedRecording { denoiser: self, workspace, chunks, prediction })
    }

    /// The prediction and the number of chunks, whose tapes are kept if `keep` says so.
    fn run(&self, input: Input<'_>, workspace: &mut Workspace, keep: bool) -> Result<(Clouds, usize)> {
        let config = &self.blueprint.config;
        check(config, input)?;
        let positions = input.x_t.clone().centred();
        let (chunks, tokens) = (chunks(positions.offsets()), Tokens::of(input.condition));
        let mut points: Vec<Point> = Vec::with_capacity(positions.points().len());
        for (index, clouds) in chunks.iter().enumerate() {
            let slot = if keep { index } else { 0 };
            if workspace.tapes.len() <= slot {
                workspace.tapes.push(Tape::default());
            }
            let tape = &mut workspace.tapes[slot];
            tape.plan.set(config, clouds.clone(), input.t, positions.points(), (input.condition, &tokens));
            self.forward(tape, &mut workspace.scratch, keep);
            let (vectors, n) = (&tape.head.blocks[1].state.vec, tape.plan.len());
            points.extend((0..n).map(|i| [0, 1, 2].map(|axis| f64::from(vectors[axis * n + i]))));
        }
        Ok((input.x_t.with_points(points).centred(), chunks.len()))
    }

    fn context<'b>(&'b self, plan: &'b super::plan::Plan) -> Context<'b> {
        Context {
            config: &self.blueprint.config,
            weights: self.weights,
            filters: &self.network.filters,
            products: self.network.products,
            plan,
        }
    }

    /// The packed filters of a layer, and whether it is the first.
    fn matrix(&self, layer: usize) -> (&[f32], bool) {
        let len = self.network.filters.len();
        (&self.packed.layers[layer * len..][..len], layer == 0)
    }

    fn forward(&self, tape: &mut Tape, scratch: &mut Scratch, keep: bool) {
        let Tape { plan, stem: stem_tape, states, layers, head: head_tape } = tape;
        let (context, blueprint) = (self.context(plan), self.blueprint);
        let depth = blueprint.layers.len();
        let place = |l: usize| if keep { l } else { l % 2 };
        if states.len() <= place(depth).max(1) {
            states.resize_with(if keep { depth + 1 } else { 2 }, State::default);
        }
        if layers.len() <= if keep { depth - 1 } else { 0 } {
            layers.resize_with(if keep { depth } else { 1 }, Default::default);
        }
        stem::forward(&blueprint.stem, context, &self.packed.neighbours, stem_tape, &mut states[0].x, scratch);
        states[0].vec.zeros(3 * plan.len() * blueprint.config.hidden);
        let embedded = stem_tape.embedded();
        for (l, layer) in blueprint.layers.iter().enumerate() {
            let (before, after) = states.split_at_mut(place(l).max(place(l + 1)));
            let (state, next) = match place(l) < place(l + 1) {
                true => (&before[place(l)], &mut after[0]),
                false => (&after[0], &mut before[place(l + 1)]),
            };
            let tape = &mut layers[if keep { l } else { 0 }];
            let (matrix, first) = self.matrix(l);
            LayerForward { layer, context, embedded, matrix, first }.run(state, next, tape, scratch);
        }
        head::forward(&blueprint.head, context, &states[place(depth)], head_tape, scratch);
    }
}

impl Denoiser for FusedDenoiser<'_> {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        Ok(self.run(input, &mut self.network.workspaces.lease(), false)?.0)
    }

    fn record(&self, input: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        Ok(Box::new(self.recording(input)?))
    }
}

impl FusedRecording<'_> {
    /// Walks one chunk back. Of the last chunk's walk, `ready` is told each range that is final.
    fn walk_back(
        &mut self,
        chunk: usize,
        at_prediction: &Clouds,
        gradient: &mut [f32],
        ready: &mut Ready<'_>,
    ) -> Result<()> {
        let (denoiser, last) = (self.denoiser, chunk + 1 == self.chunks);
        let store = if chunk == 0 { Store::Replace } else { Store::Add };
        let Workspace { tapes, scratch, at, at_embedded, at_vectors } = &mut *self.workspace;
        let Tape { plan, stem: stem_tape, states, layers, head: head_tape } = &mut tapes[chunk];
        let (context, blueprint) = (denoiser.context(plan), denoiser.blueprint);
        let n = plan.len();
        let at_points = &at_prediction.points()[plan.atoms.clone()];
        for (axis, row) in at_vectors.resize(3 * n).chunks_exact_mut(n).enumerate() {
            row.iter_mut().zip(at_points).for_each(|(slot, g)| *slot = g[axis] as f32);
        }
        // The units come in the order of the walk: head, layers from the last, stem.
        let mut units = blueprint.units.iter();
        let mut unit = |work: &mut dyn FnMut(&mut Gradients<'_>)| {
            let Some(range) = units.next() else { return Ok(()) };
            let numbers = &mut gradient[range.clone()];
            work(&mut Gradients::new(&blueprint.layout, range, numbers, store));
            if last { ready(range.clone(), numbers) } else { Ok(()) }
        };
        unit(&mut |gradients| {
            let (head, state, tape, scratch) =
                (&blueprint.head, &states[blueprint.layers.len()], &*head_tape, &mut *scratch);
            HeadBack { head, context, state, tape, gradients, scratch }.run(at_vectors, at);
        })?;
        at_embedded.kinds.zeros(plan.features.len() * blueprint.config.hidden);
        at_embedded.radial.zeros(plan.pairs.len() * stem_tape.radial.stride);
        for (l, layer) in blueprint.layers.iter().enumerate().rev() {
            let (matrix, first) = denoiser.matrix(l);
            unit(&mut |gradients| {
                let (embedded, state, tape) = (stem_tape.embedded(), &states[l], &layers[l]);
                let (at_embedded, scratch) = (&mut *at_embedded, &mut *scratch);
                LayerBack { layer, context, embedded, matrix, first, state, tape, gradients, at_embedded, scratch }
                    .run(at);
            })?;
        }
        unit(&mut |gradients| {
            let (stem, matrix, tape) = (&blueprint.stem, &*denoiser.packed.neighbours, &*stem_tape);
            let (at_embedded, scratch) = (&mut *at_embedded, &mut *scratch);
            StemBack { stem, context, matrix, tape, gradients, at_embedded, scratch }.run(&at.x);
        })
    }
}

impl Recording for FusedRecording<'_> {
    fn prediction(&self) -> &Clouds {
        &self.prediction
    }

    fn backward(
        mut self: Box<Self>,
        at_prediction: &Clouds,
        gradient: &mut [f32],
        ready: &mut Ready<'_>,
    ) -> Result<()> {
        // Centring is its own adjoint.
        let at_prediction = at_prediction.clone().centred();
        (0..self.chunks).try_for_each(|chunk| self.walk_back(chunk, &at_prediction, gradient, ready))
    }
}

impl Network for FusedEtNetwork {
    fn layout(&self) -> &Layout {
        self.plain.layout()
    }

    fn initialize(&self, seed: u64) -> Vec<f32> {
        self.plain.initialize(seed)
    }

    fn units(&self) -> &[Range<usize>] {
        self.plain.units()
    }

    fn bind<'a>(&'a self, parameters: &'a [f32]) -> Result<Box<dyn Denoiser + Send + Sync + 'a>> {
        Ok(Box::new(self.denoiser(parameters)?))
    }
}

/// Consecutive clouds of at most [`CHUNK`] atoms together. No chunk is without atoms if there is an atom.
fn chunks(offsets: &[usize]) -> Vec<Range<usize>> {
    let mut chunks: Vec<Range<usize>> = Vec::new();
    let atoms = |from: usize, to: usize| offsets[to] - offsets[from];
    for cloud in 0..offsets.len() - 1 {
        match chunks.last_mut() {
            Some(chunk) if atoms(chunk.start, cloud + 1) <= CHUNK || atoms(chunk.start, chunk.end) == 0 => {
                chunk.end = cloud + 1;
            }
            _ => chunks.push(cloud..cloud + 1),
        }
    }
    chunks
}
