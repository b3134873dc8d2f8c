//! Proteins: chains from PDB and mmCIF files, backbones written as such, fold labels, clusters, filters.
//!
//! A chain is seen by its Cα atoms alone. [`read`] takes a file, plain or gzip, tells its format by its content, and
//! gives the chains of its first model:
//! - residues of the 20 standard kinds, and selenomethionine as methionine, that have a Cα; in the order of the file,
//!   so that insertion codes stand where the author put them;
//! - of alternate locations the Cα with the highest occupancy, among equal ones that with the first label, among these
//!   the first of the file; where a number has residues of several kinds this decides between them too;
//! - numbers and chain ids as the author gave them. A chain id may be blank or have several characters.
//!
//! What is left out (waters, nucleotides, modified and D-amino acids …) is counted. Nothing in a file is trusted: it
//! gives chains or an error that says why not, in bounded memory.

mod assemble;
mod chain;
mod cif;
mod clusters;
mod filter;
mod fold;
mod labels;
mod lines;
mod mmcif;
mod pdb;
mod read;
mod residue;
mod write;

pub use chain::{BREAK_DISTANCE, Chain, Entry, MAX_RESIDUES, Method, breaks};
pub use clusters::Clusters;
pub use filter::{Filters, Rejection};
pub use fold::{Fold, FoldClasses};
pub use labels::{Labels, Subject};
pub use read::{MAX_BYTES, read, read_bytes};
pub use residue::Kind;
pub use write::{Format, save, write_mmcif, write_pdb};
