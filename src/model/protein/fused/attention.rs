//! Attention of each chain's tokens among themselves, head by head.

use std::ops::Range;

use super::context::Context;
use super::plan::Segment;
use crate::model::engine::{Buffer, Matrix, Store, softmax, softmax_back};

/// One layer's queries q′ (T, i), rows [q̂ | k̂ | v | g] (T, 4i) and biases (see [`super::tape::PairsTape::biases`]).
#[derive(Clone, Copy)]
pub(super) struct Attention<'a> {
    pub(super) context: Context<'a>,
    pub(super) layer: usize,
    pub(super) queries: &'a [f32],
    pub(super) rows: &'a [f32],
}

/// Where the operands of a chain and a head lie.
struct Head {
    tokens: Range<usize>,
    /// Columns within a part of a row.
    columns: Range<usize>,
    /// The weights' place.
    scores: Range<usize>,
    /// The biases' place.
    biases: Range<usize>,
    /// Residues.
    residues: usize,
}

impl Attention<'_> {
    fn heads<'b>(&'b self, segment: &'b Segment) -> impl Iterator<Item = Head> + 'b {
        let config = self.context.config;
        let (heads, w, tokens) = (config.heads, config.head_width, segment.tokens.len());
        let pairs = segment.pairs.len();
        let first = segment.pairs.start * config.layers * heads + self.layer * heads * pairs;
        (0..heads).map(move |head| Head {
            tokens: segment.tokens.clone(),
            columns: head * w..(head + 1) * w,
            scores: segment.scores.start * heads + head * tokens * tokens
                ..segment.scores.start * heads + (head + 1) * tokens * tokens,
            biases: first + head * pairs..first + (head + 1) * pairs,
            residues: segment.residues.len(),
        })
    }

    /// The part (0: q̂, 1: k̂, 2: v) of the rows that a head sees.
    fn part(&self, part: usize, head: &Head) -> Matrix<'_> {
        let i = self.context.config.inner();
        let columns = part * i + head.columns.start..part * i + head.columns.end;
        Matrix::new(self.rows, 4 * i).rows(head.tokens.clone()).columns(columns)
    }

    /// A head's columns of an array (T, i).
    fn own<'b>(&self, array: &'b [f32], head: &Head) -> Matrix<'b> {
        Matrix::new(array, self.context.config.inner()).rows(head.tokens.clone()).columns(head.columns.clone())
    }

    /// The weights, and what they gather, (T, i).
    pub(super) fn forward(&self, biases: &[f32], weights: &mut Buffer, gathered: &mut [f32]) {
        let (products, i) = (self.context.exact(), self.context.config.inner());
        weights.resize(self.context.plan.scores() * self.context.config.heads);
        for segment in &self.context.plan.segments {
            for head in self.heads(segment) {
                let n = head.tokens.len();
                let p = &mut weights[head.scores.clone()];
                products.multiply(p, n, Store::Replace, self.own(self.queries, &head), self.part(1, &head).t());
                softmax(p, n, &biases[head.biases.clone()], head.residues);
                let place = head.tokens.start * i + head.columns.start;
                products.multiply(&mut gathered[place..], i, Store::Replace, Matrix::new(p, n), self.part(2, &head));
            }
        }
    }

    /// From the gradient at what was gathered to those at q′, k̂ and v (the first three parts of `at_rows`) and to those
    /// at the biases, which take the biases' place.
    pub(super) fn back(
        &self,
        at_gathered: &[f32],
        weights: &[f32],
        biases: &mut [f32],
        at_rows: &mut [f32],
        scores: &mut Buffer,
    ) {
        let (products, i) = (self.context.exact(), self.context.config.inner());
        for segment in &self.context.plan.segments {
            for head in self.heads(segment) {
                let n = head.tokens.len();
                let (p, at_out) = (&weights[head.scores.clone()], self.own(at_gathered, &head));
                let d = scores.resize(n * n);
                products.multiply(d, n, Store::Replace, at_out, self.part(2, &head).t());
                softmax_back(d, p, n, &mut biases[head.biases.clone()], head.residues);
                let (p, d) = (Matrix::new(p, n), Matrix::new(d, n));
                let place = |part: usize| head.tokens.start * 4 * i + part * i + head.columns.start;
                products.multiply(&mut at_rows[place(0)..], 4 * i, Store::Replace, d, self.part(1, &head));
                let queries = self.own(self.queries, &head);
                products.multiply(&mut at_rows[place(1)..], 4 * i, Store::Replace, d.t(), queries);
                products.multiply(&mut at_rows[place(2)..], 4 * i, Store::Replace, p.t(), at_out);
            }
        }
    }
}
