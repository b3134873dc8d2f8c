//! RMSDs, coverage and matching against what RDKit and ET-Flow's evaluator gave for the same ensembles. Run with `--nocapture` to
//! see the worst absolute error of every quantity as a table row.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use qsd::chem::{Atom, Bond, BondOrder, Chirality, Molecule, smiles};
use qsd::eval::conformers::*;
use qsd::geometry::Point;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/eval").join(name)
}

/// Prints the row and asserts that the largest error is below `tolerance`; NaN must meet NaN.
fn compare(quantity: &str, pairs: impl IntoIterator<Item = (f64, f64)>, tolerance: f64) {
    let error = |(found, expected): (f64, f64)| match (found.is_nan(), expected.is_nan()) {
        (true, true) => 0.0,
        (false, false) => (found - expected).abs(),
        _ => f64::INFINITY,
    };
    let errors: Vec<f64> = pairs.into_iter().map(error).collect();
    let worst = errors.iter().copied().fold(0.0, f64::max);
    println!("| {quantity} ({} values) | {worst:.1e} |", errors.len());
    assert!(!errors.is_empty() && worst <= tolerance, "{quantity}: {worst:e} > {tolerance:e}");
}

fn zip<'a>(found: &'a [f64], expected: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    assert_eq!(found.len(), expected.len());
    found.iter().copied().zip(expected.iter().copied())
}

/// ET-Flow's evaluator on made-up matrices and on four ensembles.
struct Evaluator {
    tensors: HashMap<String, (Vec<usize>, Vec<f64>)>,
    smiles: Vec<String>,
}

impl Evaluator {
    fn read() -> Self {
        let bytes = std::fs::read(fixture("etflow_covmat.safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let smiles = serde_json::from_str(&header.metadata().as_ref().unwrap()["smiles"]).unwrap();
        let numbers = |dtype: Dtype, data: &[u8]| -> Vec<f64> {
            match dtype {
                Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
                Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
                Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
                other => panic!("unexpected {other:?}"),
            }
        };
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.tensors().into_iter();
        let tensor =
            |view: safetensors::tensor::TensorView| (view.shape().to_vec(), numbers(view.dtype(), view.data()));
        Evaluator { tensors: tensors.map(|(name, view)| (name, tensor(view))).collect(), smiles }
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}")).1
    }

    fn matrix(&self, name: &str) -> RmsdMatrix {
        let (shape, values) = &self.tensors[name];
        RmsdMatrix { references: shape[0], generated: shape[1], values: values.clone(), ..RmsdMatrix::default() }
    }

    fn conformers(&self, name: &str) -> Vec<Vec<Point>> {
        let (shape, values) = &self.tensors[name];
        let points: Vec<Point> = values.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
        points.chunks_exact(shape[1]).map(<[Point]>::to_vec).collect()
    }
}

#[test]
fn thresholds_are_numpys() {
    assert_eq!(thresholds(), Evaluator::read().get("thresholds"));
}

#[test]
fn matrices_give_the_evaluators_scores() {
    let oracle = Evaluator::read();
    for case in ["mat_1x2", "mat_3x6", "mat_nan_4x8"] {
        let scores = coverage(&oracle.matrix(&format!("{case}.rmsd")), &thresholds());
        let name = |what: &str| format!("{case}.{what}");
        compare(&name("cov_r"), zip(&scores.recall, oracle.get(&name("cov_r"))), 0.0);
        compare(&name("cov_p"), zip(&scores.precision, oracle.get(&name("cov_p"))), 0.0);
        compare(&name("amr_r"), zip(&[scores.amr_recall], oracle.get(&name("amr_r"))), 1e-15);
        compare(&name("amr_p"), zip(&[scores.amr_precision], oracle.get(&name("amr_p"))), 1e-15);
    }
}

#[test]
fn missing_values_are_left_out_and_missing_conformers_are_not_covered() {
    let nan = f64::NAN;
    let matrix =
        |values: &[f64]| RmsdMatrix { references: 2, generated: 2, values: values.to_vec(), ..RmsdMatrix::default() };
    let scores = coverage(&matrix(&[0.5, nan, nan, nan]), &[0.5, 0.6]);
    assert_eq!((scores.recall, scores.precision), (vec![0.0, 0.5], vec![0.0, 0.5]));
    assert!(scores.amr_recall.is_nan() && scores.amr_precision.is_nan());
    let empty = coverage(&RmsdMatrix { references: 2, ..RmsdMatrix::default() }, &[0.5]);
    assert_eq!(empty.recall, [0.0]);
    assert!(empty.precision[0].is_nan() && empty.amr_recall.is_nan());
}

#[test]
fn ensembles_give_the_evaluators_scores() {
    let oracle = Evaluator::read();
    let mut all = Vec::new();
    for (k, text) in oracle.smiles.iter().enumerate() {
        let molecule = smiles::parse(text).unwrap();
        let elements: Vec<f64> = molecule.atoms.iter().map(|atom| atom.atomic_number.into()).collect();
        assert_eq!(elements, oracle.get(&format!("mol{k}.atomic_numbers")));
        let references = oracle.conformers(&format!("mol{k}.pos_ref"));
        let samples = oracle.conformers(&format!("mol{k}.pos_gen"));
        let matrix = rmsd_matrix(&molecule, &references, &molecule, &samples[..6]).unwrap();
        assert_eq!((matrix.references, matrix.generated, matrix.unproven.len()), (3, 6, 0));
        compare(&format!("mol{k}.rmsd_best"), zip(&matrix.values, oracle.get(&format!("mol{k}.rmsd_best"))), 1e-9);
        all.push(coverage(&matrix, &thresholds()));
    }
    let each = |of: fn(&Coverage) -> &[f64]| all.iter().flat_map(of).copied().collect::<Vec<f64>>();
    compare("eval.CoverageR", zip(&each(|c| &c.recall), oracle.get("eval.CoverageR")), 0.0);
    compare("eval.CoverageP", zip(&each(|c| &c.precision), oracle.get("eval.CoverageP")), 0.0);
    let each = |of: fn(&Coverage) -> f64| all.iter().map(of).collect::<Vec<f64>>();
    compare("eval.MatchingR", zip(&each(|c| c.amr_recall), oracle.get("eval.MatchingR")), 1e-9);
    compare("eval.MatchingP", zip(&each(|c| c.amr_precision), oracle.get("eval.MatchingP")), 1e-9);
    let summary = Summary::of(&all);
    let curves = [
        ("COV-R_mean", &summary.recall_mean),
        ("COV-R_median", &summary.recall_median),
        ("COV-P_mean", &summary.precision_mean),
        ("COV-P_median", &summary.precision_median),
    ];
    for (name, curve) in curves {
        compare(&format!("eval.summary.{name}"), zip(curve, oracle.get(&format!("eval.summary.{name}"))), 1e-15);
    }
    let amr =
        [summary.amr_recall_mean, summary.amr_recall_median, summary.amr_precision_mean, summary.amr_precision_median];
    compare("eval.summary_AMR", zip(&amr, oracle.get("eval.summary_AMR(R_mean,R_median,P_mean,P_median)")), 1e-9);
}

/// RDKit's answers for twenty molecules, hydrogens removed; RMSDs rounded to six decimals.
#[derive(Deserialize)]
struct Ensembles {
    aggregate: HashMap<String, Aggregate>,
    molecules: Vec<Ensemble>,
}

#[derive(Deserialize)]
struct Aggregate {
    threshold: f64,
    cov_r: Middle,
    cov_p: Middle,
    amr_r: Middle,
    amr_p: Middle,
}

#[derive(Deserialize)]
struct Middle {
    mean: f64,
    median: f64,
}

#[derive(Deserialize)]
struct Ensemble {
    dataset: String,
    smiles: String,
    r#ref: Conformers,
    r#gen: Conformers,
    rmsd_rdkit: Vec<Vec<f64>>,
    rmsd_rdkit_no_terminal_symmetrization: Vec<Vec<f64>>,
    stats_rdkit: HashMap<String, serde_json::Value>,
    stats_rdkit_no_terminal_symmetrization: HashMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Conformers {
    atomic_numbers: Vec<u8>,
    formal_charges: Vec<i8>,
    bonds: Vec<(u32, u32, f64)>,
    coords: Vec<Vec<Point>>,
}

impl Conformers {
    fn molecule(&self) -> Molecule {
        let atoms = self.atomic_numbers.iter().zip(&self.formal_charges);
        let order = |order: f64| match order {
            1.0 => BondOrder::Single,
            2.0 => BondOrder::Double,
            3.0 => BondOrder::Triple,
            1.5 => BondOrder::Aromatic,
            other => panic!("bond order {other}"),
        };
        let atom = |(&atomic_number, &formal_charge): (&u8, &i8)| Atom {
            atomic_number,
            formal_charge,
            radical_electrons: 0,
            chirality: Chirality::None,
        };
        Molecule {
            atoms: atoms.map(atom).collect(),
            bonds: self.bonds.iter().map(|&(begin, end, o)| Bond { begin, end, order: order(o) }).collect(),
        }
    }
}

fn check_stats(matrix: &RmsdMatrix, stats: &HashMap<String, serde_json::Value>, errors: &mut Vec<(f64, f64)>) {
    for (name, expected) in stats {
        match name.parse::<f64>() {
            Ok(threshold) => {
                let found = coverage(matrix, &[threshold]);
                errors.push((found.recall[0], expected["cov_r"].as_f64().unwrap()));
                errors.push((found.precision[0], expected["cov_p"].as_f64().unwrap()));
            }
            Err(_) => {
                let found = coverage(matrix, &[]);
                let amr = if name == "amr_r" { found.amr_recall } else { found.amr_precision };
                errors.push((amr, expected.as_f64().unwrap()));
            }
        }
    }
}

#[test]
fn rdkits_ensembles() {
    let oracle: Ensembles = serde_json::from_slice(&std::fs::read(fixture("rdkit_ensembles.json")).unwrap()).unwrap();
    let (mut with, mut without, mut stats) = (Vec::new(), Vec::new(), Vec::new());
    let mut scores: HashMap<&str, Vec<Coverage>> = HashMap::new();
    for ensemble in &oracle.molecules {
        let (reference, generated) = (ensemble.r#ref.molecule(), ensemble.r#gen.molecule());
        assert_eq!(Skeleton::new(&reference).atoms.len(), reference.atoms.len());
        let matrix = |terminal_groups: bool| {
            let options = RmsdOptions { terminal_groups, ..RmsdOptions::default() };
            let ensembles = ((&reference, &ensemble.r#ref.coords[..]), (&generated, &ensemble.r#gen.coords[..]));
            rmsd_matrix_with(&options, ensembles.0, ensembles.1).unwrap()
        };
        let (free, strict) = (matrix(true), matrix(false));
        assert_eq!((&free.mismatch, free.unproven.len()), (&None, 0), "{}", ensemble.smiles);
        with.extend(zip(&free.values, &ensemble.rmsd_rdkit.concat()));
        without.extend(zip(&strict.values, &ensemble.rmsd_rdkit_no_terminal_symmetrization.concat()));
        check_stats(&free, &ensemble.stats_rdkit, &mut stats);
        check_stats(&strict, &ensemble.stats_rdkit_no_terminal_symmetrization, &mut stats);
        let threshold = oracle.aggregate[&ensemble.dataset].threshold;
        scores.entry(&ensemble.dataset).or_default().push(coverage(&free, &[threshold]));
    }
    compare("RDKit, rmsd", with, 6e-7);
    compare("RDKit, rmsd without terminal groups", without, 6e-7);
    compare("RDKit, COV and AMR of each molecule", stats, 1e-6);
    for (dataset, aggregate) in &oracle.aggregate {
        let summary = Summary::of(&scores[dataset.as_str()]);
        let pairs = [
            (summary.recall_mean[0], aggregate.cov_r.mean),
            (summary.recall_median[0], aggregate.cov_r.median),
            (summary.precision_mean[0], aggregate.cov_p.mean),
            (summary.precision_median[0], aggregate.cov_p.median),
            (summary.amr_recall_mean, aggregate.amr_r.mean),
            (summary.amr_recall_median, aggregate.amr_r.median),
            (summary.amr_precision_mean, aggregate.amr_p.mean),
            (summary.amr_precision_median, aggregate.amr_p.median),
        ];
        compare(&format!("RDKit, COV and AMR over {dataset}"), pairs, 1e-6);
    }
}
