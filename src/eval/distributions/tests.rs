use super::*;

fn matrix(rows: &[&[f64]]) -> Matrix {
    Matrix::new(rows.concat(), rows[0].len()).unwrap()
}

/// Corners of a box around `centre`: 2^d samples with covariance diag(side²) · 2^d/(2^d − 1).
fn corners(centre: &[f64], sides: &[f64]) -> Matrix {
    let d = centre.len();
    let corner = |i: usize| (0..d).map(move |j| centre[j] + if i >> j & 1 == 1 { sides[j] } else { -sides[j] });
    Matrix::new((0..1 << d).flat_map(corner).collect(), d).unwrap()
}

#[test]
fn axis_aligned_normals_have_a_closed_form() {
    // Commuting covariances: |μ₁ − μ₂|² + Σ (σ₁ − σ₂)².
    let (first, second) = (corners(&[1.0, 2.0, 3.0], &[1.0, 2.0, 0.5]), corners(&[0.0, 2.0, 5.0], &[3.0, 0.1, 0.5]));
    let scale = 8.0 / 7.0;
    let expected = 1.0 + 4.0 + scale * (4.0 + 1.9f64.powi(2));
    assert!((frechet_distance(&first, &second).unwrap() - expected).abs() < 1e-12);
}

#[test]
fn samples_fewer_than_features() {
    // Both laws live on a line through their means: along e and along e' with e·e' = 0.6.
    // (Σ₁Σ₂)^½ has the trace s₁ s₂ |e·e'|, for the standard deviations s.
    let first = matrix(&[&[-1.0, 0.0, 0.0, 0.0], &[1.0, 0.0, 0.0, 0.0]]);
    let second = matrix(&[&[-1.8, -2.4, 0.0, 1.0], &[1.8, 2.4, 0.0, 1.0]]);
    let (v1, v2) = (2.0, 18.0);
    let expected = 1.0 + v1 + v2 - 2.0 * f64::sqrt(v1 * v2) * 0.6;
    assert!((frechet_distance(&first, &second).unwrap() - expected).abs() < 1e-12);
    // The same with more samples than features in a plane: the covariance is not of full rank.
    let flat = corners(&[0.0, 0.0], &[1.0, 2.0]);
    let widen = |m: &Matrix| Matrix::new(m.iter_rows().flat_map(|r| [r[0], r[1], r[0] + r[1]]).collect(), 3).unwrap();
    let distance = frechet_distance(&widen(&flat), &widen(&flat)).unwrap();
    assert!(distance < 1e-12, "{distance}");
}

#[test]
fn scores_at_their_ends() {
    let sure = matrix(&[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0]]);
    let same = matrix(&[&[0.2, 0.3, 0.5], &[0.2, 0.3, 0.5]]);
    assert!((fold_score(&sure) - 3.0).abs() < 1e-12);
    assert!((fold_score(&same) - 1.0).abs() < 1e-12);
    let (left, right) = (matrix(&[&[1.0, 0.0]]), matrix(&[&[0.0, 1.0]]));
    assert!((fold_divergence(&left, &right).unwrap() - 10.0 * 2f64.ln()).abs() < 1e-12);
    assert_eq!(fold_divergence(&sure, &sure).unwrap(), 0.0);
    // p = (1, 0), q = (1/2, 1/2): 5 [ln(4/3) + ½ ln(2/3) + ½ ln 2].
    let half = matrix(&[&[0.5, 0.5]]);
    let expected = 5.0 * ((4.0f64 / 3.0).ln() + 0.5 * (2.0f64 / 3.0).ln() + 0.5 * 2f64.ln());
    assert!((fold_divergence(&left, &half).unwrap() - expected).abs() < 1e-12);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (two, three) = (matrix(&[&[0.5, 0.5], &[0.4, 0.6]]), matrix(&[&[0.2, 0.3, 0.5], &[0.2, 0.3, 0.5]]));
    assert!(frechet_distance(&two, &three).unwrap_err().contains("2 features generated, 3 in the reference"));
    assert!(frechet_distance(&two, &matrix(&[&[0.5, 0.5]])).unwrap_err().contains("two samples"));
    assert!(fold_divergence(&two, &three).unwrap_err().contains("2 classes generated, 3"));
}
