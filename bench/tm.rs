//! Aligns pairs of chains as they come: `bench/tm.py` asks it and tmtools in turn.
//!
//! Each line of standard input is a JSON object `{"first": [[x, y, z] …], "second": …}`; the answer is a line with
//! `tm_first`, `tm_second`, `aligned`, `rmsd`, and the `seconds` that the alignment took. Chains of equal length are
//! also scored residue by residue (`score`).

use std::io::{BufRead, Write};
use std::time::Instant;

use qsd::eval::backbones::tm;
use qsd::geometry::Point;

#[derive(serde::Deserialize)]
struct Question {
    first: Vec<Point>,
    second: Vec<Point>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Question { first, second } = serde_json::from_str(&line?)?;
        let begin = Instant::now();
        let found = tm::align(&first, &second);
        let seconds = begin.elapsed().as_secs_f64();
        let answer = serde_json::json!({
            "tm_first": found.tm_first,
            "tm_second": found.tm_second,
            "aligned": found.aligned,
            "rmsd": found.rmsd,
            "score": tm::score(&first, &second),
            "seconds": seconds,
        });
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
