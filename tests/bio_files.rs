//! Chains from files as users have them, and from files that are damaged in any way.

#[path = "support/proteins.rs"]
mod proteins;

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proteins::{Atom, ca, cif_file, helix, letters, pack, pdb, pdb_file};
use qsd::bio::{Chain, Entry, Format, read_bytes, save};

fn read(file: impl AsRef<[u8]>) -> Entry {
    read_bytes(file.as_ref()).unwrap()
}

/// The chains as `id:length`.
fn chains(file: impl AsRef<[u8]>) -> String {
    let entry = read(file);
    entry.chains.iter().map(|chain| format!("{}:{}", chain.id, chain.len())).collect::<Vec<_>>().join(" ")
}

fn only(file: impl AsRef<[u8]>) -> Chain {
    let mut entry = read(file);
    assert_eq!(entry.chains.len(), 1);
    entry.chains.remove(0)
}

fn assert_helix(chain: &Chain, first: i32, n: usize) {
    assert_eq!(chain.sequence, letters(n));
    assert!(chain.numbers.iter().copied().eq(first..first + n as i32));
    for (i, position) in chain.positions.iter().enumerate() {
        (0..3).for_each(|k| assert!((position[k] - ca(i)[k]).abs() < 6e-4));
    }
}

#[test]
fn both_formats_plain_and_packed_give_the_same_chain() {
    let atoms = helix("B", -3, 40);
    for file in [pdb_file("1ABC", &atoms), cif_file("1ABC", &atoms)] {
        let entry = read(&file);
        assert_eq!(entry.id, "1abc");
        assert_helix(&only(&file), -3, 40);
        assert_eq!(read(pack(file.as_bytes())), entry);
        assert_eq!(read(file.replace('\n', "\r\n")), entry, "CRLF");
        assert_eq!(only(&file).num_breaks(), 0);
        assert!((only(&file).mean_b_factor() - 84.5).abs() < 1e-5);
    }
}

#[test]
fn alternate_locations_and_microheterogeneity_give_one_residue() {
    let mut atoms = helix("A", 1, 5);
    let other = |alternate, residue: &str, occupancy, shift| {
        let mut atom = helix("A", 1, 5)[3 * 2 + 1].clone();
        atom.residue = residue.into();
        atom.position[0] += shift;
        Atom { alternate, occupancy, ..atom }
    };
    // Residue 3 (LYS) in three locations; one of them is another kind of residue.
    atoms.splice(6..9, [other('B', "LYS", 0.3, 1.0), other('A', "ARG", 0.4, 2.0), other('C', "LYS", 0.3, 3.0)]);
    for file in [pdb_file("", &atoms), cif_file("x", &atoms)] {
        let chain = only(file);
        assert_eq!((&chain.sequence[..], &chain.numbers[..]), ("ALREG", &[1, 2, 3, 4, 5][..]));
        assert!((chain.positions[2][0] - ca(2)[0] - 2.0).abs() < 1e-3);
    }
}

#[test]
fn insertion_codes_keep_the_order_of_the_file() {
    let mut atoms = helix("H", 60, 6);
    for (i, insertion) in [(1, 'B'), (2, 'A')] {
        atoms[3 * i..3 * i + 3].iter_mut().for_each(|atom| (atom.number, atom.insertion) = (60, insertion));
    }
    for file in [pdb_file("", &atoms), cif_file("x", &atoms)] {
        let chain = only(file);
        assert_eq!((&chain.sequence[..], &chain.numbers[..]), ("ALKEGW", &[60, 60, 60, 63, 64, 65][..]));
    }
}

#[test]
fn other_kinds_of_residues_are_left_out_and_counted() {
    let mut atoms = helix("A", 1, 9);
    let mut set = |i: usize, name: &str, hetero| {
        atoms[3 * i..3 * i + 3].iter_mut().for_each(|atom| (atom.residue, atom.hetero) = (name.into(), hetero));
    };
    set(0, "MSE", true);
    set(2, "TYS", true);
    set(3, "DAL", true);
    set(5, "HOH", true);
    set(6, "DA", false);
    set(7, "GLU", true);
    // A calcium ion: no Cα.
    let ion = Atom { hetero: true, residue: "CA".into(), number: 90, ..atoms[1].clone() };
    atoms.push(ion);
    for file in [pdb_file("", &atoms), cif_file("x", &atoms)] {
        let chain = only(file);
        assert_eq!((&chain.sequence[..], chain.num_breaks()), ("MLGL", 2));
        let others: Vec<_> = chain.others.iter().map(|(kind, n)| (kind.name(), *n)).collect();
        let expected = ["D-amino acid", "modified residue", "free amino acid", "nucleotide", "water", "ligand or ion"];
        assert_eq!(others, expected.map(|name| (name, 1)));
        assert!((chain.share_non_standard() - 2.0 / 6.0).abs() < 1e-12);
    }
}

#[test]
fn the_first_model_counts() {
    let second: Vec<Atom> = helix("A", 1, 30).into_iter().map(|atom| Atom { model: 2, ..atom }).collect();
    let both = [helix("A", 1, 20), second.clone()].concat();
    assert_eq!(chains(cif_file("x", &both)), "A:20");
    for end in ["ENDMDL\n", ""] {
        let first = pdb(&helix("A", 1, 20));
        assert_eq!(chains(format!("MODEL        1\n{first}{end}MODEL        2\n{}ENDMDL\n", pdb(&second))), "A:20");
    }
    assert_eq!(chains(format!("{}END\nscore 1.0\n{}", pdb(&helix("A", 1, 20)), pdb(&helix("B", 1, 3)))), "A:20");
}

#[test]
fn chain_ids_are_the_authors() {
    assert_eq!(chains(pdb_file("", &helix("", 1, 9))), ":9");
    assert_eq!(chains(pdb_file("", &helix("AB", 1, 9))), "AB:9");
    assert_eq!(chains(cif_file("x", &helix("LONG", 1, 9))), "LONG:9");
    let homodimer = [helix("", 1, 9), helix("", 1, 8), helix("X", 1, 7)].concat();
    assert_eq!(chains(pdb_file("", &homodimer)), ":9 .2:8 X:7");
    let long = [helix("A", 1, 9), helix("B", 1, 7), helix("A", 100, 2)].concat();
    assert_eq!(chains(pdb_file("", &long)), "A:11 B:7");
}

#[test]
fn sparse_and_old_files() {
    let atoms = helix("A", 1, 12);
    let ca_only: Vec<Atom> = atoms.iter().filter(|atom| atom.name == "CA").cloned().collect();
    assert_helix(&only(pdb_file("", &ca_only)), 1, 12);
    // The old form has the entry and the line's number where element and charge are now.
    let old: String = pdb(&atoms).lines().map(|line| format!("{}1PPE 123\n", &line[..72])).collect();
    assert_helix(&only(&old), 1, 12);
    // Lines that end with the position, and one that ends within it.
    let short: String = pdb(&atoms).lines().map(|line| format!("{}\n", &line[..54])).collect();
    let chain = only(&short);
    assert_helix(&chain, 1, 12);
    assert!(chain.mean_b_factor().is_nan());
    let cut = &short[..short.len() - 55 - 8];
    assert!(read_bytes(cut.as_bytes()).unwrap_err().contains("a CA's line ends in column"), "{cut}");
    let gap = [helix("A", 1, 12)[..12].to_vec(), helix("A", 1, 12)[18..].to_vec()].concat();
    assert_eq!(only(cif_file("x", &gap)).num_breaks(), 1);
}

#[test]
fn files_that_are_none_say_what_they_are() {
    let sf = "data_r5wkdsf\nloop_\n_refln.index_h\n_refln.index_k\n0 1\n0 2\n";
    let binary = [b"\x83\xa7encoder\xa9mol*/cif".as_slice(), &[0; 40]].concat();
    let packed = pack(pdb_file("", &helix("A", 1, 300)).as_bytes());
    for (bytes, expected) in [
        (&b""[..], "empty"),
        (b"this is not a pdb file", "no atoms"),
        (b"HEADER    X\nREMARK\nEND\n", "no atoms"),
        (sf.as_bytes(), "without atoms"),
        (&binary, "binary"),
        (&pack(&binary), "binary"),
        (b"FCMP\x01", "FoldComp"),
        (&packed[..packed.len() / 3], "truncated"),
        (cif_file("x", &helix("A", 1, 9)).split_at(1200).0.as_bytes(), "ends with a row of"),
    ] {
        let message = read_bytes(bytes).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    let dna: Vec<Atom> = helix("A", 1, 9).into_iter().map(|atom| Atom { residue: "DT".into(), ..atom }).collect();
    assert!(read(pdb_file("", &dna)).chains.is_empty());
}

#[test]
fn quotes_and_comments_of_cif_are_understood() {
    let file = cif_file("x", &helix("A", 1, 9))
        .replace(" CA . LEU", " \"CA\" . 'LEU'")
        .replace("ATOM 7 ", "# between rows\nATOM\n7\n")
        .replace("_atom_site.Cartn_x", "_ATOM_SITE.cartn_X  # by any case");
    assert_helix(&only(file), 1, 9);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Files that are cut, and in which bytes are changed, give chains or say why not.
    #[test]
    fn damaged_files_never_panic(
        kind in 0..4usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        cut_it in any::<bool>(),
    ) {
        let atoms = [helix("A", -2, 12), helix("B", 1, 9)].concat();
        let text = if kind % 2 == 0 { pdb_file("1ABC", &atoms) } else { cif_file("1ABC", &atoms) };
        let mut bytes = if kind < 2 { text.into_bytes() } else { pack(text.as_bytes()) };
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if cut_it {
            bytes.truncate(cut.index(bytes.len()));
        }
        match read_bytes(&bytes) {
            Ok(entry) => for chain in entry.chains {
                prop_assert_eq!(chain.sequence.len(), chain.len());
                prop_assert_eq!([chain.numbers.len(), chain.b_factors.len()], [chain.len(); 2]);
                prop_assert!(chain.positions.iter().flatten().all(|x| x.is_finite()));
            },
            Err(what) => prop_assert!(!what.is_empty()),
        }
    }

    /// So do files whose lines and words are shuffled and doubled.
    #[test]
    fn rearranged_files_never_panic(cif in any::<bool>(), moves in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 1..20)) {
        let atoms = helix("A", 1, 8);
        let text = if cif { cif_file("x", &atoms) } else { pdb_file("x", &atoms) };
        let mut words: Vec<&str> = text.split_inclusive([' ', '\n']).collect();
        for [from, to] in moves {
            let word = words[from.index(words.len())];
            words.insert(to.index(words.len()), word);
        }
        let _ = read_bytes(words.concat().as_bytes());
    }
}

/// The interpreter with gemmi and biotite.
fn python() -> PathBuf {
    let fallback = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let path = std::env::var_os("QSD_PYTHON").map_or_else(fallback, PathBuf::from);
    assert!(path.exists(), "{}: no Python; run tests/run.sh, or set QSD_PYTHON", path.display());
    path
}

#[test]
fn written_backbones_are_read_by_gemmi_and_biotite() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for (n, scale) in [(1, 1.0), (50, 1.0), (300, -1.7)] {
        let positions: Vec<[f64; 3]> = (0..n).map(|i| ca(i).map(|x| scale * x)).collect();
        for format in [Format::Pdb, Format::Mmcif] {
            let path = dir.path().join(format!("backbone-{n}.{}", format.extension()));
            save(&path, format, &format!("a 'sample' of {n}"), &positions, false).unwrap();
            expected.push((path, positions.clone()));
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_backbones.py");
    let output = Command::new(python()).arg(script).args(expected.iter().map(|(path, _)| path)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<[Vec<[f64; 3]>; 2]> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found.len(), expected.len());
    for (readers, (path, positions)) in found.iter().zip(&expected) {
        for found in readers {
            assert_eq!(found.len(), positions.len(), "{}", path.display());
            let pairs = found.iter().flatten().zip(positions.iter().flatten());
            pairs.for_each(|(a, b)| assert!((a - b).abs() < 6e-4, "{a} {b}"));
        }
    }
}
