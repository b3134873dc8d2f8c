//! One molecule by the field's protocol: which conformers count, their RMSDs, coverage and validity.

use super::corrected::Corrected;
use super::coverage::{Coverage, coverage, thresholds};
use super::ensemble::{Ensemble, same_table};
use super::rmsd::{RmsdMatrix, RmsdOptions, rmsd_matrix, rmsd_matrix_with};
use super::skeleton::Skeleton;
use super::validity::{Checker, Validity};
use crate::Result;
use crate::chem::{Atom, Chirality, Molecule};

/// Which conformers count.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Generated conformers that are compared per reference conformer, the first that there are; molecules with fewer are
    /// left out. 0: as many as there are.
    pub per_reference: usize,
    /// The molecules to evaluate, and the graph that their reference conformers must have; `None`: all, as they are.
    pub corrected: Option<Corrected>,
}

/// What came of a molecule.
#[derive(Clone, Debug)]
pub struct Assessed {
    /// Its key.
    pub key: String,
    /// Atoms, hydrogens included.
    pub atoms: usize,
    /// Atoms that RMSDs count.
    pub heavy_atoms: usize,
    /// Reference conformers that count, and all there are.
    pub references: (usize, usize),
    /// Generated conformers that count, and all there are.
    pub generated: (usize, usize),
    /// At [`thresholds`].
    pub coverage: Coverage,
    /// Pairs whose search over symmetries was cut short: their RMSDs may be too large.
    pub inexact_pairs: usize,
    /// Validity of the reference conformers that count.
    pub reference_validity: Validity,
    /// Validity of the generated conformers that count.
    pub validity: Validity,
    /// How many of these have their atoms in another order than the reference, so that their handedness was not checked.
    pub unknown_handedness: usize,
}

/// Why a molecule is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It falls into parts, whose places relative to each other no conformer determines.
    Disconnected,
    /// The corrected SMILES cannot be read.
    Unreadable(String),
    /// No reference conformer of the corrected graph; how many of others there are.
    NoReference(usize),
    /// Nothing was generated.
    NoSamples,
    /// Generated, but not in the reference.
    NotInReference,
    /// Fewer conformers were generated than the protocol asks for.
    TooFew {
        /// How many there are.
        found: usize,
        /// How many there should be.
        needed: usize,
    },
    /// No generated conformer has the graph of a reference conformer.
    OtherGraph(String),
}

impl Skip {
    /// The reason alone, as it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Skip::Disconnected => "disconnected",
            Skip::Unreadable(_) => "corrected SMILES not readable",
            Skip::NoReference(_) => "no reference conformer of the corrected graph",
            Skip::NoSamples => "nothing generated",
            Skip::NotInReference => "generated, but not in the reference",
            Skip::TooFew { .. } => "too few generated",
            Skip::OtherGraph(_) => "generated with another graph",
        }
    }

    /// What is known besides.
    pub fn detail(&self) -> String {
        match self {
            Skip::Disconnected | Skip::NoSamples | Skip::NotInReference => String::new(),
            Skip::Unreadable(what) | Skip::OtherGraph(what) => what.clone(),
            Skip::NoReference(others) => format!("{others} of other graphs"),
            Skip::TooFew { found, needed } => format!("{found} of {needed}"),
        }
    }
}

impl Protocol {
    /// Whether a molecule is to be evaluated at all.
    pub fn asks_for(&self, key: &str) -> bool {
        self.corrected.as_ref().is_none_or(|list| list.contains(key))
    }

    /// Compares the generated conformers of a molecule with its reference conformers.
    ///
    /// # Errors
    /// When an RMSD cannot be computed for another reason than differing graphs.
    pub fn assess(&self, reference: &Ensemble, generated: &Ensemble) -> Result<Result<Assessed, Skip>> {
        let parts = self.choose(reference, generated);
        let (reference_part, generated_part) = match parts {
            Ok(parts) => parts,
            Err(skip) => return Ok(Err(skip)),
        };
        let matrix = combined(&reference_part, &generated_part)?;
        if matrix.values.iter().all(|rmsd| rmsd.is_nan()) {
            return Ok(Err(Skip::OtherGraph(matrix.mismatch.unwrap_or_default())));
        }
        let molecule = &reference_part.graphs[reference_part.conformers[0].0];
        let (generated_validity, unknown_handedness) = validity(&generated_part, molecule);
        Ok(Ok(Assessed {
            key: reference.key.clone(),
            atoms: molecule.atoms.len(),
            heavy_atoms: Skeleton::new(molecule).atoms.len(),
            references: (reference_part.conformers.len(), reference.conformers.len()),
            generated: (generated_part.conformers.len(), generated.conformers.len()),
            coverage: coverage(&matrix, &thresholds()),
            inexact_pairs: matrix.unproven.len(),
            reference_validity: validity(&reference_part, molecule).0,
            validity: generated_validity,
            unknown_handedness,
        }))
    }

    /// The conformers that count.
    fn choose(&self, reference: &Ensemble, generated: &Ensemble) -> Result<(Ensemble, Ensemble), Skip> {
        if reference.graphs.iter().all(|graph| graph.components().1 > 1) {
            return Err(Skip::Disconnected);
        }
        let corrected = self.corrected.as_ref().and_then(|list| list.graph(&reference.key)).transpose();
        let corrected = corrected.map_err(|what| Skip::Unreadable(what.to_string()))?;
        let counts = |graph: &Molecule| {
            graph.components().1 == 1 && corrected.is_none_or(|corrected| same_graph(corrected, graph))
        };
        let keep: Vec<bool> = reference.graphs.iter().map(counts).collect();
        let reference_part = Ensemble {
            conformers: reference.conformers.iter().filter(|(graph, _)| keep[*graph]).cloned().collect(),
            ..reference.clone()
        };
        let k = reference_part.conformers.len();
        if k == 0 {
            return Err(Skip::NoReference(reference.conformers.len()));
        }
        let found = generated.conformers.len();
        let needed = if self.per_reference == 0 { found } else { self.per_reference * k };
        if found < needed {
            return Err(Skip::TooFew { found, needed });
        }
        let conformers = generated.conformers[..needed].to_vec();
        Ok((reference_part, Ensemble { conformers, ..generated.clone() }))
    }
}

/// Whether two molecules have the same heavy atoms, charges and bonds, in whatever order, handedness aside.
fn same_graph(a: &Molecule, b: &Molecule) -> bool {
    // All atoms in one place: the first way to map one onto the other has the RMSD 0, and ends the search.
    let flat = |molecule: &Molecule| [vec![[0.0; 3]; molecule.atoms.len()]];
    let options = RmsdOptions { terminal_groups: false, ..RmsdOptions::default() };
    // A charge of the second must be one of the first as well, not the other way round: hence both ways.
    [(a, b), (b, a)].into_iter().all(|(a, b)| {
        let matrix = rmsd_matrix_with(&options, (a, &flat(a)), (b, &flat(b)));
        matrix.is_ok_and(|matrix| matrix.values[0] == 0.0)
    })
}

/// RMSDs of all pairs, graph by graph.
fn combined(reference: &Ensemble, generated: &Ensemble) -> Result<RmsdMatrix> {
    let (k, m) = (reference.conformers.len(), generated.conformers.len());
    let mut whole = RmsdMatrix { references: k, generated: m, values: vec![f64::NAN; k * m], ..RmsdMatrix::default() };
    for (r, reference_graph) in reference.graphs.iter().enumerate() {
        let (rows, references) = reference.of_graph(r);
        for (g, generated_graph) in generated.graphs.iter().enumerate() {
            let (columns, samples) = generated.of_graph(g);
            // Of conformers that do not count no more than the graph is left.
            if rows.is_empty() || columns.is_empty() {
                continue;
            }
            let part = rmsd_matrix(reference_graph, &references, generated_graph, &samples)?;
            let place = |index: usize| rows[index / columns.len()] * m + columns[index % columns.len()];
            part.values.iter().enumerate().for_each(|(index, &rmsd)| whole.values[place(index)] = rmsd);
            whole.unproven.extend(part.unproven.iter().map(|&index| place(index)));
            whole.mismatch = whole.mismatch.or(part.mismatch);
        }
    }
    whole.unproven.sort_unstable();
    Ok(whole)
}

/// Validity of all conformers, and how many of them have their atoms in another order than `stated`: of these the handedness
/// cannot be told, since equal graphs can be laid upon each other in several ways.
fn validity(ensemble: &Ensemble, stated: &Molecule) -> (Validity, usize) {
    let known: Vec<bool> = ensemble.graphs.iter().map(|graph| same_table(graph, stated)).collect();
    let checker = |(graph, known): (&Molecule, &bool)| match known {
        true => Checker::new(stated),
        false => Checker::new(&without_handedness(graph)),
    };
    let checkers: Vec<Checker> = ensemble.graphs.iter().zip(&known).map(checker).collect();
    let validity = ensemble.conformers.iter().map(|(graph, positions)| checkers[*graph].check(positions)).sum();
    (validity, ensemble.conformers.iter().filter(|(graph, _)| !known[*graph]).count())
}

fn without_handedness(molecule: &Molecule) -> Molecule {
    let atoms = molecule.atoms.iter().map(|atom| Atom { chirality: Chirality::None, ..*atom });
    Molecule { atoms: atoms.collect(), bonds: molecule.bonds.clone() }
}
