//! From atoms in the order of a file to chains: what the readers of both formats share.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::chain::{Chain, MAX_RESIDUES};
use super::lines::text;
use super::residue::{Kind, is_selenomethionine, letter, other_kind};
use crate::geometry::Point;

/// No file has more residues, waters included.
const MAX_RESIDUES_OF_FILE: usize = 1_000_000;
/// No residue has more alternate locations.
const MAX_ALTERNATES: usize = 100;

/// An atom of a file, by the words it has there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Atom<'a> {
    /// Whether the file lists it apart from the chains (`HETATM`).
    pub hetero: bool,
    /// Its name.
    pub name: &'a [u8],
    /// The label of its alternate location; empty for none.
    pub alternate: &'a [u8],
    /// The name of its residue.
    pub residue: &'a [u8],
    /// The author's chain id.
    pub chain: &'a [u8],
    /// The author's residue number.
    pub number: &'a [u8],
    /// The insertion code; empty for none.
    pub insertion: &'a [u8],
}

/// What is read of a Cα besides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ca {
    pub position: Point,
    pub occupancy: f64,
    pub b_factor: f32,
}

/// The Cα of a residue that is the best so far.
#[derive(Clone, Debug)]
struct Best {
    ca: Ca,
    alternate: Vec<u8>,
    letter: char,
}

#[derive(Debug)]
struct Residue {
    name: Vec<u8>,
    hetero: bool,
    number: Option<i32>,
    has_ca: bool,
    /// It has another atom of the backbone.
    has_backbone: bool,
    best: Option<Best>,
    /// Labels of the Cα atoms seen.
    alternates: Vec<Vec<u8>>,
}

/// A residue's number and insertion code, as written.
type Place = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
struct Draft {
    id: String,
    residues: Vec<Residue>,
    places: HashMap<Place, usize>,
}

/// Gathers atoms.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    drafts: Vec<Draft>,
    /// The draft that an id's atoms go to, and how many the id has.
    current: HashMap<Vec<u8>, (usize, usize)>,
    /// The last atom's chain id, its draft and residue.
    last: Option<(Vec<u8>, Place, usize, usize)>,
    num_residues: usize,
}

impl Assembler {
    /// Whether no atom came.
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// Takes the next atom; `ca` reads the rest of it and is called for the Cα atoms that a chain may be made of.
    ///
    /// # Errors
    /// What is wrong with the atom, without saying where it stands.
    pub fn push(&mut self, atom: Atom, ca: impl FnOnce() -> Result<Ca, String>) -> Result<(), String> {
        let (mut draft, mut residue) = self.locate(&atom)?;
        let letter = letter(atom.residue).filter(|_| !atom.hetero || is_selenomethionine(atom.residue));
        if atom.name == b"CA"
            && let Some(letter) = letter
        {
            let ca = ca()?;
            if number_of(atom.number).is_none() {
                return Err(format!("residue number {:?} is no whole number", text(atom.number)));
            }
            if self.is_copy(draft, residue, atom.alternate) {
                (draft, residue) = self.begin_copy(&atom)?;
            }
            self.drafts[draft].residues[residue].offer(ca, atom.alternate, letter)?;
        }
        let residue = &mut self.drafts[draft].residues[residue];
        residue.has_ca |= atom.name == b"CA" && atom.residue != b"CA";
        residue.has_backbone |= matches!(atom.name, b"N" | b"C");
        Ok(())
    }

    /// The chains, and how many residues of other kinds there are in all.
    ///
    /// # Errors
    /// When a chain is longer than any can be.
    pub fn finish(self) -> Result<(Vec<Chain>, BTreeMap<Kind, usize>), String> {
        let mut left_out = BTreeMap::new();
        let mut chains = Vec::new();
        for draft in self.drafts {
            let chain = draft.finish();
            for (&kind, count) in &chain.others {
                *left_out.entry(kind).or_default() += count;
            }
            if chain.len() > MAX_RESIDUES {
                return Err(format!("chain {:?} has {} residues, the limit is {MAX_RESIDUES}", chain.id, chain.len()));
            }
            if !chain.is_empty() {
                chains.push(chain);
            }
        }
        Ok((chains, left_out))
    }

    /// The draft and the residue of an atom, made where they are not there.
    fn locate(&mut self, atom: &Atom) -> Result<(usize, usize), String> {
        if let Some((chain, (number, insertion), draft, residue)) = &self.last
            && (&chain[..], &number[..], &insertion[..]) == (atom.chain, atom.number, atom.insertion)
        {
            return Ok((*draft, *residue));
        }
        let draft = match self.current.get(atom.chain) {
            Some(&(draft, _)) => draft,
            None => self.begin_draft(atom.chain),
        };
        self.locate_in(draft, atom)
    }

    fn locate_in(&mut self, draft: usize, atom: &Atom) -> Result<(usize, usize), String> {
        let place = (atom.number.to_vec(), atom.insertion.to_vec());
        let target = &mut self.drafts[draft];
        let next = target.residues.len();
        let residue = *target.places.entry(place.clone()).or_insert(next);
        if residue == next {
            target.residues.push(Residue::new(atom));
            self.num_residues += 1;
            if self.num_residues > MAX_RESIDUES_OF_FILE {
                return Err(format!("more than {MAX_RESIDUES_OF_FILE} residues"));
            }
        }
        self.last = Some((atom.chain.to_vec(), place, draft, residue));
        Ok((draft, residue))
    }

    fn begin_draft(&mut self, chain: &[u8]) -> usize {
        let draft = self.drafts.len();
        let (current, copies) = self.current.entry(chain.to_vec()).or_insert((draft, 0));
        (*current, *copies) = (draft, *copies + 1);
        let id = match *copies {
            1 => text(chain),
            n => format!("{}.{n}", text(chain)),
        };
        self.drafts.push(Draft { id, residues: Vec::new(), places: HashMap::new() });
        draft
    }

    /// Whether a Cα shows that the chain begins once more: its residue has one of this label already, and others came
    /// after it.
    fn is_copy(&self, draft: usize, residue: usize, alternate: &[u8]) -> bool {
        let residues = &self.drafts[draft].residues;
        residue + 1 < residues.len() && residues[residue].alternates.iter().any(|label| label == alternate)
    }

    fn begin_copy(&mut self, atom: &Atom) -> Result<(usize, usize), String> {
        let draft = self.begin_draft(atom.chain);
        self.locate_in(draft, atom)
    }
}

impl Residue {
    fn new(atom: &Atom) -> Self {
        Residue {
            name: atom.residue.to_vec(),
            hetero: atom.hetero,
            number: number_of(atom.number),
            has_ca: false,
            has_backbone: false,
            best: None,
            alternates: Vec::new(),
        }
    }

    /// Keeps the better Cα: of the higher occupancy, then of the first label, then the one that came first.
    fn offer(&mut self, ca: Ca, alternate: &[u8], letter: char) -> Result<(), String> {
        let better = |best: &Best| match ca.occupancy.total_cmp(&best.ca.occupancy) {
            Ordering::Equal => alternate < &best.alternate[..],
            order => order.is_gt(),
        };
        if self.best.as_ref().is_none_or(better) {
            self.best = Some(Best { ca, alternate: alternate.to_vec(), letter });
        }
        if !self.alternates.iter().any(|label| label == alternate) {
            self.alternates.push(alternate.to_vec());
        }
        match self.alternates.len() > MAX_ALTERNATES {
            true => Err(format!("a residue with more than {MAX_ALTERNATES} alternate locations")),
            false => Ok(()),
        }
    }

    fn kind(&self) -> Kind {
        match (&self.best, letter(&self.name)) {
            (Some(best), _) => Kind::Standard(best.letter),
            (None, Some(_)) if self.hetero => Kind::FreeAmino,
            (None, Some(_)) => Kind::NoCa,
            (None, None) => other_kind(&self.name, self.has_ca && (self.has_backbone || !self.hetero)),
        }
    }
}

impl Draft {
    fn finish(self) -> Chain {
        let mut chain = Chain { id: self.id, ..Chain::default() };
        for residue in &self.residues {
            match (residue.kind(), &residue.best, residue.number) {
                (Kind::Standard(letter), Some(best), Some(number)) => {
                    chain.sequence.push(letter);
                    chain.numbers.push(number);
                    chain.positions.push(best.ca.position);
                    chain.b_factors.push(best.ca.b_factor);
                }
                (kind, ..) => *chain.others.entry(kind).or_default() += 1,
            }
        }
        chain
    }
}

/// A residue's number.
fn number_of(words: &[u8]) -> Option<i32> {
    std::str::from_utf8(words).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `chain number insertion alternate name residue` with `.` for none, and the occupancy.
    fn assemble(atoms: &[(&str, f64)]) -> Vec<Chain> {
        let mut assembler = Assembler::default();
        for (i, (words, occupancy)) in atoms.iter().enumerate() {
            let words: Vec<&str> = words.split_whitespace().map(|word| if word == "." { "" } else { word }).collect();
            let [chain, number, insertion, alternate, name, residue] = words[..] else { panic!("{words:?}") };
            let atom = Atom {
                hetero: residue == "MSE",
                name: name.as_bytes(),
                alternate: alternate.as_bytes(),
                residue: residue.as_bytes(),
                chain: chain.as_bytes(),
                number: number.as_bytes(),
                insertion: insertion.as_bytes(),
            };
            let ca = Ca { position: [i as f64, 0.0, 0.0], occupancy: *occupancy, b_factor: i as f32 };
            assembler.push(atom, || Ok(ca)).unwrap();
        }
        assembler.finish().unwrap().0
    }

    #[test]
    fn the_best_location_wins_then_the_first_label() {
        let chains = assemble(&[
            ("A 1 . A CA SER", 0.4),
            ("A 1 . B CA SER", 0.6),
            ("A 2 . B CA LEU", 0.5),
            ("A 2 . A CA ILE", 0.5),
            ("A 3 . . CA GLY", 1.0),
            ("A 3 . . CA GLY", 1.0),
        ]);
        assert_eq!(chains.len(), 1);
        assert_eq!(chains[0].sequence, "SIG", "microheterogeneity gives one residue");
        assert_eq!(chains[0].b_factors, [1.0, 3.0, 4.0], "of repeated atoms the first counts");
    }

    #[test]
    fn locations_in_blocks_are_one_residue() {
        let atoms = ["A 1 . A CA SER", "A 2 . A CA GLY", "A 1 . B CA SER", "A 2 . B CA GLY"].map(|atom| (atom, 0.5));
        let chains = assemble(&atoms);
        assert_eq!((chains.len(), &chains[0].sequence[..], &chains[0].b_factors[..]), (1, "SG", &[0.0, 1.0][..]));
    }

    #[test]
    fn insertions_keep_the_order_of_the_file() {
        let atoms = ["A 60 B . CA SER", "A 60 A . CA GLY", "A 60 . . CA ALA", "A -5 . . CA MSE"];
        let chains = assemble(&atoms.map(|atom| (atom, 1.0)));
        assert_eq!(chains[0].sequence, "SGAM");
        assert_eq!(chains[0].numbers, [60, 60, 60, -5]);
    }

    #[test]
    fn a_chain_that_begins_once_more_is_another() {
        let atoms = [". 1 . . CA SER", ". 2 . . CA GLY", ". 3 . . N ALA", ". 1 . . N TRP", ". 1 . . CA TRP"];
        let chains = assemble(&atoms.map(|atom| (atom, 1.0)));
        let found: Vec<_> = chains.iter().map(|chain| (&chain.id[..], &chain.sequence[..])).collect();
        assert_eq!(found, [("", "SG"), (".2", "W")]);
        assert_eq!(chains[0].others, [(Kind::NoCa, 1)].into());
    }

    #[test]
    fn chains_that_take_turns_stay_themselves() {
        let atoms = ["A 1 . . CA SER", "B 1 . . CA GLY", "A 2 . . CA ALA", "A 1 . . CB SER"];
        let chains = assemble(&atoms.map(|atom| (atom, 1.0)));
        let found: Vec<_> = chains.iter().map(|chain| (&chain.id[..], &chain.sequence[..])).collect();
        assert_eq!(found, [("A", "SA"), ("B", "G")]);
    }

    #[test]
    fn locations_without_end_are_refused() {
        let mut assembler = Assembler::default();
        let ca = Ca { position: [0.0; 3], occupancy: 1.0, b_factor: 0.0 };
        let mut offer = |label: usize| {
            let label = label.to_string();
            let (name, residue, chain, number) = (&b"CA"[..], &b"ALA"[..], &b"A"[..], &b"1"[..]);
            let atom =
                Atom { hetero: false, name, alternate: label.as_bytes(), residue, chain, number, insertion: b"" };
            assembler.push(atom, || Ok(ca))
        };
        (0..MAX_ALTERNATES).for_each(|label| offer(label).unwrap());
        assert!(offer(MAX_ALTERNATES).unwrap_err().contains("more than 100 alternate locations"));
    }

    #[test]
    fn a_number_must_be_one() {
        let atom = Atom {
            hetero: false,
            name: b"CA",
            alternate: b"",
            residue: b"ALA",
            chain: b"A",
            number: b"A000",
            insertion: b"",
        };
        let ca = Ca { position: [0.0; 3], occupancy: 1.0, b_factor: 0.0 };
        let message = Assembler::default().push(atom, || Ok(ca)).unwrap_err();
        assert!(message.contains("\"A000\" is no whole number"), "{message}");
        let water = Atom { residue: b"HOH", name: b"O", ..atom };
        Assembler::default().push(water, || Err("not called".into())).unwrap();
    }
}
