//! All parameters in one flat f32 buffer, with named spans. Gradients, moments and averages share the layout,
//! so that the optimizer, the collectives and the checkpoints work on plain slices.

use std::ops::Range;

/// Where each parameter lies in the flat buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    spans: Vec<Span>,
    len: usize,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name, as in the reference's state dict.
    pub name: String,
    /// Its shape; row-major.
    pub shape: Vec<usize>,
    /// Its place in the buffer.
    pub range: Range<usize>,
}

impl Layout {
    /// Appends a parameter and returns its index among the spans.
    pub fn push(&mut self, name: impl Into<String>, shape: &[usize]) -> usize {
        let end = self.len + shape.iter().product::<usize>();
        self.spans.push(Span { name: name.into(), shape: shape.to_vec(), range: self.len..end });
        self.len = end;
        self.spans.len() - 1
    }

    /// The parameters in the buffer's order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Length of the whole buffer: the number of scalars.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
