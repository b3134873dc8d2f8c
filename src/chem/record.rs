//! One entry of a structure file.

use super::Molecule;

/// A molecule with one conformer, as it stands in a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Title line.
    pub name: String,
    /// The graph. From formats that know no bonds: atoms only.
    pub molecule: Molecule,
    /// Position of each atom in Å.
    pub positions: Vec<[f64; 3]>,
    /// Named texts, in file order.
    pub properties: Vec<(String, String)>,
}
