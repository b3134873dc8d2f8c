//! Kinds of residues, by their names in the Chemical Component Dictionary.

/// What a residue is, as far as backbones are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One of the 20 amino acids, or selenomethionine; its one-letter code.
    Standard(char),
    /// A mirror image of one of them.
    DAmino,
    /// Another residue with a backbone.
    Modified,
    /// A standard amino acid of its own, not part of a chain (a `HETATM`).
    FreeAmino,
    /// A standard residue of which no Cα is known.
    NoCa,
    /// Of RNA or DNA.
    Nucleotide,
    /// Water.
    Water,
    /// Anything else: ligands, ions, sugars.
    Other,
}

impl Kind {
    /// What is counted under this name when it is left out.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Standard(_) => "standard residue",
            Kind::DAmino => "D-amino acid",
            Kind::Modified => "modified residue",
            Kind::FreeAmino => "free amino acid",
            Kind::NoCa => "residue without a CA",
            Kind::Nucleotide => "nucleotide",
            Kind::Water => "water",
            Kind::Other => "ligand or ion",
        }
    }
}

/// The one-letter code of a standard amino acid; selenomethionine is methionine.
pub(super) fn letter(name: &[u8]) -> Option<char> {
    Some(match name {
        b"ALA" => 'A',
        b"ARG" => 'R',
        b"ASN" => 'N',
        b"ASP" => 'D',
        b"CYS" => 'C',
        b"GLN" => 'Q',
        b"GLU" => 'E',
        b"GLY" => 'G',
        b"HIS" => 'H',
        b"ILE" => 'I',
        b"LEU" => 'L',
        b"LYS" => 'K',
        b"MET" | b"MSE" => 'M',
        b"PHE" => 'F',
        b"PRO" => 'P',
        b"SER" => 'S',
        b"THR" => 'T',
        b"TRP" => 'W',
        b"TYR" => 'Y',
        b"VAL" => 'V',
        _ => return None,
    })
}

/// Selenomethionine, which files list as `HETATM` although it is part of the chain.
pub(super) fn is_selenomethionine(name: &[u8]) -> bool {
    name == b"MSE"
}

/// The mirror images of the standard amino acids.
const D_AMINO: [&[u8]; 19] = [
    b"DAL", b"DAR", b"DSG", b"DAS", b"DCY", b"DGN", b"DGL", b"DHI", b"DIL", b"DLE", b"DLY", b"MED", b"DPN", b"DPR",
    b"DSN", b"DTH", b"DTR", b"DTY", b"DVA",
];
const NUCLEOTIDES: [&[u8]; 18] = [
    b"A", b"C", b"G", b"U", b"I", b"N", b"DA", b"DC", b"DG", b"DT", b"DU", b"DI", b"DN", b"ADE", b"CYT", b"GUA",
    b"THY", b"URA",
];
const WATERS: [&[u8]; 7] = [b"HOH", b"WAT", b"DOD", b"H2O", b"SOL", b"TIP", b"TP3"];

/// The kind of a residue that is none of the standard ones. `backbone`: it has a Cα, and another backbone atom or the
/// file counts it to the chain.
pub(super) fn other_kind(name: &[u8], backbone: bool) -> Kind {
    if D_AMINO.contains(&name) {
        Kind::DAmino
    } else if WATERS.contains(&name) {
        Kind::Water
    } else if NUCLEOTIDES.contains(&name) {
        Kind::Nucleotide
    } else if backbone {
        Kind::Modified
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_name() {
        assert_eq!(letter(b"MSE"), letter(b"MET"));
        assert_eq!(letter(b"DAL"), None);
        let letters: std::collections::BTreeSet<char> =
            [b"ALA", b"ARG", b"ASN", b"ASP", b"CYS", b"GLN", b"GLU", b"GLY", b"HIS", b"ILE"]
                .iter()
                .chain(&[b"LEU", b"LYS", b"MET", b"PHE", b"PRO", b"SER", b"THR", b"TRP", b"TYR", b"VAL"])
                .map(|name| letter(*name).unwrap())
                .collect();
        assert_eq!(letters.len(), 20);
        assert_eq!(other_kind(b"DAL", true), Kind::DAmino);
        assert_eq!(other_kind(b"DA", false), Kind::Nucleotide);
        assert_eq!(other_kind(b"HOH", false), Kind::Water);
        assert_eq!((other_kind(b"TYS", true), other_kind(b"TYS", false)), (Kind::Modified, Kind::Other));
    }
}
