//! The laws that the horizontal projection, the mean curvature and the alignment obey, on random clouds.

use proptest::prelude::*;
use qsd::geometry::vector::{add, combine, cross, dot, norm_squared, scale, sub};
use qsd::geometry::{Group, Point, Se3, So2, Translations, Trivial, inertia, kabsch, rotate, rotation_from_quaternion};

type Cloud = Vec<Point>;

fn points(n: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Cloud> {
    proptest::collection::vec(proptest::array::uniform3(-5.0..5.0f64), n)
}

/// A cloud far from collinear, and tangent vectors at it.
fn cloud_and_vectors() -> impl Strategy<Value = (Cloud, Cloud, Cloud)> {
    (4usize..20)
        .prop_flat_map(|n| (points(n), points(n), points(n)))
        .prop_filter("well away from a line", |(x, _, _)| aspect(x) > 1e-3)
}

/// Smallest over largest principal moment.
fn aspect(x: &[Point]) -> f64 {
    let mut x = x.to_vec();
    Se3.centre(&mut x);
    let k = inertia(&x);
    let moments = nalgebra::Matrix3::from_fn(|i, j| k[i][j]).symmetric_eigenvalues();
    moments.min() / moments.max()
}

fn collinear(n: usize) -> Cloud {
    let direction = [0.6, -0.3, 1.1];
    (0..n).map(|i| add(&[1.0, 2.0, -3.0], &scale((i * i) as f64 + 0.5, &direction))).collect()
}

fn projected(x: &[Point], v: &[Point]) -> Cloud {
    let mut v = v.to_vec();
    Se3.horizontal_projection(x, &mut v);
    v
}

fn inner(a: &[Point], b: &[Point]) -> f64 {
    a.iter().zip(b).map(|(a, b)| dot(a, b)).sum()
}

fn centred(x: &[Point]) -> Cloud {
    let mut x = x.to_vec();
    Se3.centre(&mut x);
    x
}

fn rotation() -> impl Strategy<Value = qsd::geometry::Rotation> {
    proptest::array::uniform4(-1.0..1.0f64)
        .prop_filter("not zero", |q| dot(q, q) > 1e-2)
        .prop_map(rotation_from_quaternion)
}

fn assert_close(a: &[Point], b: &[Point], tolerance: f64) {
    let size = a.iter().chain(b).flatten().fold(1.0, |m: f64, c| m.max(c.abs()));
    for (a, b) in a.iter().zip(b) {
        assert!(norm_squared(&sub(a, b)).sqrt() <= tolerance * size, "{a:?} ≠ {b:?}");
    }
}

/// The trace of the linear map P_x: its rank, P being a projection.
fn rank(x: &[Point]) -> f64 {
    let mut trace = 0.0;
    for n in 0..x.len() {
        for axis in 0..3 {
            let mut unit = vec![[0.0; 3]; x.len()];
            unit[n][axis] = 1.0;
            trace += projected(x, &unit)[n][axis];
        }
    }
    trace
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn projection_is_linear((x, v, w) in cloud_and_vectors(), s in -3.0..3.0f64) {
        let sum: Cloud = v.iter().zip(&w).map(|(v, w)| combine(s, v, 1.0, w)).collect();
        let parts = projected(&x, &v).iter().zip(&projected(&x, &w)).map(|(v, w)| combine(s, v, 1.0, w)).collect::<Cloud>();
        assert_close(&projected(&x, &sum), &parts, 1e-12);
    }

    #[test]
    fn projection_is_self_adjoint_and_idempotent((x, v, w) in cloud_and_vectors()) {
        let (pv, pw) = (projected(&x, &v), projected(&x, &w));
        prop_assert!((inner(&pv, &w) - inner(&v, &pw)).abs() < 1e-10);
        assert_close(&projected(&x, &pv), &pv, 1e-11);
    }

    #[test]
    fn projection_leaves_no_momentum((x, v, _) in cloud_and_vectors()) {
        let pv = projected(&x, &v);
        let linear = pv.iter().fold([0.0; 3], |s, p| add(&s, p));
        let angular = x.iter().zip(&pv).fold([0.0; 3], |s, (x, p)| add(&s, &cross(x, p)));
        prop_assert!(norm_squared(&linear).sqrt() < 1e-11, "{:?}", linear);
        prop_assert!(norm_squared(&angular).sqrt() < 1e-10, "{:?}", angular);
    }

    #[test]
    fn rigid_motion_is_vertical((x, _, _) in cloud_and_vectors(), a in proptest::array::uniform3(-2.0..2.0f64), b in proptest::array::uniform3(-2.0..2.0f64)) {
        let rigid: Cloud = x.iter().map(|x| add(&b, &cross(&a, x))).collect();
        assert_close(&projected(&x, &rigid), &vec![[0.0; 3]; x.len()], 1e-11);
    }

    #[test]
    fn operators_are_equivariant((x, v, _) in cloud_and_vectors(), r in rotation(), shift in proptest::array::uniform3(-9.0..9.0f64)) {
        let turn = |x: &[Point]| x.iter().map(|p| rotate(&r, p)).collect::<Cloud>();
        let moved: Cloud = turn(&x).iter().map(|p| add(p, &shift)).collect();
        assert_close(&projected(&moved, &turn(&v)), &turn(&projected(&x, &v)), 1e-11);
        assert_close(&Se3.mean_curvature(&moved, 0.0), &turn(&Se3.mean_curvature(&x, 0.0)), 1e-9);
    }

    #[test]
    fn position_and_curvature_are_horizontal((x, _, _) in cloud_and_vectors()) {
        let x = centred(&x);
        assert_close(&projected(&x, &x), &x, 1e-12);
        let h = Se3.mean_curvature(&x, 0.0);
        assert_close(&projected(&x, &h), &h, 1e-11);
        prop_assert!((inner(&h, &x) + 3.0).abs() < 1e-9);
    }

    #[test]
    fn curvature_is_the_gradient_of_the_orbit_volume((x, _, _) in cloud_and_vectors()) {
        let x = centred(&x);
        let step = 1e-5;
        let log_det = |x: &[Point]| {
            let k = inertia(&centred(x));
            nalgebra::Matrix3::from_fn(|i, j| k[i][j]).determinant().ln()
        };
        let h = Se3.mean_curvature(&x, 0.0);
        for n in 0..x.len() {
            for axis in 0..3 {
                let shifted = |by: f64| {
                    let mut x = x.clone();
                    x[n][axis] += by;
                    log_det(&x)
                };
                let slope = (shifted(step) - shifted(-step)) / (2.0 * step);
                prop_assert!((h[n][axis] + 0.5 * slope).abs() < 1e-5 * (1.0 + h[n][axis].abs()), "{} {}", h[n][axis], slope);
            }
        }
    }

    #[test]
    fn rank_is_three_n_minus_six((x, _, _) in cloud_and_vectors()) {
        prop_assert!((rank(&x) - (3.0 * x.len() as f64 - 6.0)).abs() < 1e-9);
    }

    #[test]
    fn results_are_finite_at_any_scale(
        x in points(0..6), v in points(6), exponent in -300..150i32, flat in proptest::array::uniform3(any::<bool>()),
    ) {
        let factor = 10f64.powi(exponent);
        let squash = |p: &Point| std::array::from_fn(|i| if flat[i] { 0.0 } else { factor * p[i] });
        let x: Cloud = x.iter().map(squash).collect();
        let finite = |v: &[Point]| v.iter().flatten().all(|c| c.is_finite());
        prop_assert!(finite(&projected(&x, &v[..x.len()])));
        prop_assert!(finite(&Se3.mean_curvature(&x, 0.0)) && finite(&Se3.mean_curvature(&x, 0.01)));
        let motion = kabsch::align(&x, &v[..x.len()]);
        prop_assert!(finite(&motion.rotation) && finite(&[motion.translation]));
    }

    #[test]
    fn operators_scale_as_they_should((x, v, _) in cloud_and_vectors(), exponent in -200..140i32) {
        let factor = 10f64.powi(exponent);
        let scaled: Cloud = x.iter().map(|p| scale(factor, p)).collect();
        assert_close(&projected(&scaled, &v), &projected(&x, &v), 1e-10);
        let h: Cloud = Se3.mean_curvature(&scaled, 0.0).iter().map(|h| scale(factor, h)).collect();
        assert_close(&h, &Se3.mean_curvature(&x, 0.0), 1e-9);
    }

    #[test]
    fn alignment_finds_the_motion((x, _, _) in cloud_and_vectors(), r in rotation(), shift in proptest::array::uniform3(-9.0..9.0f64)) {
        let target: Cloud = x.iter().map(|p| add(&rotate(&r, p), &shift)).collect();
        let mut moved = x.clone();
        kabsch::align(&x, &target).apply(&mut moved);
        assert_close(&moved, &target, 1e-11);
    }

    #[test]
    fn alignment_is_optimal_and_proper((x, y, _) in cloud_and_vectors(), r in rotation()) {
        let motion = kabsch::align(&x, &y);
        let k = motion.rotation;
        prop_assert!((dot(&cross(&k[0], &k[1]), &k[2]) - 1.0).abs() < 1e-12);
        let error = |rotation: &qsd::geometry::Rotation| -> f64 {
            let (x, y) = (centred(&x), centred(&y));
            x.iter().zip(&y).map(|(x, y)| norm_squared(&sub(&rotate(rotation, x), y))).sum()
        };
        prop_assert!(error(&k) <= error(&r) + 1e-9);
        // What remains has no angular momentum about the target's centroid: the residual is horizontal there.
        let mut moved = x.clone();
        motion.apply(&mut moved);
        let moved = centred(&moved);
        let momentum = moved.iter().zip(&centred(&y)).fold([0.0; 3], |s, (m, y)| add(&s, &cross(m, y)));
        prop_assert!(norm_squared(&momentum).sqrt() < 1e-8);
    }

    #[test]
    fn plane_rotations_leave_the_radius(x in proptest::array::uniform2(-5.0..5.0f64), v in proptest::array::uniform2(-5.0..5.0f64)) {
        prop_assume!(norm_squared(&x) > 1e-6);
        let unit = scale(1.0 / norm_squared(&x).sqrt(), &x);
        let mut projected = [v];
        So2.horizontal_projection(&[x], &mut projected);
        let expected = scale(dot(&v, &unit), &unit);
        prop_assert!(norm_squared(&sub(&projected[0], &expected)).sqrt() < 1e-12);
        let h = So2.mean_curvature(&[x], 0.0)[0];
        prop_assert!(norm_squared(&sub(&h, &scale(-1.0 / norm_squared(&x), &x))).sqrt() < 1e-12 * norm_squared(&h).sqrt());
    }
}

#[test]
fn spread_bounds_the_curvature_near_degenerate_shapes() {
    // r off a line the exact vector is 1/r; with a spread it is less than 1/(2√spread) per axis, and next to
    // no change where the cloud is wide.
    let bent = |r: f64| [[-1.0, r, 0.0], [0.0, -2.0 * r, 0.0], [1.0, r, 0.0]];
    let length = |h: &[Point]| inner(h, h).sqrt();
    assert!(length(&Se3.mean_curvature(&bent(1e-3), 0.0)) > 400.0);
    for r in [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6] {
        assert!(length(&Se3.mean_curvature(&bent(r), 0.01)) < 3.0 * 0.5 / 0.1, "{r}");
    }
    let (exact, spread) = (Se3.mean_curvature(&bent(1.0), 0.0), Se3.mean_curvature(&bent(1.0), 1e-3));
    assert_close(&exact, &spread, 1e-3);
    assert!((So2.mean_curvature(&[[0.3, 0.4]], 0.01)[0][0] + 0.3 / 0.26).abs() < 1e-12);
}

#[test]
fn collinear_clouds_lose_five_dimensions() {
    for n in 2..6 {
        let x = centred(&collinear(n));
        assert!((rank(&x) - (3.0 * n as f64 - 5.0)).abs() < 1e-9, "{n}: {}", rank(&x));
        assert!((inner(&Se3.mean_curvature(&x, 0.0), &x) + 2.0).abs() < 1e-9);
        assert_close(&projected(&x, &x), &x, 1e-12);
    }
}

#[test]
fn single_and_coincident_points_have_no_rotation() {
    for n in 0..4 {
        let x = vec![[1.0, -2.0, 0.5]; n];
        let v: Cloud = (0..n).map(|i| [i as f64, 1.0, -(i as f64)]).collect();
        assert_eq!(projected(&x, &v), centred(&v));
        assert_eq!(Se3.mean_curvature(&x, 0.0), vec![[0.0; 3]; n]);
        assert!((rank(&x) - 3.0 * n.saturating_sub(1) as f64).abs() < 1e-12);
    }
    let mut origin = [[1.0, 2.0]];
    So2.horizontal_projection(&[[0.0; 2]], &mut origin);
    assert_eq!(origin, [[1.0, 2.0]]);
    assert_eq!(So2.mean_curvature(&[[0.0; 2]], 0.0), vec![[0.0; 2]]);
}

#[test]
fn almost_collinear_as_read_in_f32_counts_as_collinear() {
    let far = [17.3, -23.7, 31.1];
    let x: Cloud = collinear(7).iter().map(|p| add(p, &far).map(|c| f64::from(c as f32))).collect();
    assert!(aspect(&x) > 0.0 && aspect(&x) < 1e-12, "off the line by rounding: {:e}", aspect(&x));
    assert!((rank(&x) - 16.0).abs() < 1e-9, "two rotations move a line: {}", rank(&x));
    let bent = [[-1.2, 0.0, 0.0], [0.0, 0.01, 0.0], [1.2, 0.0, 0.0]];
    assert!((rank(&bent) - 3.0).abs() < 1e-9, "a bend of half a degree is a shape: {}", rank(&bent));
}

#[test]
fn non_finite_clouds_are_passed_on_and_end() {
    for bad in [f64::NAN, f64::INFINITY] {
        let x = [[bad, 0.0, 0.0], [1.0, 2.0, 3.0], [0.0, 1.0, 0.0]];
        assert!(projected(&x, &[[1.0, 0.0, 2.0]; 3]).iter().flatten().any(|c| !c.is_finite()));
        assert_eq!(kabsch::align(&x, &[[1.0, 0.0, 2.0]; 3]).rotation, rotation_from_quaternion([1.0, 0.0, 0.0, 0.0]));
    }
}

#[test]
fn conventional_groups_know_no_rotation() {
    let x = collinear(3);
    let v = vec![[1.0, 2.0, 4.0], [0.0, -1.0, 0.0], [3.0, 0.0, 1.0]];
    let (mut translated, mut untouched) = (v.clone(), v.clone());
    Translations.horizontal_projection(&x, &mut translated);
    Group::<3>::horizontal_projection(&Trivial, &x, &mut untouched);
    assert_eq!((translated, untouched), (centred(&v), v));
    assert_eq!(Translations.mean_curvature(&x, 0.0), vec![[0.0; 3]; 3]);
    assert_eq!(Trivial.mean_curvature(&x, 0.0), vec![[0.0; 3]; 3]);
}

#[test]
fn degenerate_alignments_take_the_smallest_rotation() {
    // Nothing to align: no rotation.
    let identity = rotation_from_quaternion([1.0, 0.0, 0.0, 0.0]);
    assert_eq!(kabsch::align(&[], &[]).rotation, identity);
    assert_eq!(kabsch::align(&[[1.0; 3]; 4], &[[2.0; 3]; 4]).rotation, identity);
    // A line onto itself: no rotation. Onto a line at a right angle: a quarter turn, without a twist.
    let line = [[-1.0, 0.0, 0.0], [0.0; 3], [1.0, 0.0, 0.0]];
    let upright = [[0.0, -1.0, 0.0], [0.0; 3], [0.0, 1.0, 0.0]];
    let reversed = [[1.0, 0.0, 0.0], [0.0; 3], [-1.0, 0.0, 0.0]];
    assert_close(&kabsch::align(&line, &line).rotation, &identity, 1e-12);
    let quarter = kabsch::align(&line, &upright).rotation;
    assert_close(&quarter, &[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 1e-12);
    // In general directions: the angle between the lines, and no more.
    let (a, b) = ([0.6, -0.3, 1.1], [-0.2, 0.9, 0.4]);
    let along = |d: &Point| [-1.5, 0.5, 1.0].map(|s| scale(s, d));
    let rotation = kabsch::align(&along(&a), &along(&b)).rotation;
    let cosine = dot(&a, &b) / (norm_squared(&a) * norm_squared(&b)).sqrt();
    assert!((rotation[0][0] + rotation[1][1] + rotation[2][2] - 1.0 - 2.0 * cosine).abs() < 1e-12);
    // Reversed: some half turn, the same every time.
    let half = kabsch::align(&line, &reversed);
    let mut turned = line;
    half.apply(&mut turned);
    assert_close(&turned, &reversed, 1e-12);
    assert_eq!(half, kabsch::align(&line, &reversed));
}

#[test]
fn mirror_images_are_not_aligned_by_reflection() {
    let x: Cloud = vec![[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]];
    let mirrored: Cloud = x.iter().map(|p| [-p[0], p[1], p[2]]).collect();
    let mut moved = x.clone();
    kabsch::align(&x, &mirrored).apply(&mut moved);
    let error: f64 = moved.iter().zip(&mirrored).map(|(a, b)| norm_squared(&sub(a, b))).sum();
    assert!(error > 0.1, "{error}");
}
