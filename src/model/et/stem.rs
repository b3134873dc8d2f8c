//! Before the layers: elements, atom features, radial functions, and the first look at the neighbours.

use candle_core::Tensor;

use super::input::Prepared;
use super::{Embedded, EtConfig, Trace};
use crate::Result;
use crate::data::NUM_FEATURES;
use crate::model::layers::{Declaration, Law, LayerNorm, Linear, LinearInit};

/// The stem's parameters.
#[derive(Debug)]
pub(super) struct Stem {
    pub(super) element: usize,
    pub(super) features: [Linear; 2],
    pub(super) features_norm: LayerNorm,
    pub(super) means: usize,
    pub(super) betas: usize,
    pub(super) neighbour_element: usize,
    pub(super) neighbour_filter: Linear,
    pub(super) combine: Linear,
}

impl Stem {
    pub(super) fn declare(declare: &mut Declaration, config: &EtConfig) -> Self {
        let (hidden, rbf) = (config.hidden, config.rbf);
        let name = |part: &str| format!("network.representation_model.{part}");
        let start = (-config.cutoff).exp();
        let mean = |k: usize| (start + (1.0 - start) * k as f64 / (rbf - 1) as f64) as f32;
        let beta = (2.0 / rbf as f64 * (1.0 - start)).powi(-2) as f32;
        Stem {
            element: declare.embedding(&name("embedding"), config.max_z, hidden),
            features: [
                declare.linear(&name("node_mlp.0"), NUM_FEATURES, hidden, LinearInit::FanIn),
                declare.linear(&name("node_mlp.3"), hidden, hidden, LinearInit::FanIn),
            ],
            features_norm: declare.layer_norm(&name("node_mlp.2"), hidden),
            means: declare.tensor(name("distance_expansion.means"), &[rbf], Law::Values((0..rbf).map(mean).collect())),
            betas: declare.tensor(name("distance_expansion.betas"), &[rbf], Law::Constant(beta)),
            neighbour_element: declare.embedding(&name("neighbor_embedding.embedding"), config.max_z, hidden),
            neighbour_filter: declare.linear(
                &name("neighbor_embedding.distance_proj"),
                rbf + 1,
                hidden,
                LinearInit::Xavier,
            ),
            combine: declare.linear(&name("neighbor_embedding.combine"), 2 * hidden, hidden, LinearInit::Xavier),
        }
    }

    /// The scalars x (N, H) that enter layer 0, and what all layers share.
    pub(super) fn forward(&self, w: &[Tensor], given: &Prepared, trace: &mut Trace<'_>) -> Result<(Tensor, Embedded)> {
        let edges = self.edge_features(w, given, trace)?;
        let x = w[self.element].index_select(&given.elements, 0)?;
        trace("embedding", &x);
        let x = self.add_neighbours(w, given, &edges, &x)?;
        trace("neighbor_embedding", &x);
        let atoms = self.features[0].forward(w, &given.features)?.silu()?;
        let atoms = self.features[1].forward(w, &self.features_norm.forward(w, &atoms)?)?;
        trace("node_mlp", &atoms);
        Ok((x, Embedded { atoms, edges }))
    }

    /// f = [C(D) exp(−β_k (exp(−5 D/cutoff) − μ_k)²), type, 1].
    fn edge_features(&self, w: &[Tensor], given: &Prepared, trace: &mut Trace<'_>) -> Result<Tensor> {
        let edges = &given.edges;
        trace("edge_d2", &edges.squared_distance);
        for (axis, along) in ["edge_dir.x", "edge_dir.y", "edge_dir.z"].into_iter().zip(&edges.direction) {
            trace(axis, along);
        }
        let exponent = edges.decay.broadcast_sub(&w[self.means])?.sqr()?.broadcast_mul(&w[self.betas])?;
        let rbf = exponent.neg()?.exp()?.broadcast_mul(&edges.envelope)?;
        trace("edge_rbf", &rbf);
        Ok(Tensor::cat(&[&rbf, &edges.types, &edges.types.ones_like()?], 1)?)
    }

    /// combine([x_i, Σ_j e_j (W f_ji) C(D_ji)]), e the neighbours' own element table.
    fn add_neighbours(&self, w: &[Tensor], given: &Prepared, features: &Tensor, x: &Tensor) -> Result<Tensor> {
        let edges = &given.edges;
        let filter = features.matmul(&self.neighbour_filter.augmented(w)?.t()?)?;
        let elements = w[self.neighbour_element].index_select(&given.elements, 0)?;
        let messages = edges.at_sources(&elements)?.mul(&filter.broadcast_mul(&edges.envelope)?)?;
        let neighbours = edges.sum_at_targets(&messages, given.atoms)?;
        self.combine.forward(w, &Tensor::cat(&[x, &neighbours], 1)?)
    }
}
