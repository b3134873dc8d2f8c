//! What is computed: molecules noised for training, from the data set, from a file, or made up.

use std::ops::Range;
use std::path::Path;

use qsd::data::{Batch, Condition, Dataset, NUM_FEATURES, Position, TrainingStream};
use qsd::diffusion::{DiffusionConfig, Draw, draw, prior_sample};
use qsd::geometry::{Clouds, Point};
use qsd::random::{Purpose, normal_points, stream};
use qsd::train::Config;
use qsd::{Error, Result};
use safetensors::{Dtype, SafeTensors};

/// Molecules with the noise of one training step and a place from which sampling starts.
pub(crate) struct Work {
    /// The graphs.
    pub(crate) condition: Condition,
    /// Time, x_t and target.
    pub(crate) draw: Draw,
    /// Draws from the prior.
    pub(crate) x_0: Clouds,
}

impl Work {
    /// Number of molecules.
    pub(crate) fn len(&self) -> usize {
        self.draw.t.len()
    }

    /// Number of atoms.
    pub(crate) fn atoms(&self) -> usize {
        self.condition.offsets[self.len()]
    }

    /// Some consecutive molecules of it.
    pub(crate) fn part(&self, molecules: Range<usize>) -> Work {
        let offsets = &self.condition.offsets;
        let atoms = offsets[molecules.start]..offsets[molecules.end];
        let clouds = |all: &Clouds| Clouds::from_clouds(molecules.clone().map(|b| all.cloud(b)));
        let (first, known) = (atoms.start as u32, self.condition.atoms());
        let bonds = self.condition.bonds.iter().filter(|bond| atoms.contains(&(bond[0] as usize)));
        Work {
            condition: Condition::of_atoms(
                offsets[molecules.start..=molecules.end].iter().map(|o| o - atoms.start).collect(),
                known.map_or_else(Vec::new, |known| known.atomic_numbers[atoms.clone()].to_vec()),
                known.map_or_else(Vec::new, |known| known.features[atoms.clone()].to_vec()),
                bonds.map(|bond| bond.map(|atom| atom - first)).collect(),
            ),
            draw: Draw {
                t: self.draw.t[molecules.clone()].to_vec(),
                x_t: clouds(&self.draw.x_t),
                x_1: clouds(&self.draw.x_1),
                u_t: clouds(&self.draw.u_t),
            },
            x_0: clouds(&self.x_0),
        }
    }

    /// Noises a batch as a training step does.
    fn noised(config: &DiffusionConfig, batch: Batch) -> Result<Work> {
        let draw = draw(config, 0, 0, &batch)?;
        let prior = |b: usize| prior_sample(config, &batch.condition, b, &mut stream(0, Purpose::Prior, 0, b as u64));
        let x_0 = (0..batch.ids.len()).map(prior).collect::<Result<Vec<_>>>()?;
        let x_0 = Clouds::from_clouds(x_0.iter().map(Vec::as_slice)).centred();
        Ok(Work { condition: batch.condition, draw, x_0 })
    }
}

/// The first step of the training stream over `data`, as `qsd-train` would see it.
pub(crate) fn of_dataset(config: &Config, data: &Path, count: usize) -> Result<Work> {
    let dataset = Dataset::open(data, false)?;
    let mut training = TrainingStream::new(&dataset, &config.data, 0, count, 1)?;
    let plan = training.plan(Position::default())?;
    Work::noised(&config.diffusion, training.batch(0, &plan.shards.concat())?)
}

/// What `bench/pytorch/data.py --out` wrote.
pub(crate) fn of_file(path: &Path) -> Result<Work> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| Error::Data(format!("{}: {e}", path.display())))?;
    let integers = |name: &str| numbers(&file, path, name, Dtype::I64, i64::from_le_bytes);
    let doubles = |name: &str| numbers(&file, path, name, Dtype::F64, f64::from_le_bytes);
    let features = numbers(&file, path, "features", Dtype::F32, f32::from_le_bytes)?;
    let offsets: Vec<usize> = integers("offsets")?.into_iter().map(|o| o as usize).collect();
    let clouds = |name: &str| -> Result<Clouds> {
        let points: Vec<Point> = doubles(name)?.as_chunks().0.to_vec();
        Ok(Clouds::from_clouds(offsets.windows(2).map(|w| &points[w[0]..w[1]])))
    };
    Ok(Work {
        draw: Draw { t: doubles("t")?, x_t: clouds("x_t")?, x_1: clouds("positions")?, u_t: clouds("target")? },
        x_0: clouds("x_0")?,
        condition: Condition::of_atoms(
            offsets.clone(),
            integers("atomic_numbers")?.into_iter().map(|z| z as u8).collect(),
            features.as_chunks::<NUM_FEATURES>().0.to_vec(),
            integers("bonds")?.as_chunks().0.iter().map(|bond: &[i64; 2]| bond.map(|a| a as u32)).collect(),
        ),
    })
}

/// The numbers of a tensor in a file.
fn numbers<T, const BYTES: usize>(
    file: &SafeTensors<'_>,
    path: &Path,
    name: &str,
    dtype: Dtype,
    read: fn([u8; BYTES]) -> T,
) -> Result<Vec<T>> {
    let wrong = |what: String| Error::Data(format!("{}: {name}: {what}", path.display()));
    let tensor = file.tensor(name).map_err(|e| wrong(e.to_string()))?;
    if tensor.dtype() != dtype {
        return Err(wrong(format!("{:?}, expected {dtype:?}", tensor.dtype())));
    }
    Ok(tensor.data().as_chunks().0.iter().map(|bytes| read(*bytes)).collect())
}

/// `count` made-up molecules of `atoms` atoms: half of them a folded chain with rings of six, half hydrogens on it,
/// as dense as drug-like molecules are, whatever their size.
pub(crate) fn synthetic(config: &DiffusionConfig, count: usize, atoms: usize) -> Result<Work> {
    let heavy = atoms.div_ceil(2);
    let clouds: Vec<Vec<Point>> = (0..count as u64).map(|id| folded(id, heavy, atoms)).collect();
    let bonds = (0..count).flat_map(|b| {
        let first = (b * atoms) as u32;
        let chain = (1..heavy as u32).map(|i| [i - 1, i]);
        let rings = (5..heavy as u32).step_by(8).map(|i| [i - 5, i]);
        let hydrogens = (heavy as u32..atoms as u32).map(move |i| [i - heavy as u32, i]);
        chain.chain(rings).chain(hydrogens).map(move |bond| bond.map(|atom| first + atom))
    });
    let condition = Condition::of_atoms(
        (0..=count).map(|b| b * atoms).collect(),
        (0..count * atoms).map(|i| if i % atoms < heavy { 6 } else { 1 }).collect(),
        vec![[4.0, 3.0, 5.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]; count * atoms],
        bonds.collect(),
    );
    let x_1 = Clouds::from_clouds(clouds.iter().map(Vec::as_slice)).centred();
    Work::noised(config, Batch { ids: (0..count as u64).collect(), x_1, condition })
}

/// A stiff walk of bonds of 1.5 Å, drawn back to its beginning so that its radius grows with the cube root of its
/// length; then a hydrogen 1.1 Å from each atom.
fn folded(id: u64, heavy: usize, atoms: usize) -> Vec<Point> {
    /// By which share 21 heavy atoms are drawn back at each step: chosen so that the pairs of 42 atoms are about as
    /// many as the sample's molecules have.
    const BACK: f64 = 0.05;
    let steps = normal_points::<3>(&mut stream(0, Purpose::SamplePrior, 0, id), atoms);
    let unit = |step: Point| step.map(|c| c / step.iter().map(|c| c * c).sum::<f64>().sqrt());
    let keep = 1.0 - BACK * (21.0 / heavy as f64).powf(2.0 / 3.0).min(1.0);
    let mut points: Vec<Point> = Vec::with_capacity(atoms);
    let (mut place, mut ahead) = ([0.0; 3], [0.0; 3]);
    for (i, step) in steps.into_iter().map(unit).enumerate() {
        points.push(match i < heavy {
            true => {
                ahead = unit(std::array::from_fn(|axis| ahead[axis] + 0.7 * step[axis]));
                place = std::array::from_fn(|axis| keep * place[axis] + 1.5 * ahead[axis]);
                place
            }
            false => std::array::from_fn(|axis| points[i - heavy][axis] + 1.1 * step[axis]),
        });
    }
    points
}
