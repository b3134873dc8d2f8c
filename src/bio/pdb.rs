//! PDB files: columns of the records that matter.

use std::io::BufRead;

use super::assemble::{Assembler, Atom, Ca};
use super::chain::{Entry, Method};
use super::lines::{Lines, number, text, trim};

/// Reads the first model.
///
/// # Errors
/// What is wrong, with the line.
pub(super) fn read<R: BufRead>(lines: &mut Lines<R>) -> Result<Entry, String> {
    let mut assembler = Assembler::default();
    let (mut id, mut method, mut resolution) = (String::new(), String::new(), None);
    let mut atoms_begun = false;
    loop {
        let line_number = lines.number() + 1;
        let Some(line) = lines.next()? else { break };
        let record = columns(line, 1, 6);
        if record == b"ATOM" || record == b"HETATM" {
            atoms_begun = true;
            take_atom(line, &mut assembler).map_err(|what| format!("line {line_number}: {what}"))?;
        } else if atoms_begun {
            // `MODEL` too: there are files without `ENDMDL`.
            if matches!(record, b"ENDMDL" | b"END" | b"MODEL") {
                break;
            }
        } else if record == b"HEADER" {
            id = text(columns(line, 63, 66)).to_lowercase();
        } else if record == b"EXPDTA" {
            method += &text(columns(line, 11, 79));
        } else if record == b"REMARK" && resolution.is_none() {
            resolution = resolution_of(columns(line, 8, 10), &text(columns(line, 11, 79)));
        }
    }
    if assembler.is_empty() {
        return Err("no atoms: neither ATOM nor HETATM records of a PDB file, nor an mmCIF file".into());
    }
    let (chains, left_out) = assembler.finish()?;
    Ok(Entry { id, method: Method::from_words(&method), resolution, chains, left_out })
}

/// The characters of these columns, counted from 1, without blanks around them; what a short line lacks is blank.
fn columns(line: &[u8], first: usize, last: usize) -> &[u8] {
    let last = last.min(line.len());
    trim(line.get(first - 1..last).unwrap_or_default())
}

fn take_atom(line: &[u8], assembler: &mut Assembler) -> Result<(), String> {
    let atom = Atom {
        hetero: line.starts_with(b"HETATM"),
        name: columns(line, 13, 16),
        alternate: columns(line, 17, 17),
        residue: columns(line, 18, 20),
        // The first of the two columns is used by programs that ran out of letters.
        chain: columns(line, 21, 22),
        number: columns(line, 23, 26),
        insertion: columns(line, 27, 27),
    };
    let ca = || {
        if line.len() < 54 {
            return Err(format!("a CA's line ends in column {}, within its position", line.len()));
        }
        let of = |first, last| number(columns(line, first, last));
        let or = |first, last, default| match columns(line, first, last) {
            b"" => Ok(default),
            _ => of(first, last),
        };
        let coordinate = |axis: char, first, last| of(first, last).map_err(|what| format!("{axis} of a CA: {what}"));
        Ok(Ca {
            position: [coordinate('x', 31, 38)?, coordinate('y', 39, 46)?, coordinate('z', 47, 54)?],
            occupancy: or(55, 60, 1.0).map_err(|what| format!("occupancy of a CA: {what}"))?,
            b_factor: or(61, 66, f64::NAN).map_err(|what| format!("B-factor of a CA: {what}"))? as f32,
        })
    };
    assembler.push(atom, ca)
}

/// The resolution that a remark states: number 2 as `RESOLUTION.    1.74 ANGSTROMS.`, or, where a refinement program
/// wrote the file, number 3 as `RESOLUTION RANGE HIGH (ANGSTROMS) :   1.83`.
fn resolution_of(remark: &[u8], words: &str) -> Option<f64> {
    let number = match remark {
        b"2" => words.split("ANGSTROM").next()?.split_whitespace().last()?,
        b"3" if words.starts_with("RESOLUTION RANGE HIGH") => words.split(':').nth(1)?.trim(),
        _ => return None,
    };
    number.parse().ok().filter(|r: &f64| r.is_finite() && *r > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(file: &str) -> Result<Entry, String> {
        read(&mut Lines::new(file.as_bytes(), u64::MAX))
    }

    const ATOM: &str = "ATOM      2  CA  SER A  -1      11.104  -6.134   2.000  0.70 12.50           C  \n";

    #[test]
    fn what_a_header_says() {
        let header = format!(
            "HEADER    PLANT PROTEIN{}1CRN              \nEXPDTA    X-RAY DIFFRACTION\n\
             REMARK   2\nREMARK   2 RESOLUTION.    1.50 ANGSTROMS.\n",
            " ".repeat(39)
        );
        let entry = parse(&format!("{header}{ATOM}")).unwrap();
        assert_eq!((&entry.id[..], entry.method, entry.resolution), ("1crn", Method::Diffraction, Some(1.5)));
        let chain = &entry.chains[0];
        assert_eq!((&chain.id[..], &chain.sequence[..], &chain.numbers[..]), ("A", "S", &[-1][..]));
        assert_eq!((chain.positions[0], chain.b_factors[0]), ([11.104, -6.134, 2.0], 12.5));
        let nmr = format!("EXPDTA    SOLUTION NMR\nREMARK   2 RESOLUTION. NOT APPLICABLE.\n{ATOM}");
        let entry = parse(&nmr).unwrap();
        assert_eq!((entry.method, entry.resolution), (Method::Resonance, None));
        let refined = format!("REMARK   3   RESOLUTION RANGE HIGH (ANGSTROMS) :   1.83\n{ATOM}");
        assert_eq!(parse(&refined).unwrap().resolution, Some(1.83));
    }

    #[test]
    fn the_first_model_ends_in_any_way() {
        let other = ATOM.replace(" -1 ", "  7 ");
        for end in ["ENDMDL\nMODEL        2\n", "END\n", "MODEL        2\n", "END   \n"] {
            let entry = parse(&format!("MODEL        1\n{ATOM}{end}{other}")).unwrap();
            assert_eq!(entry.chains[0].numbers, [-1], "{end:?}");
        }
        assert_eq!(parse(&format!("{ATOM}TER\n{other}")).unwrap().chains[0].numbers, [-1, 7]);
    }

    #[test]
    fn short_and_old_lines() {
        let short = "ATOM  31140  CA  ASN S 136      85.682 145.631   2.887\r\n";
        let entry = parse(short).unwrap();
        assert_eq!(entry.chains[0].positions, [[85.682, 145.631, 2.887]]);
        assert!(entry.chains[0].b_factors[0].is_nan());
        let old = ATOM.replace("          C  ", "      1PPE 123");
        assert_eq!(parse(&old).unwrap().chains[0].sequence, "S");
        assert_eq!(parse(&ATOM[..50]).unwrap_err(), "line 1: a CA's line ends in column 50, within its position");
    }

    #[test]
    fn damage_is_named_by_its_line() {
        let bad = format!("REMARK\n{}", ATOM.replace("-6.134", "-6.1x4"));
        assert_eq!(parse(&bad).unwrap_err(), "line 2: y of a CA: \"-6.1x4\" is no number");
        assert!(parse("hello\n").unwrap_err().contains("no atoms"));
        let elsewhere = ATOM.replace("CA ", "CB ").replace("-6.134", "******");
        assert!(parse(&elsewhere).unwrap().chains.is_empty(), "only what is used is read");
    }
}
