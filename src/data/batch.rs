//! What one forward pass works on.

use crate::geometry::Clouds;

/// Number of features per atom (see [`crate::chem`]).
pub const NUM_FEATURES: usize = 10;

/// `B` conformers: ragged clouds and what the denoiser is told about them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The sample id of each cloud: its molecule's index in the split. Randomness is keyed by it.
    pub ids: Vec<u64>,
    /// The data positions x_1 in Å, centred per cloud.
    pub x_1: Clouds,
    /// What the denoiser is conditioned on.
    pub condition: Condition,
}

/// What the denoiser knows of the `N` points besides position and time: the molecules' graphs. Indices are
/// those of the batch's points, `0..N`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    /// First point of each cloud, and the end: `B + 1` ascending indices.
    pub offsets: Vec<usize>,
    /// Atomic number of each point.
    pub atomic_numbers: Vec<u8>,
    /// Features of each point: category indices as floats.
    pub features: Vec<[f32; NUM_FEATURES]>,
    /// Bonds, each once; cloud by cloud, in the molecule's order.
    pub bonds: Vec<[u32; 2]>,
    /// Tetrahedral centres with four neighbours and a known handedness.
    pub stereo_centres: Vec<StereoCentre>,
}

/// A tetrahedral centre whose handedness is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StereoCentre {
    /// The cloud it belongs to.
    pub cloud: u32,
    /// Its four neighbours, in the order of the molecule's bonds.
    pub neighbours: [u32; 4],
    /// The sign that `v_1 · (v_2 × v_3)`, `v_k = x_k − x_4`, must have: +1 for counter-clockwise, −1 for
    /// clockwise.
    pub sign: i8,
}
