//! The molecular graph that every reader produces and every feature is computed from.

/// A molecule with every hydrogen an atom of its own. The order of `bonds` matters: an atom's neighbours
/// are ordered as its bonds stand there, and [`Chirality`] refers to that order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Molecule {
    /// The atoms.
    pub atoms: Vec<Atom>,
    /// The bonds, each listed once.
    pub bonds: Vec<Bond>,
}

/// One atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atom {
    /// Atomic number, 1 to 118.
    pub atomic_number: u8,
    /// Formal charge in elementary charges.
    pub formal_charge: i8,
    /// Unpaired electrons.
    pub radical_electrons: u8,
    /// Handedness of a tetrahedral centre.
    pub chirality: Chirality,
}

/// Handedness of a centre: looking from its first neighbour, the others turn this way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chirality {
    /// Not a centre, or not known.
    #[default]
    None,
    /// Clockwise (`@@` in SMILES).
    Clockwise,
    /// Counter-clockwise (`@` in SMILES).
    CounterClockwise,
}

impl Chirality {
    /// The handedness of the mirror image.
    pub fn mirrored(self) -> Chirality {
        match self {
            Chirality::None => Chirality::None,
            Chirality::Clockwise => Chirality::CounterClockwise,
            Chirality::CounterClockwise => Chirality::Clockwise,
        }
    }
}

/// One bond between the atoms with these indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bond {
    /// The atom at which the bond begins.
    pub begin: u32,
    /// The atom at which it ends.
    pub end: u32,
    /// Its order.
    pub order: BondOrder,
}

/// The order of a bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondOrder {
    /// Single.
    Single,
    /// Double.
    Double,
    /// Triple.
    Triple,
    /// Aromatic, in RDKit's sense.
    Aromatic,
    /// Anything else (dative, quadruple, …).
    Other,
}
