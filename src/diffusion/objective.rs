//! The loss of a prediction and its gradient, in the four treatments of the rotational symmetry.

use super::config::{DiffusionConfig, Loss, Prediction, Treatment, Weight};
use super::draw::Draw;
use crate::geometry::vector::{combine, norm_squared, scale, sub};
use crate::geometry::{Clouds, Group, Point, Se3, kabsch};

/// What a prediction is worth, cloud by cloud.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The loss of each cloud, its weight w(t) included.
    pub loss: Vec<f64>,
    /// The mean over points of |P_x(r)|² of the plain residual r = prediction − target: the error in shape.
    pub horizontal: Vec<f64>,
    /// The mean over points of |r − P_x(r)|²: the error in rotation and place, which the quotient's loss
    /// leaves out.
    pub vertical: Vec<f64>,
    /// The gradient of `scale Σ_clouds loss` at the prediction.
    pub gradient: Clouds,
}

/// The loss `mean_n ℓ(√w(t) r_n)`, ℓ(r) = |r| or |r|², of each cloud's residual
///
/// | treatment | predicted x_1 | predicted velocity |
/// |---|---|---|
/// | conventional | D − x_1 | v − u_t |
/// | geodiff | D − A(x_1), A aligning x_1 onto x_t | v − u_t − (A(x_1) − x_1)/(1−t) |
/// | af3 | D − A(x_1), A aligning x_1 onto sg(D) | the same with D = x_t + (1−t) v |
/// | quotient | P_{x_t}(D − x_1) | P_{x_t}(v − u_t) |
///
/// For a velocity, D is where the straight line from x_t arrives: x_t + (1−t) u_t is x_1 on the one-sided
/// path, and x_1 with noise on the bridge. Replacing x_1 by A(x_1) at fixed x_t and noise changes the
/// velocity that leads there by (A(x_1) − x_1)/(1−t).
///
/// x_t and the alignments are data: the gradient does not pass through them. `scale` is 1 / (clouds in the
/// global batch) for the mean over it.
///
/// # Panics
/// If draw and prediction differ in the clouds' sizes.
pub fn evaluate(config: &DiffusionConfig, draw: &Draw, prediction: &Clouds, scale: f64) -> Evaluation {
    let clouds = draw.x_t.len();
    let mut evaluation = Evaluation {
        loss: Vec::with_capacity(clouds),
        horizontal: Vec::with_capacity(clouds),
        vertical: Vec::with_capacity(clouds),
        gradient: draw.x_t.zip_map(prediction, |_, _| [0.0; 3]),
    };
    for b in 0..clouds {
        let cloud = Cloud::new(config, draw, prediction, b);
        let weight = weight(config, cloud.t);
        let (horizontal, vertical) = cloud.split();
        let (loss, mut gradient) = mean_loss(config.loss, config.unit, &cloud.residual(config.treatment));
        if config.treatment == Treatment::Quotient {
            // P is self-adjoint: its transpose is P itself.
            Se3.horizontal_projection(cloud.x_t, &mut gradient);
        }
        evaluation.loss.push(weight * loss);
        evaluation.horizontal.push(horizontal);
        evaluation.vertical.push(vertical);
        let scaled = gradient.iter().map(|g| g.map(|c| scale * weight * c));
        evaluation.gradient.cloud_mut(b).iter_mut().zip(scaled).for_each(|(slot, g)| *slot = g);
    }
    evaluation
}

/// One cloud of a draw with its prediction.
struct Cloud<'a> {
    t: f64,
    x_t: &'a [Point],
    x_1: &'a [Point],
    prediction: &'a [Point],
    /// Prediction − target, nothing aligned or projected.
    plain: Vec<Point>,
    kind: Prediction,
}

impl<'a> Cloud<'a> {
    fn new(config: &DiffusionConfig, draw: &'a Draw, prediction: &'a Clouds, b: usize) -> Self {
        let target = match config.prediction {
            Prediction::Velocity => draw.u_t.cloud(b),
            Prediction::Data => draw.x_1.cloud(b),
        };
        let prediction = prediction.cloud(b);
        let plain = prediction.iter().zip(target).map(|(p, t)| sub(p, t)).collect();
        let (x_t, x_1) = (draw.x_t.cloud(b), draw.x_1.cloud(b));
        Cloud { t: draw.t[b], x_t, x_1, prediction, plain, kind: config.prediction }
    }

    fn residual(&self, treatment: Treatment) -> Vec<Point> {
        match treatment {
            Treatment::Conventional => self.plain.clone(),
            Treatment::Geodiff => self.aligned_residual(self.x_t),
            Treatment::Af3 => self.aligned_residual(&self.predicted_data()),
            Treatment::Quotient => self.horizontal(),
        }
    }

    fn horizontal(&self) -> Vec<Point> {
        let mut residual = self.plain.clone();
        Se3.horizontal_projection(self.x_t, &mut residual);
        residual
    }

    /// 1 − t; of the size of the last bit where t has been rounded to 1.
    fn remaining(&self) -> f64 {
        (1.0 - self.t).max(f64::EPSILON)
    }

    /// D.
    fn predicted_data(&self) -> Vec<Point> {
        predicted_data(self.kind, self.remaining(), self.x_t, self.prediction)
    }

    /// The residual after x_1 has been moved rigidly onto `reference`.
    fn aligned_residual(&self, reference: &[Point]) -> Vec<Point> {
        let mut aligned = self.x_1.to_vec();
        kabsch::align(self.x_1, reference).apply(&mut aligned);
        let per_move = match self.kind {
            Prediction::Data => 1.0,
            Prediction::Velocity => 1.0 / self.remaining(),
        };
        let moves = aligned.iter().zip(self.x_1).map(|(a, x)| sub(a, x));
        self.plain.iter().zip(moves).map(|(r, moved)| combine(1.0, r, -per_move, &moved)).collect()
    }

    /// Means over points of the squared horizontal and vertical parts of the plain residual.
    fn split(&self) -> (f64, f64) {
        let horizontal = self.horizontal();
        let vertical = self.plain.iter().zip(&horizontal).map(|(r, h)| sub(r, h));
        let points = self.plain.len().max(1) as f64;
        (
            horizontal.iter().map(norm_squared).sum::<f64>() / points,
            vertical.map(|v| norm_squared(&v)).sum::<f64>() / points,
        )
    }
}

/// D, from a prediction at a state with 1 − t `remaining`.
fn predicted_data(kind: Prediction, remaining: f64, x_t: &[Point], prediction: &[Point]) -> Vec<Point> {
    match kind {
        Prediction::Data => prediction.to_vec(),
        Prediction::Velocity => x_t.iter().zip(prediction).map(|(x, v)| combine(1.0, x, remaining, v)).collect(),
    }
}

/// What is fed back to a network as self-conditioning: the x_1 that it predicts at `x_t`, D, in Å.
///
/// Under the treatment `quotient` the rotation of D about x_t is free, since no loss sees it, and feeding it back
/// would teach the network its own whim. What is learnt is D's displacement from x_t up to rotations, so that this is
/// fed back: x_t + P_{x_t}(D − x_t), which is x_t + (1−t) P_{x_t}(v) for a velocity. Otherwise it is D itself.
///
/// # Panics
/// If the clouds differ in their sizes.
pub fn fed_back(config: &DiffusionConfig, t: &[f64], x_t: &Clouds, prediction: &Clouds) -> Clouds {
    let mut fed = x_t.clone();
    for (b, t) in t.iter().enumerate() {
        let x = x_t.cloud(b);
        let data = predicted_data(config.prediction, 1.0 - t, x, prediction.cloud(b));
        let mut displacement: Vec<Point> = data.iter().zip(x).map(|(d, x)| sub(d, x)).collect();
        if config.treatment == Treatment::Quotient {
            Se3.horizontal_projection(x, &mut displacement);
        }
        fed.cloud_mut(b).iter_mut().zip(&displacement).for_each(|(x, d)| *x = combine(1.0, x, 1.0, d));
    }
    fed
}

/// A cloud's loss, of residuals in units of `unit`, and its gradient at the residuals. The gradient of |r| at 0 is 0.
fn mean_loss(loss: Loss, unit: f64, residual: &[Point]) -> (f64, Vec<Point>) {
    let share = match loss {
        Loss::Norm => 1.0 / unit,
        Loss::Mse => 1.0 / (unit * unit),
        Loss::CoordinateMse => 1.0 / (3.0 * unit * unit),
    } / residual.len().max(1) as f64;
    match loss {
        Loss::Mse | Loss::CoordinateMse => {
            let gradient = residual.iter().map(|r| scale(2.0 * share, r)).collect();
            (share * residual.iter().map(norm_squared).sum::<f64>(), gradient)
        }
        Loss::Norm => {
            let direction = |r: &Point| match norm_squared(r).sqrt() {
                0.0 => [0.0; 3],
                norm => scale(share / norm, r),
            };
            let total: f64 = residual.iter().map(|r| norm_squared(r).sqrt()).sum();
            (share * total, residual.iter().map(direction).collect())
        }
    }
}

/// The factor of a cloud's loss: w(t), or its root where the error is not squared.
fn weight(config: &DiffusionConfig, t: f64) -> f64 {
    let squared = (1.0 - t) * (1.0 - t);
    let weight = match (config.weight, config.prediction) {
        (Weight::Constant, _) => 1.0,
        (Weight::Velocity, Prediction::Data) => 1.0 / (squared + 1e-5),
        (Weight::Velocity, Prediction::Velocity) => squared / (squared + 1e-5),
    };
    match config.loss {
        Loss::Mse | Loss::CoordinateMse => weight,
        Loss::Norm => weight.sqrt(),
    }
}
