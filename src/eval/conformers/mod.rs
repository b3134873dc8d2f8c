//! Conformers against reference ensembles: coverage and matching by symmetry-corrected RMSD, and validity of each by itself.
