//! One chain of a shard.

use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int32Type};

use super::record::list_values;
use super::schema::chain_column as column;
use crate::bio::MAX_RESIDUES;
use crate::geometry::Point;
use crate::{Error, Result};

/// A protein chain of `N` residues read from a shard: a view of the mapped file, whose lengths have been checked against
/// each other.
#[derive(Clone, Debug)]
pub struct ChainRecord {
    batch: RecordBatch,
    row: usize,
    place: String,
}

impl ChainRecord {
    /// Takes row `row` of a record batch; `place` says where it comes from, for messages.
    pub(super) fn new(batch: RecordBatch, row: usize, place: String) -> Result<Self> {
        let record = ChainRecord { batch, row, place };
        record.check()?;
        Ok(record)
    }

    /// What the chain is called: its file's name and the chain's id.
    pub fn key(&self) -> &str {
        self.text(column::KEY)
    }

    /// One-letter codes, `N` characters.
    pub fn sequence(&self) -> &str {
        self.text(column::SEQUENCE)
    }

    /// Number of residues, `N`, at least 1.
    pub fn num_residues(&self) -> usize {
        self.numbers().len()
    }

    /// The residues' numbers as their author gave them, `N`.
    pub fn numbers(&self) -> &[i32] {
        list_values::<Int32Type>(self.batch.column(column::NUMBERS).as_list(), self.row)
    }

    /// The positions of the Cα atoms, `3N` numbers in Å.
    pub fn positions(&self) -> &[f32] {
        list_values::<Float32Type>(self.batch.column(column::POSITIONS).as_list(), self.row)
    }

    /// The B-factors of the Cα atoms, `N`; in models of AlphaFold pLDDT; NaN where the source has none.
    pub fn b_factors(&self) -> &[f32] {
        list_values::<Float32Type>(self.batch.column(column::B_FACTORS).as_list(), self.row)
    }

    /// Its fold codes of CATH, ascending; one for each domain of another fold; none where it has no label.
    pub fn folds(&self) -> Vec<&str> {
        let lists = self.batch.column(column::FOLDS).as_list::<i32>();
        let offsets = lists.value_offsets();
        let codes = lists.values().as_string::<i32>();
        (offsets[self.row]..offsets[self.row + 1]).map(|i| codes.value(i as usize)).collect()
    }

    /// The name of its cluster; empty where it has none.
    pub fn cluster(&self) -> &str {
        self.text(column::CLUSTER)
    }

    /// Positions of some residues in Å.
    ///
    /// # Errors
    /// [`Error::Data`] when one is not finite.
    ///
    /// # Panics
    /// If the range ends after `N`.
    pub fn points(&self, shown: Range<usize>) -> Result<Vec<Point>> {
        let positions = &self.positions()[3 * shown.start..3 * shown.end];
        if let Some(i) = positions.iter().position(|x| !x.is_finite()) {
            return Err(self.damaged(format!("residue {} is at {}", shown.start + i / 3, positions[i])));
        }
        Ok(positions.chunks_exact(3).map(|p| [p[0].into(), p[1].into(), p[2].into()]).collect())
    }

    fn text(&self, column: usize) -> &str {
        self.batch.column(column).as_string::<i32>().value(self.row)
    }

    fn damaged(&self, what: String) -> Error {
        Error::Data(format!("{}: {what}", self.place))
    }

    fn check(&self) -> Result<()> {
        let n = self.num_residues();
        let found = [self.sequence().len(), self.positions().len(), self.b_factors().len()];
        if n == 0 || found != [n, 3 * n, n] {
            let [letters, coordinates, b_factors] = found;
            return Err(self.damaged(format!(
                "{n} residue numbers, {letters} letters, {coordinates} coordinates, {b_factors} B-factors"
            )));
        }
        if n > MAX_RESIDUES {
            return Err(self.damaged(format!("{n} residues are more than the limit of {MAX_RESIDUES}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{NewChain, Row};
    use super::*;

    fn chain() -> NewChain {
        NewChain {
            key: "chain".into(),
            sequence: "AG".into(),
            numbers: vec![1, 2],
            positions: vec![0.0; 6],
            b_factors: vec![0.0; 2],
            folds: Vec::new(),
            cluster: String::new(),
        }
    }

    fn read(chain: NewChain) -> Result<ChainRecord> {
        ChainRecord::new(NewChain::record_batch(&[chain]).unwrap(), 0, "there".into())
    }

    #[test]
    fn columns_that_do_not_agree_are_refused() {
        assert_eq!(read(chain()).unwrap().num_residues(), 2);
        for bad in [
            NewChain { sequence: "A".into(), ..chain() },
            NewChain { positions: vec![0.0; 5], ..chain() },
            NewChain { b_factors: vec![0.0; 3], ..chain() },
            NewChain { sequence: String::new(), numbers: vec![], positions: vec![], b_factors: vec![], ..chain() },
        ] {
            let message = read(bad).unwrap_err().to_string();
            assert!(message.starts_with("there: ") && message.contains("residue numbers"), "{message}");
        }
        let far = NewChain { positions: vec![0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0], ..chain() };
        let message = read(far).unwrap().points(1..2).unwrap_err().to_string();
        assert!(message.contains("residue 1 is at NaN"), "{message}");
    }
}
