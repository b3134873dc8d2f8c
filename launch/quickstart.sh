#!/usr/bin/env bash
# The main job in a few minutes on two cores: installs what is missing, builds, trains a small model on the
# embedded sample set with two processes, samples conformers of molecules that it has not seen, and judges them.
#   launch/quickstart.sh [key=value …]      e.g. train.steps=200 run.dir=runs/short
set -euo pipefail
cd "$(dirname "$0")/.."
launch/setup.sh
cargo build --release --locked
bin="${CARGO_TARGET_DIR:-target}/release"

run=runs/quickstart
for argument in "$@"; do
    [[ "$argument" == run.dir=* ]] && run="${argument#run.dir=}"
done

# Open MPI wants to be told that root, and more processes than cores, are meant; and that a job which is asked to
# stop needs longer than a second to save its state.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_odls_base_sigkill_timeout=300
mpirun --oversubscribe --bind-to none -n 2 "$bin/qsd-train" configs/quickstart.yaml "run.dir=$run" "$@"
"$bin/qsd-sample" --checkpoint "$run" --data data/sample/qm9 --split test --out "$run/conformers.sdf" --overwrite
"$bin/qsd-eval" conformers "$run/conformers.sdf" --reference data/sample/qm9 --split test --out "$run/evaluation" --overwrite

cat <<END

Done.
  checkpoints   $run/checkpoints
  TensorBoard   $run/tensorboard      tensorboard --logdir $run
  conformers    $run/conformers.sdf   open it in PyMOL, Avogadro or RDKit
  evaluation    $run/evaluation       the report above, and a row for each molecule
Next:
  $bin/qsd-train inspect $run
  $bin/qsd-train configs/quickstart.yaml run.dir=$run train.steps=4000   # trains on from the last checkpoint
  $bin/qsd-sample --checkpoint $run --input data/sample/quickstart.smi --num 10 --out $run/more.sdf   # or your own SMILES
END
