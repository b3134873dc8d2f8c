//! Orders, plans, batches and the loader, on the embedded sample.

#[path = "support/data.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use qsd::Error;
use qsd::data::{
    Batch, BatchBy, Condition, ConformerChoice, DataConfig, Loader, Order, Position, StepPlan, StereoCentre,
    TrainingStream, ValidationBatches, num_edges,
};
use support::{open_sample, shows};

const SEED: u64 = 5;

fn stream(config: &DataConfig, global_batch: usize, num_shards: usize) -> TrainingStream {
    TrainingStream::new(&open_sample("qm9"), config, SEED, global_batch, num_shards).unwrap()
}

/// The plans of the first steps.
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
fn every_sample_occurs_once_per_epoch() {
    let mut stream = stream(&DataConfig::default(), 103, 4); // 515 molecules: an epoch is 5 steps
    let plans = plans(&mut stream, 10);
    for epoch in plans.chunks(5) {
        let indices: BTreeSet<usize> = epoch.iter().flat_map(|p| p.shards.iter().flatten()).map(|s| s.index).collect();
        assert!(indices.into_iter().eq(0..515));
    }
    let ids: BTreeSet<u64> = plans.iter().flat_map(|p| p.shards.iter().flatten()).map(|s| s.id).collect();
    assert_eq!(ids.len(), 1030, "ids are unique over epochs");
}

#[test]
fn shards_are_balanced_and_in_the_order_of_the_stream() {
    let mut cut = stream(&DataConfig::default(), 64, 8);
    let mut order = Order::new(SEED, 515).unwrap();
    let mut place = |position: u64| {
        let (epoch, index) = order.at(position);
        (epoch * 515 + index as u64, position)
    };
    for cut in plans(&mut cut, 20) {
        let place: BTreeMap<u64, u64> = (cut.position.sample..cut.next.sample).map(&mut place).collect();
        let mut seen = 0;
        for shard in &cut.shards {
            assert!(shard.is_sorted_by_key(|s| place[&s.id]));
            seen += shard.len();
        }
        assert_eq!((seen, cut.num_samples()), (64, 64));
        let loads = cut.shards.iter().map(|shard| shard.iter().map(|s| num_edges(s.num_points)).sum::<u64>());
        let (least, most) = (loads.clone().min().unwrap(), loads.max().unwrap());
        assert!(most as f64 <= 1.1 * least as f64, "{least}..{most} edges");
    }
}

#[test]
fn a_data_set_smaller_than_a_batch_and_more_shards_than_samples() {
    let mut large = stream(&DataConfig::default(), 1200, 2);
    let plan = large.plan(Position::default()).unwrap();
    assert_eq!(plan.num_samples(), 1200);
    assert_eq!(plan.next, Position { step: 1, sample: 1200 });
    let ids: BTreeSet<u64> = plan.shards.iter().flatten().map(|s| s.id).collect();
    assert_eq!(ids.len(), 1200, "a molecule that occurs twice has two ids");
    let mut small = stream(&DataConfig::default(), 1, 4);
    let plan = small.plan(Position { step: 7, sample: 7 }).unwrap();
    assert_eq!(plan.shards.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 0]);
    let empty = small.batch(7, &plan.shards[1]).unwrap();
    assert_eq!((empty.x_1.len(), empty.condition), (0, Condition::default()));
}

#[test]
fn batches_by_cost_are_cut_greedily() {
    for (batch_by, size) in [(BatchBy::Points, 500), (BatchBy::Edges, 9000), (BatchBy::Points, 1)] {
        let config = DataConfig { batch_by, ..DataConfig::default() };
        let units = |n: usize| if batch_by == BatchBy::Points { n as u64 } else { num_edges(n) };
        let mut stream = stream(&config, size, 1);
        let plans = plans(&mut stream, 30);
        for (plan, following) in plans.iter().zip(&plans[1..]) {
            let filled: u64 = plan.shards[0].iter().map(|s| units(s.num_points)).sum();
            assert!(filled <= size as u64 || plan.num_samples() == 1, "{filled} of {size}");
            assert!(filled + units(following.shards[0][0].num_points) > size as u64, "room was left");
            assert_eq!(plan.next, following.position);
            assert_eq!(plan.next.sample - plan.position.sample, plan.num_samples() as u64);
        }
    }
}

#[test]
fn max_points_leaves_molecules_out_and_says_so() {
    let dataset = open_sample("qm9");
    let config = DataConfig { max_points: Some(15), ..DataConfig::default() };
    let mut stream = stream(&config, 64, 1);
    let split = dataset.split("train").unwrap();
    let larger = (0..split.len()).filter(|&i| split.num_points(i).unwrap() > 15).count();
    assert!(larger > 0);
    assert_eq!(stream.selection().skipped(), larger);
    assert!(plans(&mut stream, 20).iter().flat_map(|p| p.shards.iter().flatten()).all(|s| s.num_points <= 15));
    let config = DataConfig { max_points: Some(1), ..DataConfig::default() };
    let error = TrainingStream::new(&dataset, &config, SEED, 64, 1).unwrap_err();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("none of its 515"), "{error}");
}

#[test]
fn impossible_sizes_are_refused() {
    let dataset = open_sample("qm9");
    for (global_batch, num_shards) in [(0, 1), (1, 0)] {
        let error = TrainingStream::new(&dataset, &DataConfig::default(), SEED, global_batch, num_shards).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error}");
    }
}

#[test]
fn the_loader_delivers_what_direct_construction_gives_on_any_number_of_ranks() {
    let mut direct = stream(&DataConfig::default(), 32, 4);
    let plans = plans(&mut direct, 20); // crosses an epoch's end
    for ranks in [1, 2, 4] {
        for rank in 0..ranks {
            let owned = rank * 4 / ranks..(rank + 1) * 4 / ranks;
            let mut loader = Loader::start(direct.clone(), owned.clone(), Position::default(), 3).unwrap();
            for plan in &plans {
                let step = loader.next().unwrap();
                assert_eq!((step.position, step.next), (plan.position, plan.next));
                assert_eq!((step.num_samples, step.first_shard), (32, owned.start));
                assert_eq!(step.shards.len(), owned.len());
                for (batch, samples) in step.shards.iter().zip(&plan.shards[owned.clone()]) {
                    assert_same(batch, &direct.batch(plan.position.step, samples).unwrap());
                }
            }
        }
    }
}

#[test]
fn loading_resumes_at_any_position() {
    let config = DataConfig { batch_by: BatchBy::Points, ..DataConfig::default() };
    let mut through = Loader::start(stream(&config, 700, 2), 0..2, Position::default(), 1).unwrap();
    let mut steps = (0..25).map(|_| through.next().unwrap());
    let halfway = steps.by_ref().nth(16).unwrap().next;
    let mut resumed = Loader::start(stream(&config, 700, 2), 0..2, halfway, 0).unwrap();
    for step in steps {
        let again = resumed.next().unwrap();
        assert_eq!(step.position, again.position);
        step.shards.iter().zip(&again.shards).for_each(|(a, b)| assert_same(a, b));
    }
}

#[test]
fn faults_reach_the_caller() {
    let mut loader = Loader::start(stream(&DataConfig::default(), 8, 2), 1..3, Position::default(), 2).unwrap();
    assert!(loader.next().unwrap_err().to_string().contains("own more than there are"));
    assert!(loader.next().unwrap_err().to_string().contains("ended"));
}

#[test]
fn dropping_the_loader_ends_it_while_its_thread_waits_for_room() {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut loader = Loader::start(stream(&DataConfig::default(), 8, 2), 0..2, Position::default(), 1).unwrap();
        loader.next().unwrap();
        std::thread::sleep(Duration::from_millis(200)); // by now the channel is full
        drop(loader);
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(20)).expect("the drop returns");
}

#[test]
fn clouds_are_centred_conformers_with_their_graph() {
    let dataset = open_sample("drugs");
    let split = dataset.split("train").unwrap();
    let batches = ValidationBatches::new(&dataset, "train", &DataConfig::default(), 16, None).unwrap();
    let mut index = 0;
    for batch in (0..batches.len()).map(|k| batches.batch(k).unwrap()) {
        for (cloud, points) in batch.x_1.iter().enumerate() {
            assert_eq!(batch.ids[cloud], index as u64);
            let record = split.molecule(index).unwrap();
            let original = record.conformer(0).unwrap();
            for axis in 0..3 {
                assert!(points.iter().map(|p| p[axis]).sum::<f64>().abs() < 1e-10);
                let shift = original[0][axis] - points[0][axis];
                assert!(points.iter().zip(&original).all(|(p, o)| (o[axis] - p[axis] - shift).abs() < 1e-12));
            }
            let range = batch.condition.offsets[cloud]..batch.condition.offsets[cloud + 1];
            let numbers = record.molecule().atoms.iter().map(|a| a.atomic_number);
            let atoms = batch.condition.atoms().unwrap();
            assert!(numbers.eq(atoms.atomic_numbers[range.clone()].iter().copied()));
            let inside = |bond: &&[u32; 2]| bond.iter().all(|&i| range.contains(&(i as usize)));
            assert_eq!(batch.condition.bonds.iter().filter(inside).count(), record.molecule().bonds.len());
            index += 1;
        }
        assert_eq!(batch.condition.atoms().unwrap().features.len(), batch.x_1.points().len());
    }
    assert_eq!(index, split.len());
}

/// The handedness stored with the graph is the one that the conformers show: the codes, the order of the
/// bonds and the sign convention fit together.
#[test]
fn stored_handedness_is_that_of_the_conformers() {
    let (mut agreeing, mut all) = (0, 0);
    for partition in ["drugs", "qm9"] {
        let (dataset, config) = (open_sample(partition), DataConfig::default());
        let batches = ValidationBatches::new(&dataset, "train", &config, 64, None).unwrap();
        for batch in (0..batches.len()).map(|k| batches.batch(k).unwrap()) {
            for centre in &batch.condition.atoms().unwrap().stereo_centres {
                let range = batch.x_1.range(centre.cloud as usize);
                assert!(centre.neighbours.iter().all(|&i| range.contains(&(i as usize))));
                let neighbours = centre.neighbours.map(|i| i - range.start as u32);
                let points = batch.x_1.cloud(centre.cloud as usize);
                agreeing += usize::from(shows(points, StereoCentre { neighbours, ..*centre }));
                all += 1;
            }
        }
    }
    assert!(all > 500, "{all} centres");
    assert_eq!(agreeing, all);
}

#[test]
fn conformers_are_drawn_as_configured() {
    let dataset = open_sample("drugs");
    let split = dataset.split("train").unwrap();
    let index = (0..split.len()).max_by_key(|&i| split.molecule(i).unwrap().num_conformers()).unwrap();
    let record = split.molecule(index).unwrap();
    let c = record.num_conformers();
    assert!(c >= 3);
    for choice in [ConformerChoice::Uniform, ConformerChoice::Boltzmann] {
        let config = DataConfig { conformer: choice, ..DataConfig::default() };
        let stream = TrainingStream::new(&dataset, &config, SEED, 8, 1).unwrap();
        let sample = qsd::data::Sample { id: index as u64, index, num_points: record.num_atoms() };
        let mut counts = vec![0usize; c];
        let draws = 4000;
        for step in 0..draws {
            let batch = stream.batch(step, &[sample]).unwrap();
            let shown = (0..c).find(|&k| {
                let conformer = record.conformer(k).unwrap();
                let shift: Vec<f64> = (0..3).map(|a| conformer[0][a] - batch.x_1.points()[0][a]).collect();
                let same = |(p, o): (&[f64; 3], &[f64; 3])| (0..3).all(|a| (o[a] - p[a] - shift[a]).abs() < 1e-9);
                batch.x_1.points().iter().zip(&conformer).all(same)
            });
            counts[shown.expect("a conformer of the molecule")] += 1;
        }
        for (k, &count) in counts.iter().enumerate() {
            let uniform = choice == ConformerChoice::Uniform;
            let p = if uniform { 1.0 / c as f64 } else { f64::from(record.weights()[k]) };
            let deviation = (draws as f64 * p * (1.0 - p)).sqrt();
            assert!((count as f64 - draws as f64 * p).abs() < 5.0 * deviation + 1.0, "{choice:?}: {counts:?}");
        }
    }
}

#[test]
fn validation_batches_are_fixed_and_limited() {
    let (dataset, config) = (open_sample("qm9"), DataConfig::default());
    let limited = ValidationBatches::new(&dataset, "val", &config, 10, Some(25)).unwrap();
    assert_eq!((limited.len(), limited.num_samples()), (3, 25));
    let ids: Vec<u64> = (0..3).flat_map(|k| limited.batch(k).unwrap().ids).collect();
    assert!(ids.into_iter().eq(0..25));
    assert_same(&limited.batch(1).unwrap(), &limited.batch(1).unwrap());
    assert!(matches!(ValidationBatches::new(&dataset, "val", &config, 0, None), Err(Error::Config(_))));
}
