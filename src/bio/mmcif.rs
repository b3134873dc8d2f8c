//! mmCIF files: the items that matter.

use std::io::BufRead;

use super::assemble::{Assembler, Atom, Ca};
use super::chain::{Entry, Method};
use super::cif::{self, Row, Value, Visitor};
use super::lines::{Lines, number, text};

/// Reads the first model of the first block that has atoms.
///
/// # Errors
/// What is wrong, with the line.
pub(super) fn read<R: BufRead>(lines: &mut Lines<R>) -> Result<Entry, String> {
    let mut reader = Reader::default();
    cif::read(lines, &mut reader)?;
    if reader.assembler.is_empty() {
        return Err("an mmCIF file without atoms (no rows of _atom_site)".into());
    }
    let (chains, left_out) = reader.assembler.finish()?;
    let method = Method::from_words(&reader.method);
    let resolution = reader.diffraction.or(reader.microscopy);
    Ok(Entry { id: reader.id.to_lowercase(), method, resolution, chains, left_out })
}

#[derive(Default)]
struct Reader {
    assembler: Assembler,
    id: String,
    method: String,
    /// Resolutions in Å by diffraction and by microscopy.
    diffraction: Option<f64>,
    microscopy: Option<f64>,
    loop_at_hand: Loop,
    /// The model that is read: that of the first atom.
    model: Option<Vec<u8>>,
    rows: usize,
}

/// The loop whose rows come.
#[derive(Default)]
enum Loop {
    #[default]
    Other,
    Atoms(Columns),
    /// One with items that are otherwise given by themselves: the tag of each column.
    Items(Vec<Vec<u8>>),
}

/// Where the columns of `_atom_site` are.
struct Columns {
    group: Option<usize>,
    name: usize,
    alternate: Option<usize>,
    residue: usize,
    /// The author's, and the one that stands in where the author's is not given.
    chain: [Option<usize>; 2],
    number: [Option<usize>; 2],
    insertion: Option<usize>,
    position: [usize; 3],
    occupancy: Option<usize>,
    b_factor: Option<usize>,
    model: Option<usize>,
}

/// The items that are read besides the atoms.
const ITEMS: [&[u8]; 4] =
    [b"_entry.id", b"_exptl.method", b"_refine.ls_d_res_high", b"_em_3d_reconstruction.resolution"];

impl Visitor for Reader {
    fn block(&mut self, _name: &[u8]) -> bool {
        self.assembler.is_empty()
    }

    fn item(&mut self, tag: &[u8], value: Value) -> Result<(), String> {
        let Some(known) = value.known() else { return Ok(()) };
        let resolution = || number(known).ok().filter(|r| *r > 0.0);
        match tag {
            b"_entry.id" => self.id = text(known),
            b"_exptl.method" => self.method += &format!("{};", text(known)),
            b"_refine.ls_d_res_high" => self.diffraction = self.diffraction.or_else(resolution),
            b"_em_3d_reconstruction.resolution" => self.microscopy = self.microscopy.or_else(resolution),
            _ => {}
        }
        Ok(())
    }

    fn header(&mut self, tags: &[Vec<u8>]) -> Result<bool, String> {
        self.loop_at_hand = if tags.iter().any(|tag| tag.starts_with(b"_atom_site.")) {
            Loop::Atoms(Columns::new(tags)?)
        } else if tags.iter().any(|tag| ITEMS.contains(&&tag[..])) {
            Loop::Items(tags.to_vec())
        } else {
            Loop::Other
        };
        Ok(!matches!(self.loop_at_hand, Loop::Other))
    }

    fn row(&mut self, row: &Row) -> Result<bool, String> {
        match std::mem::take(&mut self.loop_at_hand) {
            Loop::Other => Ok(true),
            Loop::Items(tags) => {
                for (column, tag) in tags.iter().enumerate() {
                    row.get(column).map_or(Ok(()), |value| self.item(tag, value))?;
                }
                self.loop_at_hand = Loop::Items(tags);
                Ok(true)
            }
            Loop::Atoms(columns) => {
                self.rows += 1;
                let rows = self.rows;
                let go_on = self.take_atom(&columns, row).map_err(|what| format!("atom {rows}: {what}"))?;
                self.loop_at_hand = Loop::Atoms(columns);
                Ok(go_on)
            }
        }
    }
}

impl Reader {
    /// Takes an atom; false when it belongs to the next model.
    fn take_atom(&mut self, columns: &Columns, row: &Row) -> Result<bool, String> {
        let known = |column: usize| row.get(column).and_then(Value::known);
        let known_of = |column: Option<usize>| column.and_then(known);
        let first_of = |columns: [Option<usize>; 2]| columns.into_iter().find_map(known_of).unwrap_or_default();
        let model = known_of(columns.model).unwrap_or_default();
        if self.model.get_or_insert_with(|| model.to_vec()) != model {
            return Ok(false);
        }
        let atom = Atom {
            hetero: known_of(columns.group) == Some(b"HETATM"),
            name: known(columns.name).unwrap_or_default(),
            alternate: known_of(columns.alternate).unwrap_or_default(),
            residue: known(columns.residue).unwrap_or_default(),
            chain: first_of(columns.chain),
            number: first_of(columns.number),
            insertion: known_of(columns.insertion).unwrap_or_default(),
        };
        let value = |column: usize, what: &str| {
            let bytes = known(column).ok_or_else(|| format!("{what} of a CA is not given"))?;
            number(without_uncertainty(bytes)).map_err(|found| format!("{what} of a CA: {found}"))
        };
        let or = |column: Option<usize>, what: &str, default: f64| match known_of(column) {
            Some(_) => value(column.expect("it is known"), what),
            None => Ok(default),
        };
        let ca = || {
            let [x, y, z] = columns.position;
            Ok(Ca {
                position: [value(x, "Cartn_x")?, value(y, "Cartn_y")?, value(z, "Cartn_z")?],
                occupancy: or(columns.occupancy, "occupancy", 1.0)?,
                b_factor: or(columns.b_factor, "B_iso_or_equiv", f64::NAN)? as f32,
            })
        };
        self.assembler.push(atom, ca)?;
        Ok(true)
    }
}

impl Columns {
    fn new(tags: &[Vec<u8>]) -> Result<Self, String> {
        let find = |name: &str| {
            let tag = format!("_atom_site.{name}").to_ascii_lowercase();
            tags.iter().position(|found| found == tag.as_bytes())
        };
        let need = |names: &[&str]| {
            let column = names.iter().find_map(|name| find(name));
            column.ok_or_else(|| format!("the loop of atoms lacks the column _atom_site.{}", names[0]))
        };
        Ok(Columns {
            group: find("group_PDB"),
            name: need(&["label_atom_id", "auth_atom_id"])?,
            alternate: find("label_alt_id"),
            residue: need(&["label_comp_id", "auth_comp_id"])?,
            chain: [find("auth_asym_id"), find("label_asym_id")],
            number: [find("auth_seq_id"), find("label_seq_id")],
            insertion: find("pdbx_PDB_ins_code"),
            position: [need(&["Cartn_x"])?, need(&["Cartn_y"])?, need(&["Cartn_z"])?],
            occupancy: find("occupancy"),
            b_factor: find("B_iso_or_equiv"),
            model: find("pdbx_PDB_model_num"),
        })
    }
}

/// A number as `1.25(3)` without its standard uncertainty.
fn without_uncertainty(bytes: &[u8]) -> &[u8] {
    bytes.iter().position(|&byte| byte == b'(').map_or(bytes, |end| &bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(file: &str) -> Result<Entry, String> {
        read(&mut Lines::new(file.as_bytes(), u64::MAX))
    }

    const HEAD: &str = "data_1ABC\n_entry.id 1ABC\nloop_\n_exptl.entry_id\n_exptl.method\n1ABC 'X-RAY DIFFRACTION'\n\
                        _refine.ls_d_res_high 1.90\nloop_\n";
    const COLUMNS: &str = "group_PDB label_atom_id label_alt_id label_comp_id label_asym_id label_seq_id \
                           pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id \
                           auth_asym_id pdbx_PDB_model_num";

    fn file(rows: &str) -> String {
        let tags: String = COLUMNS.split_whitespace().map(|name| format!("_atom_site.{name}\n")).collect();
        format!("{HEAD}{tags}{rows}")
    }

    #[test]
    fn author_ids_numbers_and_the_first_model() {
        let rows = "ATOM CA . SER A 1 ? 1.5(2) 2 3 1.0 20 -4 Long 3\n\
                    ATOM 'CA' . GLY A 2 B 2 2 3 ? ? -4 Long 3\n\
                    HETATM CA . MSE A 3 ? 3 2 3 1.0 22 7 Long 3\n\
                    HETATM CA . CA C . ? 3 2 3 1.0 22 8 Long 3\n\
                    HETATM CA . GLU D . ? ? ? ? 1.0 22 9 Long 3\n\
                    ATOM CA . TRP A 4 ? x 2 3 1.0 22 8 Long 4\n";
        let entry = parse(&file(rows)).unwrap();
        assert_eq!((&entry.id[..], entry.method, entry.resolution), ("1abc", Method::Diffraction, Some(1.9)));
        let chain = &entry.chains[0];
        assert_eq!((&chain.id[..], &chain.sequence[..], &chain.numbers[..]), ("Long", "SGM", &[-4, -4, 7][..]));
        assert_eq!(chain.positions[0], [1.5, 2.0, 3.0]);
        assert!(chain.b_factors[1].is_nan());
        let others: Vec<_> = chain.others.iter().map(|(kind, n)| (kind.name(), *n)).collect();
        assert_eq!(others, [("free amino acid", 1), ("ligand or ion", 1)]);
    }

    #[test]
    fn files_without_what_is_needed() {
        for (file, expected) in [
            (file("ATOM CA . SER A 1 ? x 2 3 1.0 20 4 A 1\n"), "line 24: atom 1: Cartn_x of a CA: \"x\" is no number"),
            (file("ATOM CA . SER A 1 ? ? 2 3 1.0 20 4 A 1\n"), "Cartn_x of a CA is not given"),
            (file("ATOM CA . SER A 1 ? 1 2\n"), "ends with a row of 9 values"),
            (file("ATOM CA . SER A ? ? 1 2 3 1.0 20 ? A 1\n"), "residue number \"\" is no whole number"),
            ("data_a\nloop_\n_atom_site.id\n1\n".into(), "lacks the column _atom_site.label_atom_id"),
            ("data_r5\nloop_\n_refln.index_h\n1 2 3\n".into(), "without atoms"),
        ] {
            let message = parse(&file).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
