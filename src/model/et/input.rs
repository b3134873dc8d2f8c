//! What a forward pass knows before any parameter: checked indices, edges, and their geometry in f64.

use candle_core::{DType, Device, Tensor};

use super::EtConfig;
use super::tokens::Tokens;
use crate::data::{Condition, NUM_FEATURES};
use crate::diffusion::Input;
use crate::geometry::Point;
use crate::geometry::vector::{norm_squared, sub};
use crate::model::graph::Edges;
use crate::{Error, Result};

/// The parameter-free inputs of one batch, in the compute type.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Number of atoms, N.
    pub(super) atoms: usize,
    /// Atomic numbers, (N), u32.
    pub(super) elements: Tensor,
    /// Atom features, (N, 10).
    pub(super) features: Tensor,
    /// The time of each atom's molecule, (N, 1).
    pub(super) time: Tensor,
    /// Which channel belongs to which head, (H, h): 1 where it does. Products with it sum over a head's
    /// channels, products with its transpose spread a head's number over them.
    pub(super) heads: Tensor,
    /// The edges.
    pub(super) edges: EdgeTensors,
}

/// The edges as tensors.
#[derive(Debug)]
pub(super) struct EdgeTensors {
    /// Source atoms j, (E), u32.
    pub(super) sources: Tensor,
    /// Target atoms i, (E), u32.
    pub(super) targets: Tensor,
    /// 1 for bonds, 0 for atoms that are only near, (E, 1).
    pub(super) types: Tensor,
    /// D = |x_j − x_i|² in Å², (E, 1).
    pub(super) squared_distance: Tensor,
    /// exp(−5 D / cutoff), the variable of the radial functions, (E, 1).
    pub(super) decay: Tensor,
    /// C(D) = (cos(π D / cutoff) + 1)/2 for D < cutoff, else 0; (E, 1).
    pub(super) envelope: Tensor,
    /// u = (x_j − x_i) / max(D, 0.01) in 1/Å, per axis, (E, 1).
    pub(super) direction: [Tensor; 3],
}

impl Prepared {
    pub(super) fn new(config: &EtConfig, dtype: DType, input: Input<'_>) -> Result<Self> {
        check(config, input)?;
        let condition = input.condition;
        let positions = input.x_t.clone().centred();
        let rounded: Vec<[f32; 3]> = positions.points().iter().map(|x| x.map(|c| c as f32)).collect();
        let edges = config.neighbourhood().edges(positions.offsets(), &rounded, &condition.bonds);
        let atoms = rounded.len();
        let tokens = Tokens::of(condition);
        let elements: Vec<u32> = tokens.elements.iter().map(|&z| u32::from(z)).collect();
        let time: Vec<f64> = (0..input.x_t.len()).flat_map(|b| input.x_t.range(b).map(move |_| input.t[b])).collect();
        let features = Tensor::from_vec(tokens.features.concat(), (atoms, NUM_FEATURES), &Device::Cpu)?;
        let (hidden, width) = (config.hidden, config.hidden / config.heads);
        let member = |i: usize| f64::from(u8::from(i / config.heads / width == i % config.heads));
        Ok(Prepared {
            atoms,
            elements: Tensor::from_vec(elements, atoms, &Device::Cpu)?,
            features: features.to_dtype(dtype)?,
            time: matrix(time, (atoms, 1), dtype)?,
            heads: matrix((0..hidden * config.heads).map(member).collect(), (hidden, config.heads), dtype)?,
            edges: EdgeTensors::new(config, dtype, edges, positions.points())?,
        })
    }
}

impl EdgeTensors {
    fn new(config: &EtConfig, dtype: DType, edges: Edges, positions: &[Point]) -> Result<Self> {
        let len = edges.len();
        let pairs = edges.sources.iter().zip(&edges.targets);
        let r: Vec<Point> = pairs.map(|(&j, &i)| sub(&positions[j as usize], &positions[i as usize])).collect();
        let d2: Vec<f64> = r.iter().map(norm_squared).collect();
        let column = |f: &dyn Fn(f64) -> f64| matrix(d2.iter().map(|&d| f(d)).collect(), (len, 1), dtype);
        let along = |axis: usize| -> Result<Tensor> {
            let u = r.iter().zip(&d2).map(|(r, d)| r[axis] / d.max(0.01)).collect();
            matrix(u, (len, 1), dtype)
        };
        Ok(EdgeTensors {
            types: matrix(edges.types.iter().map(|&t| f64::from(t)).collect(), (len, 1), dtype)?,
            squared_distance: column(&|d| d)?,
            decay: column(&|d| (-5.0 * d / config.cutoff).exp())?,
            envelope: column(&|d| envelope(d, config.cutoff))?,
            direction: [along(0)?, along(1)?, along(2)?],
            sources: Tensor::from_vec(edges.sources, len, &Device::Cpu)?,
            targets: Tensor::from_vec(edges.targets, len, &Device::Cpu)?,
        })
    }

    /// A node quantity (N, C) at each edge's source, (E, C).
    pub(super) fn at_sources(&self, nodes: &Tensor) -> Result<Tensor> {
        Ok(nodes.index_select(&self.sources, 0)?)
    }

    /// A node quantity (N, C) at each edge's target, (E, C).
    pub(super) fn at_targets(&self, nodes: &Tensor) -> Result<Tensor> {
        Ok(nodes.index_select(&self.targets, 0)?)
    }

    /// Sums messages (E, C) at their targets, (N, C), each target's in ascending order of the source.
    pub(super) fn sum_at_targets(&self, messages: &Tensor, atoms: usize) -> Result<Tensor> {
        let nothing = Tensor::zeros((atoms, messages.dim(1)?), messages.dtype(), messages.device())?;
        Ok(nothing.index_add(&self.targets, messages, 0)?)
    }
}

/// C(D); what is not finite gives NaN, so that it shows in the prediction.
pub(super) fn envelope(d2: f64, cutoff: f64) -> f64 {
    if d2 < cutoff { 0.5 * ((std::f64::consts::PI * d2 / cutoff).cos() + 1.0) } else { d2 * 0.0 }
}

/// A matrix of f64 numbers, rounded to the compute type.
pub(super) fn matrix(numbers: Vec<f64>, shape: (usize, usize), dtype: DType) -> Result<Tensor> {
    Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(dtype)?)
}

/// That clouds, times and condition speak of the same atoms, and every index is in range.
pub(super) fn check(config: &EtConfig, input: Input<'_>) -> Result<()> {
    let (offsets, condition) = (input.x_t.offsets(), input.condition);
    let atoms = input.x_t.points().len();
    let expect = |what: &str, found: usize, expected: usize| match found == expected {
        true => Ok(()),
        false => Err(Error::Data(format!("network input: {found} {what}, but {expected} expected"))),
    };
    if atoms == 0 {
        return Err(Error::Data("network input: the batch has no atoms".into()));
    }
    if condition.offsets != offsets {
        return Err(Error::Data("network input: positions and molecular graphs are divided differently".into()));
    }
    expect("times", input.t.len(), input.x_t.len())?;
    let tokens = Tokens::of(condition);
    expect("atomic or residue numbers", tokens.elements.len(), atoms)?;
    expect("feature rows", tokens.features.len(), atoms)?;
    if let Some(atom) = tokens.elements.iter().position(|&z| usize::from(z) >= config.max_z) {
        let (z, max_z) = (tokens.elements[atom], config.max_z);
        let message = format!("network input: atom {atom} has atomic number {z}, the network's max_z is {max_z}");
        return Err(Error::Data(message));
    }
    check_bonds(condition, atoms)
}

fn check_bonds(condition: &Condition, atoms: usize) -> Result<()> {
    let cloud = |atom: u32| condition.offsets.partition_point(|&start| start <= atom as usize);
    for (index, &[a, b]) in condition.bonds.iter().enumerate() {
        if a == b || a.max(b) as usize >= atoms || cloud(a) != cloud(b) {
            return Err(Error::Data(format!(
                "network input: bond {index} joins atoms {a} and {b}, which are not two atoms of one molecule ({atoms} atoms in all)"
            )));
        }
    }
    Ok(())
}
