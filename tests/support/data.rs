//! What the tests of the data room share.
#![allow(dead_code)] // each test program uses a part

use std::path::{Path, PathBuf};

use qsd::data::{Atoms, Condition, Dataset, Manifest, Points, StereoCentre};
use qsd::diffusion::correct_handedness;
use qsd::geometry::{Clouds, Point};

/// The embedded sample of a partition.
pub fn sample(partition: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample").join(partition)
}

/// The embedded sample of a partition, opened.
pub fn open_sample(partition: &str) -> Dataset {
    Dataset::open(&sample(partition), true).expect("the embedded sample is whole")
}

/// Whether points show the handedness of a centre: they are left as they are, and their mirror image is not.
pub fn shows(points: &[Point], centre: StereoCentre) -> bool {
    let atoms = Atoms { stereo_centres: vec![StereoCentre { cloud: 0, ..centre }], ..Atoms::default() };
    let condition = Condition { points: Points::Atoms(atoms), ..Condition::default() };
    let mirrored: Vec<Point> = points.iter().map(|x| x.map(|x| -x)).collect();
    let corrected = |points: &[Point]| {
        let mut x = Clouds::from_clouds([points]);
        correct_handedness(&condition, &mut x);
        x.points() == points
    };
    corrected(points) && !corrected(&mirrored)
}

/// Writes a manifest into a folder.
pub fn write_manifest(dir: &Path, manifest: &Manifest) {
    std::fs::write(dir.join("manifest.json"), serde_json::to_vec(manifest).unwrap()).unwrap();
}
