#!/usr/bin/env python3
"""qsd's CPU engine against PyTorch on this machine: training, sampling, memory. Started by bench/compare.sh.

    bench/compare.sh                      three rounds, half an hour each on two cores, more than half of it for proteins
    bench/compare.sh --quick              one short round: do all programs run?
    bench/compare.sh --only train,bf16    only what has all of these words: train, sample, drugs-o3, drugs-so3, protein,
                                          f32, bf16, pytorch, qsd, plain
    bench/compare.sh --table FILE         the tables of an earlier run's compare.jsonl

Every round runs all configurations in turn, PyTorch and qsd alternating, so that a change of the machine's mood
meets both; the tables give medians over rounds. PyTorch trains batches of 8 molecules per rank, qsd 8 in all; of
proteins (made-up chains of 128 residues) PyTorch 4 chains per rank, qsd 4 in all.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import harness


@dataclass(frozen=True)
class Entry:
    """A configuration: what it is compared under, its name in the tables, and how it is run."""

    task: str
    recipe: str
    dtype: str
    label: str
    run: Callable[[], dict]

    def words(self) -> set[str]:
        """What `--only` can ask for."""
        label = self.label.replace(",", "").replace("-train", "").lower().split()
        return {self.task, self.recipe, self.recipe.split("-")[0], self.dtype, *label}


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    rounds: int
    molecules: int
    sampled: int
    sample_batch: int
    seconds: float
    steps: int


QUICK = Extent(rounds=1, molecules=16, sampled=4, sample_batch=2, seconds=0.0, steps=10)


def entries(extent: Extent, inputs: Path, cores: int, ranks: int) -> list[Entry]:
    """Everything, in the order in which it is measured: PyTorch and qsd in turn."""

    def torch(task: str, recipe: str, dtype: str, mode: str, threads: int, ranks: int, memory: str) -> Entry:
        count, batch = (extent.sampled, extent.sample_batch) if task == "sample" else (extent.molecules, 8)
        words = ",".join([task, recipe, dtype, mode, memory, f"threads{threads}", f"ranks{ranks}"])
        options = ["--molecules", count, "--batch", batch, "--passes", 1, "--seconds", extent.seconds]
        place = f"{ranks} ranks" if ranks > 1 else f"{threads} threads"
        label = f"PyTorch {mode}, {place}" + (", freed memory kept" if memory == "kept" else "")
        return Entry(task, recipe, dtype, label, partial(harness.pytorch, words, options))

    def train(recipe: str, dtype: str, ranks: int) -> Entry:
        place = f"{ranks} ranks" if ranks > 1 else f"{cores} threads"
        run = partial(harness.train, recipe, dtype, 8, extent.steps, ranks)
        return Entry("train", recipe, dtype, f"qsd-train, {place}", run)

    def engine(task: str, recipe: str, dtype: str, name: str, threads: int) -> Entry:
        sampling = task == "sample"
        options = {
            "input": inputs,
            "engine": name,
            "precision": dtype,
            "task": task,
            "so3": recipe == "drugs-so3",
            "threads": threads,
            "molecules": extent.sample_batch if sampling else 8,
            "total": extent.sampled if sampling else extent.molecules,
            "seconds": extent.seconds,
        }
        words = "qsd" if name == "fused" else "qsd plain"
        label = f"{words} engine, {threads} thread" + ("s" if threads > 1 else "")
        return Entry(task, recipe, dtype, label, partial(harness.engine, **options))

    chosen = [
        torch("train", "drugs-o3", "f32", "eager", cores, 1, "default"),
        train("drugs-o3", "f32", 1),
        torch("train", "drugs-o3", "f32", "eager", 1, 2, "default"),
        *([train("drugs-o3", "f32", 2)] if ranks > 1 else []),
        torch("train", "drugs-o3", "f32", "compile", 1, 2, "kept"),
        engine("train", "drugs-o3", "f32", "fused", cores),
        engine("train", "drugs-o3", "f32", "fused", 1),
        engine("train", "drugs-o3", "f32", "plain", cores),
        torch("train", "drugs-o3", "bf16", "eager", 1, 2, "kept"),
        train("drugs-o3", "bf16", 1),
        torch("train", "drugs-o3", "bf16", "compile", 1, 2, "kept"),
        *([train("drugs-o3", "bf16", 2)] if ranks > 1 else []),
        engine("train", "drugs-o3", "bf16", "fused", cores),
        engine("train", "drugs-o3", "bf16", "fused", 1),
        torch("train", "drugs-so3", "f32", "eager", cores, 1, "default"),
        train("drugs-so3", "f32", 1),
        torch("train", "drugs-so3", "f32", "compile", 1, 2, "kept"),
        engine("train", "drugs-so3", "f32", "fused", 1),
        train("drugs-so3", "bf16", 1),
        torch("sample", "drugs-o3", "f32", "eager", cores, 1, "default"),
        engine("sample", "drugs-o3", "f32", "fused", cores),
        torch("sample", "drugs-o3", "f32", "compile", 1, 2, "kept"),
        engine("sample", "drugs-o3", "bf16", "fused", cores),
        engine("sample", "drugs-o3", "f32", "fused", 1),
    ]
    return chosen + proteins(extent, inputs.parent, cores, ranks)


def proteins(extent: Extent, folder: Path, cores: int, ranks: int) -> list[Entry]:
    """The rows of proteins: training, and sampling of two chains and of eight."""

    def torch(task: str, dtype: str, mode: str, threads: int, ranks: int, memory: str, chains: int) -> Entry:
        words = ["protein", task, dtype, mode, memory, f"threads{threads}", f"ranks{ranks}", f"in-all{chains}"]
        options = ["--passes", 1, "--seconds", extent.seconds]
        place = f"{ranks} ranks" if ranks > 1 else f"{threads} threads"
        label = f"PyTorch {mode}, {place}" + (", freed memory kept" if memory == "kept" else "")
        return Entry(task, named(task, chains), dtype, label, partial(harness.pytorch, ",".join(words), options))

    def named(task: str, chains: int) -> str:
        return "protein-60m" if task == "train" else f"protein-60m-{chains}-chains"

    def train(dtype: str, ranks: int) -> Entry:
        def run() -> dict:
            data = harness.chains(folder, 64, 128)
            # Enough for both kinds of steps, with an estimate fed back and without.
            return harness.train("protein-60m", dtype, 4, max(10, extent.steps // 2), ranks, 0, data)

        place = f"{ranks} ranks" if ranks > 1 else f"{cores} threads"
        return Entry("train", named("train", 4), dtype, f"qsd-train, {place}", run)

    def engine(task: str, dtype: str, name: str, chains: int) -> Entry:
        threads = min(cores, chains)
        options = {"engine": name, "precision": dtype, "threads": threads, "batch": chains // threads, "length": 128}
        options |= {"predict": True} if task == "sample" else {}
        words = "qsd" if name == "fused" else "qsd plain"
        run = partial(harness.protein, seconds=extent.seconds, **options)
        return Entry(task, named(task, chains), dtype, f"{words} engine, {threads} threads", run)

    chosen = [
        torch("train", "f32", "eager", cores, 1, "default", 4),
        train("f32", 1),
        torch("train", "f32", "eager", 1, 2, "default", 8),
        *([train("f32", 2)] if ranks > 1 else []),
        torch("train", "f32", "compile", cores, 1, "kept", 4),
        engine("train", "f32", "fused", 4),
        torch("train", "f32", "compile", 1, 2, "kept", 8),
        engine("train", "f32", "plain", 4),
        torch("train", "bf16", "compile", cores, 1, "kept", 4),
        train("bf16", 1),
        torch("train", "bf16", "compile", 1, 2, "kept", 8),
        *([train("bf16", 2)] if ranks > 1 else []),
    ]
    for chains in [2, 8]:
        chosen += [
            torch("sample", "f32", "eager", cores, 1, "default", chains),
            engine("sample", "f32", "fused", chains),
            torch("sample", "f32", "compile", 1, 2, "kept", chains),
            torch("sample", "bf16", "compile", 1, 2, "kept", chains),
            engine("sample", "bf16", "fused", chains),
        ]
    return chosen


def medians(records: list[dict], key: str) -> dict[tuple[str, str, str, str], list[float]]:
    """The values of a key by (task, recipe, type, label), in the order of the first round."""
    values: dict[tuple[str, str, str, str], list[float]] = {}
    for record in records:
        if record.get(key) is not None and "label" in record:
            name = (record["task"], record["recipe"], record["dtype"], record["label"])
            values.setdefault(name, []).append(record[key])
    return values


def speed_table(records: list[dict], key: str, unit: str) -> str:
    """What is done a second, and the ratios to PyTorch's best of the same task and recipe."""
    speeds = medians(records, key)
    middle = {name: statistics.median(values) for name, values in speeds.items()}

    def best(task: str, recipe: str, dtype: str | None) -> float | None:
        found = [
            value
            for (t, r, d, label), value in middle.items()
            if label.startswith("PyTorch") and (t, r) == (task, recipe) and dtype in (None, d)
        ]
        return max(found, default=None)

    rows = []
    for name in sorted(speeds, key=lambda name: (name[0] != "train", name[1], name[2] != "f32", name[3])):
        task, recipe, dtype, label = name
        values = speeds[name]
        ratios = [best(task, recipe, dtype), best(task, recipe, None)]
        cells = ["" if ratio is None else f"{middle[name] / ratio:.1f}" for ratio in ratios]
        spread = f"{min(values):.3g} … {max(values):.3g}"
        rows.append([f"{task} {recipe} {dtype}", label, f"{middle[name]:.3g}", spread, *cells])
    head = ["", "program", unit, "lowest … highest", "× PyTorch's best, same type", "× PyTorch's best"]
    return harness.table(head, rows)


def protein_table(records: list[dict]) -> str:
    """Seconds a step and memory: a training step's, or an evaluation's with what surrounds it."""
    seconds = medians(records, "seconds_per_step")
    columns = {key: medians(records, key) for key in ["batch_in_all", "per_molecule_mb", "peak_mb"]}
    rows = [
        [" ".join(name[:3]), name[3], f"{statistics.median(seconds[name]):.3f}"]
        + [f"{statistics.median(values[name]):.0f}" if name in values else "" for values in columns.values()]
        for name in seconds
    ]
    return harness.table(["", "program", "s a step", "of so many chains", "MB a chain", "peak MB"], rows)


def cost_table(records: list[dict]) -> str:
    """Memory, CPU time, and the share of the peak where it is known."""
    memory = medians(records, "per_molecule_mb")
    cpu = medians(records, "cpu_seconds_per_molecule")
    gflop, share = medians(records, "gflop_per_cpu_second"), medians(records, "share_of_peak")

    def cell(values: dict, name: tuple, digits: str) -> str:
        return format(statistics.median(values[name]), digits) if name in values else ""

    rows = [
        [" ".join(name[:3]), name[3], cell(memory, name, ".1f"), cell(cpu, name, ".4f"), cell(gflop, name, ".0f")]
        + [f"{100 * statistics.median(share[name]):.0f} %" if name in share else ""]
        for name in cpu
    ]
    head = ["", "program", "MB a molecule", "CPU s a molecule", "GFLOP a CPU second", "of one core's f32 peak"]
    return harness.table(head, rows)


def share_table(records: list[dict]) -> str:
    """What the network needs and how fast it goes, phase by phase, on one thread."""
    rows = []
    for record in records:
        if record.get("program") != "engine" or record["threads"] != 1 or record["round"] != 1:
            continue
        name = f"{record['task']} {record['recipe']} {record['dtype']}"
        phases = {phase: record[phase] for phase in ["forward", "backward"] if record.get(phase)}
        whole = {
            "cpu_seconds": record["cpu_seconds_per_molecule"],
            "gflop": record["gflop_per_molecule"],
            "share_of_peak": record["share_of_peak"],
        }
        for phase, part in {**phases, "all": whole}.items():
            speed = part["gflop"] / part["cpu_seconds"]
            cells = [f"{1e3 * part['cpu_seconds']:.2f}", f"{part['gflop']:.2f}", f"{speed:.0f}"]
            rows.append([name, phase, *cells, f"{100 * part['share_of_peak']:.0f} %"])
    return harness.table(["", "phase", "CPU ms a molecule", "GFLOP", "GFLOP/s", "of one core's f32 peak"], rows)


def step_table(records: list[dict]) -> str:
    """Where a training step's time goes, seconds."""
    runs = [record for record in records if record.get("program") == "qsd-train"]
    if not runs:
        return ""
    phases = sorted({key for record in runs for key in record if key.startswith("time/")})
    columns = {phase: medians(runs, phase) for phase in phases}
    names = medians(runs, "molecules_per_second")
    rows = [
        [" ".join(name[1:3]), name[3]]
        + [f"{1e3 * statistics.median(columns[phase][name]):.1f}" if name in columns[phase] else "" for phase in phases]
        for name in names
    ]
    return harness.table(["ms a step", "program", *(phase.removeprefix("time/") for phase in phases)], rows)


def tables(records: list[dict]) -> str:
    """All tables, with the machine above them."""
    measured = [record for record in records if "error" not in record]
    parts = [harness.described(record) + "." for record in records if record.get("program") == "machine"]
    versions = {tuple(r["versions"].values()) for r in records if "versions" in r}
    parts += [f"PyTorch {torch}, Python {python}." for torch, python in sorted(versions)]
    peaks = [r["peak_gflop_per_core_second"] for r in measured if "peak_gflop_per_core_second" in r]
    copies = [r["copied_gb_per_second"] for r in measured if "copied_gb_per_second" in r]
    if peaks:
        parts.append(f"One core: {max(peaks):.0f} GFLOP/s in f32, copies {max(copies):.0f} GB/s (read and written).")
    chains = [r for r in measured if r.get("recipe", "").startswith("protein")]
    molecules = [r for r in measured if r not in chains]
    if any("label" in r for r in molecules):
        parts += [speed_table(molecules, "molecules_per_second", "molecules/s"), cost_table(molecules)]
        parts += [share_table(molecules)]
    if chains:
        parts += [speed_table(chains, "atoms_per_second", "residues/s"), protein_table(chains)]
    parts += [step_table(measured)]
    parts += [f"Failed: {r['label']}: {r['error']}" for r in records if "error" in r]
    return "\n\n".join(part for part in parts if part)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="words that a configuration must have, separated by commas")
    parser.add_argument("--out", type=Path, default=harness.BIN.parent / "bench", help="folder for compare.jsonl")
    parser.add_argument("--table", type=Path, help="only print the tables of such a file")
    parser.add_argument("--no-build", action="store_true", help="the programs are built already")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.table:
        print(tables(harness.read(options.table)))
        return 0
    if not harness.VENV_PYTHON.exists():
        sys.exit("bench/.venv is missing: run bench/pytorch/setup.sh first (PyTorch, 4.3 GB on disk)")
    if not options.no_build:
        harness.build()
    here = harness.machine()
    full = Extent(options.rounds, molecules=32, sampled=16, sample_batch=8, seconds=5.0, steps=60)
    extent = QUICK if options.quick else full
    inputs = options.out.resolve() / "inputs.safetensors"
    wanted = set(filter(None, options.only.split(",")))
    ranks = 1 if here["mpi"] == "absent" else 2
    chosen = [e for e in entries(extent, inputs, here["cores"], ranks) if wanted <= e.words()]
    if not chosen:
        sys.exit(f"no configuration has all of these words: {options.only}")
    log = harness.Log(inputs.parent, "compare.jsonl")
    log.write(here)
    print(harness.described(here), flush=True)
    count = max(extent.molecules, extent.sampled)
    harness.output([harness.VENV_PYTHON, "bench/pytorch/data.py", "--out", inputs, "--molecules", count])
    records = [here]
    for turn in range(1, extent.rounds + 1):
        for entry in chosen:
            name = {"round": turn, **{key: getattr(entry, key) for key in ["label", "task", "recipe", "dtype"]}}
            try:
                record = {**entry.run(), **name}
                protein = entry.recipe.startswith("protein")
                shown = f"{record['molecules_per_second']:.3g} {'chains' if protein else 'molecules'}/s"
            except harness.Failed as error:
                record = {**name, "error": str(error)}
                shown = f"FAILED: {error}"
            print(f"round {turn}: {entry.task} {entry.recipe} {entry.dtype}, {entry.label}: {shown}", flush=True)
            log.write(record)
            records.append(record)
    print(f"\n{tables(records)}\n\n{log.path}")
    return 1 if any("error" in record for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
