#!/usr/bin/env python3
"""ET-Flow's and Proteina's networks in PyTorch on CPU: speed, CPU time and memory, one process per configuration.

    benchmark.py                              every configuration below, a table at the end
    benchmark.py --quick                      fewer molecules and passes
    benchmark.py --only train,drugs-o3,f32    configurations that have all of these words
    benchmark.py --only protein               those of proteins
    benchmark.py --table FILE                 the table of an earlier --out FILE

Each line of --out is one configuration as JSON, with every number and the versions. A training step is graph or
pairs, forward, loss, backward, clipping, optimizer and (proteins) average of weights; a sample is 50 Euler steps, of
proteins 400. Wall time is the sum of the medians of the batches over passes through the same molecules or chains.
Threads and batch are per rank; rates are of all ranks.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from settings import Settings

HERE = Path(__file__).resolve().parent

KEEP_FREED_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776"
"""Tells glibc not to hand freed memory back to the system: `memory: kept`."""

COLUMNS = {
    "task": "task",
    "recipe": "recipe",
    "mode": "mode",
    "dtype": "type",
    "memory": "freed memory",
    "ranks": "ranks",
    "threads": "threads",
    "batch": "batch",
    "molecules_per_second": "molecules/s",
    "atoms_per_second": "atoms/s",
    "seconds_per_step": "s a step",
    "cpu_seconds_per_molecule": "CPU s/molecule",
    "system_seconds_per_molecule": "of it system",
    "per_molecule_mb": "MB/molecule",
    "peak_mb": "peak MB",
    "warm_up_seconds": "warm-up s",
    "load_average": "load",
}

DIGITS = {
    "molecules_per_second": 3,
    "seconds_per_step": 3,
    "cpu_seconds_per_molecule": 3,
    "system_seconds_per_molecule": 3,
    "warm_up_seconds": 0,
    "load_average": 1,
}


def configurations(base: Settings) -> list[Settings]:
    """All that is measured: first what matters most."""
    chosen = []
    layouts = [(1, 1), (2, 1), (1, 2)]
    for task, recipe in itertools.product(["train", "sample"], ["drugs-o3", "drugs-so3"]):
        here = replace(base, task=task, recipe=recipe)
        for (threads, ranks), mode in itertools.product(layouts, ["eager", "compile"]):
            chosen.append(replace(here, threads=threads, ranks=ranks, mode=mode))
        chosen.append(replace(here, threads=1, mode="eager", dtype="bf16"))
        chosen.append(replace(here, threads=1, ranks=2, mode="compile", dtype="bf16"))
        for mode, dtype in itertools.product(["eager", "compile"], ["f32", "bf16"]):
            chosen.append(replace(here, threads=1, ranks=2, mode=mode, dtype=dtype, memory="kept"))
    return chosen + proteins(replace(base, recipe="protein-60m", loss="published", data="random chains"))


def proteins(base: Settings) -> list[Settings]:
    """Training on 4 chains of 128 residues a rank, in pairs of batches; sampling 2 chains, and 8, on all ranks."""
    chosen = []
    layouts = [(2, 1), (1, 2)]
    for threads, ranks in layouts:
        train = replace(base, threads=threads, ranks=ranks, batch=4, molecules=8 * ranks)
        chosen.append(train)
        for mode, dtype in itertools.product(["eager", "compile"], ["f32", "bf16"]):
            chosen.append(replace(train, mode=mode, dtype=dtype, memory="kept"))
    steps = replace(base, task="sample", euler_steps=400, timed_steps=10)
    for chains, (threads, ranks) in itertools.product([2, 8], layouts):
        sample = replace(steps, threads=threads, ranks=ranks, molecules=chains, batch=chains // ranks)
        chosen.append(sample)
        chosen += [replace(sample, mode="compile", dtype=dtype, memory="kept") for dtype in ["f32", "bf16"]]
    return chosen


def words(settings: Settings) -> set[str]:
    """What `--only` can ask for."""
    s = settings
    placed = {s.mode, s.dtype, s.memory, f"threads{s.threads}", f"ranks{s.ranks}", f"in-all{s.batch * s.ranks}"}
    return {s.task, s.recipe, s.recipe.split("-")[0], *placed}


def run(settings: Settings, verbose: bool) -> dict:
    """One configuration in a new process; its numbers, or the reason why there are none."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(settings.threads),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29561",
    }
    if settings.memory == "kept":
        environment["GLIBC_TUNABLES"] = KEEP_FREED_MEMORY
    command = [sys.executable, str(HERE / "measure.py"), json.dumps(asdict(settings))]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=None if verbose else subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        return asdict(settings) | {"error": (done.stderr or "see above").strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def table(results: list[dict]) -> str:
    """Markdown."""
    rows = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * len(COLUMNS)]
    for result in results:
        if "error" in result:
            cells = [str(result.get(key, "")) for key in list(COLUMNS)[:8]] + [result["error"]]
        else:
            cells = [cell(key, result[key]) for key in COLUMNS]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def cell(key: str, value: object) -> str:
    return f"{value:.{DIGITS.get(key, 0)}f}" if isinstance(value, float) else str(value)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="16 molecules (chains: as ever), one pass")
    parser.add_argument("--only", default="", help="words that a configuration must have, separated by commas")
    parser.add_argument("--batch", type=int, default=8, help="molecules of a rank's batch; not of chains")
    parser.add_argument("--molecules", type=int, help="molecules of a pass (64; sampling: 16); not of chains")
    parser.add_argument("--passes", type=int, default=3, help="at least so many passes")
    parser.add_argument("--seconds", type=float, default=20.0, help="and at least so long")
    parser.add_argument("--loss", choices=["l2", "mse", "projected_mse"], default="projected_mse")
    parser.add_argument("--data", type=Path, help="a data set's folder; the embedded sample if absent")
    parser.add_argument("--out", type=Path, help="append one line of JSON per configuration")
    parser.add_argument("--table", type=Path, help="only print the table of such a file")
    parser.add_argument("--verbose", action="store_true", help="show what PyTorch says")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.table:
        print(table([json.loads(line) for line in options.table.read_text().splitlines()]))
        return 0
    passes, seconds = (1, 0.0) if options.quick else (options.passes, options.seconds)
    base = Settings(batch=options.batch, passes=passes, seconds=seconds, loss=options.loss)
    if options.data:
        base = replace(base, data=str(options.data.resolve()))
    wanted = set(filter(None, options.only.split(",")))
    results = []
    for settings in configurations(base):
        if not wanted <= words(settings):
            continue
        if not settings.recipe.startswith("protein"):
            # Fifty evaluations each: sampling goes through two batches.
            molecules = 16 if options.quick or settings.task == "sample" else 64
            settings = replace(settings, molecules=options.molecules or molecules)
            if settings.task == "sample":
                settings = replace(settings, passes=1, seconds=0.0)
        result = run(settings, options.verbose)
        results.append(result)
        line = json.dumps(result)
        print(line, flush=True)
        if options.out:
            with options.out.open("a") as out:
                out.write(line + "\n")
    print("\n" + table(results))
    return 1 if any("error" in result for result in results) or not results else 0


if __name__ == "__main__":
    sys.exit(main())
