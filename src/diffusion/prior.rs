//! Where sampling starts: Gaussian points, or points joined by springs along the bonds.

use nalgebra::{Cholesky, DMatrix, Dyn};
use rand_chacha::ChaCha8Rng;

use super::config::{DiffusionConfig, Prior};
use crate::data::Condition;
use crate::geometry::vector::{add, centre, scale};
use crate::geometry::{Clouds, Point};
use crate::random::normal_points;
use crate::{Error, Result};

/// A prior sample x_0 for cloud `b` of the condition, Å. A harmonic one has its mean at the origin, a Gaussian
/// one wherever its points happen to have it.
pub fn prior_sample(
    config: &DiffusionConfig,
    condition: &Condition,
    b: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<Point>> {
    let n = condition.offsets[b + 1] - condition.offsets[b];
    let noise = normal_points(rng, n);
    let x = match config.prior {
        Prior::Gaussian => noise,
        Prior::Harmonic => HarmonicPrior::new(n, &bonds_of(condition, b)?)?.transform(&noise),
    };
    Ok(x.iter().map(|p| scale(config.prior_scale, p)).collect())
}

/// The prior samples of several clouds, each from its own generator and centred: where sampling starts.
pub(super) fn prior_samples(
    config: &DiffusionConfig,
    condition: &Condition,
    mut rng_of: impl FnMut(usize) -> ChaCha8Rng,
) -> Result<Clouds> {
    let clouds = condition.offsets.len().saturating_sub(1);
    let samples = (0..clouds).map(|b| prior_sample(config, condition, b, &mut rng_of(b)));
    let samples: Vec<Vec<Point>> = samples.collect::<Result<_>>()?;
    Ok(Clouds::from_clouds(samples.iter().map(Vec::as_slice)).centred())
}

/// The bonds of cloud `b`, in its own point numbers.
fn bonds_of(condition: &Condition, b: usize) -> Result<Vec<[usize; 2]>> {
    let range = condition.offsets[b]..condition.offsets[b + 1];
    let first = condition.bonds.partition_point(|bond| (bond[0] as usize) < range.start);
    let own = condition.bonds[first..].iter().take_while(|bond| (bond[0] as usize) < range.end);
    own.map(|bond| {
        let [i, j] = bond.map(|atom| atom as usize);
        if !range.contains(&j) {
            return Err(Error::Data(format!(
                "cloud {b}: bond {i}–{j} leaves the cloud, whose points are {}..{}",
                range.start, range.end
            )));
        }
        Ok([i - range.start, j - range.start])
    })
    .collect()
}

/// The law with density ∝ exp(−½ Σ_bonds |x_i − x_j|²) in which each connected component is centred at the
/// origin: per coordinate a normal law with covariance L⁺, the pseudo-inverse of the bond graph's Laplacian.
///
/// One point of each component is held at the origin, the rest are drawn through the Cholesky factor of what
/// remains of L, and the component is centred; centring a component turns that covariance into L⁺ exactly.
/// So there is no eigenvector whose sign, or basis among equal eigenvalues, a library would be free to
/// choose, no threshold that decides what a zero mode is, and a tenth of the work.
#[derive(Clone, Debug)]
pub struct HarmonicPrior {
    components: Vec<Component>,
}

#[derive(Clone, Debug)]
struct Component {
    /// Its points; the last is the one held.
    points: Vec<usize>,
    /// The factor of the Laplacian without the last row and column; none for a single point.
    factor: Option<Cholesky<f64, Dyn>>,
}

impl HarmonicPrior {
    /// Factorises the Laplacian of the graph with `n` points. A bond that stands twice counts twice.
    ///
    /// # Errors
    /// If a bond's end is not one of the points.
    pub fn new(n: usize, bonds: &[[usize; 2]]) -> Result<Self> {
        if let Some([i, j]) = bonds.iter().find(|bond| bond.iter().any(|&end| end >= n)) {
            return Err(Error::Data(format!("bond {i}–{j}: the graph has {n} points, numbered from 0")));
        }
        let labels = component_labels(n, bonds);
        let mut members = vec![Vec::new(); n];
        (0..n).for_each(|i| members[labels[i]].push(i));
        let components = members.into_iter().filter(|points| !points.is_empty());
        Ok(HarmonicPrior { components: components.map(|points| Component::new(points, bonds)).collect() })
    }

    /// Turns independent standard normal points into a sample: a linear map T with T Tᵀ = L⁺.
    pub fn transform(&self, noise: &[Point]) -> Vec<Point> {
        let mut x = vec![[0.0; 3]; noise.len()];
        self.components.iter().for_each(|component| component.transform(noise, &mut x));
        x
    }
}

impl Component {
    fn new(points: Vec<usize>, bonds: &[[usize; 2]]) -> Self {
        let free = points.len() - 1;
        let place = |point: usize| points.binary_search(&point).ok();
        let mut laplacian = DMatrix::zeros(free, free);
        for &[i, j] in bonds {
            if let (Some(i), Some(j)) = (place(i), place(j)) {
                add_spring(&mut laplacian, i, j);
            }
        }
        // Without the held point the Laplacian of a connected graph is positive definite.
        Component { factor: laplacian.cholesky().filter(|_| free > 0), points }
    }

    fn transform(&self, noise: &[Point], x: &mut [Point]) {
        let Some(factor) = &self.factor else { return };
        let free = self.points.len() - 1;
        let normal = DMatrix::from_fn(free, 3, |i, axis| noise[self.points[i]][axis]);
        // L = C Cᵀ, so C⁻ᵀ ε has the covariance L⁻¹. The diagonal of C has no zero.
        let moved = factor.l_dirty().tr_solve_lower_triangular(&normal).unwrap_or(normal);
        let mut placed: Vec<Point> = (0..free).map(|i| [moved[(i, 0)], moved[(i, 1)], moved[(i, 2)]]).collect();
        placed.push([0.0; 3]);
        centre(&mut placed);
        self.points.iter().zip(&placed).for_each(|(&i, p)| x[i] = add(&x[i], p));
    }
}

/// Adds the bond i–j to a Laplacian whose last point is held, that is, left out.
fn add_spring(laplacian: &mut DMatrix<f64>, i: usize, j: usize) {
    let free = laplacian.nrows();
    if i == j {
        return;
    }
    for end in [i, j] {
        if end < free {
            laplacian[(end, end)] += 1.0;
        }
    }
    if i < free && j < free {
        laplacian[(i, j)] -= 1.0;
        laplacian[(j, i)] -= 1.0;
    }
}

/// For each point a number that it shares with its connected component: the component's smallest point.
fn component_labels(n: usize, bonds: &[[usize; 2]]) -> Vec<usize> {
    fn root(parents: &mut [usize], mut i: usize) -> usize {
        while parents[i] != i {
            parents[i] = parents[parents[i]];
            i = parents[i];
        }
        i
    }
    let mut parents: Vec<usize> = (0..n).collect();
    for &[i, j] in bonds {
        let (a, b) = (root(&mut parents, i), root(&mut parents, j));
        parents[a.max(b)] = a.min(b);
    }
    (0..n).map(|i| root(&mut parents, i)).collect()
}
