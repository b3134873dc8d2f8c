//! Bessel functions and a quadrature.

/// e^{−x} I_0(x) for x ≥ 0, by the polynomials 9.8.1 and 9.8.2 of Abramowitz and Stegun (error below 2·10⁻⁷).
pub fn scaled_i0(x: f64) -> f64 {
    let y = x / 3.75;
    if y < 1.0 {
        let series = [1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813];
        return horner(y * y, &series) * (-x).exp();
    }
    let asymptotic =
        [0.39894228, 0.01328592, 0.00225319, -0.00157565, 0.00916281, -0.02057706, 0.02635537, -0.01647633, 0.00392377];
    horner(1.0 / y, &asymptotic) / x.sqrt()
}

/// e^{−x} I_1(x) for x ≥ 0, by the polynomials 9.8.3 and 9.8.4 of Abramowitz and Stegun (error below 3·10⁻⁷).
pub fn scaled_i1(x: f64) -> f64 {
    let y = x / 3.75;
    if y < 1.0 {
        let series = [0.5, 0.87890594, 0.51498869, 0.15084934, 0.02658733, 0.00301532, 0.00032411];
        return x * horner(y * y, &series) * (-x).exp();
    }
    let asymptotic = [
        0.39894228,
        -0.03988024,
        -0.00362018,
        0.00163801,
        -0.01031555,
        0.02282967,
        -0.02895312,
        0.01787654,
        -0.00420059,
    ];
    horner(1.0 / y, &asymptotic) / x.sqrt()
}

fn horner(y: f64, coefficients: &[f64]) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * y + c)
}

/// Nodes and weights of Gauss and Legendre on [−1, 1].
pub fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let value_and_slope = |x: f64| {
        let (mut before, mut p) = (1.0, x);
        for k in 2..=n {
            (before, p) = (p, ((2 * k - 1) as f64 * x * p - (k - 1) as f64 * before) / k as f64);
        }
        (p, n as f64 * (x * p - before) / (x * x - 1.0))
    };
    (0..n)
        .map(|i| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
            for _ in 0..50 {
                let (p, slope) = value_and_slope(x);
                x -= p / slope;
            }
            let (_, slope) = value_and_slope(x);
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}
