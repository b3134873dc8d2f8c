//! Conformers against reference ensembles: coverage and matching by symmetry-corrected RMSD, and validity of each by itself.

mod correspondence;
mod coverage;
mod rmsd;
mod search;
mod skeleton;
mod superposition;
mod validity;

pub use coverage::{Coverage, Summary, coverage, thresholds};
pub use rmsd::{RmsdMatrix, RmsdOptions, rmsd_matrix, rmsd_matrix_with};
pub use skeleton::Skeleton;
pub use validity::{Checker, Validity};
