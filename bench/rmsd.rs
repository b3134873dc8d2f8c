//! RMSDs of all pairs of a file's conformers, for tests and measurements beside RDKit: see `bench/rmsd.py`.
//!
//!     target/release/examples/rmsd IN.json
//!
//! IN.json lists cases `{"reference": GRAPH, "generated": GRAPH, "references": [CONFORMER], "samples": [CONFORMER]}`; a GRAPH is
//! `{"atoms": [[element, charge, radicals]], "bonds": [[begin, end, order]]}` with orders 1, 2, 3, 4 (aromatic), 5 (other).
//! Writes for each case one line of JSON: `{"rmsd": [..], "unrestricted": [..], "seconds": median of a matrix, "unproven": n, "mismatch": why}`.

use std::time::Instant;

use qsd::chem::{Atom, Bond, BondOrder, Chirality, Molecule};
use qsd::eval::conformers::{RmsdOptions, rmsd_matrix_with};
use serde::Deserialize;

/// A molecule's graph.
#[derive(Deserialize)]
struct Graph {
    atoms: Vec<(u8, i8, u8)>,
    bonds: Vec<(u32, u32, u8)>,
}

/// Two ensembles.
#[derive(Deserialize)]
struct Case {
    reference: Graph,
    generated: Graph,
    references: Vec<Vec<[f64; 3]>>,
    samples: Vec<Vec<[f64; 3]>>,
    /// How often the matrix is computed; the median of the times is given.
    #[serde(default = "once")]
    repeats: usize,
}

fn once() -> usize {
    1
}

impl Graph {
    fn molecule(&self) -> Molecule {
        let orders = [BondOrder::Single, BondOrder::Double, BondOrder::Triple, BondOrder::Aromatic];
        let order = |order: u8| orders.get(usize::from(order) - 1).copied().unwrap_or(BondOrder::Other);
        let atom = |&(atomic_number, formal_charge, radical_electrons): &(u8, i8, u8)| Atom {
            atomic_number,
            formal_charge,
            radical_electrons,
            chirality: Chirality::None,
        };
        Molecule {
            atoms: self.atoms.iter().map(atom).collect(),
            bonds: self.bonds.iter().map(|&(begin, end, o)| Bond { begin, end, order: order(o) }).collect(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: rmsd IN.json")?;
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path)?)?;
    // One thread, this one: waking another would cost more than a small matrix.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?;
    for case in &cases {
        let (reference, generated) = (case.reference.molecule(), case.generated.molecule());
        let matrix = |terminal_groups: bool| {
            let options = RmsdOptions { terminal_groups, ..RmsdOptions::default() };
            rmsd_matrix_with(&options, (&reference, &case.references), (&generated, &case.samples))
        };
        let mut seconds = Vec::new();
        let mut found = matrix(true)?;
        for _ in 0..case.repeats {
            let start = Instant::now();
            found = matrix(true)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let line = serde_json::json!({
            "rmsd": found.values,
            "unrestricted": matrix(false)?.values,
            "seconds": seconds[seconds.len() / 2],
            "unproven": found.unproven.len(),
            "mismatch": found.mismatch,
        });
        println!("{line}");
    }
    Ok(())
}
