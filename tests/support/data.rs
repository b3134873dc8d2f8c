//! What the tests of the data room share.
#![allow(dead_code)] // each test program uses a part

use std::path::{Path, PathBuf};

use qsd::data::{Dataset, Manifest};

/// The embedded sample of a partition.
pub fn sample(partition: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample").join(partition)
}

/// The embedded sample of a partition, opened.
pub fn open_sample(partition: &str) -> Dataset {
    Dataset::open(&sample(partition), true).expect("the embedded sample is whole")
}

/// Writes a manifest into a folder.
pub fn write_manifest(dir: &Path, manifest: &Manifest) {
    std::fs::write(dir.join("manifest.json"), serde_json::to_vec(manifest).unwrap()).unwrap();
}
