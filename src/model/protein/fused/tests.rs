//! The walks over tokens against their definitions, their gradients against difference quotients.

use super::plan::Group;
use super::queries;
use super::site::{Residual, ResidualBack, Site};
use super::tape::SiteTape;
use crate::model::engine::LayerNorm;
use crate::model::engine::testing::{largest_error, numbers, wide};

/// One vector width, and one with a rest.
const WIDTHS: [usize; 2] = [16, 21];
const TOKENS: usize = 6;
const ROWS: usize = 3;

/// Two chains of three tokens, the last of which is a register.
fn groups() -> Vec<Group> {
    [(0..2, 1), (2..3, 0), (3..5, 2), (5..6, 0)].map(|(tokens, row)| Group { tokens, row }).to_vec()
}

fn row_of(token: usize) -> usize {
    [1, 1, 0, 2, 2, 0][token]
}

fn normalised(x: &[f64]) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect()
}

/// ∂value/∂inputs by central differences.
fn slopes(inputs: &[Vec<f64>], value: &dyn Fn(&[Vec<f64>]) -> f64) -> Vec<Vec<f64>> {
    let mut moved = inputs.to_vec();
    let mut slope = |which: usize, at: usize| {
        let (step, before) = (1e-5, inputs[which][at]);
        moved[which][at] = before + step;
        let above = value(&moved);
        moved[which][at] = before - step;
        let below = value(&moved);
        moved[which][at] = before;
        (above - below) / (2.0 * step)
    };
    (0..inputs.len()).map(|which| (0..inputs[which].len()).map(|at| slope(which, at)).collect()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn check(name: &str, found: &[f32], expected: &[f64]) {
    let error = largest_error(found, expected);
    assert!(error < 1e-5, "{name}: {error:e}");
}

/// What a site computes of (state, output, bias, gates, [gain | shift], weight, shift): the state after it, and y.
fn site(inputs: &[Vec<f64>], width: usize, second: bool) -> [Vec<f64>; 2] {
    let [state, output, bias, gates, rows, weight, shift] = inputs else { panic!("inputs") };
    let (mut after, mut result) = (Vec::new(), Vec::new());
    for token in 0..TOKENS {
        let (row, at) = (row_of(token), token * width);
        let sum: Vec<f64> =
            (0..width).map(|c| state[at + c] + gates[row * width + c] * (output[at + c] + bias[c])).collect();
        let rows = &rows[row * 2 * width..];
        let mut y: Vec<f64> = normalised(&sum).iter().enumerate().map(|(c, x)| rows[c] * x + rows[width + c]).collect();
        if second {
            y = normalised(&y).iter().enumerate().map(|(c, x)| weight[c] * x + shift[c]).collect();
        }
        after.extend(sum);
        result.extend(y);
    }
    [after, result]
}

#[test]
fn sites_equal_their_definition() {
    for (width, second) in WIDTHS.into_iter().flat_map(|width| [(width, false), (width, true)]) {
        let sizes = [TOKENS, TOKENS, 1, ROWS, 2 * ROWS, 1, 1].map(|rows| rows * width);
        let inputs: Vec<Vec<f32>> = sizes.iter().enumerate().map(|(i, &size)| numbers(size, i as u64)).collect();
        let exact: Vec<Vec<f64>> = inputs.iter().map(|x| wide(x)).collect();
        let (g_state, g_y) = (numbers(sizes[0], 10), numbers(sizes[0], 11));
        let expected = site(&exact, width, second);
        let slopes = slopes(&exact, &|inputs| {
            let [state, y] = site(inputs, width, second);
            dot(&state, &wide(&g_state)) + dot(&y, &wide(&g_y))
        });

        let groups = groups();
        let norm = LayerNorm { weight: &inputs[5][..], bias: &inputs[6][..] };
        let of = Site { width, groups: &groups, second: second.then_some(norm) };
        let (mut state, mut output, mut tape) = (inputs[0].clone(), inputs[1].clone(), SiteTape::default());
        tape.adaptive.rows.resize(sizes[4]).copy_from_slice(&inputs[4]);
        let mut y = vec![f32::NAN; sizes[0]];
        let residual = Residual { output: &mut output, bias: Some(&inputs[2]), gate: &inputs[3] };
        of.enter(Some(residual), &mut state, &mut tape, &mut y);
        check("state", &state, &expected[0]);
        check("y", &y, &expected[1]);
        let mut again = vec![f32::NAN; sizes[0]];
        of.again(&tape, &mut again);
        assert_eq!(y, again);

        tape.adaptive.at_rows.zeros(sizes[4]);
        let (mut at_y, mut at_state) = (g_y.clone(), g_state.clone());
        let (mut at_bias, mut at_gate) = (vec![0.0; width], vec![0.0; sizes[3]]);
        let mut at_second = [vec![0.0; width], vec![0.0; width]];
        let [weight, bias] = &mut at_second;
        let at_norm = second.then_some(LayerNorm { weight: &mut weight[..], bias: &mut bias[..] });
        let residual =
            ResidualBack { output: &mut output, at_bias: Some(&mut at_bias), gate: &inputs[3], at_gate: &mut at_gate };
        of.leave(&mut at_y, &mut at_state, &mut tape, at_norm, Some(residual));
        let found =
            [&at_state, &output, &at_bias, &at_gate, &tape.adaptive.at_rows.to_vec(), &at_second[0], &at_second[1]];
        let names = ["∂state", "∂output", "∂bias", "∂gates", "∂rows", "∂weight", "∂shift"];
        for ((name, found), expected) in names.into_iter().zip(found).zip(&slopes) {
            check(&format!("{name}, width {width}, second {second}"), found, expected);
        }
    }
}

/// q̂, k̂, v and the opened gates of (rows, bias).
fn parts(inputs: &[Vec<f64>], width: usize) -> Vec<f64> {
    let mut result = Vec::new();
    for row in inputs[0].chunks_exact(4 * width) {
        let row: Vec<f64> = row.iter().zip(&inputs[1]).map(|(x, b)| x + b).collect();
        result.extend(normalised(&row[..width]));
        result.extend(normalised(&row[width..2 * width]));
        result.extend_from_slice(&row[2 * width..3 * width]);
        result.extend(row[3 * width..].iter().map(|x| 1.0 / (1.0 + (-x).exp())));
    }
    result
}

#[test]
fn rows_of_heads_equal_their_definition() {
    for width in WIDTHS {
        let inputs = [numbers(TOKENS * 4 * width, 1), numbers(4 * width, 2)];
        let (o, g) = (numbers(TOKENS * width, 3), numbers(TOKENS * width, 4));
        let g_rows = numbers(TOKENS * 4 * width, 5);
        let exact: Vec<Vec<f64>> = inputs.iter().map(|x| wide(x)).chain([wide(&o)]).collect();
        // The value: ⟨g_rows, q̂ k̂ v⟩ + ⟨g, o ∘ gate⟩.
        let value = |inputs: &[Vec<f64>]| {
            let rows = parts(inputs, width);
            let of_token = |token: usize| {
                let place = token * 4 * width..token * 4 * width + 3 * width;
                let gated: f64 = (0..width)
                    .map(|c| f64::from(g[token * width + c]) * inputs[2][token * width + c] * rows[place.end + c])
                    .sum();
                dot(&rows[place.clone()], &wide(&g_rows[place])) + gated
            };
            (0..TOKENS).map(of_token).sum::<f64>()
        };
        let slopes = slopes(&exact, &value);

        let mut rows = inputs[0].clone();
        let mut scales = [vec![f32::NAN; TOKENS], vec![f32::NAN; TOKENS]];
        let [query_scale, key_scale] = &mut scales;
        queries::split(&mut rows, &inputs[1], [query_scale, key_scale]);
        check("rows", &rows, &parts(&exact, width));
        let mut y = vec![f32::NAN; o.len()];
        queries::gate(&o, &rows, width, &mut y);
        let (mut at, mut gathered, mut at_rows) = (g.clone(), o.clone(), g_rows.clone());
        queries::gate_back(&mut at, &mut gathered, &rows, width, &mut at_rows);
        assert_eq!(y, gathered);
        check("∂o", &at, &slopes[2]);
        let mut at_bias = vec![f32::NAN; 4 * width];
        queries::join(&mut at_rows, &rows, &mut at_bias, [&scales[0], &scales[1]]);
        check("∂rows", &at_rows, &slopes[0]);
        check("∂bias", &at_bias, &slopes[1]);
    }
}
