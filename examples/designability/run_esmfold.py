#!/usr/bin/env python3
"""Structures of sequences by ESMFold (Hugging Face's), as `qsd-eval designability --folding` wants them.

    pip install torch 'transformers<5' accelerate
    qsd-eval designability ... --folding 'python examples/designability/run_esmfold.py {inputs} {outputs}'

The weights (facebook/esmfold_v1, about 8 GB) are loaded once for all sequences of an invocation: take a --batch of many backbones.
Fetch them before a job that has no network: `huggingface-cli download facebook/esmfold_v1`.
"""

import argparse
import os
from pathlib import Path

import torch
from transformers import EsmForProteinFolding


def read_fasta(path: Path) -> dict[str, str]:
    """Sequences by the names of their records."""
    records = (record.split("\n", 1) for record in path.read_text().split(">")[1:])
    return {name.strip(): letters.replace("\n", "") for name, letters in records}


def load(name: str, chunk: int | None) -> EsmForProteinFolding:
    """The model, on a GPU if there is one, its language model there in half precision."""
    model = EsmForProteinFolding.from_pretrained(name, low_cpu_mem_usage=True).eval()
    if torch.cuda.is_available():
        model = model.cuda()
        model.esm = model.esm.half()
    model.trunk.set_chunk_size(chunk)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--model", default="facebook/esmfold_v1")
    parser.add_argument("--chunk", type=int, help="rows of attention at a time; 64 or 128 save memory for long chains")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    model = load(args.model, args.chunk)
    sequences = read_fasta(args.inputs / "sequences.fasta")
    for done, (name, letters) in enumerate(sequences.items(), 1):
        # Whole under its name, so that nothing of a killed run looks finished.
        part = args.outputs / f"{name}.part"
        part.write_text(model.infer_pdb(letters))
        os.replace(part, args.outputs / f"{name}.pdb")
        print(f"{done}/{len(sequences)} {name}", flush=True)


if __name__ == "__main__":
    main()
