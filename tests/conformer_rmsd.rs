//! RMSDs over symmetries and the validity of conformers: properties, a literal enumeration, RDKit side by side, real conformers.

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use qsd::chem::{Atom, Bond, BondOrder, Chirality, Molecule, smiles};
use qsd::data::Dataset;
use qsd::eval::conformers::*;
use qsd::geometry::{Point, kabsch, rotate, rotation_from_quaternion};
use serde::Deserialize;

fn atom(atomic_number: u8, formal_charge: i8, radical_electrons: u8) -> Atom {
    Atom { atomic_number, formal_charge, radical_electrons, chirality: Chirality::None }
}

fn rmsd(options: &RmsdOptions, reference: (&Molecule, &[Point]), generated: (&Molecule, &[Point])) -> f64 {
    let [y, x] = [reference.1, generated.1].map(|points| [points.to_vec()]);
    let matrix = rmsd_matrix_with(options, (reference.0, &y), (generated.0, &x)).unwrap();
    assert!(matrix.unproven.is_empty());
    assert_eq!(matrix.values[0].is_nan(), matrix.mismatch.is_some(), "{:?}", matrix.mismatch);
    matrix.values[0]
}

/// RDKit's rules, word by word: every injection of the probe's atoms that its `SubstructMatch` would list, the probe's terminal
/// groups made equal and the reference as it is.
struct Enumeration<'a> {
    probe: &'a Molecule,
    reference: &'a Molecule,
    /// Atoms of the probe whose charge does not count.
    neutral: Vec<bool>,
    /// Bonds of the probe that are single or double.
    either: Vec<bool>,
}

impl<'a> Enumeration<'a> {
    fn new(probe: &'a Molecule, reference: &'a Molecule, terminal_groups: bool) -> Self {
        let ends = |bond: &Bond| [bond.begin as usize, bond.end as usize];
        let degree = |atom: usize| probe.bonds.iter().filter(|bond| ends(bond).contains(&atom)).count();
        let terminal = |atom: usize| degree(atom) == 1 && matches!(probe.atoms[atom].atomic_number, 7 | 8);
        let (mut neutral, mut either) = (vec![false; probe.atoms.len()], vec![false; probe.bonds.len()]);
        for (k, bond) in probe.bonds.iter().enumerate().filter(|_| terminal_groups) {
            for (end, centre) in [(ends(bond)[0], ends(bond)[1]), (ends(bond)[1], ends(bond)[0])] {
                let opposite = |other: &Bond| {
                    let orders = (bond.order, other.order);
                    let far = ends(other).into_iter().find(|&far| far != centre).unwrap();
                    ends(other).contains(&centre)
                        && terminal(far)
                        && far != end
                        && matches!(
                            orders,
                            (BondOrder::Single, BondOrder::Double) | (BondOrder::Double, BondOrder::Single)
                        )
                };
                if terminal(end) && probe.bonds.iter().any(opposite) {
                    (neutral[end], either[k]) = (true, true);
                }
            }
        }
        Enumeration { probe, reference, neutral, either }
    }

    fn extend(&self, images: &mut Vec<usize>, found: &mut dyn FnMut(&[usize])) {
        if images.len() == self.probe.atoms.len() {
            return found(images);
        }
        for image in 0..self.reference.atoms.len() {
            if !images.contains(&image) && self.may_be(images.len(), image) {
                images.push(image);
                if self.bonds_hold(images) {
                    self.extend(images, found);
                }
                images.pop();
            }
        }
    }

    fn may_be(&self, atom: usize, image: usize) -> bool {
        let (a, b) = (&self.probe.atoms[atom], &self.reference.atoms[image]);
        let charge = if self.neutral[atom] { 0 } else { a.formal_charge };
        a.atomic_number == b.atomic_number
            && (charge == 0 || charge == b.formal_charge)
            && (a.radical_electrons == 0 || a.radical_electrons == b.radical_electrons)
    }

    /// Whether the bonds to the atom that came last are in the reference.
    fn bonds_hold(&self, images: &[usize]) -> bool {
        let last = images.len() - 1;
        self.probe.bonds.iter().zip(&self.either).all(|(bond, either)| {
            let ends = [bond.begin as usize, bond.end as usize];
            if ends.iter().all(|&end| end != last) || ends.iter().any(|&end| end > last) {
                return true;
            }
            let [a, b] = ends.map(|end| images[end] as u32);
            let between = self.reference.bonds.iter().find(|r| [(a, b), (b, a)].contains(&(r.begin, r.end)));
            between.is_some_and(|r| match either {
                true => matches!(r.order, BondOrder::Single | BondOrder::Double),
                false => r.order == bond.order,
            })
        })
    }

    /// The least RMSD over all of them.
    fn rmsd(&self, probe: &[Point], reference: &[Point]) -> f64 {
        let mut best = f64::NAN;
        self.extend(&mut Vec::new(), &mut |images| {
            let target: Vec<Point> = images.iter().map(|&image| reference[image]).collect();
            best = best.min(deviation(probe, &target));
        });
        best
    }
}

fn deviation(mobile: &[Point], target: &[Point]) -> f64 {
    let mut moved = mobile.to_vec();
    kabsch::align(mobile, target).apply(&mut moved);
    let squares = moved.iter().flatten().zip(target.iter().flatten()).map(|(a, b)| (a - b).powi(2));
    (squares.sum::<f64>() / target.len() as f64).sqrt()
}

/// Graphs with many symmetries, terminal groups and charges: a tree of few kinds of atoms, closed by few more bonds.
fn graphs() -> impl Strategy<Value = Molecule> {
    let atom_kinds =
        prop::collection::vec(prop::sample::select(vec![(6, 0, 0), (6, 0, 0), (8, 0, 0), (8, -1, 0), (7, 0, 1)]), 1..8);
    let orders =
        prop::sample::select(vec![BondOrder::Single, BondOrder::Single, BondOrder::Double, BondOrder::Aromatic]);
    (atom_kinds, prop::collection::vec((any::<u32>(), orders), 8), prop::collection::vec((0u32..8, 0u32..8), 0..3))
        .prop_map(|(kinds, tree, rings)| {
            let n = kinds.len() as u32;
            let mut bonds: Vec<Bond> = (1..n)
                .zip(&tree)
                .map(|(end, &(parent, order))| Bond { begin: parent % end.min(3), end, order })
                .collect();
            for (begin, end) in rings.into_iter().filter(|&(a, b)| a < b && b < n) {
                if !bonds.iter().any(|bond| (bond.begin, bond.end) == (begin, end)) {
                    bonds.push(Bond { begin, end, order: BondOrder::Single });
                }
            }
            Molecule {
                atoms: kinds.into_iter().map(|(z, charge, radicals)| atom(z, charge, radicals)).collect(),
                bonds,
            }
        })
}

fn positions(atoms: usize) -> impl Strategy<Value = Vec<Point>> {
    prop::collection::vec(prop::array::uniform3(-3.0..3.0), atoms)
}

/// The molecule with atom `order[k]` in place `k`, bonds turned round.
fn permuted(molecule: &Molecule, order: &[usize]) -> Molecule {
    let place = |atom: u32| order.iter().position(|&old| old == atom as usize).unwrap() as u32;
    let bonds = molecule.bonds.iter().rev();
    Molecule {
        atoms: order.iter().map(|&old| molecule.atoms[old]).collect(),
        bonds: bonds.map(|b| Bond { begin: place(b.end), end: place(b.begin), order: b.order }).collect(),
    }
}

fn case() -> impl Strategy<Value = (Molecule, Vec<usize>, Vec<Point>, Vec<Point>, [f64; 4])> {
    graphs().prop_flat_map(|molecule| {
        let n = molecule.atoms.len();
        let order = Just((0..n).collect::<Vec<_>>()).prop_shuffle();
        (Just(molecule), order, positions(n), positions(n), prop::array::uniform4(-1.0..1.0))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_search_finds_what_enumeration_finds((molecule, order, x, y, _) in case(), terminal_groups in any::<bool>()) {
        let other = permuted(&molecule, &order);
        let options = RmsdOptions { terminal_groups, ..RmsdOptions::default() };
        let expected = Enumeration::new(&molecule, &other, terminal_groups).rmsd(&x, &y);
        let found = rmsd(&options, (&other, &y), (&molecule, &x));
        prop_assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    #[test]
    fn other_charges_are_matched_as_enumeration_matches_them((molecule, order, x, y, _) in case(), changed in 0usize..8, charge in -1i8..2) {
        let mut other = permuted(&molecule, &order);
        let changed = changed % other.atoms.len();
        other.atoms[changed].formal_charge = charge;
        let expected = Enumeration::new(&molecule, &other, true).rmsd(&x, &y);
        let found = rmsd(&RmsdOptions::default(), (&other, &y), (&molecule, &x));
        prop_assert!(found.is_nan() == expected.is_nan() && !((found - expected).abs() >= 1e-9), "{found} {expected}");
    }

    #[test]
    fn order_and_motion_do_not_matter((molecule, order, x, _, quaternion) in case()) {
        let rotation = rotation_from_quaternion(quaternion);
        let moved: Vec<Point> = x.iter().map(|p| rotate(&rotation, p).map(|c| c + 7.0)).collect();
        let permuted_x: Vec<Point> = order.iter().map(|&old| moved[old]).collect();
        let found = rmsd(&RmsdOptions::default(), (&permuted(&molecule, &order), &permuted_x), (&molecule, &x));
        prop_assert!(found < 1e-6, "{found}");
    }

    #[test]
    fn symmetry_images_are_no_different((molecule, _, x, _, _) in case(), which in any::<prop::sample::Index>()) {
        let mut images = Vec::new();
        let enumeration = Enumeration::new(&molecule, &molecule, true);
        enumeration.extend(&mut Vec::new(), &mut |image| images.push(image.to_vec()));
        let image: Vec<Point> = which.get(&images).iter().map(|&atom| x[atom]).collect();
        let found = rmsd(&RmsdOptions::default(), (&molecule, &image), (&molecule, &x));
        prop_assert!(found < 1e-6, "{found}");
    }

    #[test]
    fn degenerate_clouds_are_exact((molecule, order, x, y, _) in case(), axes in 0usize..3) {
        // All atoms in a plane, on a line, in a point.
        let flat = |points: &[Point]| points.iter().map(|p| std::array::from_fn(|k| if k < axes { p[k] } else { 0.0 })).collect::<Vec<Point>>();
        let (x, y, other) = (flat(&x), flat(&y), permuted(&molecule, &order));
        let expected = Enumeration::new(&molecule, &other, true).rmsd(&x, &y);
        let found = rmsd(&RmsdOptions::default(), (&other, &y), (&molecule, &x));
        prop_assert!((found - expected).abs() < 1e-7, "{found} {expected}");
    }
}

#[test]
fn a_mirror_image_is_another_conformer() {
    let molecule = smiles::parse("C[C@H](O)F").unwrap();
    let x: Vec<Point> =
        (0..molecule.atoms.len()).map(|k| [k as f64, (k * k) as f64 * 0.3, ((k * 7) % 5) as f64]).collect();
    let mirrored: Vec<Point> = x.iter().map(|p| [p[0], p[1], -p[2]]).collect();
    assert!(rmsd(&RmsdOptions::default(), (&molecule, &x), (&molecule, &mirrored)) > 0.05);
}

#[test]
fn what_cannot_be_compared_says_why() {
    let [propanol, isopropanol, propane] = ["CCCO", "CC(O)C", "CCC"].map(|text| smiles::parse(text).unwrap());
    let conformer =
        |molecule: &Molecule| [(0..molecule.atoms.len()).map(|k| [k as f64, 0.0, (k % 3) as f64]).collect()];
    let mismatch = |reference: &Molecule, generated: &Molecule| {
        let matrix = rmsd_matrix(reference, &conformer(reference), generated, &conformer(generated)).unwrap();
        assert!(matrix.values[0].is_nan());
        matrix.mismatch.unwrap()
    };
    assert!(mismatch(&propanol, &isopropanol).contains("bonded"));
    assert!(mismatch(&propanol, &propane).contains("3 atoms without implied hydrogens, the reference 4"));
    let error = rmsd_matrix(&propanol, &[vec![[0.0; 3]; 2]], &propanol, &[]).unwrap_err();
    assert!(error.to_string().contains("reference conformer 0 has 2 positions"), "{error}");
    // What is not finite has no value; the others have.
    let mut broken: Vec<Point> = conformer(&propane)[0].clone();
    broken[0][1] = f64::NAN;
    let samples = [broken, conformer(&propane)[0].clone()];
    let matrix = rmsd_matrix(&propane, &conformer(&propane), &propane, &samples).unwrap();
    assert!(matrix.values[0].is_nan() && matrix.values[1] < 1e-9 && matrix.mismatch.is_none());
}

#[test]
fn a_spent_budget_is_told() {
    let molecule = smiles::parse("CC(C)(C)CC(CC(C)(C)C)(CC(C)(C)C)CC(C)(C)C").unwrap();
    let scattered = |seed: usize| {
        let number = |k: usize| ((k * 7919 + seed * 104_729) % 1009) as f64 / 100.0;
        (0..molecule.atoms.len()).map(|k| [number(3 * k), number(3 * k + 1), number(3 * k + 2)]).collect::<Vec<Point>>()
    };
    let (x, y) = ([scattered(1)], [scattered(2)]);
    let matrix = |budget: u64| {
        rmsd_matrix_with(&RmsdOptions { budget, ..RmsdOptions::default() }, (&molecule, &y), (&molecule, &x)).unwrap()
    };
    let (whole, cut) = (matrix(u64::MAX), matrix(40));
    assert!(whole.unproven.is_empty());
    assert_eq!(cut.unproven, [0]);
    assert!(cut.values[0] >= whole.values[0]);
}

/// A case of `tests/python/rmsd_cases.py`.
#[derive(Deserialize)]
struct Case {
    name: String,
    reference: Graph,
    generated: Graph,
    references: Vec<Vec<Point>>,
    samples: Vec<Vec<Point>>,
    expected: Vec<Option<f64>>,
    expected_unrestricted: Vec<Option<f64>>,
}

#[derive(Deserialize)]
struct Graph {
    atoms: Vec<(u8, i8, u8)>,
    bonds: Vec<(u32, u32, u8)>,
}

impl Graph {
    fn molecule(&self) -> Molecule {
        let orders = [BondOrder::Single, BondOrder::Double, BondOrder::Triple, BondOrder::Aromatic, BondOrder::Other];
        let bond = |&(begin, end, order): &(u32, u32, u8)| Bond { begin, end, order: orders[usize::from(order) - 1] };
        let atoms = self.atoms.iter().map(|&(z, charge, radicals)| atom(z, charge, radicals));
        Molecule { atoms: atoms.collect(), bonds: self.bonds.iter().map(bond).collect() }
    }
}

/// Whether a value is RDKit's. Its eigenvalues are iterated to 1e-6 of the sums only, which shows in nearly linear molecules: there, a
/// lower value that is nearer than this in squares passes too.
fn agrees(found: f64, expected: Option<f64>, size: f64) -> bool {
    let Some(expected) = expected else { return found.is_nan() };
    let squares = expected * expected - found * found;
    (found - expected).abs() < 1e-6 || (0.0..1e-5 * size).contains(&squares)
}

fn compare_with_rdkit(source: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("QSD_PYTHON").map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    assert!(python.exists(), "{}: no Python; run tests/run.sh, or set QSD_PYTHON", python.display());
    let output = Command::new(python).current_dir(root).args(["tests/python/rmsd_cases.py", source]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases: Vec<Case> = serde_json::from_slice(&output.stdout).unwrap();
    let mut compared = 0;
    for case in &cases {
        let (reference, generated) = (case.reference.molecule(), case.generated.molecule());
        let size =
            case.references.iter().flatten().flatten().map(|c| c * c).sum::<f64>() / case.references.len() as f64;
        for (terminal_groups, expected) in [(true, &case.expected), (false, &case.expected_unrestricted)] {
            let options = RmsdOptions { terminal_groups, ..RmsdOptions::default() };
            let matrix =
                rmsd_matrix_with(&options, (&reference, &case.references), (&generated, &case.samples)).unwrap();
            for (&found, &expected) in matrix.values.iter().zip(expected) {
                assert!(agrees(found, expected, size), "{}: {found}, RDKit {expected:?}", case.name);
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn rdkit_agrees_on_charged_and_conjugated_groups() {
    assert!(compare_with_rdkit("groups") > 1500);
}

#[test]
fn rdkit_agrees_on_real_conformers() {
    assert!(compare_with_rdkit("data/sample/qm9") > 900);
    assert!(compare_with_rdkit("data/sample/drugs") > 1500);
}

/// Every conformer of a partition of the sample, with its molecule.
fn real_conformers(partition: &str, mut each: impl FnMut(&str, &Molecule, Vec<Point>)) {
    let dataset =
        Dataset::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample").join(partition), true).unwrap();
    for name in ["train", "val", "test"] {
        let split = dataset.split(name).unwrap();
        for index in 0..split.len() {
            let record = split.molecule(index).unwrap();
            for conformer in 0..record.num_conformers() {
                each(record.key(), record.molecule(), record.conformer(conformer).unwrap());
            }
        }
    }
}

#[test]
fn real_conformers_are_valid() {
    for partition in ["qm9", "drugs"] {
        let mut total = Validity::default();
        real_conformers(partition, |_, molecule, points| total += Checker::new(molecule).check(&points));
        println!("{partition}: {total:?}");
        for (check, share) in total.shares() {
            assert!(share >= 0.99, "{partition}: {check}: {share}");
        }
    }
}

/// The checks that fail for a conformer.
fn failures(molecule: &Molecule, points: &[Point]) -> Vec<&'static str> {
    let shares = Checker::new(molecule).check(points).shares();
    shares.into_iter().take(7).filter(|(_, share)| *share == 0.0).map(|(name, _)| name).collect()
}

#[test]
fn ruined_conformers_are_not_valid() {
    let mut seen = [0; 5];
    real_conformers("drugs", |key, molecule, points| {
        if !failures(molecule, &points).is_empty() {
            return;
        }
        let ruined = |change: &dyn Fn(&mut [Point])| {
            let mut points = points.clone();
            change(&mut points);
            failures(molecule, &points)
        };
        let all = ruined(&|points| points[0][2] = f64::INFINITY);
        assert_eq!(all.len(), 7, "{key}: {all:?}");
        let mirrored = ruined(&|points| points.iter_mut().for_each(|p| p[0] = -p[0]));
        let has_centre = molecule.atoms.iter().any(|atom| atom.chirality != Chirality::None);
        assert_eq!(mirrored, if has_centre { vec!["stated handedness"] } else { vec![] }, "{key}");
        seen[0] += usize::from(has_centre);
        // A hydrogen pulled away along its bond; folded onto its neighbour's other bond; the last atom upon the first.
        let bond = molecule.bonds.iter().find(|bond| molecule.atoms[bond.end as usize].atomic_number == 1).unwrap();
        let (heavy, hydrogen) = (bond.begin as usize, bond.end as usize);
        let pulled = ruined(&|points| {
            let from = points[heavy];
            points[hydrogen] = std::array::from_fn(|k| from[k] + 1.4 * (points[hydrogen][k] - from[k]));
        });
        assert!(pulled.contains(&"sound bond lengths") && !pulled.contains(&"sound bond angles"), "{key}: {pulled:?}");
        let other = molecule.bonds.iter().find_map(|b| match (b.begin as usize, b.end as usize) {
            (a, b) if a == heavy && b != hydrogen => Some(b),
            (a, b) if b == heavy && a != hydrogen => Some(a),
            _ => None,
        });
        if let Some(other) = other {
            let folded = ruined(&|points| {
                let middle: Point =
                    std::array::from_fn(|k| points[heavy][k] + 0.7 * (points[other][k] - points[heavy][k]));
                points[hydrogen] = std::array::from_fn(|k| middle[k] + 0.1 * f64::from(k == 0));
            });
            assert!(folded.contains(&"sound bond angles"), "{key}: {folded:?}");
            seen[1] += 1;
        }
        let (first, last) = (0, molecule.atoms.len() - 1);
        let near = |atom: u32| {
            molecule.bonds.iter().any(|b| [b.begin, b.end].contains(&atom) && [b.begin, b.end].contains(&(last as u32)))
        };
        if !near(0) {
            let collided = ruined(&|points| points[last] = points[first].map(|c| c + 0.2));
            seen[2] += usize::from(collided.contains(&"no clash"));
            assert!(!collided.is_empty(), "{key}");
        }
        // An atom of an aromatic ring lifted out of it, whatever else that breaks (a few aromatic systems are but the
        // perimeter of two rings: these are not looked at).
        if let Some(bond) = molecule.bonds.iter().find(|bond| bond.order == BondOrder::Aromatic) {
            let lifted: Vec<_> =
                (0..3).map(|axis| ruined(&|points| points[bond.begin as usize][axis] += 1.5)).collect();
            assert!(lifted.iter().all(|failures| !failures.is_empty()), "{key}");
            seen[3] += usize::from(lifted.iter().any(|failures| failures.contains(&"planar aromatic rings")));
        }
    });
    // A double bond turned by a right angle.
    let ethene = smiles::parse("C=C").unwrap();
    let arm = |x: f64, y: f64, z: f64| [x, y, z];
    let flat = [
        [0.0; 3],
        [1.33, 0.0, 0.0],
        arm(-0.56, 0.92, 0.0),
        arm(-0.56, -0.92, 0.0),
        arm(1.89, 0.92, 0.0),
        arm(1.89, -0.92, 0.0),
    ];
    assert!(failures(&ethene, &flat).is_empty());
    let mut turned = flat;
    (turned[4], turned[5]) = (arm(1.89, 0.0, 0.92), arm(1.89, 0.0, -0.92));
    assert_eq!(failures(&ethene, &turned), ["planar double bonds"]);
    seen[4] += 1;
    assert!(seen.iter().all(|&count| count > 0) && seen[2] > 100 && seen[3] > 300, "{seen:?}");
}
