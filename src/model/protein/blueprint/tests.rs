//! That the layout is the published one.

use super::*;
use crate::model::protein::{FeatureOrder, PairUpdates};

type Released = ([usize; 4], Option<usize>, [usize; 3], Option<usize>);

/// The released shapes: width, layers, heads, pair, pair updates; then their numbers of scalars and of tensors
/// (where known), in the pair updates and in the triangles among them.
const RELEASED: [Released; 5] = [
    ([512, 10, 8, 256], None, [64_995_584, 0, 0], Some(335)),
    ([512, 10, 8, 256], Some(2), [70_831_664, 5_819_120, 3_186_160], None),
    ([768, 15, 12, 512], None, [191_068_160, 0, 0], Some(490)),
    ([768, 15, 12, 512], Some(3), [207_968_816, 16_866_800, 7_671_280], None),
    ([1024, 18, 16, 512], Some(5), [397_545_472, 14_544_064, 6_137_024], None),
];

#[test]
fn the_released_shapes_have_the_published_numbers_of_parameters() {
    for ([hidden, layers, heads, pair], every, scalars, tensors) in RELEASED {
        let features = if hidden == 512 { FeatureOrder::BreakFirst } else { FeatureOrder::PositionFirst };
        let pair_updates = every.map(|every| PairUpdates { every, ..PairUpdates::default() });
        let config = ProteinConfig { hidden, layers, heads, pair, pair_updates, features, ..ProteinConfig::default() };
        let blueprint = Blueprint::new(config).unwrap().0;
        let spans = blueprint.layout.spans();
        let among = |part: &str| -> usize {
            spans.iter().filter(|span| span.name.contains(part)).map(|span| span.range.len()).sum()
        };
        let found = [blueprint.layout.len(), among("pair_update_layers"), among("tri_mult")];
        assert_eq!(found, scalars, "{hidden} {every:?}");
        assert!(tensors.is_none_or(|count| count == spans.len()), "{} tensors", spans.len());
    }
}

#[test]
fn the_parts_of_the_small_model_have_the_published_numbers() {
    let blueprint = Blueprint::new(ProteinConfig::default()).unwrap().0;
    let among = |start: &str| -> usize {
        let spans = blueprint.layout.spans().iter();
        spans.filter(|span| span.name.starts_with(start)).map(|span| span.range.len()).sum()
    };
    assert_eq!(among("transformer_layers"), 60_416_000);
    assert_eq!(among("pair_repr_builder"), 477_696);
    assert_eq!(among("cond_factory") + among("transition_c"), 4_025_088);
    assert_eq!(among("cond_factory.feat_creators"), 355_072);
}

#[test]
fn units_are_the_whole_buffer_from_its_end() {
    for (updates, count) in [(None, 12), (Some(PairUpdates::default()), 17)] {
        let config = ProteinConfig { pair_updates: updates, ..ProteinConfig::default() };
        let blueprint = Blueprint::new(config).unwrap().0;
        assert_eq!(blueprint.units.len(), count);
        let mut end = blueprint.layout.len();
        for unit in &blueprint.units {
            assert!(unit.end == end && !unit.is_empty(), "{unit:?} does not end at {end}");
            end = unit.start;
        }
        assert_eq!(end, 0);
    }
}

#[test]
fn updates_divide_the_layers() {
    let segments = |layers, every| {
        let pair_updates = Some(PairUpdates { every, ..PairUpdates::default() });
        Blueprint::new(ProteinConfig { layers, pair_updates, ..ProteinConfig::default() }).unwrap().0.segments()
    };
    assert_eq!(segments(5, 2), [0..1, 1..3, 3..5]);
    assert_eq!(segments(3, 1), [0..1, 1..2, 2..3]);
    assert_eq!(segments(1, 1), [0..1; 1]);
    assert_eq!(Blueprint::new(ProteinConfig::default()).unwrap().0.segments(), [0..10; 1]);
}

#[test]
fn matrices_over_the_same_rows_lie_side_by_side() {
    let blueprint = Blueprint::new(ProteinConfig::default()).unwrap().0;
    let spans = blueprint.layout.spans();
    let follow = |a: usize, b: usize| assert_eq!(spans[a].range.end, spans[b].range.start, "{}", spans[b].name);
    for layer in &blueprint.layers {
        follow(layer.attention.qkv.weight, layer.attention.gate.weight);
        follow(layer.attention.qkv.bias, layer.attention.gate.bias);
        follow(layer.attention.adaptive.gain.weight, layer.attention.adaptive.shift.weight);
        follow(layer.transition.adaptive.gain.weight, layer.transition.adaptive.shift.weight);
    }
    for biases in blueprint.stem.biases.windows(2) {
        follow(biases[0].projection.weight, biases[1].projection.weight);
    }
}

#[test]
fn too_many_parameters_are_refused() {
    let config = ProteinConfig { hidden: 16384, layers: 1024, ..ProteinConfig::default() };
    let message = Blueprint::new(config).unwrap_err().to_string();
    assert!(message.contains("hidden 16384, layers 1024"), "{message}");
}
