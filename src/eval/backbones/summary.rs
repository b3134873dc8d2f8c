//! What many chains say together.

use serde::Serialize;

use super::shape::{Shape, mean_and_std};
use super::structure::{Structure, share};

/// The geometry and structure of a set of chains. Numbers that there is nothing to take from are NaN.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Number of chains.
    pub chains: usize,
    /// Number of residues of all of them.
    pub residues: usize,
    /// Mean distance of neighbours (breaks are none) of all chains, in Å.
    pub ca_ca_mean: f64,
    /// Its standard deviation over all neighbours, in Å.
    pub ca_ca_std: f64,
    /// The smallest, in Å.
    pub ca_ca_min: f64,
    /// The largest distance of residues that follow each other, in Å, breaks included.
    pub ca_ca_max: f64,
    /// Share of neighbours within 0.1 Å of 3.8 Å.
    pub ca_ca_good: f64,
    /// Share of residues after which the chain is broken.
    pub breaks: f64,
    /// Pairs nearer than 2 Å per chain.
    pub close_pairs: f64,
    /// Share of residues that clash.
    pub clashes: f64,
    /// Mean over chains of the radius of gyration over that of folded chains.
    pub radius_ratio_mean: f64,
    /// Its standard deviation over chains.
    pub radius_ratio_std: f64,
    /// Mean over chains of the share of residues in helices.
    pub helix: f64,
    /// The same of strands.
    pub strand: f64,
    /// The same of neither.
    pub coil: f64,
    /// Share of right-handed turns among all helical turns.
    pub right_handed: f64,
}

impl Summary {
    /// Of chains, in their order, on which the last bits depend.
    pub fn of<'a>(chains: impl Iterator<Item = (&'a Shape, &'a [Structure])> + Clone) -> Self {
        let shapes = || chains.clone().map(|(shape, _)| shape);
        let total = |count: fn(&Shape) -> usize| shapes().map(count).sum::<usize>() as f64;
        let (n, residues) = (shapes().count() as f64, total(|shape| shape.length));
        let (ca_ca_mean, ca_ca_std) = neighbours(shapes());
        let good: f64 = with_neighbours(shapes()).map(|shape| shape.ca_ca_good * shape.neighbours as f64).sum();
        let radii: Vec<f64> = shapes().map(|shape| shape.radius_ratio).collect();
        let (radius_ratio_mean, radius_ratio_std) = mean_and_std(&radii);
        let mean_share = |kind| chains.clone().map(|(_, structure)| share(structure, kind)).sum::<f64>() / n;
        Summary {
            chains: radii.len(),
            residues: residues as usize,
            ca_ca_mean,
            ca_ca_std,
            ca_ca_min: shapes().map(|shape| shape.ca_ca_min).fold(f64::NAN, f64::min),
            ca_ca_max: shapes().map(|shape| shape.ca_ca_max).fold(f64::NAN, f64::max),
            ca_ca_good: good / total(|shape| shape.neighbours),
            breaks: total(|shape| shape.breaks) / total(|shape| shape.neighbours + shape.breaks),
            close_pairs: total(|shape| shape.close_pairs) / n,
            clashes: total(|shape| shape.clashing) / residues,
            radius_ratio_mean,
            radius_ratio_std,
            helix: mean_share(Structure::Helix),
            strand: mean_share(Structure::Strand),
            coil: mean_share(Structure::Coil),
            right_handed: total(|shape| shape.right_turns) / total(|shape| shape.turns),
        }
    }
}

fn with_neighbours<'a>(shapes: impl Iterator<Item = &'a Shape>) -> impl Iterator<Item = &'a Shape> {
    shapes.filter(|shape| shape.neighbours > 0)
}

/// Mean and standard deviation of the distances of all neighbours, from those of each chain: of n_c distances with mean
/// μ_c and deviation s_c, μ = Σ n_c μ_c / n and (n − 1) s² = Σ (n_c − 1) s_c² + n_c (μ_c − μ)².
fn neighbours<'a>(shapes: impl Iterator<Item = &'a Shape> + Clone) -> (f64, f64) {
    let shapes = || with_neighbours(shapes.clone());
    let n: f64 = shapes().map(|shape| shape.neighbours as f64).sum();
    let mean = shapes().map(|shape| shape.neighbours as f64 * shape.ca_ca_mean).sum::<f64>() / n;
    let squares = |shape: &Shape| {
        let within = if shape.neighbours > 1 { (shape.neighbours - 1) as f64 * shape.ca_ca_std.powi(2) } else { 0.0 };
        within + shape.neighbours as f64 * (shape.ca_ca_mean - mean).powi(2)
    };
    (mean, if n < 2.0 { f64::NAN } else { (shapes().map(squares).sum::<f64>() / (n - 1.0)).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::super::{secondary_structure, shape};
    use super::*;
    use crate::geometry::Point;

    #[test]
    fn neighbours_of_all_chains_count_alike() {
        let line = |steps: &[f64], x: f64| -> Vec<Point> {
            (0..=steps.len()).map(|i| [x + steps[..i].iter().sum::<f64>(), 0.0, 0.0]).collect()
        };
        let chains = [line(&[3.8, 3.6, 9.0], 0.0), line(&[3.0], 0.0), line(&[], 5.0), line(&[20.0], 0.0)];
        let measured: Vec<_> = chains.iter().map(|chain| (shape(chain), secondary_structure(chain))).collect();
        let summary = Summary::of(measured.iter().map(|(shape, structure)| (shape, &structure[..])));
        let (mean, std) = mean_and_std(&[3.8, 3.6, 3.0]);
        assert!((summary.ca_ca_mean - mean).abs() < 1e-12 && (summary.ca_ca_std - std).abs() < 1e-12);
        assert_eq!((summary.chains, summary.residues), (4, 9));
        assert!((summary.ca_ca_good - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((summary.breaks, summary.ca_ca_max), (0.4, 20.0));
        assert!((summary.ca_ca_min - 3.0).abs() < 1e-12);
        assert_eq!((summary.coil, summary.helix), (1.0, 0.0));
        assert!(summary.right_handed.is_nan());
    }

    #[test]
    fn nothing_gives_no_number() {
        let summary = Summary::of(std::iter::empty());
        assert_eq!(summary.chains, 0);
        assert!(summary.ca_ca_mean.is_nan() && summary.radius_ratio_mean.is_nan() && summary.helix.is_nan());
        let json = serde_json::to_value(&summary).unwrap();
        assert!(json["ca_ca_mean"].is_null());
    }
}
