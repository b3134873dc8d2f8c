//! Tables for people: Markdown whose columns stand below each other in a terminal too.

use std::fmt;

/// A table; the first column is text, the others are numbers.
#[derive(Clone, Debug)]
pub(super) struct Table {
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

/// A share as a percentage; a dash for what there is none of.
pub(super) fn percent(share: f64) -> String {
    if share.is_nan() { DASH.into() } else { format!("{:.1} %", 100.0 * share) }
}

/// A number with two decimals.
pub(super) fn number(value: f64) -> String {
    if value.is_nan() { DASH.into() } else { format!("{value:.2}") }
}

/// A mean and how far values are from it.
pub(super) fn spread(mean: f64, deviation: f64) -> String {
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
