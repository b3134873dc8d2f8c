//! Chains as data: shards, orders over clusters, crops, fold labels, batches.

#[path = "support/data.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use qsd::Error;
use qsd::bio::FoldClasses;
use qsd::data::{
    Batch, BatchBy, DataConfig, Dataset, DatasetWriter, Epoch, Kind, Loader, LongChains, NewChain, Position,
    Provenance, StepPlan, TrainingStream, ValidationBatches, inspect,
};
use support::write_manifest;

const SEED: u64 = 5;
const FOLDS: [&str; 3] = ["1.10.8.10", "3.40.50.300", "3.40.190"];

/// A chain that differs with `i` in everything: `10 + i mod 30` residues, broken after the third. Chain `i` has
/// `i mod 4` fold labels and, unless `i mod 5` is 4, belongs to the cluster `i / 10`.
fn chain(i: usize) -> NewChain {
    let n = 10 + i % 30;
    let x = |k: usize| 3.8 * k as f32 + if k > 2 { 5.0 } else { 0.0 };
    NewChain {
        key: format!("chain-{i}"),
        sequence: "ACDEFGHIKLMNPQRSTVWY".chars().cycle().skip(i).take(n).collect(),
        numbers: (0..n as i32).map(|k| k - 3 + i as i32).collect(),
        positions: (0..n).flat_map(|k| [x(k), i as f32, -0.5]).collect(),
        b_factors: (0..n).map(|k| 70.0 + k as f32).collect(),
        folds: FOLDS[..i % 4].iter().map(|code| code.to_string()).collect(),
        cluster: if i % 5 == 4 { String::new() } else { format!("cluster {}", i / 10) },
    }
}

fn write(out: &Path, train: usize, val: usize) {
    let mut writer = DatasetWriter::create(out, "chains").unwrap();
    (0..train).for_each(|i| writer.push("train", chain(i)).unwrap());
    (0..val).for_each(|i| writer.push("val", chain(1000 + i)).unwrap());
    let fold_classes = Some(FoldClasses::from_codes(FOLDS));
    let provenance = Provenance { fold_classes, dropped: Default::default(), source: 0.into(), created: 0.into() };
    writer.finish(provenance).unwrap();
}

/// 100 chains to train on, 20 to validate; the folder goes with the test.
fn open() -> (tempfile::TempDir, Dataset) {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("set"), 100, 20);
    let dataset = Dataset::open(&dir.path().join("set"), true).unwrap();
    (dir, dataset)
}

fn stream(dataset: &Dataset, config: &DataConfig, global_batch: usize) -> TrainingStream {
    TrainingStream::new(dataset, config, SEED, global_batch, 4).unwrap()
}

fn plans(stream: &mut TrainingStream, steps: usize) -> Vec<StepPlan> {
    let mut position = Position::default();
    let mut next = || {
        let plan = stream.plan(position).unwrap();
        position = plan.next;
        plan
    };
    (0..steps).map(|_| next()).collect()
}

fn assert_same(a: &Batch, b: &Batch) {
    assert_eq!((&a.ids, &a.x_1, &a.condition), (&b.ids, &b.x_1, &b.condition));
}

#[test]
fn what_is_written_is_read_over_shards_and_batches() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    write(&out, 1100, 3);
    let dataset = Dataset::open(&out, true).unwrap();
    assert_eq!((dataset.kind(), dataset.manifest().splits["train"].len()), (Kind::Chains, 2));
    assert_eq!(dataset.fold_classes(), Some(&FoldClasses::from_codes(FOLDS)));
    let train = dataset.split("train").unwrap();
    assert_eq!((train.len(), train.max_points()), (1100, 39));
    for i in [0, 1, 63, 64, 1023, 1024, 1099] {
        let (record, expected) = (train.chain(i).unwrap(), chain(i));
        let n = expected.numbers.len();
        assert_eq!((record.key(), record.sequence()), (&expected.key[..], &expected.sequence[..]));
        assert_eq!((record.numbers(), record.num_residues()), (&expected.numbers[..], n));
        assert_eq!((record.positions(), record.b_factors()), (&expected.positions[..], &expected.b_factors[..]));
        assert_eq!((record.folds(), record.cluster()), (FOLDS[..i % 4].to_vec(), &expected.cluster[..]));
        assert_eq!(train.num_points(i).unwrap(), n);
        assert_eq!(record.points(1..3).unwrap()[1], [7.6f32.into(), f64::from(i as f32), -0.5]);
    }
    let message = train.molecule(0).unwrap_err().to_string();
    assert!(message.contains("holds chains, expected molecules"), "{message}");
    assert!(matches!(support::open_sample("qm9").split("train").unwrap().chain(0), Err(Error::Data(_))));
}

#[test]
fn damage_is_an_error_with_a_place() {
    let (dir, dataset) = open();
    let shard = dir.path().join("set/val-00000.arrow");
    let whole = std::fs::read(&shard).unwrap();
    let mut damaged = 0;
    for place in (0..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x55;
        // Not renamed into place: the mapping above must stay as it is.
        std::fs::remove_file(&shard).unwrap();
        std::fs::write(&shard, &bytes).unwrap();
        let read = || -> qsd::Result<()> {
            let split = Dataset::open(&dir.path().join("set"), false)?.split("val")?;
            for i in 0..split.len() {
                let record = split.chain(i)?;
                record.points(0..record.num_residues())?;
                let _ = (record.key(), record.folds(), record.cluster(), split.num_points(i)?);
            }
            Ok(())
        };
        if let Err(error) = read() {
            damaged += 1;
            assert!(matches!(error, Error::Data(_)) && error.to_string().contains("val-00000.arrow"), "{error}");
        }
        let error = Dataset::open(&dir.path().join("set"), true).unwrap_err().to_string();
        assert!(error.contains("SHA-256"), "{error}");
    }
    assert!(damaged > 5, "{damaged} of the faults were noticed without the checksum");
    let mut manifest = dataset.manifest().clone();
    manifest.kind = Kind::Molecules;
    write_manifest(&dir.path().join("set"), &manifest);
    assert!(Dataset::open(&dir.path().join("set"), false).is_err());
}

#[test]
fn batches_hold_what_is_known_of_residues() {
    let (_dir, dataset) = open();
    let batches = ValidationBatches::new(&dataset, "val", &DataConfig::default(), 6, None).unwrap();
    assert_eq!(batches.num_samples(), 20);
    for batch in (0..batches.len()).map(|k| batches.batch(k).unwrap()) {
        let residues = batch.condition.residues().unwrap();
        assert_eq!(residues.folds, vec![[None; 3]; batch.ids.len()], "labels are not told unless asked for");
        for (cloud, points) in batch.x_1.iter().enumerate() {
            let expected = chain(1000 + batch.ids[cloud] as usize);
            let range = batch.x_1.range(cloud);
            assert_eq!(residues.numbers[range.clone()], expected.numbers);
            let broken: Vec<bool> = (0..points.len()).map(|k| k == 2).collect();
            assert_eq!(residues.breaks[range.clone()], broken);
            let inside = batch.condition.bonds.iter().filter(|bond| range.contains(&(bond[0] as usize)));
            let joined: Vec<u32> = inside.map(|bond| (assert_eq!(bond[0] + 1, bond[1]), bond[0]).1).collect();
            let last = range.end as u32 - 1;
            let expected_joined = (range.start as u32..last).filter(|&k| k != range.start as u32 + 2);
            assert!(joined.into_iter().eq(expected_joined));
            for axis in 0..3 {
                assert!(points.iter().map(|p| p[axis]).sum::<f64>().abs() < 1e-9);
            }
            let x = |k: usize| f64::from(expected.positions[3 * k]);
            assert!((points[4][0] - points[0][0] - (x(4) - x(0))).abs() < 1e-9);
        }
    }
}

#[test]
fn an_epoch_shows_one_member_of_each_cluster() {
    let (_dir, dataset) = open();
    // Ten clusters of 8, and 20 chains by themselves.
    let cluster = |i: usize| if i % 5 == 4 { format!("alone {i}") } else { chain(i).cluster };
    let mut stream = stream(&dataset, &DataConfig::default(), 30);
    assert_eq!((stream.selection().len(), stream.selection().per_epoch()), (100, 30));
    let mut shown: BTreeMap<String, BTreeMap<usize, usize>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let epochs = 800;
    for plan in plans(&mut stream, epochs) {
        let clusters: BTreeSet<String> = plan.shards.iter().flatten().map(|s| cluster(s.index)).collect();
        assert_eq!((clusters.len(), plan.num_samples()), (30, 30), "each cluster once");
        for sample in plan.shards.iter().flatten() {
            assert_eq!(sample.id % 100, sample.index as u64);
            assert!(ids.insert(sample.id), "ids are unique");
            *shown.entry(cluster(sample.index)).or_default().entry(sample.index).or_default() += 1;
        }
    }
    // 100 times each of 8 is expected, with a standard deviation of 9.
    for (_, counts) in shown.iter().filter(|(name, _)| name.starts_with("cluster")) {
        assert!(counts.len() == 8 && counts.values().all(|&n| (60..150).contains(&n)), "{counts:?}");
    }
    let config = DataConfig { epoch: Epoch::Samples, ..DataConfig::default() };
    assert_eq!(self::stream(&dataset, &config, 30).selection().per_epoch(), 100);
    // With few enough chains of a cluster left, the cluster is still one.
    let config = DataConfig { max_points: Some(15), ..DataConfig::default() };
    let selection = self::stream(&dataset, &config, 30);
    let left: BTreeSet<String> = (0..100).filter(|i| 10 + i % 30 <= 15).map(cluster).collect();
    assert_eq!(selection.selection().per_epoch(), left.len());
}

#[test]
fn long_chains_are_left_out_or_cropped() {
    let (_dir, dataset) = open();
    let config = DataConfig { max_points: Some(20), epoch: Epoch::Samples, ..DataConfig::default() };
    assert_eq!(stream(&dataset, &config, 8).selection().skipped(), (0..100).filter(|i| 10 + i % 30 > 20).count());
    let config = DataConfig { long_chains: LongChains::Crop, ..config };
    let mut cropped = stream(&dataset, &config, 100);
    assert_eq!(cropped.selection().skipped(), 0);
    let mut starts = BTreeMap::<i32, usize>::new();
    for plan in plans(&mut cropped, 60) {
        for samples in &plan.shards {
            let batch = cropped.batch(plan.position.step, samples).unwrap();
            assert_same(&batch, &cropped.batch(plan.position.step, samples).unwrap());
            let residues = batch.condition.residues().unwrap();
            for (cloud, sample) in samples.iter().enumerate() {
                let (whole, range) = (chain(sample.index), batch.x_1.range(cloud));
                let n = whole.numbers.len();
                assert_eq!((range.len(), sample.num_points), (n.min(20), n.min(20)));
                let numbers = &residues.numbers[range.clone()];
                let start = numbers[0] - whole.numbers[0];
                assert_eq!(numbers, &whole.numbers[start as usize..start as usize + range.len()]);
                let broken: Vec<bool> =
                    (0..range.len() as i32).map(|k| k + start == 2 && k + 1 < range.len() as i32).collect();
                assert_eq!(residues.breaks[range], broken, "nothing is broken after the last residue shown");
                if n == 24 {
                    *starts.entry(start).or_default() += 1;
                }
            }
        }
    }
    // Chains of 24 residues occur 4 times in an epoch: 240 draws of 5 places, 48 each with a standard deviation of 6.
    assert!(starts.len() == 5 && starts.values().all(|n| (20..80).contains(n)), "{starts:?}");
    let middle = ValidationBatches::new(&dataset, "val", &config, 1, None).unwrap().batch(19).unwrap();
    let whole = chain(1019);
    assert_eq!(whole.numbers.len(), 39);
    assert_eq!(middle.condition.residues().unwrap().numbers, &whole.numbers[9..29]);
}

#[test]
fn fold_labels_are_told_as_often_and_as_far_as_configured() {
    let (_dir, dataset) = open();
    let classes = FoldClasses::from_codes(FOLDS);
    let config = DataConfig { fold_levels: [0.5, 0.1, 0.15, 0.25], epoch: Epoch::Samples, ..DataConfig::default() };
    let mut stream = stream(&dataset, &config, 100);
    let (mut levels, mut first, mut told) = ([0usize; 4], BTreeMap::<u32, usize>::new(), 0);
    for plan in plans(&mut stream, 100) {
        for samples in &plan.shards {
            let batch = stream.batch(plan.position.step, samples).unwrap();
            let folds = &batch.condition.residues().unwrap().folds;
            for (sample, fold) in samples.iter().zip(folds) {
                let known: Vec<_> = FOLDS[..sample.index % 4].iter().map(|code| classes.fold(code)).collect();
                let depth = fold.iter().flatten().count();
                if known.is_empty() {
                    assert_eq!(depth, 0);
                    continue;
                }
                levels[depth] += 1;
                told += 1;
                assert!(
                    known
                        .iter()
                        .any(|label| label[..depth] == fold[..depth] && fold[depth..].iter().all(Option::is_none))
                );
                if let ([_, _, Some(topology)], 3) = (fold, known.len()) {
                    *first.entry(*topology).or_default() += 1;
                }
            }
        }
    }
    for (found, probability) in levels.iter().zip(config.fold_levels) {
        let (expected, n) = (told as f64 * probability, told as f64);
        assert!((*found as f64 - expected).abs() < 5.0 * (n * probability * (1.0 - probability)).sqrt(), "{levels:?}");
    }
    // Of three labels each is drawn as often.
    let mean = first.values().sum::<usize>() as f64 / 3.0;
    assert!(first.len() == 3 && first.values().all(|&n| (n as f64 - mean).abs() < 5.0 * mean.sqrt()), "{first:?}");
    let fixed = || ValidationBatches::new(&dataset, "val", &config, 20, None).unwrap().batch(0).unwrap();
    assert_same(&fixed(), &fixed());
    assert!(fixed().condition.residues().unwrap().folds.iter().any(|fold| fold[0].is_some()));
}

#[test]
fn batches_by_pairs_and_balanced_shards() {
    let (_dir, dataset) = open();
    let config = DataConfig { batch_by: BatchBy::Pairs, epoch: Epoch::Samples, ..DataConfig::default() };
    let mut stream = stream(&dataset, &config, 20_000);
    let plans = plans(&mut stream, 40);
    let pairs = |plan: &StepPlan| plan.shards.iter().flatten().map(|s| s.num_points.pow(2)).sum::<usize>();
    for plan in &plans {
        let (filled, loads) = (pairs(plan), plan.shards.iter().map(|s| s.iter().map(|s| s.num_points).sum::<usize>()));
        assert!((20_000 - 39 * 39..=20_000).contains(&filled), "{filled}");
        let (least, most) = (loads.clone().min().unwrap(), loads.max().unwrap());
        assert!(most <= least + 40, "{least}..{most} residues in a shard");
    }
}

#[test]
fn the_loader_delivers_what_direct_construction_gives_on_any_number_of_ranks() {
    let (_dir, dataset) = open();
    let config = DataConfig {
        max_points: Some(25),
        long_chains: LongChains::Crop,
        fold_levels: [0.25; 4],
        ..DataConfig::default()
    };
    let mut direct = stream(&dataset, &config, 16);
    let plans = plans(&mut direct, 12);
    for ranks in [1, 2, 4] {
        for rank in 0..ranks {
            let owned = rank * 4 / ranks..(rank + 1) * 4 / ranks;
            let mut loader = Loader::start(direct.clone(), owned.clone(), Position::default(), 2).unwrap();
            for plan in &plans {
                let step = loader.next().unwrap();
                for (batch, samples) in step.shards.iter().zip(&plan.shards[owned.clone()]) {
                    assert_same(batch, &direct.batch(plan.position.step, samples).unwrap());
                }
            }
        }
    }
}

#[test]
fn inspection_counts_chains_and_finds_a_cluster_on_two_sides() {
    let (dir, _) = open();
    let shown = inspect(&dir.path().join("set")).unwrap().to_string();
    let train: usize = (0..100).map(|i| chain(i).numbers.len()).sum();
    let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let line = words.iter().find(|line| line.first() == Some(&"train")).unwrap();
    assert_eq!(line[1..3], ["100", &train.to_string()], "{shown}");
    // The clusters of the 20 chains of `val` are two others.
    for expected in ["120 breaks; 90 of 120 chains", "96 chains in 12 clusters"] {
        assert!(shown.contains(expected), "{shown}");
    }
    let mut writer = DatasetWriter::create(&dir.path().join("both"), "both").unwrap();
    writer.push("train", chain(0)).unwrap();
    writer.push("val", chain(1)).unwrap();
    let provenance =
        Provenance { fold_classes: None, dropped: Default::default(), source: 0.into(), created: 0.into() };
    writer.finish(provenance).unwrap();
    let message = inspect(&dir.path().join("both")).unwrap_err().to_string();
    assert!(message.contains("cluster \"cluster 0\" is in the splits train and val"), "{message}");
}

#[test]
fn what_the_data_do_not_have_is_refused() {
    let (dir, dataset) = open();
    let refused = |dataset: &Dataset, config: DataConfig, expected: &str| {
        let error = TrainingStream::new(dataset, &config, SEED, 8, 1).unwrap_err();
        assert!(matches!(error, Error::Config(_)) && error.to_string().contains(expected), "{error}");
    };
    let molecules = support::open_sample("qm9");
    let crop = DataConfig { max_points: Some(9), long_chains: LongChains::Crop, ..DataConfig::default() };
    refused(&molecules, crop, "holds molecules, which cannot be cropped");
    let folds = DataConfig { fold_levels: [0.5, 0.5, 0.0, 0.0], ..DataConfig::default() };
    refused(&molecules, folds.clone(), "has no fold labels");
    let mut manifest = dataset.manifest().clone();
    manifest.fold_classes = None;
    write_manifest(&dir.path().join("set"), &manifest);
    refused(&Dataset::open(&dir.path().join("set"), false).unwrap(), folds, "chains has no fold labels");
    let short = DataConfig { max_points: Some(5), ..DataConfig::default() };
    let error = TrainingStream::new(&dataset, &short, SEED, 8, 1).unwrap_err().to_string();
    assert!(error.contains("none of its 100 chains has at most 5 residues"), "{error}");
    let mut classes = dataset.manifest().clone();
    classes.fold_classes.as_mut().unwrap().levels[0].reverse();
    write_manifest(&dir.path().join("set"), &classes);
    let error = Dataset::open(&dir.path().join("set"), false).unwrap_err().to_string();
    assert!(error.contains("must ascend"), "{error}");
}
