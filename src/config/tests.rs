//! Layers, merging, suggestions. Damaged files are in `tests/config_mutations.rs`.

use std::fs;

use serde::Deserialize;
use tempfile::TempDir;

use super::*;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Run {
    seed: u64,
    name: String,
    train: Train,
    model: Model,
    sampler: Option<Sampler>,
    prior: Prior,
    layers: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Train {
    steps: u64,
    learning_rate: f64,
    clip: f32,
    betas: [f32; 2],
}

impl Default for Train {
    fn default() -> Self {
        Train { steps: 100, learning_rate: 5e-4, clip: 0.1, betas: [0.9, 0.999] }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sampler {
    count: u32,
}

/// A section whose kind decides its keys; `width` has no default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Model {
    Plain { width: u32 },
    Deep { width: u32, depth: i8 },
}

impl Default for Model {
    fn default() -> Self {
        Model::Plain { width: 8 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Prior {
    #[default]
    Normal,
    Harmonic {
        alpha: f64,
    },
}

/// A folder with these files; the last one is loaded.
fn load_files(files: &[(&str, &str)], overrides: &[&str]) -> (TempDir, Result<Loaded<Run>>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
    let loaded = load(folder.path().join(files.last().unwrap().0), &overrides);
    (folder, loaded)
}

fn value(files: &[(&str, &str)], overrides: &[&str]) -> Run {
    load_files(files, overrides).1.unwrap().value
}

/// The error's text without the temporary folder's name.
fn error(files: &[(&str, &str)], overrides: &[&str]) -> String {
    let (folder, loaded) = load_files(files, overrides);
    let error = loaded.expect_err("the configuration was accepted");
    assert!(matches!(error, Error::Config(_)));
    let canonical = folder.path().canonicalize().unwrap();
    error
        .to_string()
        .replace(&format!("{}/", canonical.display()), "")
        .replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn bases_lie_below_and_overrides_above() {
    let files = [
        ("bases/deep/root.yaml", "seed: 1\nname: root\ntrain: {steps: 10, clip: 1}\nlayers: [1, 2, 3]\n"),
        ("bases/mid.yaml", "extends: deep/root.yaml\nname: mid\ntrain: {learning_rate: 1e-3}\n"),
        ("bases/side.yaml", "extends: [deep/root.yaml]\nsampler: {count: 5}\n"),
        ("run.yaml", "extends: [bases/mid.yaml, bases/side.yaml]\nlayers: [4]\ntrain:\n  steps: 20\n"),
    ];
    let (folder, loaded) = load_files(&files, &["train.betas=[0.8, 0.9]", "seed=9"]);
    let loaded = loaded.unwrap();
    let train = Train { steps: 20, learning_rate: 1e-3, clip: 1.0, betas: [0.8, 0.9] };
    let expected = Run {
        seed: 9,
        // The side base extends the same root, which must not undo what the first base set.
        name: "mid".into(),
        train,
        sampler: Some(Sampler { count: 5 }),
        layers: vec![4],
        ..Run::default()
    };
    assert_eq!(loaded.value, expected);
    let names: Vec<_> = loaded.files.iter().map(|file| file.strip_prefix(folder.path()).unwrap()).collect();
    let order = ["bases/deep/root.yaml", "bases/mid.yaml", "bases/side.yaml", "run.yaml"];
    assert_eq!(names, order.map(Path::new));
}

#[test]
fn the_origin_of_a_key_is_the_last_to_set_it() {
    let files = [
        ("bases/deep/root.yaml", "seed: 1\nname: root\ntrain: {steps: 10, clip: 1}\nsampler: {count: 5}\n"),
        ("bases/mid.yaml", "extends: deep/root.yaml\nname: mid\ntrain: {learning_rate: 1e-3}\n"),
        ("bases/side.yaml", "extends: [deep/root.yaml]\nprior: {harmonic: {alpha: 0.1}}\n"),
        ("run.yaml", "extends: [bases/mid.yaml, bases/side.yaml]\nsampler: null\ntrain:\n  steps: 20\n"),
    ];
    let (folder, loaded) = load_files(&files, &["train.betas=[0.8, 0.9]", "seed=9"]);
    let loaded = loaded.unwrap();
    let file = |name: &str| Origin::File(folder.path().join(name));
    for (key, expected) in [
        ("seed", Origin::Override),
        ("train.betas", Origin::Override),
        ("train.steps", file("run.yaml")),
        ("train.learning_rate", file("bases/mid.yaml")),
        ("train.clip", file("bases/deep/root.yaml")),
        ("name", file("bases/mid.yaml")),
        ("prior.harmonic.alpha", file("bases/side.yaml")),
        ("sampler", file("run.yaml")),
        // Taken away with its section.
        ("sampler.count", Origin::Default),
        ("model.width", Origin::Default),
        ("nothing.of.this", Origin::Default),
    ] {
        let found = loaded.origin(key);
        let same = match (&found, &expected) {
            (Origin::File(a), Origin::File(b)) => a.canonicalize().unwrap() == b.canonicalize().unwrap(),
            (found, expected) => found == expected,
        };
        assert!(same, "{key}: {found:?}, expected {expected:?}");
    }
    // Given again after it was taken away.
    let (_folder, loaded) = load_files(&files, &["sampler.count=2"]);
    assert_eq!(loaded.unwrap().origin("sampler.count"), Origin::Override);
}

#[test]
fn a_relative_path_is_relative_to_the_file_that_states_it() {
    let files = [("bases/base.yaml", "name: sets/qm9\n"), ("run.yaml", "extends: bases/base.yaml\n")];
    let located = |overrides: &[&str]| {
        let (folder, loaded) = load_files(&files, overrides);
        let loaded = loaded.unwrap();
        let path = loaded.origin("name").locate(Path::new(&loaded.value.name));
        path.strip_prefix(folder.path()).map(Path::to_path_buf).unwrap_or(path)
    };
    assert_eq!(located(&[]), Path::new("bases/sets/qm9"));
    assert_eq!(located(&["name=sets/qm9"]), Path::new("sets/qm9"));
    assert_eq!(located(&["name=/sets/qm9"]), Path::new("/sets/qm9"));
    assert_eq!(Origin::File("run.yaml".into()).locate(Path::new("sets")), Path::new("sets"));
    assert_eq!(Origin::File("a/run.yaml".into()).locate(Path::new("/sets")), Path::new("/sets"));
}

#[test]
fn empty_files_and_sections_say_nothing() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "{}", "\u{feff}"] {
        assert_eq!(value(&[("run.yaml", text)], &[]), Run::default(), "{text:?}");
    }
    assert_eq!(
        error(&[("run.yaml", "seed: 1\ntrain:\nname: x\n")], &[]),
        "run.yaml:2:7: train: found no value (null), expected a section of keys (indented below; or leave the key out)"
    );
}

#[test]
fn null_takes_an_optional_section_away() {
    let files = [("base.yaml", "sampler: {count: 5}\n"), ("run.yaml", "extends: base.yaml\nsampler: null\n")];
    assert_eq!(value(&files, &[]).sampler, None);
    assert_eq!(value(&files[..1], &["sampler="]).sampler, None);
}

#[test]
fn aliases_and_number_forms_are_understood() {
    let text = "train: {learning_rate: &rate 1e-3, clip: .inf}\nprior: {harmonic: {alpha: *rate}}\nseed: 0x10\n";
    let run = value(&[("run.yaml", text)], &[]);
    assert_eq!((run.seed, run.train.clip, run.prior), (16, f32::INFINITY, Prior::Harmonic { alpha: 1e-3 }));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_one() {
    for (text, expected) in [
        ("train:\n  stpes: 3\n", "run.yaml:2:3: train.stpes: unknown key; did you mean `train.steps`?"),
        ("seed: 1\nsteps: 3\n", "run.yaml:2:1: steps: unknown key; did you mean `train.steps`?"),
        ("sed: 1\n", "run.yaml:1:1: sed: unknown key; did you mean `seed`?"),
        ("lerning_rate: 1\n", "run.yaml:1:1: lerning_rate: unknown key; did you mean `train.learning_rate`?"),
        ("sampler: {cuont: 1}", "run.yaml:1:11: sampler.cuont: unknown key; did you mean `sampler.count`?"),
        (
            "model: {kind: deep, width: 1, dept: 2}",
            "run.yaml:1:31: model.dept: unknown key; did you mean `model.depth`?",
        ),
        (
            "prior: {harmonic: {alpa: 2}}",
            "run.yaml:1:20: prior.harmonic.alpa: unknown key; did you mean `prior.harmonic.alpha`?",
        ),
        (
            "prior: harmonik",
            "run.yaml:1:8: prior: found `harmonik`, expected one of `normal`, `harmonic`; did you mean `harmonic`?",
        ),
        ("sampler: {zzz: 1}", "run.yaml:1:11: sampler.zzz: unknown key; the keys here are sampler.count"),
    ] {
        assert_eq!(error(&[("run.yaml", text)], &[]), expected);
    }
}

#[test]
fn wrong_types_are_refused_where_they_stand() {
    for (text, expected) in [
        (
            "train:\n  steps: many\n",
            "run.yaml:2:10: train.steps: found the text \"many\", expected a whole number from 0 (u64)",
        ),
        ("train: {steps: 1e6}", "run.yaml:1:16: train.steps: found `1000000.0`, expected a whole number from 0 (u64)"),
        ("train: {steps: -1}", "run.yaml:1:16: train.steps: found `-1`, expected a whole number from 0 (u64)"),
        ("train: {betas: [1, 2, 3]}", "run.yaml:1:16: train.betas: found a list of 3 items, expected 2"),
        ("train: {betas: [1]}", "run.yaml:1:16: train.betas: found a list of 1 items, expected an array of length 2"),
        (
            "layers:\n  - 1\n  - two\n",
            "run.yaml:3:5: layers[1]: found the text \"two\", expected a whole number from 0 (usize)",
        ),
        ("name: 7", "run.yaml:1:7: name: found `7`, expected text (in quotes if it looks like a number)"),
        (
            "model:\n  kind: deep\n  width: 1\n  depth: x\n",
            "run.yaml:4:10: model.depth: found the text \"x\", expected a whole number (i8)",
        ),
        (
            "model:\n  kind: deep\n  width: 1\n  depth: 300\n",
            "run.yaml:4:10: model.depth: found `300`, expected a whole number (i8)",
        ),
        (
            "prior: {normal: 1, harmonic: 2}",
            "run.yaml:1:8: prior: found a section of keys, expected one of `normal`, `harmonic`",
        ),
    ] {
        assert_eq!(error(&[("run.yaml", text)], &[]), expected);
    }
}

#[test]
fn mistakes_are_reported_in_the_file_that_made_them() {
    let base = ("base.yaml", "seed: 1\ntrain: {stepz: 3}\n");
    let run = ("run.yaml", "extends: base.yaml\ntrain: {steps: 3}\n");
    assert_eq!(error(&[base, run], &[]), "base.yaml:2:9: train.stepz: unknown key; did you mean `train.steps`?");
    // Even if a later layer would replace the wrong value.
    let base = ("base.yaml", "train: {steps: x}\n");
    assert!(error(&[base, run], &["train.steps=1"]).starts_with("base.yaml:1:16: train.steps: found"));
    // A change of kind makes a base's key unknown.
    let base = ("base.yaml", "model: {kind: deep, width: 1, depth: 2}\n");
    let run = ("run.yaml", "extends: base.yaml\nmodel: {kind: plain}\n");
    let message = error(&[base, run], &[]);
    assert_eq!(
        message,
        "base.yaml:1:31: model.depth: unknown key; the keys here are model.width (once run.yaml is laid over it)"
    );
}

#[test]
fn a_base_may_leave_a_required_key_to_its_heir() {
    let base = ("base.yaml", "model: {kind: deep, depth: 2}\n");
    let run = ("run.yaml", "extends: base.yaml\nmodel: {width: 3}\n");
    assert_eq!(value(&[base, run], &[]).model, Model::Deep { width: 3, depth: 2 });
    assert_eq!(value(&[base], &["model.width=3"]).model, Model::Deep { width: 3, depth: 2 });
    let message = error(&[base], &["seed=1"]);
    assert_eq!(
        message,
        "base.yaml:1:1: model: the key `width` is missing and has no default (once override `seed=1` is laid over it)"
    );
}

#[test]
fn overrides_are_refused_by_name() {
    for (written, expected) in [
        ("train.stpes=3", "train.stpes: unknown key; did you mean `train.steps`?"),
        ("traim.steps=3", "traim: unknown key; did you mean `train.steps`?"),
        ("steps=3", "steps: unknown key; did you mean `train.steps`?"),
        ("train.steps=many", "train.steps: found the text \"many\", expected a whole number from 0 (u64)"),
        ("seed.x=3", "seed: found a section of keys, expected a whole number from 0 (u64)"),
        ("train={steps: x}", "train.steps: found the text \"x\", expected a whole number from 0 (u64)"),
        ("train.steps", "expected `key=value`"),
        ("=3", "expected a key such as `train.steps` before the `=`"),
        ("train..steps=3", "expected a key such as `train.steps` before the `=`"),
        ("layers=[1,", "not YAML: did not find expected node content, while parsing a flow node"),
    ] {
        let message = error(&[("run.yaml", "seed: 1\n")], &["name=x", written]);
        assert_eq!(message, format!("override `{written}`: {expected}"));
    }
    assert!(error(&[("run.yaml", "")], &[&format!("{}=1", "a.".repeat(50_000) + "a")]).contains("expected a key"));
}

#[test]
fn a_value_of_another_source_takes_overrides() {
    let source = Path::new("checkpoints/step-7");
    let lay = |value: &Run, overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        with_overrides(value, source, &overrides)
    };
    let saved = Run { seed: 3, model: Model::Deep { width: 3, depth: -1 }, ..Run::default() };
    assert_eq!(lay(&saved, &[]).unwrap(), saved);
    let expected = Run { model: Model::Deep { width: 5, depth: -1 }, layers: vec![1, 2], ..saved.clone() };
    assert_eq!(lay(&saved, &["model.width=5", "layers=[1, 2]"]).unwrap(), expected);
    let error = |overrides: &[&str]| lay(&saved, overrides).unwrap_err().to_string();
    assert_eq!(
        error(&["seed=1", "train.stpes=3"]),
        "override `train.stpes=3`: train.stpes: unknown key; did you mean `train.steps`?"
    );
    // What an override makes impossible in the source is said of the source.
    let message = error(&["model.kind=plain"]);
    assert!(message.starts_with("checkpoints/step-7:"), "{message}");
    assert!(message.contains("model.depth: unknown key; the keys here are model.width"), "{message}");
}

#[test]
fn overrides_are_read_as_one() {
    let run = value(
        &[("run.yaml", "")],
        &["model.depth=3", "model.kind=deep", "model.width=1", "name=a=b", "seed=1", "seed=2"],
    );
    assert_eq!((run.model, run.name.as_str(), run.seed), (Model::Deep { width: 1, depth: 3 }, "a=b", 2));
}

#[test]
fn circles_long_chains_and_missing_bases_are_refused() {
    let message = error(&[("b.yaml", "extends: a.yaml\n"), ("a.yaml", "seed: 1\nextends: [b.yaml]\n")], &[]);
    assert_eq!(message, "b.yaml:1:10: extends: a file cannot extend itself: a.yaml → b.yaml → a.yaml");
    let message = error(&[("a.yaml", "extends: a.yaml")], &[]);
    assert_eq!(message, "a.yaml:1:10: extends: a file cannot extend itself: a.yaml → a.yaml");
    let message = error(&[("a.yaml", "seed: 1\nextends:\n  - no.yaml\n")], &[]);
    assert_eq!(message, "a.yaml:3:5: cannot read no.yaml: No such file or directory (os error 2)");
    assert_eq!(error(&[("a.yaml", "extends: 3")], &[]), "a.yaml:1:10: extends: expected the path of a file");
    assert_eq!(error(&[("a.yaml", "extends: [{}]")], &[]), "a.yaml:1:11: extends[0]: expected the path of a file");

    let names: Vec<String> = (0..20).map(|index| format!("{index}.yaml")).collect();
    let texts: Vec<String> = (0..20).map(|index| format!("extends: {}.yaml\n", index - 1)).collect();
    let mut files: Vec<_> = names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    files[0].1 = "";
    assert!(
        error(&files, &[]).starts_with("4.yaml:1:10: extends: too many files extend each other: 19.yaml → 18.yaml")
    );
    assert_eq!(value(&files[..16], &[]), Run::default());
}

#[test]
fn yaml_is_read_back_and_keeps_its_order() {
    let run = Run {
        name: "7".into(),
        train: Train { learning_rate: 1e-3, clip: f32::INFINITY, ..Train::default() },
        model: Model::Deep { width: 3, depth: -1 },
        prior: Prior::Harmonic { alpha: 0.1 },
        ..Run::default()
    };
    let yaml = to_yaml(&run).unwrap();
    assert_eq!(value(&[("run.yaml", &yaml)], &[]), run);
    let order = ["seed:", "name:", "train:", "  steps:", "  clip:", "model:", "sampler: null", "prior:", "layers: []"];
    let places: Vec<_> = order.iter().map(|key| yaml.find(key).unwrap_or_else(|| panic!("{key} in {yaml}"))).collect();
    assert!(places.is_sorted(), "{yaml}");
}

#[test]
fn the_hash_knows_the_values_and_not_their_source() {
    let plain = value(&[("run.yaml", "train: {steps: 7}\nseed: 3\n")], &[]);
    let overridden = value(&[("run.yaml", "seed: 4\n")], &["seed=3", "train.steps=7"]);
    assert_eq!(hash(&plain).unwrap(), hash(&overridden).unwrap());
    assert_ne!(hash(&plain).unwrap(), hash(&Run { seed: 4, ..plain }).unwrap());
    // SHA-256 of `{"count":5}`, computed with coreutils.
    let known = "a7b59f14220279bf034e35863bb5c8f0e489b130e214b6eead2d04fe26f2ea8b";
    assert_eq!(hash(&Sampler { count: 5 }).unwrap(), known);
}

#[test]
fn every_key_is_known() {
    let known = known_keys(&Run { sampler: Some(Sampler::default()), ..Run::default() });
    for key in ["seed", "train", "train.steps", "train.betas", "model.width", "sampler.count"] {
        assert!(known.contains(&key.to_string()), "{key} in {known:?}");
    }
}
