//! Tables: for people Markdown, whose columns stand below each other in a terminal too, for programs CSV.

use std::fmt;

use crate::{Error, Result};

/// A table; the first column is text, the others are numbers.
#[derive(Clone, Debug)]
pub(in crate::eval) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub fn new(heads: Vec<String>) -> Self {
        Table { rows: vec![heads] }
    }

    /// Adds a row of as many cells.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows[0].len();
        let width = |k: usize| self.rows.iter().map(|row| row[k].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (i, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).enumerate();
            let aligned = cells.map(|(k, (cell, &width))| match k {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            writeln!(out, "| {} |", aligned.collect::<Vec<_>>().join(" | "))?;
            if i == 0 {
                let rule = widths.iter().enumerate().map(|(k, &width)| match k {
                    0 => "-".repeat(width + 2),
                    _ => "-".repeat(width + 1) + ":",
                });
                writeln!(out, "|{}|", rule.collect::<Vec<_>>().join("|"))?;
            }
        }
        Ok(())
    }
}

/// A table as CSV.
///
/// # Errors
/// [`Error::Data`] when rows differ in their number of fields.
pub(in crate::eval) fn csv(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let failed = |e: csv::Error| Error::Data(format!("the table with the columns {}: {e}", header.join(", ")));
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(failed)?;
    rows.into_iter().try_for_each(|row| writer.write_record(&row)).map_err(failed)?;
    writer.into_inner().map_err(|e| failed(e.into_error().into()))
}

/// A share as a percentage; a dash for what there is none of.
pub(in crate::eval) fn percent(share: f64) -> String {
    if share.is_nan() { DASH.into() } else { format!("{:.1} %", 100.0 * share) }
}

/// A number with two decimals.
pub(in crate::eval) fn number(value: f64) -> String {
    if value.is_nan() { DASH.into() } else { format!("{value:.2}") }
}

/// A mean and how far values are from it.
pub(in crate::eval) fn spread(mean: f64, deviation: f64) -> String {
    match (mean.is_nan(), deviation.is_nan()) {
        (true, _) => DASH.into(),
        (false, true) => number(mean),
        (false, false) => format!("{mean:.2} ± {deviation:.2}"),
    }
}

const DASH: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_and_quotes() {
        let rows = [vec!["a,\"b\"".to_string(), "1".to_string()], vec!["c".to_string(), "1000".to_string()]];
        assert_eq!(csv(&["key", "n"], rows.clone()).unwrap(), b"key,n\n\"a,\"\"b\"\"\",1\nc,1000\n");
        assert!(csv(&["key"], rows).unwrap_err().to_string().contains("columns key"));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::new(vec!["".into(), "Å".into()]);
        table.push(vec!["all".into(), spread(1.0, 0.256)]);
        table.push(vec!["60".into(), percent(f64::NAN)]);
        assert_eq!(
            table.to_string(),
            "|     |           Å |\n|-----|------------:|\n| all | 1.00 ± 0.26 |\n| 60  |           – |\n"
        );
        assert_eq!((percent(0.125), spread(2.0, f64::NAN)), ("12.5 %".into(), "2.00".into()));
    }
}
