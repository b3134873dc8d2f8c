//! What one forward pass works on.

use std::ops::Range;

use super::chain_record::ChainRecord;
use super::record::MoleculeRecord;
use crate::Result;
use crate::bio::{Fold, breaks};
use crate::chem::Molecule;
use crate::chem::features::{NUM_FEATURES, atom_features};
use crate::chem::stereo::stereo_centres;
use crate::geometry::{Clouds, Point};

/// `B` conformers or chains: ragged clouds and what the denoiser is told about them.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The sample id of each cloud; randomness is keyed by it. In training it is [`Sample::id`](super::Sample::id),
    /// elsewhere the index of the molecule or chain.
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

    /// Joins chains, each given by its sample id, its record, the residues that are shown, and the fold class that is
    /// told.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) when a position is not finite.
    ///
    /// # Panics
    /// If a chain lacks residues that are to be shown.
    pub fn from_chains(samples: &[(u64, ChainRecord, Range<usize>, Fold)]) -> Result<Self> {
        let mut offsets = vec![0];
        let mut residues = Residues::default();
        let mut clouds = Vec::new();
        for (_, record, shown, fold) in samples {
            let positions = record.points(shown.clone())?;
            residues.numbers.extend(&record.numbers()[shown.clone()]);
            residues.breaks.extend(breaks(&positions));
            residues.folds.push(*fold);
            offsets.push(residues.numbers.len());
            clouds.push(centre(positions));
        }
        let ids = samples.iter().map(|(id, ..)| *id).collect();
        let x_1 = Clouds::from_clouds(clouds.iter().map(Vec::as_slice));
        let condition = Condition { bonds: residues.bonds(&offsets), offsets, points: Points::Residues(residues) };
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

/// What the denoiser knows of the `N` points besides position and time. Indices are those of the batch's points,
/// `0..N`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// First point of each cloud, and the end: `B + 1` ascending indices.
    pub offsets: Vec<usize>,
    /// Which points are joined, each pair once; cloud by cloud. Of molecules the bonds, in the molecule's order; of
    /// chains the residues that follow each other without a break.
    pub bonds: Vec<[u32; 2]>,
    /// What the points are.
    pub points: Points,
}

/// What the points of a batch are.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// Atoms of molecules.
    Atoms(Atoms),
    /// Residues of protein chains, each at its CA atom.
    Residues(Residues),
}

/// What is known of atoms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Atoms {
    /// Atomic number of each.
    pub atomic_numbers: Vec<u8>,
    /// Features of each: category indices as floats.
    pub features: Vec<[f32; NUM_FEATURES]>,
    /// Tetrahedral centres with four neighbours and a known handedness.
    pub stereo_centres: Vec<StereoCentre>,
}

/// What is known of residues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Residues {
    /// The author's number of each. Numbers may jump and repeat; networks count from the chain's first as 1.
    pub numbers: Vec<i32>,
    /// Whether the chain is broken after the residue: the next CA is farther than 4 Å. Never after the last.
    pub breaks: Vec<bool>,
    /// The fold class of each chain, `B`.
    pub folds: Vec<Fold>,
}

impl Condition {
    /// Atoms without known handedness.
    pub fn of_atoms(
        offsets: Vec<usize>,
        atomic_numbers: Vec<u8>,
        features: Vec<[f32; NUM_FEATURES]>,
        bonds: Vec<[u32; 2]>,
    ) -> Self {
        let points = Points::Atoms(Atoms { atomic_numbers, features, stereo_centres: Vec::new() });
        Condition { offsets, bonds, points }
    }

    /// What is known of these molecules, a cloud each; also of molecules without positions, for sampling.
    pub fn from_molecules<'a>(molecules: impl IntoIterator<Item = &'a Molecule>) -> Self {
        let (mut offsets, mut bonds, mut atoms) = (vec![0], Vec::new(), Atoms::default());
        for (cloud, molecule) in molecules.into_iter().enumerate() {
            let first = atoms.atomic_numbers.len() as u32;
            bonds.extend(molecule.bonds.iter().map(|bond| [first + bond.begin, first + bond.end]));
            atoms.push(cloud as u32, molecule);
            offsets.push(atoms.atomic_numbers.len());
        }
        Condition { offsets, bonds, points: Points::Atoms(atoms) }
    }

    /// Chains of these lengths of which nothing else is known: residues numbered from 1, no break, no fold class.
    /// What sampling starts from.
    pub fn from_lengths(lengths: &[usize]) -> Self {
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |end, n| {
            *end += n;
            Some(*end)
        }));
        let total = offsets[lengths.len()];
        let residues = Residues {
            numbers: lengths.iter().flat_map(|&n| 1..=n as i32).collect(),
            breaks: vec![false; total],
            folds: vec![Fold::default(); lengths.len()],
        };
        Condition { bonds: residues.bonds(&offsets), offsets, points: Points::Residues(residues) }
    }

    /// Number of clouds, `B`.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no cloud.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The atoms, where the points are atoms.
    pub fn atoms(&self) -> Option<&Atoms> {
        match &self.points {
            Points::Atoms(atoms) => Some(atoms),
            Points::Residues(_) => None,
        }
    }

    /// The residues, where the points are residues.
    pub fn residues(&self) -> Option<&Residues> {
        match &self.points {
            Points::Atoms(_) => None,
            Points::Residues(residues) => Some(residues),
        }
    }

    /// Whether any chain's fold class is told.
    pub fn tells_folds(&self) -> bool {
        self.residues().is_some_and(|residues| residues.folds.iter().any(|fold| *fold != Fold::default()))
    }

    /// The same with no chain's fold class told.
    pub fn without_folds(&self) -> Self {
        let mut condition = self.clone();
        if let Points::Residues(residues) = &mut condition.points {
            residues.folds.fill(Fold::default());
        }
        condition
    }
}

impl Default for Condition {
    fn default() -> Self {
        Condition { offsets: vec![0], bonds: Vec::new(), points: Points::Atoms(Atoms::default()) }
    }
}

impl Atoms {
    fn push(&mut self, cloud: u32, molecule: &Molecule) {
        let first = self.atomic_numbers.len() as u32;
        self.atomic_numbers.extend(molecule.atoms.iter().map(|atom| atom.atomic_number));
        self.features.extend(atom_features(molecule));
        let centres = stereo_centres(molecule).into_iter();
        self.stereo_centres.extend(centres.map(|centre| StereoCentre {
            cloud,
            neighbours: centre.neighbours.map(|atom| first + atom),
            sign: centre.sign,
        }));
    }
}

impl Residues {
    /// The pairs of residues that follow each other without a break, in chains that begin at `offsets`.
    pub fn bonds(&self, offsets: &[usize]) -> Vec<[u32; 2]> {
        let inner = offsets.windows(2).flat_map(|chain| (chain[0] + 1..chain[1]).map(|next| next - 1));
        inner.filter(|&i| !self.breaks[i]).map(|i| [i as u32, i as u32 + 1]).collect()
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
