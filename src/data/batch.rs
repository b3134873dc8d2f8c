//! What one forward pass works on.

use super::record::MoleculeRecord;
use crate::Result;
use crate::chem::Molecule;
use crate::chem::features::{NUM_FEATURES, atom_features};
use crate::chem::stereo::stereo_centres;
use crate::geometry::{Clouds, Point};

/// `B` conformers: ragged clouds and what the denoiser is told about them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The sample id of each cloud; randomness is keyed by it. In training it is [`Sample::id`](super::Sample::id),
    /// elsewhere the molecule's index.
    pub ids: Vec<u64>,
    /// The data positions x_1 in Å, centred per cloud.
    pub x_1: Clouds,
    /// What the denoiser is conditioned on.
    pub condition: Condition,
}

impl Batch {
    /// Joins conformers, each given by its sample id, its molecule and the conformer's number there.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) when a position is not finite.
    ///
    /// # Panics
    /// If a molecule has no conformer of that number.
    pub fn from_records(samples: &[(u64, MoleculeRecord, usize)]) -> Result<Self> {
        let ids = samples.iter().map(|(id, ..)| *id).collect();
        let condition = Condition::from_molecules(samples.iter().map(|(_, record, _)| record.molecule()));
        let centred = |(_, record, c): &(u64, MoleculeRecord, usize)| Ok(centre(record.conformer(*c)?));
        let conformers = samples.iter().map(centred).collect::<Result<Vec<_>>>()?;
        let x_1 = Clouds::from_clouds(conformers.iter().map(Vec::as_slice));
        Ok(Batch { ids, x_1, condition })
    }
}

/// Moves the points' mean to the origin.
fn centre(mut points: Vec<Point>) -> Vec<Point> {
    let n = points.len() as f64;
    for axis in 0..3 {
        let mean = points.iter().map(|p| p[axis]).sum::<f64>() / n;
        points.iter_mut().for_each(|p| p[axis] -= mean);
    }
    points
}

/// What the denoiser knows of the `N` points besides position and time: the molecules' graphs. Indices are
/// those of the batch's points, `0..N`.
#[derive(Clone, Debug, PartialEq)]
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

impl Condition {
    /// What is known of these molecules, a cloud each; also of molecules without positions, for sampling.
    pub fn from_molecules<'a>(molecules: impl IntoIterator<Item = &'a Molecule>) -> Self {
        let mut condition = Condition::default();
        molecules.into_iter().for_each(|molecule| condition.push(molecule));
        condition
    }

    /// Number of clouds, `B`.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no cloud.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, molecule: &Molecule) {
        let (cloud, first) = (self.len() as u32, self.atomic_numbers.len() as u32);
        self.atomic_numbers.extend(molecule.atoms.iter().map(|atom| atom.atomic_number));
        self.features.extend(atom_features(molecule));
        self.bonds.extend(molecule.bonds.iter().map(|bond| [first + bond.begin, first + bond.end]));
        let centres = stereo_centres(molecule).into_iter();
        self.stereo_centres.extend(centres.map(|centre| StereoCentre {
            cloud,
            neighbours: centre.neighbours.map(|atom| first + atom),
            sign: centre.sign,
        }));
        self.offsets.push(self.atomic_numbers.len());
    }
}

impl Default for Condition {
    fn default() -> Self {
        Condition {
            offsets: vec![0],
            atomic_numbers: Vec::new(),
            features: Vec::new(),
            bonds: Vec::new(),
            stereo_centres: Vec::new(),
        }
    }
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
