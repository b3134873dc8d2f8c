//! The way back: layer by layer from the last, each computed once more from its border.

use std::sync::Arc;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::input::{Prepared, matrix};
use super::network::Bound;
use super::{Context, Embedded, State};
use crate::diffusion::{Ready, Recording};
use crate::geometry::Clouds;
use crate::model::walk::{Event, Listener, Sink, fill, gradients_to, variable};
use crate::{Error, Result};

/// A forward pass of an [`super::EtDenoiser`]: the borders between its layers.
#[derive(Debug)]
pub struct EtRecording {
    pub(super) bound: Arc<Bound>,
    pub(super) given: Prepared,
    pub(super) embedded: Embedded,
    /// Before each layer, and after the last.
    pub(super) borders: Vec<State>,
    pub(super) prediction: Clouds,
}

impl EtRecording {
    /// Walks back from the loss's gradient at the prediction and hands each parameter's gradient, in the compute
    /// type, to `sink` as soon as it is final: head, layers from the last to the first, stem.
    pub fn gradients(&self, at_prediction: &Clouds, sink: &mut Sink<'_>) -> Result<()> {
        self.walk(at_prediction, &mut gradients_to(sink))
    }

    fn walk(&self, at_prediction: &Clouds, listener: &mut Listener<'_>) -> Result<()> {
        let mut at_state = self.head_back(at_prediction, listener)?;
        let embedded = Embedded { atoms: variable(&self.embedded.atoms)?, edges: variable(&self.embedded.edges)? };
        let mut at_embedded = Embedded { atoms: embedded.atoms.zeros_like()?, edges: embedded.edges.zeros_like()? };
        for (layer, border) in self.bound.blueprint.layers.iter().zip(&self.borders).rev() {
            let input = border.variables()?;
            let output = layer.forward(self.context(&embedded), &input, &mut |_, _| ())?;
            let found = self.walk_back(&[(&output.x, &at_state.x), (&output.vec, &at_state.vec)], listener)?;
            at_state = State { x: gradient(&found, &input.x)?, vec: gradient(&found, &input.vec)? };
            at_embedded.atoms = (at_embedded.atoms + gradient(&found, &embedded.atoms)?)?;
            at_embedded.edges = (at_embedded.edges + gradient(&found, &embedded.edges)?)?;
        }
        self.stem_back(&at_state.x, &at_embedded, listener)
    }

    /// The gradient at the state after the last layer.
    fn head_back(&self, at_prediction: &Clouds, listener: &mut Listener<'_>) -> Result<State> {
        let input = self.borders[self.borders.len() - 1].variables()?;
        let output = self.bound.blueprint.head.forward(&self.bound.variables, &input, &mut |_, _| ())?;
        let found = self.walk_back(&[(&output, &self.seed(at_prediction)?)], listener)?;
        Ok(State { x: gradient(&found, &input.x)?, vec: gradient(&found, &input.vec)? })
    }

    /// From the gradients at what the stem made to its parameters.
    fn stem_back(&self, at_x: &Tensor, at_embedded: &Embedded, listener: &mut Listener<'_>) -> Result<()> {
        let (x, embedded) = self.bound.blueprint.stem.forward(&self.bound.variables, &self.given, &mut |_, _| ())?;
        let seeds = [(&x, at_x), (&embedded.atoms, &at_embedded.atoms), (&embedded.edges, &at_embedded.edges)];
        self.walk_back(&seeds, listener).map(drop)
    }

    fn context<'a>(&'a self, embedded: &'a Embedded) -> Context<'a> {
        Context { w: &self.bound.variables, given: &self.given, embedded }
    }

    /// The gradient at the head's output (3, N, 1): centring is its own adjoint.
    fn seed(&self, at_prediction: &Clouds) -> Result<Tensor> {
        let at_vectors = at_prediction.clone().centred();
        let points = at_vectors.points();
        let axes: Vec<f64> = (0..3).flat_map(|axis| points.iter().map(move |g| g[axis])).collect();
        Ok(matrix(axes, (3, points.len()), self.bound.blueprint.dtype)?.unsqueeze(2)?)
    }

    /// Gradients of Σ ⟨output, seed⟩ for one unit; those of parameters go to the listener.
    fn walk_back(&self, seeds: &[(&Tensor, &Tensor)], listener: &mut Listener<'_>) -> Result<GradStore> {
        let products = seeds.iter().map(|(output, seed)| output.mul(seed)?.sum_all());
        let products = products.collect::<candle_core::Result<Vec<_>>>()?;
        let found = Tensor::stack(&products, 0)?.sum_all()?.backward()?;
        for (index, variable) in self.bound.variables.iter().enumerate() {
            if let Some(gradient) = found.get(variable) {
                listener(Event::Gradient(index, gradient))?;
            }
        }
        listener(Event::UnitDone)?;
        Ok(found)
    }
}

impl Recording for EtRecording {
    fn prediction(&self) -> &Clouds {
        &self.prediction
    }

    fn backward(self: Box<Self>, at_prediction: &Clouds, gradient: &mut [f32], ready: &mut Ready<'_>) -> Result<()> {
        let blueprint = &self.bound.blueprint;
        fill(&blueprint.layout, &blueprint.units, gradient, ready, |listener| self.walk(at_prediction, listener))
    }
}

impl State {
    /// The same numbers as variables of their own.
    fn variables(&self) -> Result<State> {
        Ok(State { x: variable(&self.x)?, vec: variable(&self.vec)? })
    }
}

/// The gradient at a variable. candle's gradients remember how they were computed; as the seed of the next
/// step they must not, or that step would differentiate them too.
fn gradient(found: &GradStore, at: &Tensor) -> Result<Tensor> {
    match found.get(at) {
        Some(gradient) => Ok(gradient.detach()),
        // candle loses track of empty tensors: the edge features of a batch without edges.
        None if at.elem_count() == 0 => Ok(at.zeros_like()?),
        None => Err(Error::Compute(candle_core::Error::Msg("a layer's input received no gradient".into()))),
    }
}
