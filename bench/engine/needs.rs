//! What the operations need, counted from shapes, and what this machine can give.
//!
//! N atoms, H channels, m parts of the values (3; 4 with cross products), K radial functions, L layers. A product of
//! an (a, b) with a (b, c) matrix is 2abc floating-point operations. Element-wise work (activations, norms, attention,
//! sums over messages) is not counted: the share of the peak that comes out is that of the products alone.

use std::time::Instant;

use pulp::{Simd, WithSimd};
use qsd::geometry::Clouds;
use qsd::model::et::EtConfig;
use qsd::model::graph::Neighbourhood;

/// A radial function below e to the minus this is 0 to f32.
const NEGLIGIBLE: f64 = 17.0;

/// How much there is to do in some molecules.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Atoms.
    pub(crate) atoms: f64,
    /// Directed edges.
    pub(crate) edges: f64,
    /// Those of them beyond the filters' cutoff and not bonded: their filters are constants.
    pub(crate) far_edges: f64,
    /// Undirected pairs of the other edges.
    pub(crate) pairs: f64,
    /// Radial functions that are not zero, over all pairs.
    pub(crate) functions: f64,
    /// n·s over the molecules: atoms times atoms that far messages come from.
    pub(crate) far_area: f64,
}

/// Floating-point operations of the large products of one pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flop {
    /// Products of arrays over atoms with weights.
    pub(crate) nodes: f64,
    /// The filters: radial functions of the pairs times weights.
    pub(crate) filters: f64,
    /// The sums over far edges.
    pub(crate) far: f64,
}

impl Flop {
    /// All of them.
    pub(crate) fn total(self) -> f64 {
        self.nodes + self.filters + self.far
    }
}

impl Counts {
    /// Of molecules at these positions.
    pub(crate) fn new(config: &EtConfig, positions: &Clouds, bonds: &[[u32; 2]]) -> Counts {
        let rule = Neighbourhood { rule: config.graph, cutoff: config.cutoff, max_neighbours: config.max_neighbours };
        let positions = positions.clone().centred();
        let rounded: Vec<[f32; 3]> = positions.points().iter().map(|x| x.map(|c| c as f32)).collect();
        let edges = rule.edges(positions.offsets(), &rounded, bonds);
        let mut counts = Counts { atoms: rounded.len() as f64, edges: edges.len() as f64, ..Counts::default() };
        let mut sources = vec![0usize; positions.len()];
        let mut pairs = Vec::new();
        for e in 0..edges.len() {
            let (source, target) = (edges.sources[e], edges.targets[e]);
            let [a, b] = [source, target].map(|atom| positions.points()[atom as usize]);
            let distance: f64 = (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum();
            if edges.types[e] == 0 && distance >= config.cutoff {
                let cloud = positions.offsets().partition_point(|&first| first <= source as usize) - 1;
                sources[cloud] = sources[cloud].max(source as usize + 1 - positions.offsets()[cloud]);
                counts.far_edges += 1.0;
            } else {
                pairs.push((source.min(target), source.max(target), distance));
            }
        }
        pairs.sort_unstable_by_key(|pair| (pair.0, pair.1));
        pairs.dedup_by_key(|pair| (pair.0, pair.1));
        counts.pairs = pairs.len() as f64;
        counts.functions = pairs.iter().map(|pair| nonzero_functions(config, pair.2)).sum();
        counts.far_area = positions.iter().zip(&sources).map(|(cloud, &s)| (cloud.len() * s) as f64).sum();
        counts
    }

    /// A forward pass.
    ///
    /// Per layer: mixing (H → H twice), queries and keys (H → H each), values (H → mH), V (3N rows, H → 3H; not in
    /// the first layer, where V is 0), output (H → 3H). Stem: 2H → H. Head: a block with c = H and one with c = H/2
    /// inputs and p = H/2 and 1 vectors: 3N rows c → c and c → p, N rows 2c → c and c → s + p, s = H/2 and H scalars.
    /// What depends on the atoms' features alone is computed once for each kind of atom and not counted. Filters: in
    /// each layer (1 + m)H columns, in the stem H. Far edges: per axis and layer a product of an (n, 2s) matrix,
    /// (n, 4s) with cross products, with H columns.
    pub(crate) fn forward(&self, config: &EtConfig) -> Flop {
        let (n, h, layers) = (self.atoms, config.hidden as f64, config.layers as f64);
        let (parts, terms) = if config.so3 { (4.0, 4.0) } else { (3.0, 2.0) };
        let layer = (1.0 + 1.0 + 2.0 + parts + 3.0) * h * h;
        let vectors = 9.0 * h * h * (layers - 1.0);
        let stem = 2.0 * h * h;
        let block = |c: f64, p: f64, s: f64| 3.0 * (c * c + c * p) + 2.0 * c * c + c * (s + p);
        let head = block(h, h / 2.0, h / 2.0) + block(h / 2.0, 1.0, h);
        Flop {
            nodes: 2.0 * n * (layers * layer + vectors + stem + head),
            filters: 2.0 * self.functions * h * (layers * (1.0 + parts) + 1.0),
            far: 2.0 * 3.0 * layers * terms * self.far_area * h,
        }
    }

    /// The way back: per product of atoms' arrays one for the gradient at the array and one for that at the weights;
    /// filters are computed once more, then the gradients at weights and at the functions; far edges once.
    pub(crate) fn backward(&self, config: &EtConfig) -> Flop {
        let Flop { nodes, filters, far } = self.forward(config);
        Flop { nodes: 2.0 * nodes, filters: 3.0 * filters, far }
    }
}

/// How many radial functions differ from zero at a squared distance, with the initial μ and β.
fn nonzero_functions(config: &EtConfig, distance: f64) -> f64 {
    if distance >= config.cutoff {
        return 0.0;
    }
    let (k, start) = (config.rbf as f64, (-config.cutoff).exp());
    let beta = (2.0 / k * (1.0 - start)).powi(-2);
    let decay = (-5.0 * distance / config.cutoff).exp();
    let mean = |i: usize| start + (1.0 - start) * i as f64 / (k - 1.0);
    (0..config.rbf).filter(|&i| beta * (decay - mean(i)).powi(2) <= NEGLIGIBLE).count() as f64
}

/// Multiplies and adds in registers alone.
struct MultiplyAdd {
    rounds: usize,
}

/// Chains of dependent operations: more than the latency times the units of any core, few enough for 16 registers.
const CHAINS: usize = 12;

impl WithSimd for MultiplyAdd {
    /// Numbers in a vector, and the result, which must be used.
    type Output = (usize, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (usize, f32) {
        let [factor, term] = std::hint::black_box([0.999_f32, 0.001]).map(|number| simd.splat_f32s(number));
        let mut sums = [simd.splat_f32s(0.5); CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, factor, term);
            }
        }
        (S::F32_LANES, sums.into_iter().map(|sum| simd.reduce_sum_f32s(sum)).sum())
    }
}

/// The most f32 operations a second that this core does: the best of several runs.
pub(crate) fn peak_flop_per_second() -> f64 {
    let rounds = 1_000_000;
    let run = |_| {
        let start = Instant::now();
        let (lanes, result) = std::hint::black_box(pulp::Arch::new().dispatch(MultiplyAdd { rounds }));
        let seconds = start.elapsed().as_secs_f64();
        assert!(result.is_finite(), "a contraction stays finite");
        (2 * CHAINS * lanes * rounds) as f64 / seconds
    };
    (0..30).map(run).fold(0.0, f64::max)
}

/// Bytes a second that this core reads and writes in copying memory larger than its caches: the best of several.
pub(crate) fn copied_bytes_per_second() -> f64 {
    let source = vec![1.0_f32; 48 << 20];
    let mut target = vec![0.5_f32; source.len()];
    let run = |_| {
        let start = Instant::now();
        target.copy_from_slice(std::hint::black_box(&source));
        std::hint::black_box(&mut target);
        2.0 * size_of_val(&source[..]) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(run).fold(0.0, f64::max)
}
