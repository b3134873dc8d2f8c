//! The fixed columns of V2000.

use super::super::lines::coordinate;
use super::super::{Atom, Molecule};
use super::ctab::{At, Bonds, Ctab, at, atom, charge, integer, radical_electrons};

/// Parses the table of a record; also the index of the line after `M  END`.
pub fn parse(lines: &[String]) -> Result<(Ctab, usize), At> {
    let counts = &lines[3];
    let count = |from: usize| {
        let text = columns(counts, from, 3).trim();
        text.parse::<usize>().map_err(|_| {
            at(3)(format!(
                "{text:?} is no count of atoms or bonds; expected the counts line of a V2000 or V3000 molfile"
            ))
        })
    };
    let (atoms, bonds) = (count(0)?, count(3)?);
    let table = lines.get(4..4 + atoms + bonds).ok_or_else(|| {
        at(lines.len())(format!("the record ends before its {atoms} atoms and {bonds} bonds are complete"))
    })?;
    let mut ctab = Ctab::default();
    for (index, line) in table[..atoms].iter().enumerate() {
        let (atom, position) = atom_line(line).map_err(at(4 + index))?;
        ctab.molecule.atoms.push(atom);
        ctab.positions.push(position);
    }
    let mut known = Bonds::default();
    for (index, line) in table[atoms..].iter().enumerate() {
        bond_line(line, &mut ctab.molecule, &mut known).map_err(at(4 + atoms + index))?;
    }
    let end = property_block(lines, 4 + atoms + bonds, &mut ctab.molecule)?;
    Ok((ctab, end))
}

/// `width` columns from `from`, as far as the line reaches.
fn columns(line: &str, from: usize, width: usize) -> &str {
    line.get(from..line.len().min(from + width)).unwrap_or("")
}

fn atom_line(line: &str) -> Result<(Atom, [f64; 3]), String> {
    let mut position = [0.0; 3];
    for (axis, x) in position.iter_mut().enumerate() {
        *x = coordinate(columns(line, 10 * axis, 10))?;
    }
    let mut atom = atom(columns(line, 31, 3).trim())?;
    match integer(columns(line, 36, 3))? {
        0 => {}
        4 => atom.radical_electrons = 1,
        code @ 1..=7 => atom.formal_charge = (4 - code) as i8,
        code => return Err(format!("charge code {code}; expected 0 to 7")),
    }
    Ok((atom, position))
}

fn bond_line(line: &str, molecule: &mut Molecule, known: &mut Bonds) -> Result<(), String> {
    let [begin, end] = [0, 3].map(|from| atom_index(columns(line, from, 3), usize::MAX));
    known.push(molecule, begin?, end?, integer(columns(line, 6, 3))?)
}

/// An atom's number, from 1, as an index from 0 below `atoms`.
fn atom_index(text: &str, atoms: usize) -> Result<usize, String> {
    let index = usize::try_from(integer(text)? - 1).ok();
    index.filter(|&index| index < atoms).ok_or_else(|| format!("{:?} is the number of no atom", text.trim()))
}

/// The lines up to `M  END`. The first `M  CHG` or `M  RAD` voids charges and radicals of the atom lines.
fn property_block(lines: &[String], from: usize, molecule: &mut Molecule) -> Result<usize, At> {
    let mut stated = false;
    let mut index = from;
    while let Some(line) = lines.get(index) {
        match columns(line, 0, 6) {
            "M  END" => return Ok(index + 1),
            tag @ ("M  CHG" | "M  RAD") => {
                if !stated {
                    molecule.atoms.iter_mut().for_each(|atom| (atom.formal_charge, atom.radical_electrons) = (0, 0));
                    stated = true;
                }
                property_line(line, tag == "M  CHG", molecule).map_err(at(index))?;
            }
            // An alias or value: its text is on the next line.
            tag if tag.starts_with("A  ") || tag.starts_with("G  ") => index += 1,
            _ => {}
        }
        index += 1;
    }
    Err(at(lines.len())("the record has no `M  END`".to_owned()))
}

/// `M  TAGnn8 aaa vvv ...`.
fn property_line(line: &str, is_charge: bool, molecule: &mut Molecule) -> Result<(), String> {
    let entries = integer(columns(line, 6, 3))?;
    if !(0..=8).contains(&entries) {
        return Err(format!("{entries} entries in a line that holds up to 8"));
    }
    for entry in 0..entries as usize {
        let index = atom_index(columns(line, 9 + 8 * entry, 4), molecule.atoms.len())?;
        let value = integer(columns(line, 13 + 8 * entry, 4))?;
        if is_charge {
            molecule.atoms[index].formal_charge = charge(value)?;
        } else {
            molecule.atoms[index].radical_electrons = radical_electrons(value)?;
        }
    }
    Ok(())
}
