//! Handedness of tetrahedral centres: which there are, what a conformer shows, and the mirror rule for models
//! that cannot tell mirror images apart.

use super::graph::Adjacency;
use super::{Chirality, Molecule};

/// A tetrahedral centre whose handedness is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StereoCentre {
    /// The centre.
    pub centre: u32,
    /// Its four neighbours, in the order of the molecule's bonds.
    pub neighbours: [u32; 4],
    /// The sign that [`signed_volume_sign`] must have: +1 for counter-clockwise, −1 for clockwise.
    pub sign: i8,
}

/// The tagged atoms with exactly four neighbours, in atom order.
pub fn stereo_centres(molecule: &Molecule) -> Vec<StereoCentre> {
    let adjacency = Adjacency::new(molecule);
    let centre = |(index, atom): (usize, &super::Atom)| {
        let sign = match atom.chirality {
            Chirality::None => return None,
            Chirality::Clockwise => -1,
            Chirality::CounterClockwise => 1,
        };
        let neighbours: Vec<u32> = adjacency.of(index).iter().map(|neighbour| neighbour.atom as u32).collect();
        Some(StereoCentre { centre: index as u32, neighbours: neighbours.try_into().ok()?, sign })
    };
    molecule.atoms.iter().enumerate().filter_map(centre).collect()
}

/// The signed volume v₁ · (v₂ × v₃) with v_k = x_k − x_4, in Å³ (six times that of the tetrahedron).
pub fn signed_volume(positions: &[[f64; 3]], neighbours: [u32; 4]) -> f64 {
    let x = neighbours.map(|index| positions[index as usize]);
    let v = |k: usize| -> [f64; 3] { std::array::from_fn(|axis| x[k][axis] - x[3][axis]) };
    let ([ax, ay, az], [bx, by, bz], [cx, cy, cz]) = (v(0), v(1), v(2));
    ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
}

/// The sign of [`signed_volume`]: +1 where the four neighbours stand counter-clockwise, −1 clockwise, 0 for
/// four points in one plane.
pub fn signed_volume_sign(positions: &[[f64; 3]], neighbours: [u32; 4]) -> i8 {
    let volume = signed_volume(positions, neighbours);
    i8::from(volume > 0.0) - i8::from(volume < 0.0)
}

/// Mirrors a conformer through the origin (x ← −x) if any centre is of the wrong hand, and says whether it did:
/// the rule by which the reference repairs samples of O(3)-equivariant models. It sets one wrong centre right
/// and leaves a molecule with right and wrong centres no better. Flat centres (sign 0) never cause it.
pub fn correct_parity(positions: &mut [[f64; 3]], centres: &[StereoCentre]) -> bool {
    let wrong = centres.iter().any(|centre| signed_volume_sign(positions, centre.neighbours) * centre.sign == -1);
    if wrong {
        positions.iter_mut().flatten().for_each(|x| *x = -*x);
    }
    wrong
}
