//! One molecule of a shard, with its conformers.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Int8Type, UInt8Type, UInt32Type};
use arrow_array::{ListArray, RecordBatch};

use super::schema::{BOND_ORDERS, chirality_of, column};
use crate::chem::{Atom, Bond, MAX_ATOMS, Molecule};
use crate::geometry::Point;
use crate::{Error, Result};

/// How far the weights' sum may be from 1: rounding of thousands of them to 32 bits is far below it.
const WEIGHT_TOLERANCE: f64 = 1e-3;

/// A molecule read from a shard: a view of the mapped file, whose lengths and indices have been checked
/// against each other.
#[derive(Clone, Debug)]
pub struct MoleculeRecord {
    batch: RecordBatch,
    row: usize,
    place: String,
    molecule: Molecule,
    num_conformers: usize,
}

impl MoleculeRecord {
    /// Takes row `row` of a record batch; `place` says where it comes from, for messages.
    pub(super) fn new(batch: RecordBatch, row: usize, place: String) -> Result<Self> {
        let mut record = MoleculeRecord { batch, row, place, molecule: Molecule::default(), num_conformers: 0 };
        record.molecule = record.read_molecule()?;
        record.num_conformers = record.values::<Float32Type>(column::WEIGHTS).len();
        record.check_lengths()?;
        Ok(record)
    }

    /// What the source calls the molecule (for GEOM its SMILES there).
    pub fn key(&self) -> &str {
        self.batch.column(column::KEY).as_string::<i32>().value(self.row)
    }

    /// SMILES with explicit hydrogens, its atoms mapped `1..=N` to the molecule's order.
    pub fn smiles(&self) -> &str {
        self.batch.column(column::SMILES).as_string::<i32>().value(self.row)
    }

    /// The graph.
    pub fn molecule(&self) -> &Molecule {
        &self.molecule
    }

    /// Number of atoms, `N`.
    pub fn num_atoms(&self) -> usize {
        self.molecule.atoms.len()
    }

    /// Number of conformers, `C`, at least 1.
    pub fn num_conformers(&self) -> usize {
        self.num_conformers
    }

    /// The conformers' Boltzmann weights, `C` numbers that fall and sum to 1.
    pub fn weights(&self) -> &[f32] {
        self.values::<Float32Type>(column::WEIGHTS)
    }

    /// The conformers' energies above the lowest in kcal/mol; NaN where the source has none.
    pub fn energies(&self) -> &[f32] {
        self.values::<Float32Type>(column::ENERGIES)
    }

    /// The positions of conformer `c`, `3N` numbers in Å.
    ///
    /// # Panics
    /// If `c` is not below [`MoleculeRecord::num_conformers`].
    pub fn positions(&self, c: usize) -> &[f32] {
        let length = 3 * self.num_atoms();
        &self.values::<Float32Type>(column::POSITIONS)[c * length..(c + 1) * length]
    }

    /// The positions of conformer `c` as points in Å.
    ///
    /// # Errors
    /// [`Error::Data`] when one is not finite.
    ///
    /// # Panics
    /// If `c` is not below [`MoleculeRecord::num_conformers`].
    pub fn conformer(&self, c: usize) -> Result<Vec<Point>> {
        let positions = self.positions(c);
        if let Some(i) = positions.iter().position(|x| !x.is_finite()) {
            return Err(self.damaged(format!("conformer {c}: atom {} is at {}", i / 3, positions[i])));
        }
        Ok(positions.chunks_exact(3).map(|p| [p[0].into(), p[1].into(), p[2].into()]).collect())
    }

    fn damaged(&self, what: String) -> Error {
        Error::Data(format!("{}: {what}", self.place))
    }

    fn values<T: ArrowPrimitiveType>(&self, column: usize) -> &[T::Native] {
        list_values::<T>(self.batch.column(column).as_list(), self.row)
    }

    fn read_molecule(&self) -> Result<Molecule> {
        let numbers = self.values::<UInt8Type>(column::ATOMIC_NUMBERS);
        let charges = self.values::<Int8Type>(column::FORMAL_CHARGES);
        let radicals = self.values::<UInt8Type>(column::RADICAL_ELECTRONS);
        let chirality = self.values::<Int8Type>(column::CHIRALITY);
        let n = numbers.len();
        if n == 0 || [charges.len(), radicals.len(), chirality.len()] != [n; 3] {
            return Err(self.damaged(format!("{n} atoms, but the columns that describe them have other lengths")));
        }
        if n > MAX_ATOMS {
            return Err(self.damaged(format!("{n} atoms are more than the limit of {MAX_ATOMS}")));
        }
        let atoms = (0..n).map(|i| self.atom(i, numbers[i], charges[i], radicals[i], chirality[i]));
        Ok(Molecule { atoms: atoms.collect::<Result<_>>()?, bonds: self.read_bonds(n)? })
    }

    fn atom(&self, i: usize, atomic_number: u8, formal_charge: i8, radical_electrons: u8, code: i8) -> Result<Atom> {
        if !(1..=118).contains(&atomic_number) {
            return Err(self.damaged(format!("atom {i} has atomic number {atomic_number}")));
        }
        let chirality = chirality_of(code);
        let chirality =
            chirality.ok_or_else(|| self.damaged(format!("atom {i} has chirality {code}, not -1, 0, 1")))?;
        Ok(Atom { atomic_number, formal_charge, radical_electrons, chirality })
    }

    fn read_bonds(&self, num_atoms: usize) -> Result<Vec<Bond>> {
        let ends = self.values::<UInt32Type>(column::BONDS);
        let orders = self.values::<UInt8Type>(column::BOND_ORDERS);
        if ends.len() != 2 * orders.len() {
            return Err(self.damaged(format!("{} ends of {} bonds", ends.len(), orders.len())));
        }
        let bonds = ends.chunks_exact(2).zip(orders).enumerate();
        bonds.map(|(i, (ends, &code))| self.bond(i, ends[0], ends[1], code, num_atoms)).collect()
    }

    fn bond(&self, i: usize, begin: u32, end: u32, code: u8, num_atoms: usize) -> Result<Bond> {
        if begin == end || begin as usize >= num_atoms || end as usize >= num_atoms {
            return Err(self.damaged(format!("bond {i} joins atoms {begin} and {end} of {num_atoms}")));
        }
        let order = BOND_ORDERS.get(code as usize);
        let &(_, order) = order.ok_or_else(|| self.damaged(format!("bond {i} has the unknown order {code}")))?;
        Ok(Bond { begin, end, order })
    }

    fn check_lengths(&self) -> Result<()> {
        let (c, n) = (self.num_conformers, self.num_atoms());
        let positions = self.values::<Float32Type>(column::POSITIONS).len();
        if c == 0 || self.energies().len() != c || positions != 3 * c * n {
            let energies = self.energies().len();
            return Err(self.damaged(format!(
                "{c} weights and {energies} energies of conformers, {positions} coordinates of {n} atoms"
            )));
        }
        if self.weights().iter().any(|w| !(0.0..=1.0).contains(w)) {
            return Err(self.damaged("a conformer's weight is not in [0, 1]".into()));
        }
        self.check_weights()
    }

    fn check_weights(&self) -> Result<()> {
        let weights = self.weights();
        if let Some(c) = weights.windows(2).position(|pair| pair[0] < pair[1]) {
            let (this, next) = (weights[c], weights[c + 1]);
            return Err(self.damaged(format!("weights {c} and {} rise from {this} to {next}; expected to fall", c + 1)));
        }
        let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        if (sum - 1.0).abs() >= WEIGHT_TOLERANCE {
            return Err(self.damaged(format!("the conformers' weights sum to {sum}, expected 1")));
        }
        Ok(())
    }
}

/// The values of one row of a list column. The decoder has validated the offsets.
pub(super) fn list_values<T: ArrowPrimitiveType>(lists: &ListArray, row: usize) -> &[T::Native] {
    let offsets = lists.value_offsets();
    let range: Range<usize> = offsets[row] as usize..offsets[row + 1] as usize;
    &lists.values().as_primitive::<T>().values()[range]
}
