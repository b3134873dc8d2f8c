//! RMSD of conformers, minimal over rigid motions and over all symmetries of the graph: the number that RDKit's
//! `GetBestRMS` gives for molecules without their implied hydrogens.

use rayon::prelude::*;

use crate::chem::Molecule;
use crate::geometry::Point;
use crate::{Error, Result};

use super::Skeleton;
use super::correspondence::Correspondence;
use super::search::{Cloud, Search};

/// Positions beyond this (Å) give no RMSD: their squares would leave f64.
const FARTHEST: f64 = 1e15;

/// How RMSDs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RmsdOptions {
    /// Whether the ends of conjugated terminal groups (carboxylate, nitro, sulfonyl, phosphate, amidine …) may change
    /// places whatever their charges and bonds, as in RDKit's `symmetrizeConjugatedTerminalGroups`.
    pub terminal_groups: bool,
    /// Decisions (which atom is which) that are looked at for one pair at most. A pair that needs more gets the best RMSD
    /// found so far and is listed in [`RmsdMatrix::unproven`]. RDKit stops after a million isomorphisms, silently.
    pub budget: u64,
}

impl Default for RmsdOptions {
    fn default() -> Self {
        RmsdOptions { terminal_groups: true, budget: 20_000_000 }
    }
}

/// RMSDs of generated conformers from reference conformers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RmsdMatrix {
    /// How many reference conformers there are: rows.
    pub references: usize,
    /// How many generated conformers there are: columns.
    pub generated: usize,
    /// RMSDs in Å, row by row. NaN: there is none, since the graphs do not match or a position is not finite (or beyond 10¹⁵ Å).
    pub values: Vec<f64>,
    /// Why no value could be taken at all, in words.
    pub mismatch: Option<String>,
    /// Indices into `values` of those that may be too large, since the search's budget was used up; ascending.
    pub unproven: Vec<usize>,
}

/// RMSD of every pair, heavy atoms (see [`Skeleton`]), minimal over symmetries, with the default options; the graphs may
/// list their atoms in different orders.
///
/// # Errors
/// [`Error::Data`] if a conformer has not one position per atom of its molecule.
pub fn rmsd_matrix(
    reference: &Molecule,
    references: &[Vec<Point>],
    generated: &Molecule,
    samples: &[Vec<Point>],
) -> Result<RmsdMatrix> {
    rmsd_matrix_with(&RmsdOptions::default(), (reference, references), (generated, samples))
}

/// [`rmsd_matrix`] with options; ensembles are (molecule, conformers), the reference first.
///
/// # Errors
/// [`Error::Data`] if a conformer has not one position per atom of its molecule.
pub fn rmsd_matrix_with(
    options: &RmsdOptions,
    (reference, references): (&Molecule, &[Vec<Point>]),
    (generated, samples): (&Molecule, &[Vec<Point>]),
) -> Result<RmsdMatrix> {
    check("reference", reference, references)?;
    check("generated", generated, samples)?;
    let [row, column] = [reference, generated].map(Skeleton::new);
    let cells = references.len() * samples.len();
    let mut matrix = RmsdMatrix {
        references: references.len(),
        generated: samples.len(),
        values: vec![f64::NAN; cells],
        ..RmsdMatrix::default()
    };
    let plan = match Correspondence::new(&column.graph, &row.graph, options.terminal_groups) {
        Ok(plan) if !plan.steps.is_empty() => plan,
        Ok(_) => return Ok(RmsdMatrix { mismatch: Some("the molecule has no heavy atom".to_owned()), ..matrix }),
        Err(mismatch) => return Ok(RmsdMatrix { mismatch: Some(mismatch), ..matrix }),
    };
    let clouds = |skeleton: &Skeleton, conformers: &[Vec<Point>]| -> Vec<Option<Cloud>> {
        conformers.iter().map(|conformer| cloud(skeleton.positions(conformer))).collect()
    };
    let (rows, columns) = (clouds(&row, references), clouds(&column, samples));
    let cell = |search: &mut Search, index: usize| {
        let (y, x) = (rows[index / samples.len()].as_ref()?, columns[index % samples.len()].as_ref()?);
        Some(search.run(&plan, x, y, options.budget))
    };
    let found: Vec<_> = (0..cells).into_par_iter().map_init(Search::default, cell).collect();
    for (index, found) in found.into_iter().enumerate() {
        let Some(found) = found else { continue };
        matrix.values[index] = found.rmsd.unwrap_or(f64::NAN);
        if found.unproven {
            matrix.unproven.push(index);
        } else if found.rmsd.is_none() {
            matrix.mismatch =
                Some("the two graphs look alike, but no atoms of one can be those of the other".to_owned());
        }
    }
    Ok(matrix)
}

fn check(which: &str, molecule: &Molecule, conformers: &[Vec<Point>]) -> Result<()> {
    let atoms = molecule.atoms.len();
    match conformers.iter().position(|conformer| conformer.len() != atoms) {
        Some(index) => Err(Error::Data(format!(
            "{which} conformer {index} has {} positions, but its molecule has {atoms} atoms",
            conformers[index].len()
        ))),
        None => Ok(()),
    }
}

fn cloud(points: Vec<Point>) -> Option<Cloud> {
    let usable = points.iter().flatten().all(|coordinate| coordinate.abs() <= FARTHEST);
    usable.then(|| Cloud::new(points))
}
