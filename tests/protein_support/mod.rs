//! What the tests of the protein network share: the oracle's cases, its rule for weights, its loss, comparisons.
#![allow(dead_code, missing_docs)]

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use qsd::bio::Fold;
use qsd::data::{Condition, Points, Residues};
use qsd::diffusion::{Denoiser, Input, Recording};
use qsd::geometry::{Clouds, Point};
use qsd::model::protein::{PairUpdates, ProteinConfig, ProteinDenoiser, ProteinNetwork, ProteinRecording, Shortcuts};
use qsd::model::{Layout, Network, Span};
use safetensors::{Dtype, SafeTensors};

/// Name → numbers, row by row.
pub type Numbers = HashMap<String, Vec<f64>>;

/// The cases of the network without pair updates, and of the one with them.
pub const CASES: [(&str, &str); 6] = [
    ("tiny", "nosc"),
    ("tiny", "sc"),
    ("tiny", "fold"),
    ("tiny", "defaults"),
    ("tiny_tri", "nosc"),
    ("tiny_tri", "sc"),
];

/// A file of the fixtures.
pub fn fixture(name: &str) -> Numbers {
    let path = format!("{}/tests/fixtures/protein/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, tensor)| (name, decode(tensor.dtype(), tensor.data()))).collect()
}

fn decode(dtype: Dtype, data: &[u8]) -> Vec<f64> {
    match dtype {
        Dtype::F64 => data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
        Dtype::I32 => data.as_chunks().0.iter().map(|bytes| f64::from(i32::from_le_bytes(*bytes))).collect(),
        Dtype::U8 => data.iter().map(|&byte| f64::from(byte)).collect(),
        other => panic!("{other:?}"),
    }
}

pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn flat(clouds: &Clouds) -> Vec<f64> {
    clouds.points().concat()
}

/// The oracle's shape.
pub fn tiny(net: &str) -> ProteinConfig {
    let updates = PairUpdates { every: 2, ..PairUpdates::default() };
    ProteinConfig {
        hidden: 32,
        layers: if net == "tiny_tri" { 3 } else { 2 },
        heads: 4,
        head_width: 8,
        pair: 20,
        condition: 24,
        time: 16,
        index: 12,
        fold: 8,
        fold_classes: [3, 5, 9],
        registers: 3,
        separation_bins: 21,
        self_condition_bins: 20,
        distance_bins: 16,
        pair_updates: (net == "tiny_tri").then_some(updates),
        ..ProteinConfig::default()
    }
}

/// The oracle's weights: a function of names and shapes.
pub fn weights(layout: &Layout) -> Vec<f32> {
    let mut values = vec![0.0; layout.len()];
    for span in layout.spans() {
        values[span.range.clone()].copy_from_slice(&weight(span));
    }
    values
}

/// base + scale·u with u in [−1, 1) from splitmix64 over the FNV-1a hash of the name.
fn weight(span: &Span) -> Vec<f32> {
    let fnv = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = span.name.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let (base, scale) = base_and_scale(span);
    let at = |i: u64| {
        let mut z = hash.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let u = 2.0 * (z >> 40) as f64 / 16_777_216.0 - 1.0;
        (base + scale * u) as f32
    };
    (0..span.range.len() as u64).map(at).collect()
}

fn base_and_scale(span: &Span) -> (f64, f64) {
    let name = span.name.as_str();
    match span.shape.as_slice() {
        _ if name == "registers" => (0.0, 0.2),
        _ if name.contains("embedding_") => (0.0, 1.0),
        [_, inputs] => {
            let wider = if name.ends_with("swish_linear.0.weight") { 2.0 } else { 1.0 };
            (0.0, wider * (3.0 / *inputs as f64).sqrt())
        }
        _ if name.ends_with("weight") => (1.0, 0.3),
        _ if name.ends_with("to_adaln_zero_gamma.0.bias") => (-1.0, 0.5),
        _ => (0.0, 0.2),
    }
}

/// One of the oracle's runs: the tiny network, what it is given, and what came out.
pub struct Case {
    pub config: ProteinConfig,
    pub x_t: Clouds,
    pub x_1: Clouds,
    pub t: Vec<f64>,
    pub condition: Condition,
    pub self_condition: Option<Clouds>,
    pub expected: Numbers,
}

/// Points in nm as clouds in Å.
pub fn angstroms(lengths: &[usize], nanometres: &[f64]) -> Clouds {
    let points: Vec<Point> = nanometres.chunks_exact(3).map(|x| [10.0 * x[0], 10.0 * x[1], 10.0 * x[2]]).collect();
    let offsets = Condition::from_lengths(lengths).offsets;
    Clouds::from_clouds(offsets.windows(2).map(|w| &points[w[0]..w[1]]))
}

/// Clouds in Å as numbers in nm.
pub fn nanometres(clouds: &Clouds) -> Vec<f64> {
    flat(clouds).iter().map(|c| c / 10.0).collect()
}

impl Case {
    pub fn load(net: &str, name: &str) -> Case {
        let inputs = fixture(&format!("{net}_inputs"));
        let lengths: Vec<usize> = inputs["lengths"].iter().map(|&n| n as usize).collect();
        let mut condition = Condition::from_lengths(&lengths);
        if name != "defaults" {
            let Points::Residues(residues) = &mut condition.points else { panic!("residues") };
            residues.numbers = inputs["residue_pdb_idx"].iter().map(|&i| i as i32).collect();
            residues.breaks = inputs["chain_breaks_per_residue"].iter().map(|&b| b == 1.0).collect();
        }
        let config = tiny(net);
        if name == "fold" {
            let Points::Residues(residues) = &mut condition.points else { panic!("residues") };
            let classes = config.fold_classes.map(|classes| classes as f64);
            let told = |level: usize, row: f64| (row < classes[level]).then_some(row as u32);
            let fold = |rows: &[f64]| -> Fold { std::array::from_fn(|level| told(level, rows[level])) };
            residues.folds = inputs["cath_index"].chunks_exact(3).map(fold).collect();
        }
        Case {
            x_t: angstroms(&lengths, &inputs["x_t"]),
            x_1: angstroms(&lengths, &inputs["x_1"]),
            t: inputs["t"].clone(),
            self_condition: matches!(name, "sc" | "fold").then(|| angstroms(&lengths, &inputs["x_sc"])),
            expected: fixture(&format!("{net}_{name}")),
            condition,
            config,
        }
    }

    pub fn input(&self) -> Input<'_> {
        Input { x_t: &self.x_t, t: &self.t, condition: &self.condition, self_condition: self.self_condition.as_ref() }
    }

    pub fn residues(&mut self) -> &mut Residues {
        let Points::Residues(residues) = &mut self.condition.points else { panic!("residues") };
        residues
    }

    pub fn network(&self, dtype: DType) -> ProteinNetwork {
        ProteinNetwork::new(self.config.clone(), dtype).unwrap()
    }

    pub fn denoiser(&self, dtype: DType) -> ProteinDenoiser {
        let network = self.network(dtype);
        network.denoiser(&weights(network.layout())).unwrap()
    }

    pub fn literal(&self, dtype: DType) -> ProteinDenoiser {
        let network = self.network(dtype).with_shortcuts(Shortcuts::none());
        network.denoiser(&weights(network.layout())).unwrap()
    }

    /// Chain `b` alone.
    pub fn chain(&self, b: usize) -> Case {
        let range = self.x_t.range(b);
        let residues = self.condition.residues().unwrap();
        let mut condition = Condition::from_lengths(&[range.len()]);
        condition.points = Points::Residues(Residues {
            numbers: residues.numbers[range.clone()].to_vec(),
            breaks: residues.breaks[range.clone()].to_vec(),
            folds: vec![residues.folds[b]],
        });
        let alone = |clouds: &Clouds| Clouds::from_clouds([clouds.cloud(b)]);
        Case {
            config: self.config.clone(),
            x_t: alone(&self.x_t),
            x_1: alone(&self.x_1),
            t: vec![self.t[b]],
            self_condition: self.self_condition.as_ref().map(alone),
            expected: Numbers::new(),
            condition,
        }
    }

    /// x̂_1 = x_t + (1 − t) u, Å.
    pub fn arrival(&self, velocity: &Clouds) -> Clouds {
        arrival(&self.x_t, &self.t, velocity)
    }
}

/// x̂_1 = x_t + (1 − t) u.
pub fn arrival(x_t: &Clouds, t: &[f64], velocity: &Clouds) -> Clouds {
    let mut data = x_t.clone();
    for (b, t) in t.iter().enumerate() {
        for (x, u) in data.cloud_mut(b).iter_mut().zip(velocity.cloud(b)) {
            *x = std::array::from_fn(|axis| x[axis] + (1.0 - t) * u[axis]);
        }
    }
    data
}

/// Per chain Σ |x_1 − x̂_1|²/(3 n)/((1 − t)² + 1e-5) in nm², and the gradient of the batch's mean at the velocity in Å.
pub fn flow_matching(x_t: &Clouds, x_1: &Clouds, t: &[f64], velocity: &Clouds) -> (Vec<f64>, Clouds) {
    let residual =
        arrival(x_t, t, velocity).zip_map(x_1, |a, b| std::array::from_fn(|axis| (a[axis] - b[axis]) / 10.0));
    let (mut losses, mut gradient) = (Vec::new(), velocity.zeros_like());
    for (b, t) in t.iter().enumerate() {
        let weight = 1.0 / (3.0 * residual.cloud(b).len() as f64) / ((1.0 - t).powi(2) + 1e-5);
        losses.push(weight * residual.cloud(b).iter().flatten().map(|r| r * r).sum::<f64>());
        for (g, r) in gradient.cloud_mut(b).iter_mut().zip(residual.cloud(b)) {
            *g = r.map(|r| 2.0 * weight * r * (1.0 - t) / 10.0 / residual.len() as f64);
        }
    }
    (losses, gradient)
}

/// The oracle's losses: flow matching and auxiliary per chain; and each parameter's gradient of the batch's mean of
/// their sum, each delivered once.
pub fn losses_and_gradients(
    case: &Case,
    mut recording: ProteinRecording,
    spans: usize,
) -> ([Vec<f64>; 2], Vec<Vec<f64>>) {
    let (flow, at_velocity) = flow_matching(&case.x_t, &case.x_1, &case.t, recording.prediction());
    let auxiliary = recording.auxiliary(&case.x_1, &case.t, 1.0 / case.t.len() as f64).unwrap();
    ([flow, auxiliary], gradients(&recording, &at_velocity, spans))
}

/// Each parameter's gradient; empty where none was delivered.
pub fn gradients(recording: &ProteinRecording, at_velocity: &Clouds, spans: usize) -> Vec<Vec<f64>> {
    let mut found = vec![Vec::new(); spans];
    recording
        .gradients(at_velocity, &mut |index, gradient| {
            assert!(found[index].is_empty(), "parameter {index} delivered twice");
            found[index] = numbers(gradient);
            Ok(())
        })
        .unwrap();
    found
}

/// Whether a parameter's gradient vanishes identically, since a softmax does not see it.
pub fn vanishes(name: &str) -> bool {
    name.ends_with("pair_norm.bias") || name.ends_with("k_layer_norm.bias")
}

/// max |found − expected| / max |expected|; where nothing is expected, nothing may be found.
pub fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    let scale = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    let difference = largest_difference(found, expected);
    match scale == 0.0 {
        true if difference == 0.0 => 0.0,
        true => f64::INFINITY,
        false => difference / scale,
    }
}

/// max |found − expected|, NaN if there is one.
pub fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a })
}

/// The prediction of a denoiser, as numbers in nm.
pub fn predicted(denoiser: &dyn Denoiser, case: &Case) -> Vec<f64> {
    nanometres(&denoiser.predict(case.input()).unwrap())
}
