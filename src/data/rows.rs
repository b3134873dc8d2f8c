//! The rows that a data set is written from, and their columns.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Int8Type, Int32Type, UInt8Type, UInt32Type};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field};

use super::manifest::Manifest;
use super::schema::{BOND_ORDERS, Kind, bond_code, chirality_code};
use crate::chem::features::vocabulary;
use crate::chem::{Atom, Molecule};

/// What a row of a shard is made of.
pub trait Row: Sized {
    /// What it is.
    const KIND: Kind;
    /// The physical columns and their units.
    const UNITS: &[(&str, &str)];
    /// What is gathered of all rows for the manifest.
    type Summary: Default;

    /// What its source calls it.
    fn key(&self) -> &str;
    /// Its points.
    fn num_points(&self) -> usize;
    /// Its conformers.
    fn num_conformers(&self) -> usize;
    /// The length of its longest column.
    fn longest_column(&self) -> usize;
    /// Panics if the lengths of its parts do not fit together.
    fn assert_fits(&self);
    /// Adds to what the manifest says of all rows.
    fn note(&self, summary: &mut Self::Summary);
    /// Writes that into the manifest.
    fn describe(summary: Self::Summary, manifest: &mut Manifest);
    /// The columns of some rows.
    ///
    /// # Errors
    /// When they cannot be columns of one batch.
    fn record_batch(rows: &[Self]) -> Result<RecordBatch, ArrowError>;
}

/// A molecule to write: `C` conformers of `N` atoms.
#[derive(Clone, Debug)]
pub struct NewMolecule {
    /// What its source calls it.
    pub key: String,
    /// SMILES with explicit hydrogens in the order of the atoms; empty when not known.
    pub smiles: String,
    /// The graph.
    pub molecule: Molecule,
    /// Boltzmann weights, `C` numbers that fall and sum to 1.
    pub weights: Vec<f32>,
    /// Energies above the lowest in kcal/mol, `C` numbers; NaN where not known.
    pub energies: Vec<f32>,
    /// Positions in Å, `3·N·C` numbers, conformer after conformer.
    pub positions: Vec<f32>,
}

impl Row for NewMolecule {
    const KIND: Kind = Kind::Molecules;
    const UNITS: &[(&str, &str)] = &[("positions", "angstrom"), ("energies", "kcal/mol")];
    /// The elements.
    type Summary = BTreeSet<u8>;

    fn key(&self) -> &str {
        &self.key
    }

    fn num_points(&self) -> usize {
        self.molecule.atoms.len()
    }

    fn num_conformers(&self) -> usize {
        self.weights.len()
    }

    fn longest_column(&self) -> usize {
        let graph = self.molecule.atoms.len().max(2 * self.molecule.bonds.len());
        [self.key.len(), self.smiles.len(), graph, self.weights.len(), self.positions.len()]
            .into_iter()
            .max()
            .unwrap_or(0)
    }

    fn assert_fits(&self) {
        let (n, c) = (self.molecule.atoms.len(), self.weights.len());
        assert_eq!([self.energies.len(), self.positions.len()], [c, 3 * n * c], "{n} atoms, {c} conformers");
    }

    fn note(&self, elements: &mut BTreeSet<u8>) {
        elements.extend(self.molecule.atoms.iter().map(|atom| atom.atomic_number));
    }

    fn describe(elements: BTreeSet<u8>, manifest: &mut Manifest) {
        manifest.bond_orders = BOND_ORDERS.map(|(name, _)| name.to_string()).to_vec();
        manifest.features = vocabulary();
        manifest.elements = elements.into_iter().collect();
    }

    fn record_batch(rows: &[Self]) -> Result<RecordBatch, ArrowError> {
        let strings_of = |get: fn(&Self) -> &String| strings(rows, get);
        let of_atoms =
            |get: fn(&Atom) -> u8| lists::<UInt8Type, _>(rows, |row| row.molecule.atoms.iter().map(get).collect());
        let of_atoms_signed =
            |get: fn(&Atom) -> i8| lists::<Int8Type, _>(rows, |row| row.molecule.atoms.iter().map(get).collect());
        let bonds = |row: &Self| row.molecule.bonds.iter().flat_map(|bond| [bond.begin, bond.end]).collect();
        let orders = |row: &Self| row.molecule.bonds.iter().map(|bond| bond_code(bond.order)).collect();
        let columns: Vec<ArrayRef> = vec![
            strings_of(|row| &row.key),
            strings_of(|row| &row.smiles),
            of_atoms(|atom| atom.atomic_number),
            of_atoms_signed(|atom| atom.formal_charge),
            of_atoms(|atom| atom.radical_electrons),
            of_atoms_signed(|atom| chirality_code(atom.chirality)),
            lists::<UInt32Type, _>(rows, bonds),
            lists::<UInt8Type, _>(rows, orders),
            lists::<Float32Type, _>(rows, |row| row.weights.clone()),
            lists::<Float32Type, _>(rows, |row| row.energies.clone()),
            lists::<Float32Type, _>(rows, |row| row.positions.clone()),
        ];
        RecordBatch::try_new(Kind::Molecules.schema().clone(), columns)
    }
}

/// A chain to write: `N` residues.
#[derive(Clone, Debug)]
pub struct NewChain {
    /// What it is called: its file's name and the chain's id.
    pub key: String,
    /// One-letter codes, `N` characters.
    pub sequence: String,
    /// The residues' numbers as their author gave them, `N`.
    pub numbers: Vec<i32>,
    /// Positions of the Cα atoms in Å, `3N` numbers.
    pub positions: Vec<f32>,
    /// B-factors of the Cα atoms, `N`; pLDDT in models of AlphaFold; NaN where not known.
    pub b_factors: Vec<f32>,
    /// Fold codes of CATH, ascending.
    pub folds: Vec<String>,
    /// The name of its cluster; empty for none.
    pub cluster: String,
}

impl Row for NewChain {
    const KIND: Kind = Kind::Chains;
    const UNITS: &[(&str, &str)] = &[("positions", "angstrom")];
    type Summary = ();

    fn key(&self) -> &str {
        &self.key
    }

    fn num_points(&self) -> usize {
        self.numbers.len()
    }

    fn num_conformers(&self) -> usize {
        1
    }

    fn longest_column(&self) -> usize {
        let folds = self.folds.iter().map(String::len).sum();
        [self.key.len(), self.positions.len(), folds, self.cluster.len()].into_iter().max().unwrap_or(0)
    }

    fn assert_fits(&self) {
        let n = self.numbers.len();
        let lengths = [self.sequence.len(), self.positions.len(), self.b_factors.len()];
        assert_eq!(lengths, [n, 3 * n, n], "{n} residues");
    }

    fn note(&self, (): &mut ()) {}

    fn describe((): (), _: &mut Manifest) {}

    fn record_batch(rows: &[Self]) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            strings(rows, |row| &row.key),
            strings(rows, |row| &row.sequence),
            lists::<Int32Type, _>(rows, |row| row.numbers.clone()),
            lists::<Float32Type, _>(rows, |row| row.positions.clone()),
            lists::<Float32Type, _>(rows, |row| row.b_factors.clone()),
            lists_of_strings(rows, |row| &row.folds),
            strings(rows, |row| &row.cluster),
        ];
        RecordBatch::try_new(Kind::Chains.schema().clone(), columns)
    }
}

fn strings<R>(rows: &[R], get: impl Fn(&R) -> &String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(get)))
}

fn lists<T: ArrowPrimitiveType, R>(rows: &[R], get: impl Fn(&R) -> Vec<T::Native>) -> ArrayRef {
    let mut builder =
        ListBuilder::new(PrimitiveBuilder::<T>::new()).with_field(Field::new("item", T::DATA_TYPE, false));
    for row in rows {
        builder.values().append_slice(&get(row));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn lists_of_strings<R>(rows: &[R], get: impl Fn(&R) -> &Vec<String>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(Field::new("item", DataType::Utf8, false));
    for row in rows {
        get(row).iter().for_each(|text| builder.values().append_value(text));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_column_counts() {
        let water = NewMolecule {
            key: "water".into(),
            smiles: String::new(),
            molecule: crate::chem::smiles::parse("O").unwrap(),
            weights: vec![0.5; 2],
            energies: vec![0.0; 2],
            positions: vec![0.0; 18],
        };
        assert_eq!(water.longest_column(), 18);
        let chain = NewChain {
            key: "chain".into(),
            sequence: "AG".into(),
            numbers: vec![1, 2],
            positions: vec![0.0; 6],
            b_factors: vec![0.0; 2],
            folds: vec!["1.10.8.10".into()],
            cluster: String::new(),
        };
        assert_eq!(chain.longest_column(), 9);
    }
}
