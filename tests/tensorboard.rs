//! Event files are read back by TensorBoard itself (`tests/python/read_events.py`).

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Command;

use common::python;
use qsd::train::observe::Metrics;
use qsd::train::observe::tensorboard::EventWriter;
use serde_json::{Value, json};

/// A picture of 3 × 2 pixels.
const PNG: &[u8] = include_bytes!("fixtures/observe/pixels.png");
/// A moment in 2023.
const TIME: f64 = 1_700_000_000.25;

/// What TensorBoard's readers show of a folder.
fn read(folder: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_events.py");
    let output = Command::new(python()).arg(script).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn metrics(step: u64, values: &[(&str, f64)]) -> Metrics {
    let mut metrics = Metrics::new(step, TIME + step as f64);
    values.iter().for_each(|(name, value)| metrics.set(*name, *value));
    metrics
}

/// A value as both readers print it.
fn shown(value: f64) -> Value {
    let value = f64::from(value as f32);
    match value.is_finite() {
        true => json!(value),
        false if value.is_nan() => json!("NaN"),
        false => json!(if value > 0.0 { "Infinity" } else { "-Infinity" }),
    }
}

#[test]
fn scalars_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path().join("run"), 0, TIME).unwrap();
    let mut expected: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1e-30, 1e30];
    for step in 0..40u64 {
        let values = [
            ("loss/train", 1.0 / (step + 1) as f64),
            ("time/forward", step as f64 * 1e-3),
            ("odd", odd[step as usize % 6]),
        ];
        writer.metrics(&metrics(step, &values)).unwrap();
        for (name, value) in values {
            expected.entry(name).or_default().push(json!([step, TIME + step as f64, shown(value)]));
        }
    }
    writer.flush().unwrap();
    let read = read(&folder.path().join("run"));
    assert_eq!(read["python"].as_object().unwrap().len(), expected.len());
    for (name, events) in expected {
        assert_eq!(read["python"][name], json!({"plugin": "scalars", "events": events}));
        assert_eq!(read["server"][name], json!(events));
    }
}

#[test]
fn histograms_texts_and_images_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path(), 0, TIME).unwrap();
    let text = "# Run\n\n| key | value |\n|---|---|\n| Å | ∇ |\n";
    writer.metrics(&metrics(0, &[("loss/train", 1.0)])).unwrap();
    writer.text("config", text, 0, TIME).unwrap();
    writer.image("molecule", PNG, 7, TIME).unwrap();
    let values: Vec<f32> = (0..=120).map(|index| index as f32 - 60.0).chain([f32::NAN, f32::INFINITY]).collect();
    writer.histogram("gradients", &values, 3, TIME).unwrap();
    writer.histogram("constant", &[2.5; 4], 3, TIME).unwrap();
    writer.histogram("nothing", &[f32::NAN], 3, TIME).unwrap();
    writer.flush().unwrap();
    let read = &read(folder.path())["python"];

    assert_eq!(read["config"], json!({"plugin": "text", "events": [[0, TIME, text]]}));
    let hexadecimal: String = PNG.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(read["molecule"], json!({"plugin": "images", "events": [[7, TIME, [3, 2, hexadecimal]]]}));
    // 121 whole numbers from -60 to 60 in 60 bins of width 2: two in each, the last one too with its end.
    let bins: Vec<Value> = (0..60)
        .map(|bin| {
            let left = f64::from(bin) * 2.0 - 60.0;
            json!([left, left + 2.0, if bin == 59 { 3.0 } else { 2.0 }])
        })
        .collect();
    assert_eq!(read["gradients"], json!({"plugin": "histograms", "events": [[3, TIME, bins]]}));
    assert_eq!(read["constant"]["events"][0][2], json!([[2.5, 2.5, 4.0]]));
    assert_eq!(read["nothing"], Value::Null);
}

/// A session writes steps 1 to 7 and dies while it writes on; the next one resumes from step 4 and comes to 6.
fn resumed(second_time: f64) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut first = EventWriter::create(folder.path(), 0, TIME).unwrap();
    (1..=7).for_each(|step| first.metrics(&metrics(step, &[("loss/train", step as f64), ("a", 0.0)])).unwrap());
    first.flush().unwrap();
    let mut torn = OpenOptions::new().append(true).open(first.path()).unwrap();
    std::io::Write::write_all(&mut torn, &[40, 0, 0, 0, 0, 0, 0, 0, 1, 2]).unwrap();
    let mut second = EventWriter::create(folder.path(), 5, second_time).unwrap();
    (5..=6).for_each(|step| second.metrics(&metrics(step, &[("loss/train", -(step as f64))])).unwrap());
    second.flush().unwrap();
    read(folder.path())
}

#[test]
fn a_resumed_run_has_one_curve() {
    // Later, within the same second, and after the clock was set back.
    for second_time in [TIME + 100.0, TIME, TIME - 1e8] {
        let read = resumed(second_time);
        let curve = |events: &Value| -> Vec<(u64, f64)> {
            let events = events.as_array().unwrap().iter();
            events.map(|event| (event[0].as_u64().unwrap(), event[2].as_f64().unwrap())).collect()
        };
        let expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, -5.0), (6, -6.0)];
        assert_eq!(curve(&read["python"]["loss/train"]["events"]), expected);
        assert_eq!(curve(&read["server"]["loss/train"]), expected);
        // A curve that the second session has not written again ends at the checkpoint, too.
        assert_eq!(curve(&read["python"]["a"]["events"]).last(), Some(&(4, 0.0)));
    }
}

#[test]
fn only_png_images_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path(), 0, TIME).unwrap();
    for bytes in [&b""[..], b"GIF89a", &PNG[..20]] {
        let error = writer.image("molecule", bytes, 3, TIME).unwrap_err();
        assert_eq!(error.to_string(), "image `molecule` of step 3: expected the bytes of a PNG file");
    }
    let name = writer.path().file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name.starts_with("events.out.tfevents.1700000000.") && name.ends_with(".qsd.0"), "{name}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
