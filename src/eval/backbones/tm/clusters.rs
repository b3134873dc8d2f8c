//! Clusters of chains that share a fold.

use std::cmp::Reverse;

use super::Matrix;

/// Chains that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The chain that all others are like.
    pub representative: usize,
    /// All chains of the cluster, ascending; the representative is among them.
    pub members: Vec<usize>,
}

impl Matrix {
    /// Clusters by greedy set cover: the chain with the most neighbours that no cluster has yet (the first of
    /// several) becomes a representative and takes them, again and again. Neighbours have a
    /// [`similarity`](Matrix::similarity) of at least `threshold`; every chain is its own.
    ///
    /// The number of clusters divided by that of chains is the field's second measure of diversity: 1 where no two
    /// chains are alike. Published values differ in how clusters are made:
    /// - Proteina: `foldseek easy-cluster --alignment-type 1 --cov-mode 0 --min-seq-id 0 --tmscore-threshold 0.5`.
    ///   The rule (greedy set cover) and the similarity (the mean of both TM-scores) are the ones used here. But
    ///   Foldseek aligns only pairs that its prefilter passes, by a faster variant of TM-align in single precision,
    ///   wants alignments to cover 80 % of both chains (its default for `-c`), and clusters in several rounds. So it
    ///   finds as many clusters or more, as a rule, and numbers are to be compared only with those of the same tool.
    /// - FrameDiff: MaxCluster, hierarchical; Genie 2: hierarchical with single, average and complete linkage at 0.6,
    ///   by the smaller of both scores.
    pub fn clusters(&self, threshold: f64) -> Vec<Cluster> {
        let n = self.len();
        let alike = |i: usize, j: usize| i == j || self.similarity(i, j) >= threshold;
        let mut free = vec![true; n];
        // How many free neighbours each chain has, itself included.
        let mut counts: Vec<usize> = (0..n).map(|i| (0..n).filter(|&j| alike(i, j)).count()).collect();
        let mut clusters = Vec::new();
        while let Some(representative) = (0..n).filter(|&i| free[i]).max_by_key(|&i| (counts[i], Reverse(i))) {
            let members: Vec<usize> = (0..n).filter(|&j| free[j] && alike(representative, j)).collect();
            for &member in &members {
                free[member] = false;
                (0..n).filter(|&i| alike(i, member)).for_each(|i| counts[i] -= 1);
            }
            clusters.push(Cluster { representative, members });
        }
        clusters
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(n: usize, alike: &[(usize, usize)]) -> Matrix {
        let mut values = vec![0.2; n * n];
        (0..n).for_each(|i| values[i * n + i] = 1.0);
        for &(i, j) in alike {
            (values[i * n + j], values[j * n + i]) = (0.6, 0.4);
        }
        Matrix { lengths: vec![50; n], values }
    }

    fn cluster(representative: usize, members: &[usize]) -> Cluster {
        Cluster { representative, members: members.to_vec() }
    }

    #[test]
    fn the_best_connected_first() {
        // A chain of neighbours 0-1-2-3-4, and 5 alone. 1, 2 and 3 have three each: the first takes 0 and 2.
        let matrix = matrix(6, &[(0, 1), (1, 2), (2, 3), (3, 4)]);
        assert_eq!(matrix.clusters(0.5), [cluster(1, &[0, 1, 2]), cluster(3, &[3, 4]), cluster(5, &[5])]);
        assert_eq!(matrix.clusters(0.51).len(), 6);
        assert_eq!(matrix.clusters(0.1), [cluster(0, &[0, 1, 2, 3, 4, 5])]);
    }

    #[test]
    fn counts_are_of_free_neighbours() {
        // 0 takes 1 to 4. Of the rest, 5 has 1 to 3 as neighbours, but they are taken; 6 and 7 have each other.
        let alike = [(0, 1), (0, 2), (0, 3), (0, 4), (5, 1), (5, 2), (5, 3), (6, 7)];
        assert_eq!(
            matrix(8, &alike).clusters(0.5),
            [cluster(0, &[0, 1, 2, 3, 4]), cluster(6, &[6, 7]), cluster(5, &[5])]
        );
        assert!(matrix(0, &[]).clusters(0.5).is_empty());
    }

    proptest! {
        #[test]
        fn every_chain_once_and_like_its_representative(
            alike in proptest::collection::vec((0usize..12, 0usize..12), 0..40),
        ) {
            let alike: Vec<_> = alike.into_iter().filter(|(i, j)| i != j).collect();
            let matrix = matrix(12, &alike);
            let clusters = matrix.clusters(0.5);
            let mut all: Vec<usize> = clusters.iter().flat_map(|c| c.members.clone()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..12).collect::<Vec<_>>());
            for c in &clusters {
                prop_assert!(c.members.contains(&c.representative));
                prop_assert!(c.members.iter().all(|&m| matrix.similarity(m, c.representative) >= 0.5));
            }
            let sizes: Vec<usize> = clusters.iter().map(|c| c.members.len()).collect();
            prop_assert!(sizes.is_sorted_by(|a, b| a >= b), "the largest first");
        }
    }
}
