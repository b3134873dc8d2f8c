//! Choosing between a molecule and its mirror image after sampling.

use crate::data::{Condition, StereoCentre};
use crate::geometry::vector::{cross, dot, sub};
use crate::geometry::{Clouds, Point};

/// Mirrors (x ↦ −x) every cloud in which at least one of the condition's stereocentres has the wrong
/// handedness: a network that commutes with reflections samples both mirror images alike. A centre whose
/// neighbours are coplanar counts as right.
///
/// # Panics
/// If the condition's indices are not those of the clouds.
pub fn correct_handedness(condition: &Condition, x: &mut Clouds) {
    let mut mirror = vec![false; x.len()];
    for centre in condition.atoms().iter().flat_map(|atoms| &atoms.stereo_centres) {
        mirror[centre.cloud as usize] |= is_wrong(centre, x.points());
    }
    for (b, _) in mirror.iter().enumerate().filter(|(_, mirrored)| **mirrored) {
        x.cloud_mut(b).iter_mut().for_each(|p| *p = p.map(|c| -c));
    }
}

/// Whether the signed volume v_1 · (v_2 × v_3), v_k = x_k − x_4, has the other sign than it must have.
fn is_wrong(centre: &StereoCentre, points: &[Point]) -> bool {
    let [a, b, c, d] = centre.neighbours.map(|n| points[n as usize]);
    let volume = dot(&sub(&a, &d), &cross(&sub(&b, &d), &sub(&c, &d)));
    volume * f64::from(centre.sign) < 0.0
}
