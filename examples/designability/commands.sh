# The two commands, for array.sbatch and join.sh: they must be the same in both, since results are named by them.
inverse_folding="'${PYTHON:-python3}' '$here/run_proteinmpnn.py' {inputs} {outputs} --num {num} --seed {seed}"
folding="'${PYTHON:-python3}' '$here/run_esmfold.py' {inputs} {outputs}"
