//! The least RMSD over all isomorphisms, by branch and bound.

use crate::geometry::{Point, kabsch, vector};

use super::correspondence::Correspondence;
use super::superposition::Correlation;

/// A deviation below this share of the clouds' squares is round-off: nothing better need be looked for.
const NOTHING: f64 = 1e-28;

/// A conformer's atoms about their centroid.
pub(super) struct Cloud {
    points: Vec<Point>,
    norms: Vec<f64>,
}

impl Cloud {
    /// Centres the points, which must be finite.
    pub(super) fn new(mut points: Vec<Point>) -> Self {
        vector::centre(&mut points);
        let norms = points.iter().map(|p| vector::norm_squared(p).sqrt()).collect();
        Cloud { points, norms }
    }

    /// Σ |x|².
    fn squares(&self) -> f64 {
        self.norms.iter().map(|norm| norm * norm).sum()
    }
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// The least RMSD in Å; `None` without any isomorphism.
    pub rmsd: Option<f64>,
    /// Whether the search was ended by its budget, so that there may be a smaller one.
    pub unproven: bool,
}

/// Sums over the pairs decided so far.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Their correlation.
    correlation: Correlation,
    /// Σ (|x|² + |y|²).
    squares: f64,
}

impl Sums {
    fn with(&self, (x, y): (&Cloud, &Cloud), (a, b): (usize, usize)) -> Sums {
        let mut sums = *self;
        sums.correlation.add(&x.points[a], &y.points[b]);
        sums.squares += x.norms[a] * x.norms[a] + y.norms[b] * y.norms[b];
        sums
    }
}

/// A decision still to be tried: step number `depth` goes to `image`.
struct Branch {
    depth: usize,
    image: usize,
    sums: Sums,
}

/// Depth-first search over the decisions of a [`Correspondence`].
///
/// All atoms are paired in the end, so that the best translation lays centroid upon centroid, whatever the pairing. With
/// centred clouds the squared deviation of the pairs decided so far, under the rotation that is best for them alone, is
/// a lower bound of theirs in every completion; to it comes for each other atom the least (|x| − |y|)² of its class, since no
/// rotation changes a distance from the centroid. Branches that cannot be better than the best completion known are cut.
#[derive(Default)]
pub(super) struct Search {
    images: Vec<usize>,
    used: Vec<bool>,
    stack: Vec<Branch>,
    candidates: Vec<usize>,
    /// For each step what it and the later ones add at least.
    rest: Vec<f64>,
    /// The least squared deviation found.
    best: f64,
    visited: u64,
}

impl Search {
    /// The least RMSD of a generated conformer from a reference, looking at no more than `budget` decisions.
    pub(super) fn run(&mut self, plan: &Correspondence, generated: &Cloud, reference: &Cloud, budget: u64) -> Found {
        let clouds = (generated, reference);
        let total = generated.squares() + reference.squares();
        self.reset(plan, clouds);
        let mut sums = Sums::default();
        for step in &plan.steps[..plan.forced] {
            let image = plan.class_of(step)[0];
            sums = sums.with(clouds, (step.atom, image));
            self.assign(image);
        }
        self.descend(plan, clouds, sums);
        while let Some(branch) = self.stack.pop() {
            if self.visited > budget {
                self.stack.push(branch);
                break;
            }
            if self.best <= total * NOTHING {
                self.stack.clear();
                break;
            }
            if self.is_hopeless(branch.depth + 1, &branch.sums) {
                continue;
            }
            for image in self.images.drain(branch.depth..) {
                self.used[image] = false;
            }
            self.assign(branch.image);
            self.descend(plan, clouds, branch.sums);
        }
        let mean = self.best / plan.steps.len() as f64;
        Found { rmsd: self.best.is_finite().then(|| mean.sqrt()), unproven: !self.stack.is_empty() }
    }

    fn reset(&mut self, plan: &Correspondence, (x, y): (&Cloud, &Cloud)) {
        let n = plan.steps.len();
        self.images.clear();
        self.used.clear();
        self.used.resize(n, false);
        self.stack.clear();
        (self.best, self.visited) = (f64::INFINITY, 0);
        self.rest.clear();
        self.rest.resize(n + 1, 0.0);
        for (depth, step) in plan.steps.iter().enumerate().skip(plan.forced).rev() {
            let shell = |&image: &usize| (x.norms[step.atom] - y.norms[image]).powi(2);
            let least = plan.class_of(step).iter().map(shell).fold(f64::INFINITY, f64::min);
            self.rest[depth] = self.rest[depth + 1] + least;
        }
    }

    fn assign(&mut self, image: usize) {
        self.images.push(image);
        self.used[image] = true;
    }

    /// Whether no completion of decisions up to `depth` can be better than the best.
    fn is_hopeless(&self, depth: usize, sums: &Sums) -> bool {
        let needed = 0.5 * (sums.squares + self.rest[depth] - self.best);
        sums.correlation.stays_below(needed)
    }

    /// Decides as long as there is no choice; puts the branches of the first choice on the stack, the most promising on top.
    fn descend(&mut self, plan: &Correspondence, clouds: (&Cloud, &Cloud), mut sums: Sums) {
        loop {
            let depth = self.images.len();
            if depth == plan.steps.len() {
                return self.finish(plan, clouds);
            }
            self.visited += 1;
            let mut candidates = std::mem::take(&mut self.candidates);
            plan.candidates(depth, &self.images, &self.used, &mut candidates);
            let atom = plan.steps[depth].atom;
            match candidates.as_slice() {
                [] => {
                    self.candidates = candidates;
                    return;
                }
                &[image] => {
                    sums = sums.with(clouds, (atom, image));
                    self.assign(image);
                    self.candidates = candidates;
                    if self.is_hopeless(depth + 1, &sums) {
                        return;
                    }
                }
                several => {
                    self.branch(depth, several.iter().map(|&image| (image, sums.with(clouds, (atom, image)))));
                    self.candidates = candidates;
                    return;
                }
            }
        }
    }

    fn branch(&mut self, depth: usize, children: impl Iterator<Item = (usize, Sums)>) {
        let mut children: Vec<(f64, Branch)> = children
            .filter(|(_, sums)| !self.is_hopeless(depth + 1, sums))
            .map(|(image, sums)| (sums.squares - 2.0 * sums.correlation.largest(), Branch { depth, image, sums }))
            .collect();
        children.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.stack.extend(children.into_iter().map(|(_, branch)| branch));
    }

    /// All is decided: the squared deviation after the best motion, from the moved points themselves, since the difference
    /// of sums would leave no digit of a small one.
    fn finish(&mut self, plan: &Correspondence, (x, y): (&Cloud, &Cloud)) {
        let mut moved: Vec<Point> = plan.steps.iter().map(|step| x.points[step.atom]).collect();
        let target: Vec<Point> = self.images.iter().map(|&image| y.points[image]).collect();
        kabsch::align(&moved, &target).apply(&mut moved);
        let deviation = moved.iter().zip(&target).map(|(a, b)| vector::norm_squared(&vector::sub(a, b))).sum();
        self.best = self.best.min(deviation);
    }
}
