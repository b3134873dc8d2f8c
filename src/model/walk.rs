//! What the ways back of the plain networks share.

use std::ops::Range;

use candle_core::{DType, Tensor, Var};

use super::Layout;
use crate::Result;
use crate::diffusion::Ready;

/// What a way back comes by.
pub(super) enum Event<'a> {
    /// A parameter's index among the layout's spans and the loss's gradient there.
    Gradient(usize, &'a Tensor),
    /// The end of a part of the network: the next one of its units is final.
    UnitDone,
}

/// Is told what a way back comes by.
pub(super) type Listener<'a> = dyn FnMut(Event<'_>) -> Result<()> + 'a;

/// Is told a parameter's index among the layout's spans and the loss's gradient there.
pub type Sink<'a> = dyn FnMut(usize, &Tensor) -> Result<()> + 'a;

/// A listener that hears of gradients alone.
pub(super) fn gradients_to<'a>(sink: &'a mut Sink<'_>) -> impl FnMut(Event<'_>) -> Result<()> + 'a {
    |event| match event {
        Event::Gradient(index, gradient) => sink(index, gradient),
        Event::UnitDone => Ok(()),
    }
}

/// [`Recording::backward`](crate::diffusion::Recording::backward) by a `walk` that tells all it comes by.
pub(super) fn fill(
    layout: &Layout,
    units: &[Range<usize>],
    gradient: &mut [f32],
    ready: &mut Ready<'_>,
    walk: impl FnOnce(&mut Listener<'_>) -> Result<()>,
) -> Result<()> {
    let mut units = units.iter();
    gradient.fill(0.0);
    walk(&mut |event| match event {
        Event::Gradient(index, tensor) => {
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            gradient[layout.spans()[index].range.clone()].copy_from_slice(&values);
            Ok(())
        }
        Event::UnitDone => match units.next() {
            Some(unit) => ready(unit.clone(), &mut gradient[unit.clone()]),
            None => Ok(()),
        },
    })
}

/// The same numbers as a variable of its own.
pub(super) fn variable(tensor: &Tensor) -> Result<Tensor> {
    Ok(Var::from_tensor(tensor)?.into_inner())
}
