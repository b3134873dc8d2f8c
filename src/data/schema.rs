//! The columns of a shard. One row is one molecule with `C` conformers of `N` atoms and `M` bonds, or one chain of `N`
//! residues; `docs/data-format.md` is the text for users.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::chem::{BondOrder, Chirality};

/// The version of the shards' and the manifest's form that this build reads and writes.
pub const SCHEMA_VERSION: u32 = 1;

/// Rows of every record batch but a file's last, so that row `i` is found without a search.
pub const ROWS_PER_BATCH: usize = 64;

/// What the samples of a data set are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Molecules with conformers; what manifests mean that do not say.
    #[default]
    Molecules,
    /// Protein chains.
    Chains,
}

impl Kind {
    /// What its samples are called.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Molecules => "molecules",
            Kind::Chains => "chains",
        }
    }

    /// What the points of its samples are called.
    pub fn points(self) -> &'static str {
        match self {
            Kind::Molecules => "atoms",
            Kind::Chains => "residues",
        }
    }

    /// The schema of its shards.
    pub fn schema(self) -> &'static SchemaRef {
        match self {
            Kind::Molecules => &SCHEMA,
            Kind::Chains => &CHAIN_SCHEMA,
        }
    }

    /// A column that has one element for each point.
    pub(super) fn points_column(self) -> usize {
        match self {
            Kind::Molecules => column::ATOMIC_NUMBERS,
            Kind::Chains => chain_column::NUMBERS,
        }
    }
}

/// Place of each column of a chain's row.
pub(super) mod chain_column {
    pub const KEY: usize = 0;
    pub const SEQUENCE: usize = 1;
    pub const NUMBERS: usize = 2;
    pub const POSITIONS: usize = 3;
    pub const B_FACTORS: usize = 4;
    pub const FOLDS: usize = 5;
    pub const CLUSTER: usize = 6;
}

/// The schema of shards of chains: no column, and no element of a list, may be null.
pub static CHAIN_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let list = |value| DataType::List(Arc::new(Field::new("item", value, false)));
    let columns = [
        ("key", DataType::Utf8),
        ("sequence", DataType::Utf8),
        ("numbers", list(DataType::Int32)),
        ("positions", list(DataType::Float32)),
        ("b_factors", list(DataType::Float32)),
        ("folds", list(DataType::Utf8)),
        ("cluster", DataType::Utf8),
    ];
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, false)).to_vec()))
});

/// Place of each column of a molecule's row.
pub(super) mod column {
    pub const KEY: usize = 0;
    pub const SMILES: usize = 1;
    pub const ATOMIC_NUMBERS: usize = 2;
    pub const FORMAL_CHARGES: usize = 3;
    pub const RADICAL_ELECTRONS: usize = 4;
    pub const CHIRALITY: usize = 5;
    pub const BONDS: usize = 6;
    pub const BOND_ORDERS: usize = 7;
    pub const WEIGHTS: usize = 8;
    pub const ENERGIES: usize = 9;
    pub const POSITIONS: usize = 10;
}

/// The schema of shards of molecules: no column, and no element of a list, may be null.
pub static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let list = |value| DataType::List(Arc::new(Field::new("item", value, false)));
    let columns = [
        ("key", DataType::Utf8),
        ("smiles", DataType::Utf8),
        ("atomic_numbers", list(DataType::UInt8)),
        ("formal_charges", list(DataType::Int8)),
        ("radical_electrons", list(DataType::UInt8)),
        ("chirality", list(DataType::Int8)),
        ("bonds", list(DataType::UInt32)),
        ("bond_orders", list(DataType::UInt8)),
        ("weights", list(DataType::Float32)),
        ("energies", list(DataType::Float32)),
        ("positions", list(DataType::Float32)),
    ];
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, false)).to_vec()))
});

/// The names of the bond orders; a bond's code is its place here.
pub(super) const BOND_ORDERS: [(&str, BondOrder); 5] = [
    ("other", BondOrder::Other),
    ("single", BondOrder::Single),
    ("double", BondOrder::Double),
    ("triple", BondOrder::Triple),
    ("aromatic", BondOrder::Aromatic),
];

/// The code of a bond order.
pub(super) fn bond_code(order: BondOrder) -> u8 {
    BOND_ORDERS.iter().position(|(_, o)| *o == order).expect("the table lists every order") as u8
}

/// The code of a handedness: the sign of the centre's volume, 0 for none.
pub(super) fn chirality_code(chirality: Chirality) -> i8 {
    match chirality {
        Chirality::None => 0,
        Chirality::Clockwise => -1,
        Chirality::CounterClockwise => 1,
    }
}

/// The handedness of a code.
pub(super) fn chirality_of(code: i8) -> Option<Chirality> {
    match code {
        0 => Some(Chirality::None),
        -1 => Some(Chirality::Clockwise),
        1 => Some(Chirality::CounterClockwise),
        _ => None,
    }
}
