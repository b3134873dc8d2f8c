//! The writer.

use std::io::Write;

use crate::{Error, Result};

use super::super::graph::Adjacency;
use super::super::hybridisation::{usual_valences, valence};
use super::super::kekule::kekulise;
use super::super::{Atom, BondOrder, Chirality, Element, Molecule, Record};

/// Writes one record, `$$$$` included: V2000, or V3000 where atoms, bonds or coordinates do not fit the columns
/// of V2000. Aromatic bonds are written as alternating single and double ones, which every toolkit reads;
/// handedness is in the coordinates; charges and radicals are stated, and a valence wherever a reader would
/// otherwise add hydrogens.
///
/// # Errors
/// [`Error::Data`] for a record that the format cannot hold: positions that are not finite or not one per atom,
/// atoms that are no element, aromatic bonds without a Kekulé structure, bonds of unknown order, or property
/// names and texts that would end the record. [`Error::Io`] if `out` fails.
pub fn write_record(out: &mut impl Write, record: &Record) -> Result<()> {
    let text = format_record(record)
        .map_err(|what| Error::Data(format!("cannot write the molecule {:?} as an SDF record: {what}", record.name)))?;
    out.write_all(text.as_bytes()).map_err(Error::io("SDF output"))
}

/// What a line of the atom and bond tables needs, beyond the record.
struct Tables<'a> {
    record: &'a Record,
    kekule: Molecule,
    /// The valence to state; 0 states none.
    valences: Vec<i32>,
}

fn format_record(record: &Record) -> Result<String, String> {
    check(record)?;
    let mut kekule = record.molecule.clone();
    kekulise(&mut kekule)
        .map_err(|atom| format!("its aromatic bonds at atom {} have no Kekulé structure", atom + 1))?;
    let adjacency = Adjacency::new(&kekule);
    let valences = (0..kekule.atoms.len()).map(|atom| stated_valence(&kekule, &adjacency, atom)).collect();
    let tables = Tables { record, kekule, valences };
    let mut text = format!("{}\n  qsd               3D\n\n", one_line(&record.name));
    if tables.fits_v2000() {
        tables.push_v2000(&mut text);
    } else {
        tables.push_v3000(&mut text);
    }
    text.push_str("M  END\n");
    for (name, value) in &record.properties {
        text.push_str(&format!(">  <{name}>\n{value}\n\n"));
    }
    text.push_str("$$$$\n");
    Ok(text)
}

fn check(record: &Record) -> Result<(), String> {
    let atoms = record.molecule.atoms.len();
    if record.positions.len() != atoms {
        return Err(format!("it has {atoms} atoms but {} positions", record.positions.len()));
    }
    if let Some(atom) = record.positions.iter().position(|x| !x.iter().all(|x| x.is_finite())) {
        return Err(format!("the position of atom {} is {:?}", atom + 1, record.positions[atom]));
    }
    if let Some(atom) = record.molecule.atoms.iter().find(|atom| Element::new(atom.atomic_number).is_none()) {
        return Err(format!("{} is no atomic number", atom.atomic_number));
    }
    if let Some(bond) = record.molecule.bonds.iter().find(|bond| bond.order == BondOrder::Other) {
        return Err(format!("the bond {}-{} has no order that SDF knows", bond.begin + 1, bond.end + 1));
    }
    for (name, value) in &record.properties {
        let ends_early = value.lines().any(|line| line.trim().is_empty() || line.starts_with("$$$$"));
        if name.contains(['<', '>', '\n', '\r']) || (ends_early && !value.is_empty()) {
            return Err(format!("the property {name:?} would end the record: it has a blank line or a `$$$$`"));
        }
    }
    Ok(())
}

fn one_line(name: &str) -> String {
    name.replace(['\n', '\r'], " ")
}

/// The valence of an atom where its bonds, charge and radicals do not imply that it has no further hydrogens:
/// 15 stands for none.
fn stated_valence(molecule: &Molecule, adjacency: &Adjacency, atom: usize) -> i32 {
    let valence = valence(molecule, adjacency, atom);
    let complete = valence + i32::from(molecule.atoms[atom].radical_electrons);
    let usual = usual_valences(molecule, atom);
    match valence {
        _ if usual.is_empty() || usual.contains(&complete) => 0,
        0 => 15,
        _ => valence,
    }
}

/// `M  RAD` codes: 2 one unpaired electron, 3 two (triplet).
fn radical_code(atom: &Atom) -> Option<u8> {
    match atom.radical_electrons {
        0 => None,
        1 => Some(2),
        _ => Some(3),
    }
}

impl Tables<'_> {
    fn fits_v2000(&self) -> bool {
        let small = |x: &f64| x.abs() < 9999.0;
        self.kekule.atoms.len() <= 999
            && self.kekule.bonds.len() <= 999
            && self.record.positions.iter().flatten().all(small)
    }

    fn chiral_flag(&self) -> u8 {
        u8::from(self.kekule.atoms.iter().any(|atom| atom.chirality != Chirality::None))
    }

    fn symbol(&self, atom: usize) -> &'static str {
        Element::new(self.kekule.atoms[atom].atomic_number).map_or("*", |element| element.symbol)
    }

    fn push_v2000(&self, text: &mut String) {
        let (atoms, bonds) = (self.kekule.atoms.len(), self.kekule.bonds.len());
        text.push_str(&format!("{atoms:3}{bonds:3}  0  0  {}  0  0  0  0  0999 V2000\n", self.chiral_flag()));
        for (atom, [x, y, z]) in self.record.positions.iter().enumerate() {
            let (symbol, valence) = (self.symbol(atom), self.valences[atom]);
            text.push_str(&format!(
                "{x:10.4}{y:10.4}{z:10.4} {symbol:<3} 0  0  0  0  0{valence:3}  0  0  0  0  0  0\n"
            ));
        }
        for bond in &self.kekule.bonds {
            text.push_str(&format!("{:3}{:3}{:3}  0\n", bond.begin + 1, bond.end + 1, order_code(bond.order)));
        }
        self.push_list(text, "CHG", |atom| (atom.formal_charge != 0).then_some(atom.formal_charge.into()));
        self.push_list(text, "RAD", |atom| radical_code(atom).map(i32::from));
    }

    /// A property block `M  TAG` for the atoms that have a value, eight per line.
    fn push_list(&self, text: &mut String, tag: &str, value: impl Fn(&Atom) -> Option<i32>) {
        let atoms = self.kekule.atoms.iter().enumerate();
        let entries: Vec<(usize, i32)> = atoms.filter_map(|(i, atom)| Some((i + 1, value(atom)?))).collect();
        for line in entries.chunks(8) {
            text.push_str(&format!("M  {tag}{:3}", line.len()));
            for (atom, value) in line {
                text.push_str(&format!(" {atom:3} {value:3}"));
            }
            text.push('\n');
        }
    }

    fn push_v3000(&self, text: &mut String) {
        let (atoms, bonds) = (self.kekule.atoms.len(), self.kekule.bonds.len());
        text.push_str("  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\n");
        text.push_str(&format!("M  V30 COUNTS {atoms} {bonds} 0 0 {}\nM  V30 BEGIN ATOM\n", self.chiral_flag()));
        for (index, [x, y, z]) in self.record.positions.iter().enumerate() {
            text.push_str(&format!("M  V30 {} {} {x:.4} {y:.4} {z:.4} 0", index + 1, self.symbol(index)));
            let atom = &self.kekule.atoms[index];
            if atom.formal_charge != 0 {
                text.push_str(&format!(" CHG={}", atom.formal_charge));
            }
            if let Some(code) = radical_code(atom) {
                text.push_str(&format!(" RAD={code}"));
            }
            match self.valences[index] {
                0 => {}
                15 => text.push_str(" VAL=-1"),
                valence => text.push_str(&format!(" VAL={valence}")),
            }
            text.push('\n');
        }
        text.push_str("M  V30 END ATOM\n");
        if bonds > 0 {
            text.push_str("M  V30 BEGIN BOND\n");
            for (index, bond) in self.kekule.bonds.iter().enumerate() {
                let order = order_code(bond.order);
                text.push_str(&format!("M  V30 {} {order} {} {}\n", index + 1, bond.begin + 1, bond.end + 1));
            }
            text.push_str("M  V30 END BOND\n");
        }
        text.push_str("M  V30 END CTAB\n");
    }
}

fn order_code(order: BondOrder) -> u8 {
    match order {
        BondOrder::Single => 1,
        BondOrder::Double => 2,
        BondOrder::Triple => 3,
        BondOrder::Aromatic => 4,
        BondOrder::Other => 8,
    }
}
