//! The facts about elements that graph perception needs: symbol, outer electrons, usual valences, radius.

/// What is known of one element.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// Its symbol.
    pub symbol: &'static str,
    /// Electrons outside the noble-gas core, as RDKit counts them (d electrons of late groups excluded).
    pub outer_electrons: i32,
    /// The valences that the neutral atom usually has, ascending; empty where there is no usual one (metals).
    pub valences: &'static [i32],
    /// Covalent radius in Å (Cordero et al. 2008; a guess of 1.9 or less for the heaviest).
    pub covalent_radius: f64,
}

impl Element {
    /// The element with this atomic number; `None` outside 1..=118.
    pub fn new(atomic_number: u8) -> Option<&'static Element> {
        ELEMENTS.get(usize::from(atomic_number).checked_sub(1)?)
    }

    /// The atomic number of a symbol written as in the periodic table (`Cl`); deuterium and tritium (`D`, `T`)
    /// are hydrogen.
    pub fn number_of(symbol: &str) -> Option<u8> {
        if matches!(symbol, "D" | "T") {
            return Some(1);
        }
        let index = ELEMENTS.iter().position(|element| element.symbol == symbol)?;
        u8::try_from(index + 1).ok()
    }

    /// The first of the usual valences, which decides how many electrons are free for a π system.
    pub fn default_valence(&self) -> Option<i32> {
        self.valences.first().copied()
    }
}

const fn element(
    symbol: &'static str,
    outer_electrons: i32,
    valences: &'static [i32],
    covalent_radius: f64,
) -> Element {
    Element { symbol, outer_electrons, valences, covalent_radius }
}

/// Hydrogen to oganesson.
#[rustfmt::skip]
static ELEMENTS: [Element; 118] = [
    element("H", 1, &[1], 0.31),
    element("He", 2, &[0], 0.28),
    element("Li", 1, &[1], 1.28),
    element("Be", 2, &[2], 0.96),
    element("B", 3, &[3], 0.84),
    element("C", 4, &[4], 0.76),
    element("N", 5, &[3], 0.71),
    element("O", 6, &[2], 0.66),
    element("F", 7, &[1], 0.57),
    element("Ne", 8, &[0], 0.58),
    element("Na", 1, &[1], 1.66),
    element("Mg", 2, &[2], 1.41),
    element("Al", 3, &[3], 1.21),
    element("Si", 4, &[4], 1.11),
    element("P", 5, &[3, 5], 1.07),
    element("S", 6, &[2, 4, 6], 1.05),
    element("Cl", 7, &[1], 1.02),
    element("Ar", 8, &[0], 1.06),
    element("K", 1, &[1], 2.03),
    element("Ca", 2, &[2], 1.76),
    element("Sc", 3, &[], 1.7),
    element("Ti", 4, &[], 1.6),
    element("V", 5, &[], 1.52),
    element("Cr", 6, &[], 1.39),
    element("Mn", 7, &[], 1.39),
    element("Fe", 8, &[], 1.32),
    element("Co", 9, &[], 1.26),
    element("Ni", 10, &[], 1.24),
    element("Cu", 11, &[], 1.32),
    element("Zn", 2, &[], 1.22),
    element("Ga", 3, &[3], 1.22),
    element("Ge", 4, &[4], 1.2),
    element("As", 5, &[3, 5], 1.19),
    element("Se", 6, &[2, 4, 6], 1.2),
    element("Br", 7, &[1], 1.2),
    element("Kr", 8, &[0], 1.16),
    element("Rb", 1, &[1], 2.2),
    element("Sr", 2, &[2], 1.95),
    element("Y", 3, &[], 1.9),
    element("Zr", 4, &[], 1.75),
    element("Nb", 5, &[], 1.64),
    element("Mo", 6, &[], 1.54),
    element("Tc", 7, &[], 1.47),
    element("Ru", 8, &[], 1.46),
    element("Rh", 9, &[], 1.42),
    element("Pd", 10, &[], 1.39),
    element("Ag", 11, &[], 1.45),
    element("Cd", 2, &[], 1.44),
    element("In", 3, &[3], 1.42),
    element("Sn", 4, &[2, 4], 1.39),
    element("Sb", 5, &[3, 5], 1.39),
    element("Te", 6, &[2, 4, 6], 1.38),
    element("I", 7, &[1, 3, 5], 1.39),
    element("Xe", 8, &[0, 2, 4, 6], 1.4),
    element("Cs", 1, &[1], 2.44),
    element("Ba", 2, &[2], 2.15),
    element("La", 3, &[], 2.07),
    element("Ce", 4, &[], 2.04),
    element("Pr", 3, &[], 2.03),
    element("Nd", 4, &[], 2.01),
    element("Pm", 5, &[], 1.99),
    element("Sm", 6, &[], 1.98),
    element("Eu", 7, &[], 1.98),
    element("Gd", 8, &[], 1.96),
    element("Tb", 9, &[], 1.94),
    element("Dy", 10, &[], 1.92),
    element("Ho", 11, &[], 1.92),
    element("Er", 12, &[], 1.89),
    element("Tm", 13, &[], 1.9),
    element("Yb", 14, &[], 1.87),
    element("Lu", 15, &[], 1.87),
    element("Hf", 4, &[], 1.75),
    element("Ta", 5, &[], 1.7),
    element("W", 6, &[], 1.62),
    element("Re", 7, &[], 1.51),
    element("Os", 8, &[], 1.44),
    element("Ir", 9, &[], 1.41),
    element("Pt", 10, &[], 1.36),
    element("Au", 11, &[], 1.36),
    element("Hg", 2, &[], 1.32),
    element("Tl", 3, &[], 1.45),
    element("Pb", 4, &[2, 4], 1.46),
    element("Bi", 5, &[3, 5], 1.48),
    element("Po", 6, &[2, 4, 6], 1.4),
    element("At", 7, &[1, 3, 5], 1.5),
    element("Rn", 8, &[0], 1.5),
    element("Fr", 1, &[1], 2.6),
    element("Ra", 2, &[2], 2.2),
    element("Ac", 3, &[], 2.15),
    element("Th", 4, &[], 2.06),
    element("Pa", 3, &[], 2.0),
    element("U", 4, &[], 1.96),
    element("Np", 5, &[], 1.9),
    element("Pu", 6, &[], 1.87),
    element("Am", 7, &[], 1.8),
    element("Cm", 8, &[], 1.69),
    element("Bk", 9, &[], 1.9),
    element("Cf", 10, &[], 1.9),
    element("Es", 11, &[], 1.9),
    element("Fm", 12, &[], 1.9),
    element("Md", 13, &[], 1.9),
    element("No", 14, &[], 1.9),
    element("Lr", 15, &[], 1.9),
    element("Rf", 2, &[], 1.9),
    element("Db", 2, &[], 1.9),
    element("Sg", 2, &[], 1.9),
    element("Bh", 2, &[], 1.9),
    element("Hs", 2, &[], 1.9),
    element("Mt", 2, &[], 1.9),
    element("Ds", 2, &[], 1.9),
    element("Rg", 2, &[], 1.9),
    element("Cn", 2, &[], 1.9),
    element("Nh", 2, &[], 1.36),
    element("Fl", 2, &[], 1.43),
    element("Mc", 2, &[], 1.62),
    element("Lv", 2, &[], 1.75),
    element("Ts", 2, &[], 1.65),
    element("Og", 2, &[], 1.57),
];
