//! Parameters and their gradients where they are: slices of the flat buffers.

use std::ops::Range;

use super::{LayerNorm, Store};
use crate::model::Layout;
use crate::model::layers::LayerNorm as NormSpans;

/// The flat buffer of parameters by index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights<'a> {
    /// Where each parameter lies.
    pub(crate) layout: &'a Layout,
    /// The whole buffer.
    pub(crate) numbers: &'a [f32],
}

impl<'a> Weights<'a> {
    /// Parameter `index` of the layout.
    pub(crate) fn get(self, index: usize) -> &'a [f32] {
        &self.numbers[self.layout.spans()[index].range.clone()]
    }

    /// The parameters from `first` to `last`, which lie side by side.
    pub(crate) fn run(self, first: usize, last: usize) -> &'a [f32] {
        let spans = self.layout.spans();
        &self.numbers[spans[first].range.start..spans[last].range.end]
    }

    /// A norm's factors and shifts.
    pub(crate) fn norm(self, norm: &NormSpans) -> LayerNorm<&'a [f32]> {
        LayerNorm { weight: self.get(norm.weight), bias: self.get(norm.bias) }
    }
}

/// The gradients at consecutive parameters: a part of the network that becomes final at once.
#[derive(Debug)]
pub(crate) struct Gradients<'a> {
    /// Whether they are added to.
    pub(crate) store: Store,
    layout: &'a Layout,
    start: usize,
    numbers: &'a mut [f32],
}

impl<'a> Gradients<'a> {
    /// `numbers` lie at `range` of the whole buffer.
    pub(crate) fn new(layout: &'a Layout, range: &Range<usize>, numbers: &'a mut [f32], store: Store) -> Self {
        Gradients { store, layout, start: range.start, numbers }
    }

    /// Where the parameters from `first` to `last` lie among the numbers.
    fn place(&self, first: usize, last: usize) -> Range<usize> {
        let spans = self.layout.spans();
        spans[first].range.start - self.start..spans[last].range.end - self.start
    }

    /// The gradient at parameter `index` of the layout.
    pub(crate) fn get(&mut self, index: usize) -> &mut [f32] {
        self.run(index, index)
    }

    /// The gradients at the parameters from `first` to `last`.
    pub(crate) fn run(&mut self, first: usize, last: usize) -> &mut [f32] {
        let place = self.place(first, last);
        &mut self.numbers[place]
    }

    /// The gradients at a norm's parameters.
    pub(crate) fn norm(&mut self, norm: &NormSpans) -> LayerNorm<&mut [f32]> {
        let [weight, bias] = self.two(norm.weight, norm.bias);
        LayerNorm { weight, bias }
    }

    /// The gradients at two different parameters.
    pub(crate) fn two(&mut self, a: usize, b: usize) -> [&mut [f32]; 2] {
        let places = [self.place(a, a), self.place(b, b)];
        self.numbers.get_disjoint_mut(places).unwrap_or_default()
    }
}
