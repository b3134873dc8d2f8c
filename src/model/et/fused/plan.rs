//! What a forward pass knows of a chunk of molecules before any parameter, arranged for speed.

use std::collections::HashMap;
use std::ops::Range;

use crate::data::{Condition, NUM_FEATURES};
use crate::geometry::Point;
use crate::geometry::vector::{norm_squared, sub};
use crate::model::engine::Buffer;
use crate::model::et::EtConfig;
use crate::model::et::input::envelope;
use crate::model::et::tokens::Tokens;
use crate::model::graph::Edges;

/// Pairs whose filters are computed together: few enough that a tile's filters stay in the cache.
pub(super) const TILE: usize = 24;

/// Two atoms that hear each other through the filters: nearer than the cutoff of the filters, or bonded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    /// The atoms, `low < high`, counted within the chunk.
    pub(super) low: usize,
    /// See `low`.
    pub(super) high: usize,
    /// Whether the message from `high` to `low` exists.
    pub(super) to_low: bool,
    /// Whether the message from `low` to `high` exists.
    pub(super) to_high: bool,
    /// (x_high − x_low) / max(D, 0.01): the direction of the message to `low`, 1/Å.
    pub(super) direction: [f32; 3],
    /// How often the pair is listed as a bond.
    pub(super) kind: f32,
    /// exp(−5 D / cutoff).
    pub(super) decay: f32,
    /// C(D).
    pub(super) envelope: f32,
    distance: f64,
}

/// Consecutive pairs of one molecule, near each other in distance.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    /// Which pairs, at most [`TILE`].
    pub(super) pairs: Range<usize>,
}

/// The messages of one molecule whose filters are constant, as matrices: see [`super::far`].
#[derive(Clone, Debug)]
pub(super) struct FarBlock {
    /// The molecule's atoms.
    pub(super) atoms: Range<usize>,
    /// The messages come from the first so many of them.
    pub(super) sources: usize,
    /// Where its matrices lie in [`Plan::far_matrices`], one for each axis.
    pub(super) matrices: [Range<usize>; 3],
}

/// A chunk of molecules.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The clouds it covers.
    pub(super) clouds: Range<usize>,
    /// The atoms it covers.
    pub(super) atoms: Range<usize>,
    /// Atomic number of each atom.
    pub(super) elements: Vec<usize>,
    /// The kind of each atom: atoms of a kind have the same features.
    pub(super) kinds: Vec<usize>,
    /// The features of each kind, (kinds, 10), in the order of the kinds' first atoms.
    pub(super) features: Vec<[f32; NUM_FEATURES]>,
    /// The time of each atom's molecule.
    pub(super) times: Vec<f32>,
    /// The near pairs, molecule by molecule; tiles ascend in distance.
    pub(super) pairs: Vec<Pair>,
    /// The pairs in tiles.
    pub(super) tiles: Vec<Tile>,
    /// Molecules with far messages.
    pub(super) far: Vec<FarBlock>,
    /// (n, sources · terms) per axis and molecule, row-major.
    pub(super) far_matrices: Buffer,
}

impl Plan {
    /// Number of atoms, N.
    pub(super) fn len(&self) -> usize {
        self.atoms.len()
    }

    /// Describes the clouds `clouds` of a batch with these (centred) positions.
    pub(super) fn set(
        &mut self,
        config: &EtConfig,
        clouds: Range<usize>,
        times: &[f64],
        positions: &[Point],
        (condition, tokens): (&Condition, &Tokens<'_>),
    ) {
        let start = condition.offsets[clouds.start];
        self.atoms = start..condition.offsets[clouds.end];
        self.clouds = clouds;
        let atoms = self.atoms.clone();
        self.elements.clear();
        self.elements.extend(tokens.elements[atoms.clone()].iter().map(|&z| usize::from(z)));
        self.sort_kinds(&tokens.features[atoms.clone()]);
        self.times.clear();
        self.pairs.clear();
        self.tiles.clear();
        self.far.clear();
        self.far_matrices.resize(0);
        let mut bonds = vec![Vec::new(); self.clouds.len()];
        for bond in condition.bonds.iter().filter(|bond| atoms.contains(&(bond[0] as usize))) {
            let cloud = condition.offsets.partition_point(|&first| first <= bond[0] as usize) - 1;
            bonds[cloud - self.clouds.start].push(bond.map(|atom| atom - condition.offsets[cloud] as u32));
        }
        let positions = &positions[atoms];
        for (cloud, bonds) in self.clouds.clone().zip(bonds) {
            let molecule = condition.offsets[cloud] - start..condition.offsets[cloud + 1] - start;
            self.times.extend(molecule.clone().map(|_| times[cloud] as f32));
            self.add_molecule(config, molecule.clone(), &positions[molecule], &bonds);
        }
    }

    /// Finds the kinds of atoms with these features.
    fn sort_kinds(&mut self, features: &[[f32; NUM_FEATURES]]) {
        self.kinds.clear();
        self.features.clear();
        // Compared as bits: what is not a number is something of a kind, too.
        let mut places = HashMap::new();
        for features in features {
            let kind = *places.entry(features.map(f32::to_bits)).or_insert(self.features.len());
            if kind == self.features.len() {
                self.features.push(*features);
            }
            self.kinds.push(kind);
        }
    }

    /// Sorts a molecule's edges into near pairs and far matrices. Bonds count from the molecule's first atom.
    fn add_molecule(&mut self, config: &EtConfig, atoms: Range<usize>, positions: &[Point], bonds: &[[u32; 2]]) {
        let rounded: Vec<[f32; 3]> = positions.iter().map(|x| x.map(|c| c as f32)).collect();
        let edges = config.neighbourhood().edges(&[0, rounded.len()], &rounded, bonds);
        let first_pair = self.pairs.len();
        let far = self.add_pairs(config, &edges, positions, atoms.start);
        self.pairs[first_pair..]
            .sort_unstable_by(|a, b| a.distance.total_cmp(&b.distance).then((a.low, a.high).cmp(&(b.low, b.high))));
        for start in (first_pair..self.pairs.len()).step_by(TILE) {
            let pairs = start..(start + TILE).min(self.pairs.len());
            walk(&mut self.pairs[pairs.clone()]);
            self.tiles.push(Tile { pairs });
        }
        self.add_far(config, &edges, positions, atoms, &far);
    }

    /// Adds the near pairs; returns which edges are far.
    fn add_pairs(&mut self, config: &EtConfig, edges: &Edges, positions: &[Point], offset: usize) -> Vec<usize> {
        let first_pair = self.pairs.len();
        let mut far = Vec::new();
        let atoms = positions.len();
        // Where the pair (low, high) was put; a molecule's atoms squared is what its far matrices take too.
        let mut place = vec![u32::MAX; atoms * atoms];
        for e in 0..edges.len() {
            let (source, target) = (edges.sources[e] as usize, edges.targets[e] as usize);
            let (low, high) = (source.min(target), source.max(target));
            let r = sub(&positions[high], &positions[low]);
            let distance = norm_squared(&r);
            if edges.types[e] == 0 && distance >= config.cutoff {
                far.push(e);
                continue;
            }
            let slot = &mut place[low * atoms + high];
            if *slot == u32::MAX {
                *slot = (self.pairs.len() - first_pair) as u32;
                self.pairs.push(Pair {
                    low: offset + low,
                    high: offset + high,
                    to_low: false,
                    to_high: false,
                    direction: r.map(|c| (c / distance.max(0.01)) as f32),
                    kind: f32::from(edges.types[e]),
                    decay: (-5.0 * distance / config.cutoff).exp() as f32,
                    envelope: envelope(distance, config.cutoff) as f32,
                    distance,
                });
            }
            let pair = &mut self.pairs[first_pair + *slot as usize];
            if target == low { pair.to_low = true } else { pair.to_high = true }
        }
        far
    }

    /// Writes the matrices of the far edges.
    fn add_far(&mut self, config: &EtConfig, edges: &Edges, positions: &[Point], atoms: Range<usize>, far: &[usize]) {
        let Some(sources) = far.iter().map(|&e| edges.sources[e] as usize + 1).max() else { return };
        let terms = far_terms(config);
        let (columns, start) = (terms * sources, self.far_matrices.len());
        let each = atoms.len() * columns;
        self.far_matrices.resize(start + 3 * each)[start..].fill(0.0);
        let matrices: [Range<usize>; 3] = std::array::from_fn(|axis| start + axis * each..start + (axis + 1) * each);
        for &e in far {
            let (source, target) = (edges.sources[e] as usize, edges.targets[e] as usize);
            let r = sub(&positions[source], &positions[target]);
            let distance = norm_squared(&r).max(0.01);
            let u = r.map(|c| (c / distance) as f32);
            for (axis, matrix) in matrices.iter().enumerate() {
                let row = &mut self.far_matrices[matrix.clone()][target * columns..][..columns];
                let (next, last) = ((axis + 1) % 3, (axis + 2) % 3);
                let entries = [1.0, u[axis], u[next], -u[last]];
                for (term, entry) in entries.into_iter().take(terms).enumerate() {
                    row[term * sources + source] = entry;
                }
            }
        }
        self.far.push(FarBlock { atoms, sources, matrices });
    }
}

/// Orders the pairs of a tile so that each has an atom of one that came shortly before, where that can be: what belongs
/// to that atom is still in the nearest cache.
fn walk(pairs: &mut [Pair]) {
    let first = pairs.iter().map(|pair| pair.low).min().unwrap_or(0);
    let end = pairs.iter().map(|pair| pair.high + 1).max().unwrap_or(0);
    // For each atom, how many pairs had been taken when it was met last.
    let mut met = vec![0; end.saturating_sub(first)];
    for place in 0..pairs.len() {
        let recent = |pair: &Pair| {
            let (low, high) = (met[pair.low - first], met[pair.high - first]);
            (low.max(high), low.min(high))
        };
        let next = (place..pairs.len()).rev().max_by_key(|&k| recent(&pairs[k])).unwrap_or(place);
        pairs.swap(place, next);
        let Pair { low, high, .. } = pairs[place];
        (met[low - first], met[high - first]) = (place + 1, place + 1);
    }
}

/// Blocks of columns in the far matrices.
pub(super) fn far_terms(config: &EtConfig) -> usize {
    if config.so3 { 4 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_follow_each_other_along_shared_atoms() {
        let pair = |(low, high)| Pair {
            low,
            high,
            to_low: true,
            to_high: true,
            direction: [0.0; 3],
            kind: 0.0,
            decay: 0.0,
            envelope: 0.0,
            distance: 0.0,
        };
        let ends = |pairs: &[Pair]| pairs.iter().map(|pair| (pair.low, pair.high)).collect::<Vec<_>>();
        let mut pairs = [(7, 9), (8, 10), (5, 6), (6, 10), (5, 9)].map(pair);
        walk(&mut pairs);
        assert_eq!(ends(&pairs), [(7, 9), (5, 9), (5, 6), (6, 10), (8, 10)]);
        walk(&mut []);
    }
}
