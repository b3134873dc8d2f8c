//! Maximum matching in a general graph (Edmonds 1965): pairs up the atoms that share double bonds.

use std::collections::VecDeque;

const NONE: usize = usize::MAX;

/// Pairs every vertex for which `required` holds with one of its neighbours, each vertex once. `Err` gives a
/// vertex that stays alone in a maximum matching. Neighbour lists must be symmetric. O(V·E) per augmentation.
pub fn perfect_matching(neighbours: &[Vec<usize>], required: &[bool]) -> Result<Vec<Option<usize>>, usize> {
    let mut search = Search::new(neighbours);
    search.match_greedily();
    for root in (0..neighbours.len()).filter(|&vertex| required[vertex]) {
        if search.partner[root] == NONE && !search.augment(root) {
            return Err(root);
        }
    }
    Ok(search.partner.iter().map(|&partner| (partner != NONE).then_some(partner)).collect())
}

/// The state of the search for augmenting paths from one root: an alternating forest in which odd cycles
/// (blossoms) are shrunk to their base.
struct Search<'a> {
    neighbours: &'a [Vec<usize>],
    partner: Vec<usize>,
    parent: Vec<usize>,
    base: Vec<usize>,
    queued: Vec<bool>,
    queue: VecDeque<usize>,
}

impl<'a> Search<'a> {
    fn new(neighbours: &'a [Vec<usize>]) -> Self {
        let n = neighbours.len();
        Search {
            neighbours,
            partner: vec![NONE; n],
            parent: vec![NONE; n],
            base: (0..n).collect(),
            queued: vec![false; n],
            queue: VecDeque::new(),
        }
    }

    fn match_greedily(&mut self) {
        for vertex in 0..self.neighbours.len() {
            let free = |&&other: &&usize| self.partner[other] == NONE;
            if self.partner[vertex] == NONE
                && let Some(&other) = self.neighbours[vertex].iter().find(free)
            {
                self.partner[vertex] = other;
                self.partner[other] = vertex;
            }
        }
    }

    /// Grows the forest from `root` until a free vertex is found, and flips the path to it.
    fn augment(&mut self, root: usize) -> bool {
        self.parent.fill(NONE);
        self.queued.fill(false);
        self.base = (0..self.neighbours.len()).collect();
        self.queue = VecDeque::from([root]);
        self.queued[root] = true;
        let neighbours = self.neighbours;
        while let Some(vertex) = self.queue.pop_front() {
            for &other in &neighbours[vertex] {
                if self.base[vertex] == self.base[other] || self.partner[vertex] == other {
                    continue;
                }
                let partner = self.partner[other];
                if other == root || (partner != NONE && self.parent[partner] != NONE) {
                    self.shrink(vertex, other);
                } else if self.parent[other] == NONE {
                    self.parent[other] = vertex;
                    if partner == NONE {
                        self.flip(other);
                        return true;
                    }
                    self.queued[partner] = true;
                    self.queue.push_back(partner);
                }
            }
        }
        false
    }

    fn flip(&mut self, mut end: usize) {
        while end != NONE {
            let before = self.parent[end];
            let next = self.partner[before];
            self.partner[end] = before;
            self.partner[before] = end;
            end = next;
        }
    }

    /// The edge (a, b) closes an odd cycle: all its vertices take the base where the two paths to the root meet.
    fn shrink(&mut self, a: usize, b: usize) {
        let base = self.common_base(a, b);
        let mut in_blossom = vec![false; self.base.len()];
        self.mark(a, base, b, &mut in_blossom);
        self.mark(b, base, a, &mut in_blossom);
        for vertex in 0..self.base.len() {
            if in_blossom[self.base[vertex]] {
                self.base[vertex] = base;
                if !self.queued[vertex] {
                    self.queued[vertex] = true;
                    self.queue.push_back(vertex);
                }
            }
        }
    }

    fn common_base(&self, mut a: usize, mut b: usize) -> usize {
        let mut seen = vec![false; self.base.len()];
        loop {
            a = self.base[a];
            seen[a] = true;
            if self.partner[a] == NONE {
                break;
            }
            a = self.parent[self.partner[a]];
        }
        loop {
            b = self.base[b];
            if seen[b] {
                return b;
            }
            b = self.parent[self.partner[b]];
        }
    }

    fn mark(&mut self, mut vertex: usize, base: usize, mut child: usize, in_blossom: &mut [bool]) {
        while self.base[vertex] != base {
            let partner = self.partner[vertex];
            in_blossom[self.base[vertex]] = true;
            in_blossom[self.base[partner]] = true;
            self.parent[vertex] = child;
            child = partner;
            vertex = self.parent[partner];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lists(n: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let mut neighbours = vec![Vec::new(); n];
        for &(a, b) in edges {
            neighbours[a].push(b);
            neighbours[b].push(a);
        }
        neighbours
    }

    /// The size of a maximum matching, by trying everything.
    fn brute_force(edges: &[(usize, usize)], used: u32) -> usize {
        let Some((&(a, b), rest)) = edges.split_first() else { return 0 };
        let without = brute_force(rest, used);
        let pair = 1 << a | 1 << b;
        if used & pair != 0 { without } else { without.max(1 + brute_force(rest, used | pair)) }
    }

    proptest! {
        #[test]
        fn finds_a_perfect_matching_exactly_where_there_is_one(
            pairs in prop::collection::btree_set((0usize..9, 0usize..9), 0..14), n in 2usize..=9,
        ) {
            let edges: Vec<_> = pairs.into_iter().filter(|(a, b)| a < b && *b < n).collect();
            let perfect = 2 * brute_force(&edges, 0) == n;
            match perfect_matching(&lists(n, &edges), &vec![true; n]) {
                Ok(partner) => {
                    prop_assert!(perfect);
                    for (vertex, other) in partner.iter().enumerate() {
                        let other = other.expect("all are matched");
                        prop_assert_eq!(partner[other], Some(vertex));
                        prop_assert!(edges.contains(&(vertex.min(other), vertex.max(other))));
                    }
                }
                Err(_) => prop_assert!(!perfect),
            }
        }
    }
}
