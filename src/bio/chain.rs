//! A chain, and what a file says of all of its chains.

use std::collections::BTreeMap;

use super::Kind;
use crate::geometry::Point;

/// A chain is broken where the next Cα is farther away than this, in Å (two residues that are bonded have theirs 3.8 Å
/// apart, or 2.9 Å in a cis peptide).
pub const BREAK_DISTANCE: f64 = 4.0;

/// Files and shards hold no longer chain.
pub const MAX_RESIDUES: usize = 100_000;

/// The Cα trace of a chain of `N` residues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// The author's chain id; empty where the file has a blank. Where a file uses an id for several copies (the same
    /// residues once more), the second is called `A.2`, and so on.
    pub id: String,
    /// One-letter codes, `N` characters.
    pub sequence: String,
    /// Residue numbers as the author gave them, `N`; residues with insertion codes share one.
    pub numbers: Vec<i32>,
    /// Positions of the Cα atoms in Å, `N`.
    pub positions: Vec<Point>,
    /// B-factors of the Cα atoms, `N`; in models of AlphaFold the confidence pLDDT. NaN where the file has none.
    pub b_factors: Vec<f32>,
    /// How many residues of other kinds the file counts to the chain, by kind.
    pub others: BTreeMap<Kind, usize>,
}

impl Chain {
    /// Number of residues, `N`.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether it has no residue; never of a chain that was read.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// After how many residues the chain is broken.
    pub fn num_breaks(&self) -> usize {
        breaks(&self.positions).into_iter().filter(|broken| *broken).count()
    }

    /// The share of D-amino acids and modified residues among all of the chain's residues.
    pub fn share_non_standard(&self) -> f64 {
        let others: usize = [Kind::DAmino, Kind::Modified].iter().filter_map(|kind| self.others.get(kind)).sum();
        others as f64 / (others + self.len()).max(1) as f64
    }

    /// The mean of the B-factors, in models of AlphaFold of pLDDT; NaN where one is not known.
    pub fn mean_b_factor(&self) -> f64 {
        self.b_factors.iter().copied().map(f64::from).sum::<f64>() / self.len() as f64
    }
}

/// For each residue whether the chain is broken after it; false at the last.
pub fn breaks(positions: &[Point]) -> Vec<bool> {
    let far = |a: &Point, b: &Point| (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f64>() > BREAK_DISTANCE.powi(2);
    let mut breaks: Vec<bool> = positions.windows(2).map(|pair| far(&pair[0], &pair[1])).collect();
    breaks.resize(positions.len(), false);
    breaks
}

/// How a structure was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Diffraction of X-rays, neutrons, electrons or by powders.
    Diffraction,
    /// Electron microscopy.
    Microscopy,
    /// Nuclear magnetic resonance, in solution or solid.
    Resonance,
    /// A predicted or designed model.
    Model,
    /// Another one, or a file that does not say.
    Unknown,
}

impl Method {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Diffraction => "diffraction",
            Method::Microscopy => "em",
            Method::Resonance => "nmr",
            Method::Model => "model",
            Method::Unknown => "unknown",
        }
    }

    /// By the words of a file.
    pub(super) fn from_words(words: &str) -> Self {
        let words = words.to_ascii_uppercase();
        let has = |part: &str| words.contains(part);
        if has("MICROSCOPY") {
            Method::Microscopy
        } else if has("NMR") {
            Method::Resonance
        } else if has("DIFFRACTION") || has("CRYSTALLOGRAPHY") {
            Method::Diffraction
        } else if has("MODEL") || has("PREDICT") {
            Method::Model
        } else {
            Method::Unknown
        }
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its id in the PDB, in lower case; empty where the file has none.
    pub id: String,
    /// How the structure was found.
    pub method: Method,
    /// Resolution in Å.
    pub resolution: Option<f64>,
    /// The chains of the first model that have a residue to show.
    pub chains: Vec<Chain>,
    /// How many residues were left out, by kind, in all chains.
    pub left_out: BTreeMap<Kind, usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_broken_beyond_four_angstrom() {
        let positions = [[0.0; 3], [4.0, 0.0, 0.0], [8.001, 0.0, 0.0], [8.0, 3.8, 0.0]];
        assert_eq!(breaks(&positions), [false, true, false, false]);
        assert!(breaks(&[]).is_empty());
    }

    #[test]
    fn methods_by_the_words_of_files() {
        for (words, method) in [
            ("X-RAY DIFFRACTION", Method::Diffraction),
            ("NEUTRON DIFFRACTION; X-RAY DIFFRACTION", Method::Diffraction),
            ("ELECTRON CRYSTALLOGRAPHY", Method::Diffraction),
            ("ELECTRON MICROSCOPY", Method::Microscopy),
            ("SOLUTION NMR", Method::Resonance),
            ("THEORETICAL MODEL", Method::Model),
            ("", Method::Unknown),
        ] {
            assert_eq!(Method::from_words(words), method, "{words}");
        }
    }

    #[test]
    fn shares_and_means() {
        let chain = Chain {
            positions: vec![[0.0; 3]; 3],
            b_factors: vec![50.0, 60.0, 70.0],
            others: [(Kind::Modified, 1), (Kind::Water, 5)].into(),
            ..Chain::default()
        };
        assert_eq!((chain.share_non_standard(), chain.mean_b_factor()), (0.25, 60.0));
    }
}
