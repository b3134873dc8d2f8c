//! The pieces every plain network is made of. A piece knows only where its parameters lie (their indices
//! among the layout's spans); the values are handed in, so that one description serves the layout, the
//! initial values, prediction (plain tensors) and training (variables).
//!
//! Only operations with a correct backward are used: candle's fused layer norm and softmax have none and
//! lose gradients without a word.

use candle_core::{D, Tensor};
use rand::Rng;
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
    /// Independent normal of this standard deviation.
    Normal(f32),
    /// A standard normal cut off at ±2, times this number.
    TruncatedNormal(f32),
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
    /// Weight: normal cut off at two deviations, of variance gain/in; bias: 0.
    VarianceNormal(f64),
    /// All weights the first number, all biases the second.
    Constant(f32, f32),
}

impl LinearInit {
    /// The laws of weight and bias.
    fn laws(self, inputs: usize, outputs: usize) -> (Law, Law) {
        /// The standard deviation of a standard normal that is cut off at ±2.
        const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;
        let fan_in = Law::Uniform(1.0 / (inputs as f64).sqrt());
        let zero = Law::Constant(0.0);
        match self {
            LinearInit::Xavier => (Law::Uniform((6.0 / (inputs + outputs) as f64).sqrt()), zero),
            LinearInit::FanIn => (fan_in.clone(), fan_in),
            LinearInit::FanInNoBias => (fan_in, zero),
            LinearInit::VarianceNormal(gain) => {
                let deviation = (gain / inputs as f64).sqrt() / TRUNCATED_DEVIATION;
                (Law::TruncatedNormal(deviation as f32), zero)
            }
            LinearInit::Constant(weight, bias) => (Law::Constant(weight), Law::Constant(bias)),
        }
    }
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
        let (weight, bias) = init.laws(inputs, outputs);
        Linear {
            weight: self.tensor(format!("{name}.weight"), &[outputs, inputs], weight),
            bias: self.tensor(format!("{name}.bias"), &[outputs], bias),
        }
    }

    /// `name.weight` (out, in).
    pub(super) fn projection(&mut self, name: &str, inputs: usize, outputs: usize, init: LinearInit) -> Projection {
        let (weight, _) = init.laws(inputs, outputs);
        Projection { weight: self.tensor(format!("{name}.weight"), &[outputs, inputs], weight) }
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
        self.tensor(format!("{name}.weight"), &[rows, width], Law::Normal(1.0))
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

/// Initial values for a whole buffer; each span has a generator of its own.
pub(super) fn initial_values(layout: &Layout, laws: &[Law], seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; layout.len()];
    for (index, (span, law)) in layout.spans().iter().zip(laws).enumerate() {
        let slots = &mut values[span.range.clone()];
        let mut rng = stream(seed, Purpose::Initialization, 0, index as u64);
        match law {
            Law::Constant(value) => slots.fill(*value),
            Law::Values(values) => slots.copy_from_slice(values),
            Law::Normal(deviation) => slots.fill_with(|| deviation * normal(&mut rng)),
            Law::TruncatedNormal(factor) => slots.fill_with(|| factor * truncated_normal(&mut rng)),
            Law::Uniform(bound) => slots.fill_with(|| {
                let unit: f64 = StandardUniform.sample(&mut rng);
                (bound * (2.0 * unit - 1.0)) as f32
            }),
        }
    }
    values
}

fn normal(rng: &mut impl Rng) -> f32 {
    StandardNormal.sample(rng)
}

/// A standard normal number, drawn again until it lies within ±2.
fn truncated_normal(rng: &mut impl Rng) -> f32 {
    loop {
        let number = normal(rng);
        if number.abs() <= 2.0 {
            return number;
        }
    }
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
    /// (…, width) → (…, width).
    pub(super) fn forward(&self, values: &[Tensor], x: &Tensor) -> Result<Tensor> {
        Ok(normalised(x)?.broadcast_mul(&values[self.weight])?.broadcast_add(&values[self.bias])?)
    }
}

/// (x − mean) / √(variance + 1e-5) over the last axis.
pub(super) fn normalised(x: &Tensor) -> Result<Tensor> {
    const EPSILON: f64 = 1e-5;
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + EPSILON)?.sqrt()?;
    Ok(centred.broadcast_div(&deviation)?)
}

/// 1/(1 + exp(−x)). Beyond −80, where it is 2e-35, it is flat, so that its derivative is never ∞ · 0.
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x.maximum(-80.0)?.neg()?.exp()? + 1.0)?.recip()?)
}

/// exp(x)/Σ exp(x) over the last axis.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    let largest = x.detach().max_keepdim(D::Minus1)?;
    let weights = x.broadcast_sub(&largest)?.exp()?;
    Ok(weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    const AWKWARD: [f64; 6] = [0.0, -3.0, -500.0, 500.0, f64::NEG_INFINITY, f64::INFINITY];

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        tensor.to_dtype(candle_core::DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn gates_and_their_slopes_stay_finite_and_show_nan() {
        for dtype in [candle_core::DType::F32, candle_core::DType::F64] {
            let x = Tensor::from_slice(&AWKWARD, AWKWARD.len(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            let x = Var::from_tensor(&x).unwrap();
            let gates = sigmoid(&x).unwrap();
            let expected = [0.5, 1.0 / (1.0 + 3f64.exp()), 0.0, 1.0, 0.0, 1.0];
            assert!(numbers(&gates).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{gates}");
            let slopes = numbers(gates.sum_all().unwrap().backward().unwrap().get(&x).unwrap());
            let expected = expected.map(|gate| gate * (1.0 - gate));
            assert!(slopes.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{slopes:?}");
            let nan = Tensor::from_slice(&[f64::NAN], 1, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
            assert!(numbers(&sigmoid(&nan).unwrap())[0].is_nan(), "{dtype:?}");
        }
    }

    #[test]
    fn softmax_stands_large_logits() {
        let logits = Tensor::new(&[[1000.0, 1000.0 - 2f64.ln(), -1000.0], [0.0, 0.0, 0.0]], &Device::Cpu).unwrap();
        let weights = numbers(&softmax(&logits).unwrap());
        let expected = [2.0 / 3.0, 1.0 / 3.0, 0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0];
        assert!(weights.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{weights:?}");
    }

    #[test]
    fn rows_are_normalised_and_constant_ones_vanish() {
        let x = Tensor::new(&[[1.0, 3.0], [0.0, 0.0], [7.0, 7.0]], &Device::Cpu).unwrap();
        let unit = 1.0 / (1.0 + 1e-5f64).sqrt();
        let found = numbers(&normalised(&x).unwrap());
        let expected = [-unit, unit, 0.0, 0.0, 0.0, 0.0];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?}");
    }
}
