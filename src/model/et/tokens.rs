//! What the network embeds of each point: a row of the element tables, and ten features.

use std::borrow::Cow;
use std::f64::consts::TAU;

use crate::data::{Condition, NUM_FEATURES, Points, Residues};

/// The row of the element tables that stands for a residue: no element has the number 0.
const RESIDUE: u8 = 0;

/// The embedded knowledge about the points of a batch.
pub(super) struct Tokens<'a> {
    /// Atomic number of each point; 0 for residues.
    pub(super) elements: Cow<'a, [u8]>,
    /// Features of each point: an atom's, or where a residue stands in its chain.
    pub(super) features: Cow<'a, [[f32; NUM_FEATURES]]>,
}

impl<'a> Tokens<'a> {
    /// Those of a batch.
    pub(super) fn of(condition: &'a Condition) -> Self {
        match &condition.points {
            Points::Atoms(atoms) => {
                Tokens { elements: Cow::Borrowed(&atoms.atomic_numbers), features: Cow::Borrowed(&atoms.features) }
            }
            Points::Residues(residues) => Tokens {
                elements: Cow::Owned(vec![RESIDUE; residues.numbers.len()]),
                features: Cow::Owned(places(residues, &condition.offsets)),
            },
        }
    }
}

/// Sine and cosine of 2π i / λ for the wavelengths λ = 8, 32, 128, 512, 2048 residues, i being the residue's number
/// counted from its chain's first.
fn places(residues: &Residues, offsets: &[usize]) -> Vec<[f32; NUM_FEATURES]> {
    let wave = |place: f64, k: usize| {
        let phase = TAU * place / (8 << (2 * (k / 2))) as f64;
        (if k.is_multiple_of(2) { phase.sin() } else { phase.cos() }) as f32
    };
    let numbers = |chain: &[usize]| residues.numbers.get(chain[0]..chain[1]).unwrap_or_default();
    let from_first = |numbers: &[i32]| -> Vec<f64> {
        numbers.iter().map(|&number| f64::from(number) - f64::from(numbers[0])).collect()
    };
    let places = offsets.windows(2).flat_map(|chain| from_first(numbers(chain)));
    places.map(|place| std::array::from_fn(|k| wave(place, k))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residues_are_told_apart_by_their_place_in_the_chain() {
        let mut condition = Condition::from_lengths(&[2, 3]);
        let Points::Residues(residues) = &mut condition.points else { panic!("chains") };
        residues.numbers = vec![-4, -2, 7, 7, 15];
        let tokens = Tokens::of(&condition);
        assert_eq!(*tokens.elements, [0; 5]);
        let first = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        assert_eq!([tokens.features[0], tokens.features[2], tokens.features[3]], [first; 3]);
        // A quarter of the shortest wave; then all of it, a quarter of the next.
        let near = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        near(tokens.features[1][0], 1.0);
        near(tokens.features[4][0], 0.0);
        near(tokens.features[4][2], 1.0);
    }
}
