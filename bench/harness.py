"""Runs the programs that are compared, one configuration at a time, and reads what they measured.

Standard library only. Every function that runs something returns one flat record; `molecules_per_second` is in all.
"""

import json
import math
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release"
VENV_PYTHON = ROOT / "bench/.venv/bin/python"
SAMPLE = "data/sample/drugs"
SAMPLER_STEPS = 400
"""Of a sample of a protein."""

MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}
"""Open MPI wants to be told that root is meant."""


class Failed(RuntimeError):
    """A program that was to be measured did not do its work."""


def output(command: Sequence[object], extra: dict[str, str] | None = None) -> str:
    """What a command prints, run in the repository's folder; `Failed` with the end of its complaints otherwise."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | (extra or {}), capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Failed(f"{' '.join(words[:3])} …: exit code {done.returncode}: {' / '.join(last)}")
    return done.stdout


def engine(**options: object) -> dict:
    """One run of the example `engine`, on `threads` threads (1 if absent). `so3=True` becomes `--so3`."""
    words: list[object] = [BIN / "examples/engine"]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not False:
            words += [f"--{name}", value]
    return json.loads(output(words))


def protein(**options: object) -> dict:
    """One run of the example `protein`, with the keys that other programs' records have. `predict=True`: sampling."""
    words: list[object] = [BIN / "examples/protein"]
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", value]
    record = json.loads(output(words))
    chains = record["threads"] * record["batch"]
    steps = SAMPLER_STEPS if record["task"] == "predict" else 1
    return {
        **record,
        "batch_in_all": chains,
        "molecules_per_second": record["residues_per_second"] / record["length"] / steps,
        "atoms_per_second": record["residues_per_second"],
        "per_molecule_mb": (record["peak_mb"] - record["held_mb"]) / chains,
    }


def chains(folder: Path, count: int, length: int) -> Path:
    """A data set of made-up chains, each a walk of 3.8 Å steps that is drawn back to its beginning; its folder."""
    data_set, files = folder / "chains", folder / "pdb"
    if (data_set / "manifest.json").exists():
        return data_set
    files.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for number in range(count):
        lines, place = [], [0.0, 0.0, 0.0]
        for residue in range(1, length + 1):
            direction = [rng.gauss(0.0, 1.0) for _ in place]
            norm = math.hypot(*direction)
            place = [0.93 * p + 3.8 * d / norm for p, d in zip(place, direction)]
            x, y, z = place
            atom = f"ATOM  {residue:5d}  CA  ALA A{residue:4d}    {x:8.3f}{y:8.3f}{z:8.3f}"
            lines.append(f"{atom}  1.00  0.00           C")
        (files / f"chain-{number:03d}.pdb").write_text("\n".join([*lines, "TER", "END", ""]))
    output([BIN / "qsd-data", "protein", "--out", data_set, files])
    return data_set


def train(
    recipe: str, dtype: str, batch: int, steps: int, ranks: int = 1, threads: int = 0, data: Path | str = SAMPLE
) -> dict:
    """`qsd-train` itself on a data set, `batch` molecules or chains a step in two micro-shards (one at one of them).

    Medians over the steps after the first fifth; of proteins, some of whose steps predict twice, the rate over all of
    them. `threads` 0: all cores there are for a process.
    """
    protein = recipe.startswith("protein")
    with tempfile.TemporaryDirectory(prefix="qsd-bench-") as folder:
        run = Path(folder) / "run"
        command: list[object] = []
        if ranks > 1:
            command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", ranks]
        command += [BIN / "qsd-train", f"configs/{'' if protein else 'geom-'}{recipe}.yaml"]
        command += [f"data.path={data}", f"run.dir={run}"]
        command += [f"train.global_batch={batch}", f"train.micro_shards={min(2, batch)}", f"train.steps={steps}"]
        command += ["log.every=1", "validation.every=0", f"checkpoint.every={steps + 1}"]
        command += [f"compute.precision={dtype}", f"run.threads={threads}"]
        output(command, MPI)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines = lines[steps // 5 :]

    def median(key: str) -> float:
        return statistics.median(line[key] for line in lines if key in line)

    phases = sorted({key for line in lines for key in line if key.startswith("time/")})
    molecules = [line["speed/molecules_per_second"] for line in lines]
    atoms = [line["speed/atoms_per_second"] / rate for line, rate in zip(lines, molecules)]
    rate = statistics.harmonic_mean(molecules) if protein else statistics.median(molecules)
    return {
        "program": "qsd-train",
        "task": "train",
        "recipe": recipe,
        "dtype": dtype,
        "batch": batch,
        "batch_in_all": batch,
        "ranks": ranks,
        "threads": threads,
        "steps": len(lines),
        "molecules_per_second": rate,
        "atoms_per_second": rate * statistics.mean(atoms),
        "seconds_per_step": batch / rate,
        "lowest": min(molecules),
        "highest": max(molecules),
        "atoms": statistics.mean(atoms),
        "peak_mb": max(line["memory/peak_gib"] for line in lines) * 2**30 / 1e6,
        **{key: median(key) for key in phases},
    }


def pytorch(words: str, options: Sequence[object]) -> dict:
    """The configuration of `bench/pytorch/benchmark.py` that has all of these words."""
    with tempfile.TemporaryDirectory(prefix="qsd-bench-") as folder:
        out = Path(folder) / "out.jsonl"
        command = [VENV_PYTHON, "bench/pytorch/benchmark.py", "--only", words, "--out", out, *options]
        output(command)
        lines = out.read_text().splitlines()
    if len(lines) != 1:
        raise Failed(f"benchmark.py --only {words}: {len(lines)} configurations, expected 1")
    return {"program": "pytorch", **json.loads(lines[0])}


def machine() -> dict:
    """Which machine this is, and with what it is measured."""

    def line_of(command: Sequence[str]) -> str:
        if shutil.which(command[0]) is None:
            return "absent"
        lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
        return lines[0].strip() if lines else "unknown"

    info = Path("/proc/cpuinfo").read_text().splitlines()
    field = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info)}
    flags = set(field.get("flags", "").split())
    wanted = ["avx2", "avx512f", "avx512_bf16", "amx_bf16"]
    memory = Path("/proc/meminfo").read_text().split()[1]
    changed = line_of(["git", "status", "--porcelain", "--untracked-files=no"])
    commit = line_of(["git", "rev-parse", "--short", "HEAD"])
    return {
        "program": "machine",
        "processor": field.get("model name", platform.machine()),
        "family_model_stepping": [field.get(key) for key in ["cpu family", "model", "stepping"]],
        "cores": len(os.sched_getaffinity(0)),
        "instructions": [flag for flag in wanted if flag in flags],
        "memory_gb": round(int(memory) * 1.024e-6),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "qsd": commit if changed == "unknown" else f"{commit} with changes",
        "rustc": line_of(["rustc", "--version"]),
        "mpi": line_of(["mpirun", "--version"]),
        "libc": " ".join(platform.libc_ver()),
    }


def build() -> None:
    """Builds the programs and the example, and shows cargo's progress."""
    command = ["cargo", "build", "--release", "--locked", "--bins", "--example", "engine", "--example", "protein"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        sys.exit("the build failed")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; all columns but the first are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def described(here: dict) -> str:
    """A machine and its versions, as a sentence."""
    numbers = "/".join(str(number) for number in here["family_model_stepping"])
    return (
        f"{here['processor']} (family/model/stepping {numbers}; {', '.join(here['instructions'])}), {here['cores']} "
        f"cores, {here['memory_gb']} GB, Linux {here['kernel']}, {here['libc']}; qsd {here['qsd']}, {here['rustc']}, "
        f"{here['mpi']}; load average {here['load']:.1f} at the start"
    )


class Log:
    """A file of JSON lines in a new or existing folder; a run starts it afresh."""

    def __init__(self, folder: Path, name: str):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / name
        self.path.write_text("")

    def write(self, record: dict) -> None:
        """Adds a line."""
        with self.path.open("a") as out:
            out.write(json.dumps(record) + "\n")


def read(path: Path) -> list[dict]:
    """The records of a `Log`."""
    return [json.loads(line) for line in path.read_text().splitlines()]
