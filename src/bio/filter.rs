//! Which chains are taken.

use std::fmt;
use std::ops::RangeInclusive;

use super::chain::{Chain, Entry, Method};

/// What a chain must be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Filters {
    /// Number of residues.
    pub length: RangeInclusive<usize>,
    /// Largest resolution in Å; a file that states none does not pass.
    pub max_resolution: Option<f64>,
    /// Methods allowed; all when empty.
    pub methods: Vec<Method>,
    /// Smallest mean of pLDDT; of use for models of AlphaFold, where the B-factor is pLDDT.
    pub min_plddt: Option<f64>,
    /// Largest number of breaks.
    pub max_breaks: Option<usize>,
    /// Largest share of D-amino acids and modified residues among the chain's residues.
    pub max_non_standard: Option<f64>,
}

impl Default for Filters {
    fn default() -> Self {
        Filters {
            length: 32..=256,
            max_resolution: None,
            methods: Vec::new(),
            min_plddt: None,
            max_breaks: None,
            max_non_standard: None,
        }
    }
}

/// Why a chain is not taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rejection {
    /// It has fewer residues.
    TooShort(usize),
    /// It has more residues.
    TooLong(usize),
    /// The resolution is worse, or not stated.
    Resolution(Option<f64>),
    /// It was found by another method.
    Method(Method),
    /// The mean of pLDDT is lower, or not known.
    Plddt(f64),
    /// It is broken more often.
    Breaks(usize),
    /// More of its residues are not standard.
    NonStandard(f64),
}

impl Rejection {
    /// The reason, under which it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Rejection::TooShort(_) => "too short",
            Rejection::TooLong(_) => "too long",
            Rejection::Resolution(None) => "resolution not stated",
            Rejection::Resolution(Some(_)) => "resolution",
            Rejection::Method(_) => "method",
            Rejection::Plddt(_) => "pLDDT",
            Rejection::Breaks(_) => "chain breaks",
            Rejection::NonStandard(_) => "non-standard residues",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::TooShort(n) | Rejection::TooLong(n) => write!(f, "{n} residues"),
            Rejection::Resolution(None) => write!(f, "the file states no resolution"),
            Rejection::Resolution(Some(resolution)) => write!(f, "{resolution} Å"),
            Rejection::Method(method) => write!(f, "{}", method.name()),
            Rejection::Plddt(mean) => write!(f, "mean pLDDT {mean:.2}"),
            Rejection::Breaks(n) => write!(f, "{n} breaks"),
            Rejection::NonStandard(share) => write!(f, "a share of {share:.3}"),
        }
    }
}

impl Filters {
    /// Whether a chain of an entry is taken.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self, entry: &Entry, chain: &Chain) -> Result<(), Rejection> {
        let n = chain.len();
        if n < *self.length.start() {
            return Err(Rejection::TooShort(n));
        }
        if n > *self.length.end() {
            return Err(Rejection::TooLong(n));
        }
        if let Some(limit) = self.max_resolution
            && !entry.resolution.is_some_and(|resolution| resolution <= limit)
        {
            return Err(Rejection::Resolution(entry.resolution));
        }
        if !self.methods.is_empty() && !self.methods.contains(&entry.method) {
            return Err(Rejection::Method(entry.method));
        }
        let mean = chain.mean_b_factor();
        if self.min_plddt.is_some_and(|limit| mean.is_nan() || mean < limit) {
            return Err(Rejection::Plddt(mean));
        }
        let breaks = chain.num_breaks();
        if self.max_breaks.is_some_and(|limit| breaks > limit) {
            return Err(Rejection::Breaks(breaks));
        }
        let share = chain.share_non_standard();
        match self.max_non_standard.is_some_and(|limit| share > limit) {
            true => Err(Rejection::NonStandard(share)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Kind;
    use super::*;

    #[test]
    fn each_filter_rejects_what_it_should() {
        let entry = |resolution, method| Entry {
            id: String::new(),
            method,
            resolution,
            chains: Vec::new(),
            left_out: BTreeMap::new(),
        };
        let chain = Chain {
            positions: (0..40).map(|i| [if i > 20 { 100.0 } else { 0.0 } + 3.8 * f64::from(i), 0.0, 0.0]).collect(),
            b_factors: vec![79.0; 40],
            others: [(Kind::Modified, 10)].into(),
            ..Chain::default()
        };
        let xray = entry(Some(2.0), Method::Diffraction);
        assert_eq!(Filters::default().check(&xray, &chain), Ok(()));
        let default = Filters::default;
        for (filters, entry, reason) in [
            (Filters { length: 41..=50, ..default() }, &xray, "too short"),
            (Filters { length: 1..=39, ..default() }, &xray, "too long"),
            (Filters { max_resolution: Some(1.9), ..default() }, &xray, "resolution"),
            (
                Filters { max_resolution: Some(9.0), ..default() },
                &entry(None, Method::Resonance),
                "resolution not stated",
            ),
            (Filters { methods: vec![Method::Resonance], ..default() }, &xray, "method"),
            (Filters { min_plddt: Some(80.0), ..default() }, &xray, "pLDDT"),
            (Filters { max_breaks: Some(0), ..default() }, &xray, "chain breaks"),
            (Filters { max_non_standard: Some(0.19), ..default() }, &xray, "non-standard residues"),
        ] {
            assert_eq!(filters.check(entry, &chain).unwrap_err().reason(), reason);
        }
        let all = Filters {
            length: 40..=40,
            max_resolution: Some(2.0),
            methods: vec![Method::Diffraction],
            min_plddt: Some(79.0),
            max_breaks: Some(1),
            max_non_standard: Some(0.2),
        };
        assert_eq!(all.check(&xray, &chain), Ok(()));
        let unknown = Chain { b_factors: vec![f32::NAN; 40], ..chain };
        assert_eq!(all.check(&xray, &unknown).unwrap_err().reason(), "pLDDT");
    }
}
