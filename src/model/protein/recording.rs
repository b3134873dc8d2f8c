//! The way back: layer by layer from the last, each computed once more, chain by chain, from its border.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::Pairs;
use super::chain::ANGSTROMS;
use super::decoder::cross_entropy;
use super::input::matrix;
use super::network::{Bound, Passage, Source};
use crate::diffusion::{Ready, Recording};
use crate::geometry::{Clouds, Point};
use crate::model::walk::{Event, Listener, Sink, fill, gradients_to, variable};
use crate::{Error, Result};

/// A forward pass of a [`super::ProteinDenoiser`]: the borders between its layers.
#[derive(Debug)]
pub struct ProteinRecording {
    bound: Arc<Bound>,
    passages: Vec<Passage>,
    prediction: Clouds,
    /// The gradient at each chain's distogram, where it was asked for.
    at_distograms: Vec<Option<Tensor>>,
}

/// The gradients at what a chain has on the border that the way back has reached.
#[derive(Clone, Debug, Default)]
struct AtChain {
    tokens: Option<Tensor>,
    condition: Option<Tensor>,
    pairs: Option<Tensor>,
    /// Those at the biases of the current run of layers, from its last layer to its first.
    biases: Vec<Tensor>,
}

/// Where the way back is.
struct Walk<'a, 'b> {
    chains: Vec<AtChain>,
    /// The sum over the chains of the gradient at each parameter.
    sums: Vec<Option<Tensor>>,
    /// What is not final yet.
    units: std::slice::Iter<'a, Range<usize>>,
    listener: &'a mut Listener<'b>,
}

impl ProteinRecording {
    pub(super) fn new(bound: Arc<Bound>, passages: Vec<Passage>, prediction: Clouds) -> Self {
        let at_distograms = vec![None; passages.len()];
        ProteinRecording { bound, passages, prediction, at_distograms }
    }

    /// Walks back from the loss's gradient at the prediction and hands each parameter's gradient, in the compute
    /// type, to `sink` as soon as it is final: decoder, layers and pair updates from the last to the first, stem.
    pub fn gradients(&self, at_prediction: &Clouds, sink: &mut Sink<'_>) -> Result<()> {
        self.walk(at_prediction, &mut gradients_to(sink))
    }

    fn walk(&self, at_prediction: &Clouds, listener: &mut Listener<'_>) -> Result<()> {
        let blueprint = &self.bound.plan.blueprint;
        let mut walk = Walk {
            chains: vec![AtChain::default(); self.passages.len()],
            sums: vec![None; blueprint.layout.spans().len()],
            units: blueprint.units.iter(),
            listener,
        };
        for b in 0..self.passages.len() {
            self.decoder_back(&mut walk, b, at_prediction.cloud(b))?;
        }
        self.unit_done(&mut walk)?;
        for (segment, layers) in self.bound.plan.segments.iter().enumerate().rev() {
            for layer in layers.clone().rev() {
                for b in 0..self.passages.len() {
                    self.layer_back(&mut walk, b, segment, layer)?;
                }
                self.unit_done(&mut walk)?;
            }
            for b in 0..self.passages.len() {
                self.biases_back(&mut walk, b, segment)?;
            }
            if segment > 0 {
                for b in 0..self.passages.len() {
                    self.update_back(&mut walk, b, segment)?;
                }
                self.unit_done(&mut walk)?;
            }
        }
        for b in 0..self.passages.len() {
            self.stem_back(&mut walk, b)?;
        }
        self.unit_done(&mut walk)
    }

    fn decoder_back(&self, walk: &mut Walk<'_, '_>, b: usize, at_prediction: &[Point]) -> Result<()> {
        let (passage, plan, w) = (&self.passages[b], &self.bound.plan, &self.bound.variables);
        let (decoder, residues) = (&plan.blueprint.decoder, passage.given.residues);
        let tokens = variable(passage.last_tokens())?;
        let velocity = decoder.forward(w, &tokens, residues, &mut |_, _| ())?;
        let at_velocity: Vec<f64> = at_prediction.iter().flatten().map(|g| g * ANGSTROMS).collect();
        let at_velocity = matrix(at_velocity, (residues, 3), plan.dtype)?;
        let mut seeds = vec![(velocity, at_velocity)];
        let pairs = passage.last_pairs().variable()?;
        if let Some(at_distogram) = &self.at_distograms[b]
            && let Some(logits) = decoder.distogram(w, &pairs, residues)?
        {
            seeds.push((logits, at_distogram.clone()));
        }
        let found = self.back(walk, &seeds)?;
        let at = &mut walk.chains[b];
        at.tokens = Some(gradient(&found, &tokens)?);
        at.pairs = found.get(&pairs.values).map(Tensor::detach);
        Ok(())
    }

    fn layer_back(&self, walk: &mut Walk<'_, '_>, b: usize, segment: usize, layer: usize) -> Result<()> {
        let (passage, plan) = (&self.passages[b], &self.bound.plan);
        let (tokens, condition) = (variable(&passage.tokens[layer])?, variable(&passage.condition)?);
        let source = match passage.biases.get(segment) {
            Some(shared) => Source::Shared(variable(&plan.of_layer(shared, segment, layer)?)?),
            None => Source::Pairs(passage.pairs[segment].variable()?),
        };
        let given = plan.conditioned(&self.bound.variables, &passage.given, &condition);
        let output = plan.layer(layer, given, &source, &tokens, &mut |_, _| ())?;
        let found = self.back(walk, &[(output, walk.chains[b].seed()?)])?;
        let at = &mut walk.chains[b];
        at.tokens = Some(gradient(&found, &tokens)?);
        add(&mut at.condition, gradient(&found, &condition)?)?;
        match source {
            Source::Shared(biases) => at.biases.push(gradient(&found, &biases)?),
            Source::Pairs(pairs) => add(&mut at.pairs, gradient(&found, &pairs.values)?)?,
        }
        Ok(())
    }

    /// From the biases that a run of layers shared to the pairs.
    fn biases_back(&self, walk: &mut Walk<'_, '_>, b: usize, segment: usize) -> Result<()> {
        let mut at_biases = std::mem::take(&mut walk.chains[b].biases);
        if at_biases.is_empty() {
            return Ok(());
        }
        at_biases.reverse();
        let plan = &self.bound.plan;
        let (layers, pairs) = (plan.segments[segment].clone(), self.passages[b].pairs[segment].variable()?);
        let biases = plan.blueprint.stem.shared_biases(&self.bound.variables, layers, &pairs)?;
        let found = self.back(walk, &[(biases, Tensor::cat(&at_biases, 0)?)])?;
        add(&mut walk.chains[b].pairs, gradient(&found, &pairs.values)?)
    }

    /// Through the update before a run of layers.
    fn update_back(&self, walk: &mut Walk<'_, '_>, b: usize, segment: usize) -> Result<()> {
        let (passage, plan) = (&self.passages[b], &self.bound.plan);
        let start = plan.segments[segment].start;
        let Some(update) = &plan.blueprint.updates[start - 1] else { return Ok(()) };
        let (tokens, pairs) = (variable(&passage.tokens[start])?, passage.pairs[segment - 1].variable()?);
        let output = update.forward(&self.bound.variables, &tokens, &pairs, &mut |_, _| ())?;
        let at_output = walk.chains[b].pairs.take().ok_or_else(no_gradient)?;
        let found = self.back(walk, &[(output.values, at_output)])?;
        let at = &mut walk.chains[b];
        add(&mut at.tokens, gradient(&found, &tokens)?)?;
        at.pairs = Some(gradient(&found, &pairs.values)?);
        Ok(())
    }

    fn stem_back(&self, walk: &mut Walk<'_, '_>, b: usize) -> Result<()> {
        let (plan, given) = (&self.bound.plan, &self.passages[b].given);
        let (shortcuts, padded) = (plan.shortcuts, plan.padded());
        let stem = plan.blueprint.stem.forward(&self.bound.variables, given, shortcuts, padded, &mut |_, _| ())?;
        let at = std::mem::take(&mut walk.chains[b]);
        let seeds = [(stem.tokens, at.tokens), (stem.condition, at.condition), (stem.pairs.values, at.pairs)];
        let seeds = seeds.map(|(output, at)| Ok((output, at.ok_or_else(no_gradient)?)));
        let seeds = seeds.into_iter().collect::<Result<Vec<_>>>()?;
        self.back(walk, &seeds).map(drop)
    }

    /// Gradients of Σ ⟨output, seed⟩; those at parameters join the sums.
    fn back(&self, walk: &mut Walk<'_, '_>, seeds: &[(Tensor, Tensor)]) -> Result<GradStore> {
        let products = seeds.iter().map(|(output, seed)| output.mul(seed)?.sum_all());
        let products = products.collect::<candle_core::Result<Vec<_>>>()?;
        let found = Tensor::stack(&products, 0)?.sum_all()?.backward()?;
        for (sum, variable) in walk.sums.iter_mut().zip(&self.bound.variables) {
            if let Some(gradient) = found.get(variable) {
                add(sum, gradient.detach())?;
            }
        }
        Ok(found)
    }

    /// Hands over what the unit that is now final holds.
    fn unit_done(&self, walk: &mut Walk<'_, '_>) -> Result<()> {
        let Some(unit) = walk.units.next() else { return Ok(()) };
        let spans = self.bound.plan.blueprint.layout.spans();
        let first = spans.partition_point(|span| span.range.start < unit.start);
        let end = spans.partition_point(|span| span.range.end <= unit.end);
        for index in first..end {
            if let Some(sum) = walk.sums[index].take() {
                (walk.listener)(Event::Gradient(index, &sum))?;
            }
        }
        (walk.listener)(Event::UnitDone)
    }
}

impl Recording for ProteinRecording {
    fn prediction(&self) -> &Clouds {
        &self.prediction
    }

    fn auxiliary(&mut self, x_1: &Clouds, t: &[f64], scale: f64) -> Result<Vec<f64>> {
        if x_1.offsets() != self.prediction.offsets() || t.len() != x_1.len() {
            return Err(Error::Data("distogram: data and prediction are divided differently".into()));
        }
        let mut losses = Vec::new();
        for (b, passage) in self.passages.iter().enumerate() {
            if let Some(logits) = self.bound.distogram(passage)? {
                let (loss, at_logits) = cross_entropy(&logits, x_1.cloud(b), t[b], scale)?;
                self.at_distograms[b] = at_logits;
                losses.push(loss);
            }
        }
        Ok(losses)
    }

    fn backward(self: Box<Self>, at_prediction: &Clouds, gradient: &mut [f32], ready: &mut Ready<'_>) -> Result<()> {
        let blueprint = &self.bound.plan.blueprint;
        fill(&blueprint.layout, &blueprint.units, gradient, ready, |listener| self.walk(at_prediction, listener))
    }
}

impl AtChain {
    /// The gradient at the tokens, which the way back starts with.
    fn seed(&self) -> Result<Tensor> {
        self.tokens.clone().ok_or_else(no_gradient)
    }
}

impl Pairs {
    /// The same numbers as a variable of their own.
    fn variable(&self) -> Result<Pairs> {
        Ok(Pairs { side: self.side, values: variable(&self.values)? })
    }
}

fn add(sum: &mut Option<Tensor>, term: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => (sum + term)?,
        None => term,
    });
    Ok(())
}

/// The gradient at a variable. candle's gradients remember how they were computed; as the seed of the next
/// step they must not, or that step would differentiate them too.
fn gradient(found: &GradStore, at: &Tensor) -> Result<Tensor> {
    found.get(at).map(Tensor::detach).ok_or_else(no_gradient)
}

fn no_gradient() -> Error {
    Error::Compute(candle_core::Error::Msg("an input on the way back received no gradient".into()))
}
