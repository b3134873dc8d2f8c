//! All pairs of a set of chains.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{align, check};
use crate::geometry::Point;
use crate::{Error, Result};

/// TM-scores of all pairs of `n` chains.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Numbers of residues, `n`.
    pub lengths: Vec<usize>,
    /// `n × n` numbers, row by row: the score of chains (row, column) divided by the *row's* length; 1 on the
    /// diagonal.
    pub values: Vec<f64>,
}

/// How alike chains of one length are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfLength {
    /// Number of residues.
    pub length: usize,
    /// How many chains have it.
    pub chains: usize,
    /// The mean TM-score of their pairs; NaN for a single chain.
    pub mean_tm: f64,
}

/// How alike the chains of a set are: the lower, the more diverse.
#[derive(Clone, Debug, PartialEq)]
pub struct Diversity {
    /// Length by length, ascending.
    pub by_length: Vec<OfLength>,
    /// The mean over the lengths that have several chains, each length counting the same: what the field reports. NaN
    /// if there is none.
    pub mean_over_lengths: f64,
    /// The mean over all pairs, of whatever lengths ([`Matrix::similarity`]); NaN for fewer than two chains.
    pub mean_over_pairs: f64,
}

/// Aligns all pairs of chains by TM-align, on all of rayon's threads; the same bits on any number of them.
///
/// A pair is aligned once, the chain that comes first in the list as the first. `done` is told each time how many
/// more pairs are done, of `n (n − 1) / 2`, from whichever thread it was.
///
/// # Errors
/// [`Error::Data`] naming the first chain (by its place, from 1) that cannot be compared, and why ([`check`]).
pub fn pairwise<C: AsRef<[Point]> + Sync>(chains: &[C], done: &(dyn Fn(usize) + Sync)) -> Result<Matrix> {
    let n = chains.len();
    for (i, chain) in chains.iter().enumerate() {
        check(chain.as_ref()).map_err(|what| Error::Data(format!("chain {} of {n}: {what}", i + 1)))?;
    }
    let of_row = |i: usize| -> Vec<(f64, f64)> {
        let rest = chains[i + 1..].par_iter();
        rest.map(|other| {
            let alignment = align(chains[i].as_ref(), other.as_ref());
            done(1);
            (alignment.tm_first, alignment.tm_second)
        })
        .collect()
    };
    let rows: Vec<_> = (0..n).into_par_iter().map(of_row).collect();
    let mut values = vec![1.0; n * n];
    for (i, row) in rows.into_iter().enumerate() {
        for (k, (by_first, by_second)) in row.into_iter().enumerate() {
            let j = i + 1 + k;
            (values[i * n + j], values[j * n + i]) = (by_first, by_second);
        }
    }
    Ok(Matrix { lengths: chains.iter().map(|chain| chain.as_ref().len()).collect(), values })
}

impl Matrix {
    /// Number of chains, `n`.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are no chains.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The score of chains i and j divided by the length of chain i.
    ///
    /// # Panics
    /// If there are not so many chains.
    pub fn by_length_of(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.len() + j]
    }

    /// One number for a pair: the mean of the scores by either length. For chains of equal length these are the same.
    ///
    /// # Panics
    /// If there are not so many chains.
    pub fn similarity(&self, i: usize, j: usize) -> f64 {
        0.5 * (self.by_length_of(i, j) + self.by_length_of(j, i))
    }

    /// Mean TM-scores: the field's first measure of diversity (Proteina, Geffner et al. 2025; FoldFlow, Bose et al.
    /// 2024).
    ///
    /// It samples some lengths, each many times, keeps what is designable, averages the TM-scores of the pairs of
    /// each length, and these averages over lengths. Nothing has to be chosen: chains of equal length have one
    /// TM-score.
    pub fn diversity(&self) -> Diversity {
        let mut of_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (chain, &length) in self.lengths.iter().enumerate() {
            of_length.entry(length).or_default().push(chain);
        }
        let by_length: Vec<OfLength> = of_length
            .into_iter()
            .map(|(length, chains)| OfLength { length, chains: chains.len(), mean_tm: self.mean_similarity(&chains) })
            .collect();
        let of_several = by_length.iter().filter(|of| of.chains > 1);
        let mean_over_lengths = of_several.clone().map(|of| of.mean_tm).sum::<f64>() / of_several.count() as f64;
        let all: Vec<usize> = (0..self.len()).collect();
        Diversity { by_length, mean_over_lengths, mean_over_pairs: self.mean_similarity(&all) }
    }

    /// The mean over the pairs of some chains; NaN if there are none.
    fn mean_similarity(&self, chains: &[usize]) -> f64 {
        let pairs = chains.iter().enumerate().flat_map(|(k, &i)| chains[k + 1..].iter().map(move |&j| (i, j)));
        let sum: f64 = pairs.map(|(i, j)| self.similarity(i, j)).sum();
        sum / (chains.len() * chains.len().saturating_sub(1) / 2) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> Matrix {
        #[rustfmt::skip]
        let values = vec![
            1.0, 0.8, 0.3, 0.5,
            0.8, 1.0, 0.4, 0.6,
            0.2, 0.3, 1.0, 0.1,
            0.5, 0.6, 0.2, 1.0,
        ];
        Matrix { lengths: vec![60, 60, 90, 60], values }
    }

    #[test]
    fn means_by_hand() {
        let diversity = matrix().diversity();
        let expected = [OfLength { length: 60, chains: 3, mean_tm: 1.9 / 3.0 }, diversity.by_length[1]];
        assert!((diversity.by_length[0].mean_tm - expected[0].mean_tm).abs() < 1e-15);
        assert_eq!((diversity.by_length[1].length, diversity.by_length[1].chains), (90, 1));
        assert!(diversity.by_length[1].mean_tm.is_nan());
        assert_eq!(diversity.mean_over_lengths, diversity.by_length[0].mean_tm);
        assert!((diversity.mean_over_pairs - (1.9 + 0.25 + 0.35 + 0.15) / 6.0).abs() < 1e-15);
    }

    #[test]
    fn too_few_chains_have_no_mean() {
        let none = Matrix { lengths: vec![], values: vec![] }.diversity();
        assert!(none.by_length.is_empty() && none.mean_over_lengths.is_nan() && none.mean_over_pairs.is_nan());
        let one = Matrix { lengths: vec![40], values: vec![1.0] }.diversity();
        assert!(one.mean_over_lengths.is_nan() && one.mean_over_pairs.is_nan());
    }

    #[test]
    fn the_chain_that_cannot_be_compared_is_named() {
        let chains = [vec![[0.0; 3]; 9], vec![[0.0; 3]; 2], vec![[f64::NAN; 3]; 9]];
        let error = pairwise(&chains, &|_| ()).unwrap_err().to_string();
        assert!(error.contains("chain 2 of 3: 2 residues"), "{error}");
    }
}
