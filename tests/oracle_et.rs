//! The ET network against runs of the reference implementation: edges, every intermediate, outputs, losses and
//! the gradients of all parameters, in f64 and f32.
//!
//! `cargo test --release --test oracle_et -- --nocapture` prints the rows of `docs/numerics.md`. An error is the
//! largest difference over a tensor divided by the largest number in the reference's; a row states the worst
//! tensor's.

mod et_support;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use et_support::*;
use qsd::diffusion::Denoiser;
use qsd::model::graph::{GraphRule, Neighbourhood};
use qsd::model::{Layout, Network};

const REFERENCE_RULE: Neighbourhood = Neighbourhood { rule: GraphRule::EtflowIndex, cutoff: 10.0, max_neighbours: 32 };

/// Prints one row and fails if a limit is passed.
fn row(quantity: &str, f64_error: f64, f64_limit: f64, f32_error: f64, f32_limit: f64) {
    println!("| {quantity} | {f64_error:.1e} | {f32_error:.1e} |");
    assert!(f64_error <= f64_limit, "{quantity}: {f64_error:e} in f64");
    assert!(f32_error <= f32_limit, "{quantity}: {f32_error:e} in f32");
}

#[test]
fn edges_equal_the_reference() {
    let fixture = fixture("graphs");
    for set in ["mixed", "single_big", "line", "ball40", "edge_cases"] {
        let of = |name: &str| &fixture[&format!("{set}.{name}")];
        let batch = indices(of("batch"));
        let molecules = batch.last().map_or(0, |&b| b + 1);
        let offsets: Vec<usize> = (0..=molecules).map(|b| batch.partition_point(|&c| c < b)).collect();
        let positions: Vec<[f32; 3]> = points(of("pos")).iter().map(|x| x.map(|c| c as f32)).collect();
        let edges = REFERENCE_RULE.edges(&offsets, &positions, &bonds(of("bond_index")));
        assert_eq!([edges.sources, edges.targets].concat(), indices(of("index.edge_index")), "{set}");
        let types: Vec<u32> = edges.types.iter().map(|&t| u32::from(t)).collect();
        assert_eq!(types, indices(of("index.edge_type")), "{set}");
    }
}

#[test]
fn edges_of_the_tiny_cases_equal_the_reference() {
    for recipe in RECIPES {
        let case = Case::load(recipe);
        let positions: Vec<[f32; 3]> =
            points(&case.tensors["in.pos_centred"]).iter().map(|x| x.map(|c| c as f32)).collect();
        let edges = REFERENCE_RULE.edges(&case.condition.offsets, &positions, &case.condition.bonds);
        assert_eq!([edges.sources, edges.targets].concat(), indices(&case.tensors["in.ext_edge_index"]));
        let types: Vec<u32> = edges.types.iter().map(|&t| u32::from(t)).collect();
        assert_eq!(types, indices(&case.tensors["in.ext_edge_type"]));
    }
}

/// The intermediates in the reference's names and shapes, as f64.
fn intermediates(case: &Case, dtype: DType) -> BTreeMap<String, Vec<f64>> {
    let mut seen = BTreeMap::new();
    let mut trace = |name: &str, tensor: &Tensor| {
        let tensor = match name {
            // Axis first here, atoms first there.
            _ if tensor.rank() == 3 => tensor.transpose(0, 1).unwrap(),
            _ => tensor.clone(),
        };
        seen.insert(name.to_owned(), numbers(&tensor));
    };
    case.denoiser(dtype).predict_traced(case.input(), &mut trace).unwrap();
    let axes = ["x", "y", "z"].map(|axis| seen.remove(&format!("edge_dir.{axis}")).unwrap());
    let directions = (0..axes[0].len()).flat_map(|e| [axes[0][e], axes[1][e], axes[2][e]]).collect();
    seen.insert("edge_dir".into(), directions);
    seen
}

#[test]
fn every_intermediate_equals_the_reference() {
    for (recipe, expected_count) in RECIPES.into_iter().zip([27, 23, 23]) {
        let case = Case::load(recipe);
        let found = [DType::F64, DType::F32].map(|dtype| intermediates(&case, dtype));
        let mut worst = [0.0f64; 2];
        let mut count = 0;
        for (name, expected) in case.tensors.iter().filter_map(|(key, t)| Some((key.strip_prefix("int.")?, t))) {
            for (worst, found) in worst.iter_mut().zip(&found) {
                let error = relative_error(&found[name], &numbers(expected));
                assert!(error < 1e-3, "{recipe} {name}: {error:e}");
                *worst = worst.max(error);
            }
            count += 1;
        }
        assert_eq!(count, expected_count, "{recipe}");
        row(&format!("{recipe}: {count} intermediates"), worst[0], 1e-12, worst[1], 1e-5);
    }
}

#[test]
fn predictions_and_losses_equal_the_reference() {
    for recipe in RECIPES {
        let case = Case::load(recipe);
        let expected = |name: &str| numbers(&case.tensors[&format!("out.{name}")]);
        let found = [DType::F64, DType::F32].map(|dtype| case.denoiser(dtype).predict(case.input()).unwrap());
        let error = found.each_ref().map(|v| relative_error(&flat(v), &expected("v")));
        row(&format!("{recipe}: prediction v"), error[0], 1e-12, error[1], 1e-5);
        let reference = numbers(&case.tensors["f32.out.v"]);
        assert!(relative_error(&flat(&found[1]), &reference) < 1e-5, "{recipe}: v against the reference's f32");
        for (name, loss) in [("loss_l2", l2 as Loss), ("loss_mse", mse), ("loss_proj_mse", projected_mse)] {
            let error = found.each_ref().map(|v| relative_error(&[loss(v, &case).0], &expected(name)));
            row(&format!("{recipe}: {name}"), error[0], 1e-12, error[1], 1e-5);
        }
        let projected = found.each_ref().map(|v| horizontal(&residual(v, &case), &case.x_t));
        // The oracle's is not centred, and its f32 target has a mean of 1e-8.
        let expected = centred(&case.x_t.with_points(points(&case.tensors["out.Px_residual"])));
        let error = projected.map(|p| relative_error(&flat(&p), &flat(&expected)));
        row(&format!("{recipe}: projected residual"), error[0], 1e-12, error[1], 1e-5);
    }
}

/// The gradient of each parameter in f64, each delivered exactly once.
fn gradients_f64(case: &Case, loss: Loss) -> Vec<Vec<f64>> {
    let network = case.network(DType::F64);
    let recording = network.denoiser(&case.parameters()).unwrap().recording(case.input()).unwrap();
    let at_v = loss(qsd::diffusion::Recording::prediction(&recording), case).1;
    let mut found = vec![Vec::new(); network.layout().spans().len()];
    recording
        .gradients(&at_v, &mut |index, gradient| {
            assert!(found[index].is_empty(), "{} delivered twice", network.layout().spans()[index].name);
            found[index] = numbers(gradient);
            Ok(())
        })
        .unwrap();
    found
}

/// The same in f32, by the way that training goes.
fn gradients_f32(case: &Case, loss: Loss) -> Vec<Vec<f64>> {
    let network = case.network(DType::F32);
    let parameters = case.parameters();
    let denoiser = network.bind(&parameters).unwrap();
    let recording = denoiser.record(case.input()).unwrap();
    let at_v = loss(recording.prediction(), case).1;
    let mut flat = vec![f32::NAN; network.layout().len()];
    recording.backward(&at_v, &mut flat, &mut |_, _| Ok(())).unwrap();
    let of = |span: &qsd::model::Span| flat[span.range.clone()].iter().map(|&g| f64::from(g)).collect();
    network.layout().spans().iter().map(of).collect()
}

/// The worst parameter of a recipe under a loss.
fn worst_gradient(case: &Case, kind: &str, layout: &Layout, found: &[Vec<f64>]) -> f64 {
    let errors = layout.spans().iter().zip(found).map(|(span, found)| {
        let error = relative_error(found, &numbers(&case.tensors[&format!("{kind}.{}", span.name)]));
        assert!(error < 1e-3, "{kind} {}: {error:e}", span.name);
        error
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn all_gradients_equal_the_reference() {
    for recipe in RECIPES {
        let case = Case::load(recipe);
        let network = case.network(DType::F64);
        let layout = network.layout();
        for (kind, loss) in [("grad_l2", l2 as Loss), ("grad_proj", projected_mse), ("grad_mse", mse)] {
            if kind == "grad_mse" && recipe != "qm9-so3" {
                continue;
            }
            let worst = [gradients_f64(&case, loss), gradients_f32(&case, loss)]
                .map(|g| worst_gradient(&case, kind, layout, &g));
            // The reference's gradients of the plain squared error are f32 themselves.
            let limit = if kind == "grad_mse" { 1e-5 } else { 1e-12 };
            row(&format!("{recipe}: {kind}, {} parameters", layout.spans().len()), worst[0], limit, worst[1], 1e-4);
        }
    }
}

/// Only what the architecture cuts off from the loss has no gradient: in layer 0, where V = 0, what is multiplied
/// by V; in the last block, the scalars that nobody reads; elements that do not occur; features that are always 0.
#[test]
fn every_parameter_has_a_gradient() {
    for recipe in RECIPES {
        let case = Case::load(recipe);
        let network = case.network(DType::F64);
        for (span, gradient) in network.layout().spans().iter().zip(gradients_f64(&case, projected_mse)) {
            let zero = structural_zeros(&case, span);
            assert_eq!(gradient.len(), zero.len(), "{} has no gradient", span.name);
            for (index, (g, zero)) in gradient.iter().zip(zero).enumerate() {
                assert_eq!(*g == 0.0, zero, "{recipe} {}[{index}]: {g:e}", span.name);
            }
        }
    }
}

fn structural_zeros(case: &Case, span: &qsd::model::Span) -> Vec<bool> {
    let row_length = span.shape.get(1).copied().unwrap_or(1);
    let (parts, width) = (if case.config.so3 { 4 } else { 3 }, case.config.hidden / case.config.heads);
    let zero_row = |row: usize| match span.name.trim_start_matches("network.") {
        "representation_model.attention_layers.0.vec_proj.weight" => true,
        name if name.starts_with("representation_model.attention_layers.0.v_proj")
            || name.starts_with("representation_model.attention_layers.0.dv_proj") =>
        {
            (row / width % parts) % 2 == 1
        }
        name if name.starts_with("representation_model.attention_layers.0.o_proj") => row < 2 * case.config.hidden,
        name if name.starts_with("output_model.output_network.1.update_net")
            && row_count(span) == case.config.hidden + 1 =>
        {
            row < case.config.hidden
        }
        name if name.ends_with("embedding.weight") => {
            !case.condition.atoms().unwrap().atomic_numbers.contains(&(row as u8))
        }
        _ => false,
    };
    let features = &case.condition.atoms().unwrap().features;
    let zero_column =
        |column: usize| span.name.ends_with("node_mlp.0.weight") && features.iter().all(|f| f[column] == 0.0);
    (0..row_count(span) * row_length).map(|i| zero_row(i / row_length) || zero_column(i % row_length)).collect()
}

fn row_count(span: &qsd::model::Span) -> usize {
    span.shape[0]
}

#[test]
fn planar_molecules_equal_the_reference() {
    let fixture = fixture("planar");
    for recipe in ["drugs-o3", "drugs-so3"] {
        let mut case = Case::load(recipe);
        let of = |name: &str| &fixture[&format!("{recipe}.{name}")];
        let rotation = numbers(of("rotation"));
        let planar = points(of("planar.pos"));
        let turn = |x: &[f64; 3]| std::array::from_fn(|i| (0..3).map(|j| rotation[3 * i + j] * x[j]).sum());
        for (x, expected) in [(planar.clone(), "planar.v"), (planar.iter().map(turn).collect(), "planar_rotated.v")] {
            case.x_t = case.x_t.with_points(x);
            let v = [DType::F64, DType::F32].map(|dtype| case.denoiser(dtype).predict(case.input()).unwrap());
            let error = v.map(|v| relative_error(&flat(&v), &numbers(of(expected))));
            row(&format!("{recipe}: {expected}"), error[0], 1e-12, error[1], 1e-5);
        }
    }
}
