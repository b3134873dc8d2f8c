//! What the tests of the ET network share: the oracle's cases, losses with their gradients, and comparisons.
#![allow(dead_code, missing_docs)]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use nalgebra::{Matrix3, Vector3};
use qsd::data::{Atoms, Condition, NUM_FEATURES, Points};
use qsd::diffusion::Input;
use qsd::geometry::{Clouds, Point};
use qsd::model::Network;
use qsd::model::et::{EtConfig, EtDenoiser, EtNetwork};

pub type Tensors = HashMap<String, Tensor>;

pub const RECIPES: [&str; 3] = ["drugs-o3", "drugs-so3", "qm9-so3"];

pub fn fixture(name: &str) -> Tensors {
    let path = format!("{}/tests/fixtures/et/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub fn indices(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub fn points(tensor: &Tensor) -> Vec<Point> {
    numbers(tensor).chunks_exact(3).map(|x| [x[0], x[1], x[2]]).collect()
}

pub fn flat(clouds: &Clouds) -> Vec<f64> {
    clouds.points().concat()
}

/// The bonds of a (2, 2 bonds) index that lists both directions, each once.
pub fn bonds(index: &Tensor) -> Vec<[u32; 2]> {
    let index = index.to_vec2::<u32>().unwrap();
    index[0].iter().zip(&index[1]).filter(|(a, b)| a < b).map(|(&a, &b)| [a, b]).collect()
}

/// One of the oracle's tiny networks with its input.
pub struct Case {
    pub tensors: Tensors,
    pub config: EtConfig,
    pub x_t: Clouds,
    pub t: Vec<f64>,
    pub u_t: Clouds,
    pub condition: Condition,
}

impl Case {
    pub fn load(recipe: &str) -> Case {
        let tensors = fixture(recipe);
        let config = EtConfig {
            hidden: 32,
            layers: 3,
            heads: 4,
            rbf: 16,
            so3: recipe.ends_with("so3"),
            output_layer_norm: recipe.starts_with("qm9"),
            ..EtConfig::default()
        };
        let of = |name: &str| &tensors[&format!("in.{name}")];
        let offsets: Vec<usize> = indices(of("ptr")).iter().map(|&p| p as usize).collect();
        let x = points(of("x_t"));
        let x_t = Clouds::from_clouds(offsets.windows(2).map(|w| &x[w[0]..w[1]]));
        let features = of("node_attr").to_vec2::<f32>().unwrap();
        let condition = Condition::of_atoms(
            offsets,
            indices(of("z")).iter().map(|&z| z as u8).collect(),
            features.iter().map(|f| <[f32; NUM_FEATURES]>::try_from(f.as_slice()).unwrap()).collect(),
            bonds(of("bond_index")),
        );
        let (t, u_t) = (numbers(of("t")), x_t.with_points(points(of("u_t"))));
        Case { t, u_t, x_t, condition, config, tensors }
    }

    /// The first molecule alone.
    pub fn first_molecule(mut self) -> Case {
        let atoms = self.x_t.cloud(0).len();
        self.x_t = Clouds::from_clouds([self.x_t.cloud(0)]);
        self.u_t = Clouds::from_clouds([self.u_t.cloud(0)]);
        self.t.truncate(1);
        self.condition.offsets.truncate(2);
        atoms_of(&mut self.condition).atomic_numbers.truncate(atoms);
        atoms_of(&mut self.condition).features.truncate(atoms);
        self.condition.bonds.retain(|bond| (bond[0] as usize) < atoms);
        self
    }

    pub fn network(&self, dtype: DType) -> EtNetwork {
        EtNetwork::new(self.config.clone(), dtype).unwrap()
    }

    /// The oracle's weights in the network's layout.
    pub fn parameters(&self) -> Vec<f32> {
        let network = self.network(DType::F32);
        let mut values = vec![0.0; network.layout().len()];
        for span in network.layout().spans() {
            let weight = &self.tensors[&format!("weights.{}", span.name)];
            assert_eq!(weight.dims(), span.shape, "{}", span.name);
            values[span.range.clone()].copy_from_slice(&weight.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        }
        values
    }

    pub fn denoiser(&self, dtype: DType) -> EtDenoiser {
        self.network(dtype).denoiser(&self.parameters()).unwrap()
    }

    pub fn input(&self) -> Input<'_> {
        Input { x_t: &self.x_t, t: &self.t, condition: &self.condition, self_condition: None }
    }
}

/// max |found − expected| / max |expected|; where nothing is expected, nothing may be found.
pub fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest =
        |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
    let scale = largest(&mut expected.iter().map(|x| x.abs()));
    let difference = largest(&mut found.iter().zip(expected).map(|(a, b)| (a - b).abs()));
    match scale == 0.0 {
        true => {
            if difference == 0.0 {
                0.0
            } else {
                f64::INFINITY
            }
        }
        false => difference / scale,
    }
}

/// A loss over a batch, and its gradient at the prediction.
pub type Loss = fn(&Clouds, &Case) -> (f64, Clouds);

fn batch_mean(v: &Clouds, case: &Case, per_atom: impl Fn(Vector3<f64>) -> (f64, Vector3<f64>)) -> (f64, Clouds) {
    let (mut loss, mut gradient) = (0.0, v.zeros_like());
    for b in 0..v.len() {
        let share = 1.0 / (v.len() * v.cloud(b).len()) as f64;
        for (n, g) in v.range(b).zip(gradient.cloud_mut(b)) {
            let residual = Vector3::from(v.points()[n]) - Vector3::from(case.u_t.points()[n]);
            let (value, slope) = per_atom(residual);
            loss += share * value;
            *g = (slope * share).into();
        }
    }
    (loss, gradient)
}

/// Mean over molecules of the mean over atoms of |v − u|.
pub fn l2(v: &Clouds, case: &Case) -> (f64, Clouds) {
    batch_mean(v, case, |r| (r.norm(), r / r.norm()))
}

/// Mean over molecules of the mean over atoms of |v − u|².
pub fn mse(v: &Clouds, case: &Case) -> (f64, Clouds) {
    batch_mean(v, case, |r| (r.norm_squared(), 2.0 * r))
}

/// Mean over molecules of the mean over atoms of |P(v − u)|², P the horizontal projection at the centred x_t.
pub fn projected_mse(v: &Clouds, case: &Case) -> (f64, Clouds) {
    let (mut loss, mut gradient) = (0.0, horizontal(&residual(v, case), &case.x_t));
    for b in 0..v.len() {
        let share = 1.0 / (v.len() * v.cloud(b).len()) as f64;
        for g in gradient.cloud_mut(b) {
            loss += share * g.iter().map(|c| c * c).sum::<f64>();
            *g = g.map(|c| 2.0 * share * c);
        }
    }
    (loss, gradient)
}

pub fn residual(v: &Clouds, case: &Case) -> Clouds {
    v.zip_map(&case.u_t, |v, u| [v[0] - u[0], v[1] - u[1], v[2] - u[2]])
}

/// The clouds, each with its mean at the origin.
pub fn centred(clouds: &Clouds) -> Clouds {
    let mut moved = clouds.clone();
    for b in 0..clouds.len() {
        let cloud = moved.cloud_mut(b);
        let mean = cloud.iter().map(|&x| Vector3::from(x)).sum::<Vector3<f64>>() / cloud.len() as f64;
        cloud.iter_mut().for_each(|x| *x = (Vector3::from(*x) - mean).into());
    }
    moved
}

/// v without its rigid motions, for molecules in general position.
pub fn horizontal(v: &Clouds, x: &Clouds) -> Clouds {
    let (x, mut v) = (centred(x), centred(v));
    for b in 0..v.len() {
        let x: Vec<Vector3<f64>> = x.cloud(b).iter().map(|&x| x.into()).collect();
        let inertia: Matrix3<f64> = x.iter().map(|x| Matrix3::identity() * x.norm_squared() - x * x.transpose()).sum();
        let momentum: Vector3<f64> = x.iter().zip(v.cloud(b)).map(|(x, &v)| x.cross(&Vector3::from(v))).sum();
        let omega = inertia.try_inverse().unwrap() * momentum;
        for (v, x) in v.cloud_mut(b).iter_mut().zip(&x) {
            *v = (Vector3::from(*v) - omega.cross(x)).into();
        }
    }
    v
}

/// The atoms of a condition, to be changed.
pub fn atoms_of(condition: &mut Condition) -> &mut Atoms {
    match &mut condition.points {
        Points::Atoms(atoms) => atoms,
        Points::Residues(_) => panic!("residues"),
    }
}
