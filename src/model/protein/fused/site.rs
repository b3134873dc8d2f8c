//! What stands between two blocks of a layer, in one walk over the tokens:
//!
//! s ← s + gate(c) ∘ (o + b), where o is the last block's output;
//! y = a ∘ LN(s) + β with gain a and shift β of the token's conditioning; perhaps y ← w ∘ LN(y) + b.

use pulp::{Simd, WithSimd};

use super::plan::Group;
use super::tape::SiteTape;
use crate::model::engine::{LayerNorm, Strip, StripMut, dispatch, normalise, normalise_back};

/// A block's output on its way to the residual.
pub(super) struct Residual<'a> {
    /// o, (T, d); replaced by o + b.
    pub(super) output: &'a mut [f32],
    /// b, where there is one.
    pub(super) bias: Option<&'a [f32]>,
    /// (R, d).
    pub(super) gate: &'a [f32],
}

/// The way back of a [`Residual`].
pub(super) struct ResidualBack<'a> {
    /// o + b; replaced by the gradient at it.
    pub(super) output: &'a mut [f32],
    /// The gradient at the bias, added to.
    pub(super) at_bias: Option<&'a mut [f32]>,
    pub(super) gate: &'a [f32],
    /// The gradient at the gate, added to.
    pub(super) at_gate: &'a mut [f32],
}

/// What a site knows of its tokens.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    /// Channels, d.
    pub(super) width: usize,
    pub(super) groups: &'a [Group],
    /// The second norm.
    pub(super) second: Option<LayerNorm<&'a [f32]>>,
}

impl Site<'_> {
    /// Adds the residual to the state s and computes y.
    pub(super) fn enter(self, residual: Option<Residual<'_>>, state: &mut [f32], tape: &mut SiteTape, y: &mut [f32]) {
        let tokens = state.len() / self.width;
        let second = if self.second.is_some() { tokens } else { 0 };
        tape.normal.resize(state.len());
        tape.scale.resize(tokens);
        tape.second_normal.resize(second * self.width);
        tape.second_scale.resize(second);
        dispatch(Enter { site: self, residual, state, tape, y });
    }

    /// y once more.
    pub(super) fn again(self, tape: &SiteTape, y: &mut [f32]) {
        dispatch(Again { site: self, tape, y });
    }

    /// The way back: `at_y` is the gradient at y (and is spoilt), `at_state` that at s after it. Receives that at s
    /// before. The gradients at gains, shifts and second norm are added to.
    pub(super) fn leave(
        self,
        at_y: &mut [f32],
        at_state: &mut [f32],
        tape: &mut SiteTape,
        at_second: Option<LayerNorm<&mut [f32]>>,
        residual: Option<ResidualBack<'_>>,
    ) {
        dispatch(Leave { site: self, at_y, at_state, tape, at_second, residual });
    }

    /// The place of a token's row.
    #[inline(always)]
    fn place(self, token: usize) -> std::ops::Range<usize> {
        token * self.width..(token + 1) * self.width
    }
}

struct Enter<'a> {
    site: Site<'a>,
    residual: Option<Residual<'a>>,
    state: &'a mut [f32],
    tape: &'a mut SiteTape,
    y: &'a mut [f32],
}

impl WithSimd for Enter<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (site, width) = (self.site, self.site.width);
        for group in site.groups {
            for token in group.tokens.clone() {
                let place = site.place(token);
                let mut state = StripMut::new(simd, &mut self.state[place.clone()]);
                if let Some(residual) = &mut self.residual {
                    residual.add(simd, token, group.row, width, &mut state);
                }
                let rows = &self.tape.adaptive.rows[group.row * 2 * width..][..2 * width];
                let (gain, shift) = (Strip::new(simd, &rows[..width]), Strip::new(simd, &rows[width..]));
                let mut normal = StripMut::new(simd, &mut self.tape.normal[place.clone()]);
                for k in 0..state.len() {
                    normal.set(k, state.at(k));
                }
                self.tape.scale[token] = normalise(simd, &mut normal, width);
                let mut y = StripMut::new(simd, &mut self.y[place.clone()]);
                let Some(second) = site.second else {
                    for k in 0..normal.len() {
                        y.set(k, normal.at(k).times_plus(gain.at(k), shift.at(k)));
                    }
                    continue;
                };
                let mut again = StripMut::new(simd, &mut self.tape.second_normal[place]);
                for k in 0..normal.len() {
                    again.set(k, normal.at(k).times_plus(gain.at(k), shift.at(k)));
                }
                self.tape.second_scale[token] = normalise(simd, &mut again, width);
                let (weight, bias) = (Strip::new(simd, second.weight), Strip::new(simd, second.bias));
                for k in 0..normal.len() {
                    y.set(k, again.at(k).times_plus(weight.at(k), bias.at(k)));
                }
            }
        }
    }
}

impl Residual<'_> {
    /// Of one token.
    #[inline(always)]
    fn add<S: Simd>(&mut self, simd: S, token: usize, row: usize, width: usize, state: &mut StripMut<'_, S>) {
        let mut output = StripMut::new(simd, &mut self.output[token * width..][..width]);
        let gate = Strip::new(simd, &self.gate[row * width..][..width]);
        if let Some(bias) = self.bias {
            let bias = Strip::new(simd, bias);
            for k in 0..output.len() {
                output.add(k, bias.at(k));
            }
        }
        for k in 0..output.len() {
            state.set(k, output.at(k).times_plus(gate.at(k), state.at(k)));
        }
    }
}

/// Adds the last residual to the state.
pub(super) fn add_residual(mut residual: Residual<'_>, width: usize, groups: &[Group], state: &mut [f32]) {
    struct Kernel<'a, 'b>(&'a mut Residual<'b>, usize, &'a [Group], &'a mut [f32]);
    impl WithSimd for Kernel<'_, '_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Kernel(residual, width, groups, state) = self;
            for group in groups {
                for token in group.tokens.clone() {
                    let mut state = StripMut::new(simd, &mut state[token * width..][..width]);
                    residual.add(simd, token, group.row, width, &mut state);
                }
            }
        }
    }
    dispatch(Kernel(&mut residual, width, groups, state));
}

struct Again<'a> {
    site: Site<'a>,
    tape: &'a SiteTape,
    y: &'a mut [f32],
}

impl WithSimd for Again<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (site, width) = (self.site, self.site.width);
        for group in site.groups {
            let rows = &self.tape.adaptive.rows[group.row * 2 * width..][..2 * width];
            let (normal, weight, bias) = match &site.second {
                None => (&self.tape.normal, &rows[..width], &rows[width..]),
                Some(second) => (&self.tape.second_normal, second.weight, second.bias),
            };
            let (weight, bias) = (Strip::new(simd, weight), Strip::new(simd, bias));
            for token in group.tokens.clone() {
                let normal = Strip::new(simd, &normal[site.place(token)]);
                let mut y = StripMut::new(simd, &mut self.y[site.place(token)]);
                for k in 0..normal.len() {
                    y.set(k, normal.at(k).times_plus(weight.at(k), bias.at(k)));
                }
            }
        }
    }
}

struct Leave<'a> {
    site: Site<'a>,
    at_y: &'a mut [f32],
    at_state: &'a mut [f32],
    tape: &'a mut SiteTape,
    at_second: Option<LayerNorm<&'a mut [f32]>>,
    residual: Option<ResidualBack<'a>>,
}

impl WithSimd for Leave<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (site, width) = (self.site, self.site.width);
        let SiteTape { adaptive, normal, scale, second_normal, second_scale } = self.tape;
        for group in site.groups {
            let (gain, at_rows) = (&adaptive.rows[group.row * 2 * width..][..width], &mut adaptive.at_rows);
            let (at_gain, at_shift) = at_rows[group.row * 2 * width..][..2 * width].split_at_mut(width);
            for token in group.tokens.clone() {
                let place = site.place(token);
                let mut d = StripMut::new(simd, &mut self.at_y[place.clone()]);
                if let (Some(second), Some(at)) = (site.second, &mut self.at_second) {
                    let normal = Strip::new(simd, &second_normal[place.clone()]);
                    factor_back(simd, &mut d, &normal, second.weight, at.weight, at.bias);
                    normalise_back(simd, &mut d, &normal, second_scale[token], width);
                }
                let normal = Strip::new(simd, &normal[place.clone()]);
                factor_back(simd, &mut d, &normal, gain, at_gain, at_shift);
                normalise_back(simd, &mut d, &normal, scale[token], width);
                let mut at_state = StripMut::new(simd, &mut self.at_state[place]);
                for k in 0..d.len() {
                    at_state.add(k, d.at(k));
                }
                if let Some(residual) = &mut self.residual {
                    residual.back(simd, token, group.row, width, &at_state);
                }
            }
        }
    }
}

/// Back through w x̂ + b: `d` becomes the gradient at x̂; those at w and b are added to.
#[inline(always)]
fn factor_back<S: Simd>(
    simd: S,
    d: &mut StripMut<'_, S>,
    normal: &Strip<'_, S>,
    weight: &[f32],
    at_weight: &mut [f32],
    at_bias: &mut [f32],
) {
    let weight = Strip::new(simd, weight);
    let (mut at_weight, mut at_bias) = (StripMut::new(simd, at_weight), StripMut::new(simd, at_bias));
    for k in 0..d.len() {
        let g = d.at(k);
        at_weight.set(k, g.times_plus(normal.at(k), at_weight.at(k)));
        at_bias.add(k, g);
        d.set(k, g * weight.at(k));
    }
}

impl ResidualBack<'_> {
    /// Of one token.
    #[inline(always)]
    fn back<S: Simd>(&mut self, simd: S, token: usize, row: usize, width: usize, at_state: &StripMut<'_, S>) {
        let mut output = StripMut::new(simd, &mut self.output[token * width..][..width]);
        let gate = Strip::new(simd, &self.gate[row * width..][..width]);
        let mut at_gate = StripMut::new(simd, &mut self.at_gate[row * width..][..width]);
        for k in 0..output.len() {
            let g = at_state.at(k);
            at_gate.set(k, g.times_plus(output.at(k), at_gate.at(k)));
            output.set(k, g * gate.at(k));
        }
        if let Some(at_bias) = &mut self.at_bias {
            let mut at_bias = StripMut::new(simd, at_bias);
            for k in 0..output.len() {
                at_bias.add(k, output.at(k));
            }
        }
    }
}

/// The way back of [`add_residual`].
pub(super) fn add_residual_back(mut residual: ResidualBack<'_>, width: usize, groups: &[Group], at_state: &mut [f32]) {
    struct Kernel<'a, 'b>(&'a mut ResidualBack<'b>, usize, &'a [Group], &'a mut [f32]);
    impl WithSimd for Kernel<'_, '_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Kernel(residual, width, groups, at_state) = self;
            for group in groups {
                for token in group.tokens.clone() {
                    let at_state = StripMut::new(simd, &mut at_state[token * width..][..width]);
                    residual.back(simd, token, group.row, width, &at_state);
                }
            }
        }
    }
    dispatch(Kernel(&mut residual, width, groups, at_state));
}
