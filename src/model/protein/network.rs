//! The network as the rest of the crate sees it.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var, WithDType};

use super::blueprint::Blueprint;
use super::chain::{ANGSTROMS, Chain};
use super::input::Prepared;
use super::{Conditioned, Pairs, ProteinConfig, ProteinRecording, Shortcuts, Trace};
use crate::diffusion::{Denoiser, Input, Recording};
use crate::geometry::{Clouds, Point};
use crate::model::layers::{Law, initial_values};
use crate::model::{Layout, Network};
use crate::{Error, Result};

/// A protein-backbone network of some shape, without values.
#[derive(Debug)]
pub struct ProteinNetwork {
    plan: Arc<Plan>,
    laws: Vec<Law>,
}

/// The shape, and how it is computed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) dtype: DType,
    pub(super) shortcuts: Shortcuts,
    /// The runs of layers that see the same pairs.
    pub(super) segments: Vec<Range<usize>>,
}

impl ProteinNetwork {
    /// A network that computes in `dtype`: f32 for use, f64 for verification; with all shortcuts.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration is impossible, has more than 2³¹ parameters, or the type is
    /// another one.
    pub fn new(config: ProteinConfig, dtype: DType) -> Result<Self> {
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::Config(format!("model: cannot compute in {dtype:?}, only in f32 or f64")));
        }
        let (blueprint, laws) = Blueprint::new(config)?;
        let segments = blueprint.segments();
        let plan = Plan { blueprint: Arc::new(blueprint), dtype, shortcuts: Shortcuts::default(), segments };
        Ok(ProteinNetwork { plan: Arc::new(plan), laws })
    }

    /// The same with these shortcuts alone.
    pub fn with_shortcuts(&self, shortcuts: Shortcuts) -> Self {
        ProteinNetwork { plan: Arc::new(Plan { shortcuts, ..(*self.plan).clone() }), laws: self.laws.clone() }
    }

    /// [`Network::bind`], with the type known; the values, f32 or f64, are copied.
    pub fn denoiser<T: WithDType>(&self, parameters: &[T]) -> Result<ProteinDenoiser> {
        let blueprint = &self.plan.blueprint;
        blueprint.check_len(parameters)?;
        let spans = blueprint.layout.spans();
        let mut bound = Bound {
            plan: self.plan.clone(),
            values: Vec::with_capacity(spans.len()),
            variables: Vec::with_capacity(spans.len()),
        };
        for span in spans {
            let values = Tensor::from_slice(&parameters[span.range.clone()], span.shape.as_slice(), &Device::Cpu)?;
            let variable = Var::from_tensor(&values.to_dtype(self.plan.dtype)?)?;
            bound.values.push(variable.as_detached_tensor());
            bound.variables.push(variable.into_inner());
        }
        Ok(ProteinDenoiser { bound: Arc::new(bound) })
    }
}

impl Network for ProteinNetwork {
    fn layout(&self) -> &Layout {
        &self.plan.blueprint.layout
    }

    fn initialize(&self, seed: u64) -> Vec<f32> {
        initial_values(&self.plan.blueprint.layout, &self.laws, seed)
    }

    fn units(&self) -> &[Range<usize>] {
        &self.plan.blueprint.units
    }

    fn bind<'a>(&'a self, parameters: &'a [f32]) -> Result<Box<dyn Denoiser + Send + Sync + 'a>> {
        Ok(Box::new(self.denoiser(parameters)?))
    }
}

/// A network with values. Several threads may predict, record and walk back at once.
#[derive(Clone, Debug)]
pub struct ProteinDenoiser {
    bound: Arc<Bound>,
}

/// The plan and the parameters, twice over one storage.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) plan: Arc<Plan>,
    /// As plain tensors: nothing computed from them remembers how.
    pub(super) values: Vec<Tensor>,
    /// As variables: what is computed from them can be walked back.
    pub(super) variables: Vec<Tensor>,
}

/// A chain's way through the network.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) given: Prepared,
    /// The conditioning.
    pub(super) condition: Tensor,
    /// The tokens before each layer, and after the last.
    pub(super) tokens: Vec<Tensor>,
    /// The pairs that each run of layers sees.
    pub(super) pairs: Vec<Pairs>,
    /// The attention biases that each run of layers shares, (layers · h, m²), where they are shared.
    pub(super) biases: Vec<Tensor>,
    /// The velocities in Å.
    prediction: Vec<Point>,
}

/// What a layer's attention biases are made of.
#[derive(Debug)]
pub(super) enum Source {
    /// They are ready, (h, m²).
    Shared(Tensor),
    /// The pairs.
    Pairs(Pairs),
}

impl ProteinDenoiser {
    /// The prediction, telling `trace` every intermediate tensor on the way, with its chain: layer `l`'s under
    /// `layer{l}.`, those of the pair update after it under `pair_update{l}.`.
    pub fn predict_traced(&self, input: Input<'_>, trace: &mut dyn FnMut(usize, &str, &Tensor)) -> Result<Clouds> {
        let mut points = Vec::with_capacity(input.x_t.points().len());
        for (b, chain) in self.bound.chains(input)?.iter().enumerate() {
            let passage = self.bound.forward(chain, false, &mut |name, tensor| trace(b, name, tensor))?;
            if let Some(logits) = self.bound.distogram(&passage)? {
                trace(b, "pair_pred", &logits);
            }
            points.extend(passage.prediction);
        }
        Ok(input.x_t.with_points(points))
    }

    /// [`Denoiser::record`], with the type known.
    pub fn recording(&self, input: Input<'_>) -> Result<ProteinRecording> {
        let (mut passages, mut points) = (Vec::new(), Vec::with_capacity(input.x_t.points().len()));
        for chain in &self.bound.chains(input)? {
            let passage = self.bound.forward(chain, true, &mut |_, _| ())?;
            points.extend_from_slice(&passage.prediction);
            passages.push(passage);
        }
        Ok(ProteinRecording::new(self.bound.clone(), passages, input.x_t.with_points(points)))
    }
}

impl Denoiser for ProteinDenoiser {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        let mut points = Vec::with_capacity(input.x_t.points().len());
        for chain in &self.bound.chains(input)? {
            points.extend(self.bound.forward(chain, false, &mut |_, _| ())?.prediction);
        }
        Ok(input.x_t.with_points(points))
    }

    fn record(&self, input: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        Ok(Box::new(self.recording(input)?))
    }
}

impl Passage {
    /// Forgets all but the last tokens and pairs.
    fn forget(&mut self) {
        self.tokens.drain(..self.tokens.len() - 1);
        self.pairs.drain(..self.pairs.len() - 1);
        self.biases.clear();
    }

    /// The tokens so far.
    pub(super) fn last_tokens(&self) -> &Tensor {
        &self.tokens[self.tokens.len() - 1]
    }

    /// The pairs so far.
    pub(super) fn last_pairs(&self) -> &Pairs {
        &self.pairs[self.pairs.len() - 1]
    }
}

impl Plan {
    /// Whether pairs have rows and columns for the registers: the literal form needs them, and updates fill them.
    pub(super) fn padded(&self) -> bool {
        !self.shortcuts.shared_norm || self.segments.len() > 1
    }

    /// A layer's rows among the biases that its run of layers shares.
    pub(super) fn of_layer(&self, shared: &Tensor, segment: usize, layer: usize) -> Result<Tensor> {
        let heads = self.blueprint.config.heads;
        Ok(shared.narrow(0, (layer - self.segments[segment].start) * heads, heads)?)
    }

    /// Tokens (N, d) → (N, d).
    pub(super) fn layer(
        &self,
        layer: usize,
        given: Conditioned<'_>,
        source: &Source,
        tokens: &Tensor,
        trace: &mut Trace<'_>,
    ) -> Result<Tensor> {
        let ProteinConfig { heads, registers, .. } = self.blueprint.config;
        let biases = match source {
            Source::Pairs(pairs) => self.blueprint.stem.biases(given.w, layer, pairs, trace)?,
            Source::Shared(biases) if self.padded() => biases.reshape((heads, tokens.dim(0)?, ()))?,
            Source::Shared(biases) => {
                let biases = biases.reshape((heads, tokens.dim(0)? - registers, ()))?;
                biases.pad_with_zeros(1, registers, 0)?.pad_with_zeros(2, registers, 0)?
            }
        };
        self.blueprint.layers[layer].forward(given, &biases, tokens, trace)
    }

    /// What the layers of a chain work with besides the tokens.
    pub(super) fn conditioned<'a>(
        &self,
        w: &'a [Tensor],
        given: &'a Prepared,
        condition: &'a Tensor,
    ) -> Conditioned<'a> {
        Conditioned { w, condition, rows: self.shortcuts.once_per_chain.then_some(&given.rows) }
    }
}

impl Bound {
    fn chains(&self, input: Input<'_>) -> Result<Vec<Chain>> {
        Chain::all(&self.plan.blueprint.config, input)
    }

    /// A chain's way through the network; without `keep` the passage remembers its end alone.
    fn forward(&self, chain: &Chain, keep: bool, trace: &mut Trace<'_>) -> Result<Passage> {
        let (blueprint, w) = (&*self.plan.blueprint, self.values.as_slice());
        let given = Prepared::new(&blueprint.config, self.plan.dtype, chain)?;
        let stem = blueprint.stem.forward(w, &given, self.plan.shortcuts, self.plan.padded(), trace)?;
        let (tokens, pairs) = (vec![stem.tokens], vec![stem.pairs]);
        let mut passage =
            Passage { given, condition: stem.condition, tokens, pairs, biases: Vec::new(), prediction: Vec::new() };
        for segment in 0..self.plan.segments.len() {
            self.update(&mut passage, segment, trace)?;
            self.run_of_layers(&mut passage, segment, trace)?;
            if !keep {
                passage.forget();
            }
        }
        let velocity = blueprint.decoder.forward(w, passage.last_tokens(), passage.given.residues, trace)?;
        let rows = velocity.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        passage.prediction = rows.iter().map(|row| [row[0], row[1], row[2]].map(|c| c * ANGSTROMS)).collect();
        Ok(passage)
    }

    /// The update of the pairs before a run of layers, if there is one.
    fn update(&self, passage: &mut Passage, segment: usize, trace: &mut Trace<'_>) -> Result<()> {
        let Some(after) = self.plan.segments[segment].start.checked_sub(1) else { return Ok(()) };
        let Some(update) = &self.plan.blueprint.updates[after] else { return Ok(()) };
        let mut inside = |part: &str, tensor: &Tensor| trace(&format!("pair_update{after}.{part}"), tensor);
        let pairs = update.forward(&self.values, passage.last_tokens(), passage.last_pairs(), &mut inside)?;
        passage.pairs.push(pairs);
        Ok(())
    }

    /// The layers that see the same pairs.
    fn run_of_layers(&self, passage: &mut Passage, segment: usize, trace: &mut Trace<'_>) -> Result<()> {
        let (plan, w) = (&*self.plan, self.values.as_slice());
        let layers = plan.segments[segment].clone();
        if plan.shortcuts.shared_norm {
            passage.biases.push(plan.blueprint.stem.shared_biases(w, layers.clone(), passage.last_pairs())?);
        }
        for layer in layers {
            let source = match passage.biases.last() {
                Some(shared) => Source::Shared(plan.of_layer(shared, segment, layer)?),
                None => Source::Pairs(passage.last_pairs().clone()),
            };
            let given = plan.conditioned(w, &passage.given, &passage.condition);
            let mut inside = |part: &str, tensor: &Tensor| trace(&format!("layer{layer}.{part}"), tensor);
            let tokens = plan.layer(layer, given, &source, passage.last_tokens(), &mut inside)?;
            passage.tokens.push(tokens);
        }
        Ok(())
    }

    /// The distogram's logits at the end of a passage, where the network has one.
    pub(super) fn distogram(&self, passage: &Passage) -> Result<Option<Tensor>> {
        let decoder = &self.plan.blueprint.decoder;
        decoder.distogram(&self.values, passage.last_pairs(), passage.given.residues)
    }
}
