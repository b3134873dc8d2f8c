//! Which atoms see which: directed edges from positions and bonds.

use serde::{Deserialize, Serialize};

/// How the neighbours of an atom are chosen among the atoms of its molecule within the cutoff. Bonded atoms
/// are neighbours under every rule, whatever their distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GraphRule {
    /// ET-Flow's rule: the first `max_neighbours + 1` atoms in index order, the atom itself counted, then
    /// without itself. The edges that published weights were trained with. A molecule with more than
    /// `max_neighbours + 1` atoms within a cutoff gets a result that depends on the order of its atoms, and
    /// its last atoms (hydrogens, usually) are heard by nobody but those bonded to them.
    #[default]
    EtflowIndex,
    /// Every atom within the cutoff: equivariant under permutations of the atoms. `max_neighbours` is unused.
    AllPairs,
    /// The `max_neighbours` nearest: equivariant under permutations unless two candidates for the last
    /// place are at the same distance (compared in f32), when the lower index wins.
    Nearest,
}

/// The rule with its two numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbourhood {
    /// How neighbours are chosen.
    pub rule: GraphRule,
    /// Atoms are neighbours if their squared distance in f32 is below its square; Å.
    pub cutoff: f64,
    /// The cap on neighbours per atom, for the rules that have one.
    pub max_neighbours: usize,
}

/// `E` directed edges, sorted by (source, target): messages go from source to target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// The atom a message comes from.
    pub sources: Vec<u32>,
    /// The atom it goes to.
    pub targets: Vec<u32>,
    /// How often the pair is listed as a bond: 1 for a bond, 0 for atoms that are only near.
    pub types: Vec<u8>,
}

impl Edges {
    /// Number of edges, `E`.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there is no edge.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    fn push(&mut self, source: u32, target: u32, bonds: u8) {
        self.sources.push(source);
        self.targets.push(target);
        self.types.push(bonds);
    }
}

impl Neighbourhood {
    /// The edges of a batch of molecules: those of the rule, and both directions of every bond. Molecule `b`
    /// has the atoms `offsets[b]..offsets[b + 1]`. O(n²) per molecule. Positions are taken in f32, as ET-Flow
    /// decides; a distance that is not a number is beyond every cutoff.
    pub fn edges(&self, offsets: &[usize], positions: &[[f32; 3]], bonds: &[[u32; 2]]) -> Edges {
        let mut pairs: Vec<(u32, u32, u8)> = bonds.iter().flat_map(|&[a, b]| [(a, b, 1), (b, a, 1)]).collect();
        let mut near = Vec::new();
        for molecule in offsets.windows(2).map(|w| w[0]..w[1]) {
            for target in molecule.clone() {
                near.clear();
                self.collect_sources(target, molecule.clone(), positions, &mut near);
                pairs.extend(near.iter().map(|&(_, source)| (source as u32, target as u32, 0)));
            }
        }
        merge(pairs)
    }

    /// The neighbours of one atom, each with its squared distance in Å².
    fn collect_sources(
        &self,
        target: usize,
        molecule: std::ops::Range<usize>,
        positions: &[[f32; 3]],
        near: &mut Vec<(f32, usize)>,
    ) {
        let limit = (self.cutoff * self.cutoff) as f32;
        let within = molecule
            .map(|source| (squared_distance(positions[source], positions[target]), source))
            .filter(|&(d2, _)| d2 < limit);
        match self.rule {
            GraphRule::EtflowIndex => near.extend(within.take(self.max_neighbours.saturating_add(1))),
            GraphRule::AllPairs | GraphRule::Nearest => near.extend(within),
        }
        near.retain(|&(_, source)| source != target);
        if self.rule == GraphRule::Nearest && near.len() > self.max_neighbours {
            near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            near.truncate(self.max_neighbours);
        }
    }
}

fn squared_distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    let [x, y, z] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    x * x + y * y + z * z
}

/// Sorts by (source, target) and joins what is listed repeatedly, adding the types.
fn merge(mut pairs: Vec<(u32, u32, u8)>) -> Edges {
    pairs.sort_unstable();
    let mut edges = Edges::default();
    let mut last = None;
    for (source, target, bonds) in pairs {
        match edges.types.last_mut() {
            Some(count) if last == Some((source, target)) => *count = count.saturating_add(bonds),
            _ => edges.push(source, target, bonds),
        }
        last = Some((source, target));
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: usize) -> Vec<[f32; 3]> {
        (0..n).map(|i| [i as f32, 0.0, 0.0]).collect()
    }

    fn pairs(edges: &Edges) -> Vec<(u32, u32, u8)> {
        (0..edges.len()).map(|e| (edges.sources[e], edges.targets[e], edges.types[e])).collect()
    }

    fn rule(rule: GraphRule, cutoff: f64, max_neighbours: usize) -> Neighbourhood {
        Neighbourhood { rule, cutoff, max_neighbours }
    }

    #[test]
    fn the_cutoff_is_strict_and_bonds_reach_beyond_it() {
        let edges = rule(GraphRule::AllPairs, 2.0, 9).edges(&[0, 4], &line(4), &[[3, 0]]);
        let expected = [(0, 1, 0), (0, 3, 1), (1, 0, 0), (1, 2, 0), (2, 1, 0), (2, 3, 0), (3, 0, 1), (3, 2, 0)];
        assert_eq!(pairs(&edges), expected);
    }

    #[test]
    fn index_order_counts_the_atom_itself() {
        // Cap 2: each target keeps the first three atoms of 0, 1, 2, 3 and drops itself among them.
        let edges = rule(GraphRule::EtflowIndex, 10.0, 2).edges(&[0, 4], &line(4), &[]);
        let mut expected =
            vec![(1, 0, 0), (2, 0, 0), (0, 1, 0), (2, 1, 0), (0, 2, 0), (1, 2, 0), (0, 3, 0), (1, 3, 0), (2, 3, 0)];
        expected.sort_unstable();
        assert_eq!(pairs(&edges), expected);
    }

    #[test]
    fn nearest_breaks_ties_by_index_and_joins_bonds() {
        let edges = rule(GraphRule::Nearest, 10.0, 1).edges(&[0, 3], &line(3), &[[1, 2]]);
        assert_eq!(pairs(&edges), [(0, 1, 0), (1, 0, 0), (1, 2, 1), (2, 1, 1)]);
    }

    #[test]
    fn molecules_do_not_see_each_other_and_odd_ones_are_fine() {
        let all = rule(GraphRule::AllPairs, 10.0, 32);
        assert!(all.edges(&[0, 1, 1, 2], &line(2), &[]).is_empty());
        assert!(all.edges(&[0], &[], &[]).is_empty());
        let lost = [[f32::NAN; 3], [0.0; 3], [f32::INFINITY, 0.0, 0.0]];
        assert_eq!(pairs(&all.edges(&[0, 3], &lost, &[[0, 1]])), [(0, 1, 1), (1, 0, 1)]);
    }
}
