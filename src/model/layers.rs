//! The pieces every plain network is made of. A piece knows only where its parameters lie (their indices
//! among the layout's spans); the values are handed in, so that one description serves the layout, the
//! initial values, prediction (plain tensors) and training (variables).
//!
//! Only operations with a correct backward are used: candle's fused layer norm and softmax have none and
//! lose gradients without a word.

use candle_core::{D, Tensor};
use rand::distr::StandardUniform;
use rand_distr::{Distribution, StandardNormal};

use super::Layout;
use crate::Result;
use crate::random::{Purpose, stream};

/// The law that a parameter's initial values follow.
#[derive(Clone, Debug)]
pub(super) enum Law {
    /// All the same.
    Constant(f32),
    /// Independent standard normal.
    Normal,
    /// Independent uniform on ±bound.
    Uniform(f64),
    /// These very values.
    Values(Vec<f32>),
}

/// How a linear layer starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum LinearInit {
    /// Weight: Xavier uniform, ±√(6/(in + out)); bias: 0.
    Xavier,
    /// Weight and bias: ±1/√in, PyTorch's default.
    FanIn,
    /// Weight: ±1/√in; bias: 0.
    FanInNoBias,
}

/// A list of parameters in the making: where each lies and how it starts.
#[derive(Debug, Default)]
pub(super) struct Declaration {
    layout: Layout,
    laws: Vec<Law>,
}

impl Declaration {
    /// A parameter of its own kind; returns its index.
    pub(super) fn tensor(&mut self, name: String, shape: &[usize], law: Law) -> usize {
        self.laws.push(law);
        self.layout.push(name, shape)
    }

    /// `name.weight` (out, in) and `name.bias` (out).
    pub(super) fn linear(&mut self, name: &str, inputs: usize, outputs: usize, init: LinearInit) -> Linear {
        let fan_in = Law::Uniform(1.0 / (inputs as f64).sqrt());
        let zero = Law::Constant(0.0);
        let (weight, bias) = match init {
            LinearInit::Xavier => (xavier(inputs, outputs), zero),
            LinearInit::FanIn => (fan_in.clone(), fan_in),
            LinearInit::FanInNoBias => (fan_in, zero),
        };
        Linear {
            weight: self.tensor(format!("{name}.weight"), &[outputs, inputs], weight),
            bias: self.tensor(format!("{name}.bias"), &[outputs], bias),
        }
    }

    /// `name.weight` (out, in), Xavier uniform.
    pub(super) fn projection(&mut self, name: &str, inputs: usize, outputs: usize) -> Projection {
        Projection { weight: self.tensor(format!("{name}.weight"), &[outputs, inputs], xavier(inputs, outputs)) }
    }

    /// `name.weight` and `name.bias` (width): ones and zeros.
    pub(super) fn layer_norm(&mut self, name: &str, width: usize) -> LayerNorm {
        LayerNorm {
            weight: self.tensor(format!("{name}.weight"), &[width], Law::Constant(1.0)),
            bias: self.tensor(format!("{name}.bias"), &[width], Law::Constant(0.0)),
        }
    }

    /// `name.weight` (rows, width), standard normal; returns its index.
    pub(super) fn embedding(&mut self, name: &str, rows: usize, width: usize) -> usize {
        self.tensor(format!("{name}.weight"), &[rows, width], Law::Normal)
    }

    /// How many scalars were declared so far.
    pub(super) fn len(&self) -> usize {
        self.layout.len()
    }

    /// The finished list.
    pub(super) fn finish(self) -> (Layout, Vec<Law>) {
        (self.layout, self.laws)
    }
}

fn xavier(inputs: usize, outputs: usize) -> Law {
    Law::Uniform((6.0 / (inputs + outputs) as f64).sqrt())
}

/// Initial values for a whole buffer; each span has a generator of its own.
pub(super) fn initial_values(layout: &Layout, laws: &[Law], seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; layout.len()];
    for (index, (span, law)) in layout.spans().iter().zip(laws).enumerate() {
        let slots = &mut values[span.range.clone()];
        let mut rng = stream(seed, Purpose::Initialization, 0, index as u64);
        match law {
            Law::Constant(value) => slots.fill(*value),
            Law::Values(values) => slots.copy_from_slice(values),
            Law::Normal => slots.fill_with(|| StandardNormal.sample(&mut rng)),
            Law::Uniform(bound) => slots.fill_with(|| {
                let unit: f64 = StandardUniform.sample(&mut rng);
                (bound * (2.0 * unit - 1.0)) as f32
            }),
        }
    }
    values
}

/// y = x Wᵀ + b.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    /// Index of W (out, in).
    pub(super) weight: usize,
    /// Index of b (out).
    pub(super) bias: usize,
}

impl Linear {
    /// (N, in) → (N, out).
    pub(super) fn forward(&self, values: &[Tensor], x: &Tensor) -> Result<Tensor> {
        affine(x, &values[self.weight], &values[self.bias])
    }

    /// The matrix (out, in + 1) with the bias as its last column, for inputs whose last entry is 1: the
    /// bias's gradient then comes out of a matrix product, far cheaper over many rows than a sum.
    pub(super) fn augmented(&self, values: &[Tensor]) -> Result<Tensor> {
        Ok(Tensor::cat(&[&values[self.weight], &values[self.bias].unsqueeze(1)?], 1)?)
    }
}

/// x Wᵀ + b for x (N, in), W (out, in), b (out).
pub(super) fn affine(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(&weight.t()?)?.broadcast_add(bias)?)
}

/// y = x Wᵀ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Projection {
    /// Index of W (out, in).
    pub(super) weight: usize,
}

impl Projection {
    /// (…, in) → (…, out).
    pub(super) fn forward(&self, values: &[Tensor], x: &Tensor) -> Result<Tensor> {
        let weight = &values[self.weight];
        let mut shape = x.dims().to_vec();
        let inputs = shape.pop().unwrap_or(1);
        let rows = shape.iter().product::<usize>();
        shape.push(weight.dim(0)?);
        Ok(x.reshape((rows, inputs))?.matmul(&weight.t()?)?.reshape(shape)?)
    }
}

/// y = w (x − mean) / √(variance + 1e-5) + b over the last axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerNorm {
    /// Index of w.
    pub(super) weight: usize,
    /// Index of b.
    pub(super) bias: usize,
}

impl LayerNorm {
    /// (N, width) → (N, width).
    pub(super) fn forward(&self, values: &[Tensor], x: &Tensor) -> Result<Tensor> {
        const EPSILON: f64 = 1e-5;
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + EPSILON)?.sqrt()?;
        let normal = centred.broadcast_div(&deviation)?;
        Ok(normal.broadcast_mul(&values[self.weight])?.broadcast_add(&values[self.bias])?)
    }
}
