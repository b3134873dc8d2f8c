//! The network as the rest of the crate sees it.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use super::head::Head;
use super::input::Prepared;
use super::layer::Layer;
use super::stem::Stem;
use super::{Context, Embedded, EtConfig, EtRecording, State, Trace};
use crate::diffusion::{Denoiser, Input, Recording};
use crate::geometry::{Clouds, Point};
use crate::model::layers::{Declaration, Law, initial_values};
use crate::model::{Layout, Network};
use crate::{Error, Result};

/// The most parameters, 8 GiB in f32: each limit of the configuration alone would still let their product
/// exceed any memory.
const MAX_PARAMETERS: usize = 1 << 31;

/// An ET-Flow network of some shape, without values.
#[derive(Debug)]
pub struct EtNetwork {
    blueprint: Arc<Blueprint>,
    laws: Vec<Law>,
}

/// What stays the same whatever the parameters' values.
#[derive(Debug)]
pub(super) struct Blueprint {
    pub(super) config: EtConfig,
    pub(super) dtype: DType,
    pub(super) layout: Layout,
    /// Where the parameters of the head lie, of the layers from the last to the first, of the stem.
    pub(super) units: Vec<Range<usize>>,
    pub(super) stem: Stem,
    pub(super) layers: Vec<Layer>,
    pub(super) head: Head,
}

impl Blueprint {
    /// That these are as many parameters as the network has.
    pub(super) fn check_len(&self, parameters: &[f32]) -> Result<()> {
        match (parameters.len(), self.layout.len()) {
            (found, expected) if found == expected => Ok(()),
            (found, expected) => {
                Err(Error::Checkpoint(format!("{found} parameters given to a network that has {expected}")))
            }
        }
    }
}

impl EtNetwork {
    /// What stays the same whatever the parameters' values.
    pub(super) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// A network that computes in `dtype`: f32 for use, f64 for verification.
    ///
    /// # Errors
    /// [`Error::Config`] if the configuration is impossible, has more than 2³¹ parameters, or the type is
    /// another one.
    pub fn new(config: EtConfig, dtype: DType) -> Result<Self> {
        config.validate()?;
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::Config(format!("model: cannot compute in {dtype:?}, only in f32 or f64")));
        }
        let mut declare = Declaration::default();
        let mut ends = vec![0];
        let mut end_unit = |declare: &Declaration| ends.push(declare.len());
        let stem = Stem::declare(&mut declare, &config);
        end_unit(&declare);
        let mut layer = |index| {
            let layer = Layer::declare(&mut declare, &config, index);
            end_unit(&declare);
            layer
        };
        let layers = (0..config.layers).map(&mut layer).collect();
        let head = Head::declare(&mut declare, &config);
        end_unit(&declare);
        let units = ends.windows(2).rev().map(|ends| ends[0]..ends[1]).collect();
        let (layout, laws) = declare.finish();
        if layout.len() > MAX_PARAMETERS {
            let (found, EtConfig { hidden, layers, .. }) = (layout.len(), &config);
            return Err(Error::Config(format!(
                "model: hidden {hidden} and layers {layers} make {found} parameters, but at most {MAX_PARAMETERS} \
                 are allowed"
            )));
        }
        let blueprint = Arc::new(Blueprint { config, dtype, layout, units, stem, layers, head });
        Ok(EtNetwork { blueprint, laws })
    }

    /// [`Network::bind`], with the type known; the values are copied.
    pub fn denoiser(&self, parameters: &[f32]) -> Result<EtDenoiser> {
        let layout = &self.blueprint.layout;
        self.blueprint.check_len(parameters)?;
        let mut bound = Bound {
            blueprint: self.blueprint.clone(),
            values: Vec::with_capacity(layout.spans().len()),
            variables: Vec::with_capacity(layout.spans().len()),
        };
        for span in layout.spans() {
            let values = Tensor::from_slice(&parameters[span.range.clone()], span.shape.as_slice(), &Device::Cpu)?;
            let variable = Var::from_tensor(&values.to_dtype(self.blueprint.dtype)?)?;
            bound.values.push(variable.as_detached_tensor());
            bound.variables.push(variable.into_inner());
        }
        Ok(EtDenoiser { bound: Arc::new(bound) })
    }
}

impl Network for EtNetwork {
    fn layout(&self) -> &Layout {
        &self.blueprint.layout
    }

    fn initialize(&self, seed: u64) -> Vec<f32> {
        initial_values(&self.blueprint.layout, &self.laws, seed)
    }

    fn units(&self) -> &[Range<usize>] {
        &self.blueprint.units
    }

    fn bind<'a>(&'a self, parameters: &'a [f32]) -> Result<Box<dyn Denoiser + Send + Sync + 'a>> {
        Ok(Box::new(self.denoiser(parameters)?))
    }
}

/// A network with values. Several threads may predict, record and walk back at once.
#[derive(Clone, Debug)]
pub struct EtDenoiser {
    bound: Arc<Bound>,
}

/// The blueprint and the parameters, twice over one storage.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) blueprint: Arc<Blueprint>,
    /// As plain tensors: nothing computed from them remembers how.
    values: Vec<Tensor>,
    /// As variables: what is computed from them can be walked back.
    pub(super) variables: Vec<Tensor>,
}

impl EtDenoiser {
    /// The prediction, telling `trace` every intermediate tensor on the way: layer `l`'s under `l{l}.` and its
    /// results as `x.layer{l}` and `vec.layer{l}`.
    pub fn predict_traced(&self, input: Input<'_>, trace: &mut Trace<'_>) -> Result<Clouds> {
        let given = self.prepare(input)?;
        self.bound.forward(&given, &mut |_| (), trace)?.0.finish(input.x_t)
    }

    /// [`Denoiser::record`], with the type known.
    pub fn recording(&self, input: Input<'_>) -> Result<EtRecording> {
        let given = self.prepare(input)?;
        let mut borders = Vec::with_capacity(self.bound.blueprint.layers.len() + 1);
        let keep = &mut |state: &State| borders.push(state.clone());
        let (vectors, embedded) = self.bound.forward(&given, keep, &mut |_, _| ())?;
        let prediction = vectors.finish(input.x_t)?;
        Ok(EtRecording { bound: self.bound.clone(), given, embedded, borders, prediction })
    }

    fn prepare(&self, input: Input<'_>) -> Result<Prepared> {
        Prepared::new(&self.bound.blueprint.config, self.bound.blueprint.dtype, input)
    }
}

impl Denoiser for EtDenoiser {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        self.predict_traced(input, &mut |_, _| ())
    }

    fn record(&self, input: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        Ok(Box::new(self.recording(input)?))
    }
}

impl Bound {
    /// The head's vectors, and what all layers shared. `border` sees the state before each layer and after the
    /// last one.
    fn forward(
        &self,
        given: &Prepared,
        border: &mut dyn FnMut(&State),
        trace: &mut Trace<'_>,
    ) -> Result<(Vectors, Embedded)> {
        let (blueprint, w) = (&*self.blueprint, self.values.as_slice());
        let (x, embedded) = blueprint.stem.forward(w, given, trace)?;
        let vec = Tensor::zeros((3, given.atoms, blueprint.config.hidden), blueprint.dtype, &Device::Cpu)?;
        let mut state = State { x, vec };
        for (index, layer) in blueprint.layers.iter().enumerate() {
            border(&state);
            let mut inside = |name: &str, tensor: &Tensor| trace(&format!("l{index}.{name}"), tensor);
            state = layer.forward(Context { w, given, embedded: &embedded }, &state, &mut inside)?;
            trace(&format!("x.layer{index}"), &state.x);
            trace(&format!("vec.layer{index}"), &state.vec);
        }
        border(&state);
        Ok((Vectors(blueprint.head.forward(w, &state, trace)?), embedded))
    }
}

/// What the head gives, (3, N, 1), not centred.
struct Vectors(Tensor);

impl Vectors {
    /// As points in f64, centred per molecule.
    fn finish(self, like: &Clouds) -> Result<Clouds> {
        let axes = self.0.to_dtype(DType::F64)?.squeeze(2)?.to_vec2::<f64>()?;
        let points: Vec<Point> = (0..axes[0].len()).map(|n| [axes[0][n], axes[1][n], axes[2][n]]).collect();
        Ok(like.with_points(points).centred())
    }
}
