#!/usr/bin/env bash
# Measures every quantity that the tests compare with the reference implementations, and prints docs/numerics.md:
#   tests/numerics.sh > docs/numerics.md
set -euo pipefail
cd "$(dirname "$0")/.."

# The rows that a test prints, as `| quantity | f64 | f32 |`; the geometry and diffusion rooms compute in f64 alone.
rows() {
    cargo test -q --release --test "$1" -- --nocapture --test-threads 1 2>/dev/null | grep -oE '\| .* \|$' |
        awk -F'|' '{ if (NF == 4) print $0 " |"; else print $0 }' | sort -u
}

table() {
    printf '\n## %s\n\n%s\n\n| quantity | f64 | f32 |\n|---|---|---|\n' "$1" "$2"
    rows "$3"
}

cat <<'END'
# How exact is it?

Worst relative errors against tensors that the reference implementations (ET-Flow and Proteina in PyTorch) computed from the same inputs and weights, as printed by
`tests/numerics.sh`, which makes this page. Errors are max|Δ| / max|reference| over a tensor, and the worst tensor of a group is shown. The tests fail above 1e-10 (f64), 1e-5 (f32 outputs)
and 1e-4 (f32 gradients), most of them far earlier, where a section does not state limits of its own; `grad_mse` above 1e-5 in f64, since its reference is f32. The Kolmogorov distance of t is a statistic of 100,000 draws (accepted below 6.2e-3), not a round-off. Gradients are compared with finite differences besides, in `tests/model_et.rs`, `tests/model_protein.rs`, `tests/fused_protein.rs` and `tests/diffusion_training.rs`.
END
table 'The network' 'ET-Flow in three small configurations on four real molecules: all intermediates, the prediction, three losses, the gradient of every parameter. The reference of `grad_mse` is itself f32. Edges and edge types of the reference'"'"'s five graph sets are equal, exactly.' oracle_et
table 'Geometry and diffusion' 'Alignment, interpolants, priors, losses, conversions, time grids, sampler steps. These rooms compute in f64 whatever the network does.' oracle_diffusion
table 'Training' 'Learning rates of six schedules, 80 steps of dynamic clipping.' oracle_train
table 'Conformers' 'RMSDs over symmetries, coverage (COV) and average minimum RMSD (AMR) as ET-Flow'"'"'s evaluator and RDKit 2026.09.1 give them; errors are absolute here, in Å or as shares, and RDKit'"'"'s values are rounded to six decimals.' oracle_eval_conformers
table 'The protein network' 'Proteina in two tiny configurations, without and with pair updates (`tiny_tri`), on three chains: intermediates of the literal form, predictions, losses, all gradients with and without the shortcuts; three training steps (the optimizer of the f64 row is the test'"'"'s own, since the crate'"'"'s is f32), guidance, two sampling runs of eight steps. f32 is compared with the reference'"'"'s f32 where that is kept, else with its f64, from which f32 time embeddings alone differ by 1.5e-4: limits are 2e-5 for outputs, 1e-4 for gradients, 1e-3 where f32 meets f64. The phases of the time embedding follow the reference'"'"'s order of operations. Bins are equal, exactly.' oracle_protein
table 'Its shortcuts' 'Against the literal form, in seven configurations, in f64; and gradients against finite differences.' model_protein
fused=$(rows fused_et)
printf '\n## The fused engine\n\nIn f32, against the same runs of the reference:\n\n| quantity | f64 | f32 |\n|---|---|---|\n'
grep '| fused, ' <<<"$fused"
printf '\nAnd against the plain network in f64 (at full size, against f32 too), on molecules that wander, lie in a plane or on a line, fall apart, or have one atom. Where the terms of a gradient cancel (a gate'"'"'s bias, planar atoms), f32 itself reaches no more than 1e-4: twice the error of the plain network in f32 is allowed there:\n\n| network and molecules | prediction | worst gradient |\n|---|---|---|\n'
grep '| fused against' <<<"$fused" | sed 's/fused against plain f64, //; s/: prediction, worst gradient//; s/fused against plain f32 at full size/at full size, against plain f32/'
protein=$(rows fused_protein)
printf '\n## The fused protein engine\n\nIn f32, against the same runs of the reference (f32 where that is kept, else f64, whose time embedding differs by up to 1.5e-4: gradients of `nosc` and `fold`):\n\n| quantity | f64 | f32 |\n|---|---|---|\n'
grep '| fused protein, ' <<<"$protein" | grep -v bf16 | sed 's/fused protein, //'
printf '\nAnd against the plain network, relative to the largest number of a tensor: in f64 at early times, where the rounding of the time'"'"'s phases is small (that of the phases which embed residue numbers remains and grows with the chain), and in f32 at all times. The last row compares products in bf16 with f32, by root mean squares.\n\n| network and chains | prediction | worst gradient |\n|---|---|---|\n'
grep '| fused protein against' <<<"$protein" | sed 's/fused protein against plain/against/'
grep '| fused protein, bf16' <<<"$protein" | sed 's/fused protein, //'
table 'Secondary structure and Cα geometry' 'P-SEA and the geometry of Cα traces against biotite 1.6.0 and numpy: letters, and largest differences of numbers (Å, shares, counts; accepted below 1e-9).' oracle_eval_structure
table 'TM-scores' 'Alignments by the own TM-align against tmtools 0.3.0 and the program of 2019 (its scores have five decimals, its RMSDs two): absolute differences.' oracle_eval_tm
