//! Prints the graph and the features of molecules, for comparison with other toolkits: one molecule per line of
//! standard input, as SMILES or as a graph in JSON, one line of JSON each on standard output.
//!
//! A graph is `{"atoms": [[atomic number, charge, radical electrons, tag], …], "bonds": [[begin, end, order], …]}`
//! with tag −1, 0, 1 for clockwise, none, counter-clockwise and order 1, 2, 3, 4 for single, double, triple,
//! aromatic, 5 for any other. With the argument `sdf` the input is an SDF instead, and each answer holds the record
//! written back under `sdf`.

use std::io::{BufRead, Write};
use std::path::Path;

use qsd::chem::{Atom, Bond, BondOrder, Chirality, Molecule, Record, features, sdf, smiles};
use serde_json::{Value, json};

const ORDERS: [BondOrder; 5] =
    [BondOrder::Single, BondOrder::Double, BondOrder::Triple, BondOrder::Aromatic, BondOrder::Other];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let input = std::io::stdin().lock();
    if std::env::args().nth(1).as_deref() == Some("sdf") {
        for record in sdf::Reader::new(input, Path::new("standard input")) {
            writeln!(out, "{}", answer(record.map_err(Into::into).and_then(|record| read_back(&record))))?;
        }
    } else {
        for line in input.lines() {
            writeln!(out, "{}", answer(read(&line?).map(|molecule| describe(&molecule))))?;
        }
    }
    Ok(out.flush()?)
}

fn answer(result: Result<Value, Box<dyn std::error::Error>>) -> Value {
    result.unwrap_or_else(|error| json!({ "error": error.to_string() }))
}

fn read_back(record: &Record) -> Result<Value, Box<dyn std::error::Error>> {
    let mut text = Vec::new();
    sdf::write_record(&mut text, record)?;
    let mut answer = describe(&record.molecule);
    answer["sdf"] = Value::String(String::from_utf8(text)?);
    Ok(answer)
}

fn read(line: &str) -> Result<Molecule, Box<dyn std::error::Error>> {
    if line.starts_with('{') {
        return graph(&serde_json::from_str(line)?).ok_or_else(|| "not a graph".into());
    }
    Ok(smiles::parse(line)?)
}

fn graph(value: &Value) -> Option<Molecule> {
    let row = |row: &Value| row.as_array()?.iter().map(Value::as_i64).collect::<Option<Vec<i64>>>();
    let atom = |value: &Value| {
        let [number, charge, radicals, tag] = row(value)?.try_into().ok()?;
        let chirality = [Chirality::Clockwise, Chirality::None, Chirality::CounterClockwise][(tag + 1) as usize];
        Some(Atom {
            atomic_number: number.try_into().ok()?,
            formal_charge: charge.try_into().ok()?,
            radical_electrons: radicals.try_into().ok()?,
            chirality,
        })
    };
    let bond = |value: &Value| {
        let [begin, end, order] = row(value)?.try_into().ok()?;
        Some(Bond { begin: begin.try_into().ok()?, end: end.try_into().ok()?, order: ORDERS[order as usize - 1] })
    };
    Some(Molecule {
        atoms: value["atoms"].as_array()?.iter().map(atom).collect::<Option<_>>()?,
        bonds: value["bonds"].as_array()?.iter().map(bond).collect::<Option<_>>()?,
    })
}

fn describe(molecule: &Molecule) -> Value {
    let tag = |chirality| match chirality {
        Chirality::Clockwise => -1,
        Chirality::None => 0,
        Chirality::CounterClockwise => 1,
    };
    let order = |order| ORDERS.iter().position(|&other| other == order).map(|index| index + 1);
    let atoms: Vec<Value> = molecule
        .atoms
        .iter()
        .map(|atom| json!([atom.atomic_number, atom.formal_charge, atom.radical_electrons, tag(atom.chirality)]))
        .collect();
    let bonds: Vec<Value> =
        molecule.bonds.iter().map(|bond| json!([bond.begin, bond.end, order(bond.order)])).collect();
    json!({ "atoms": atoms, "bonds": bonds, "features": features::atom_features(molecule) })
}
