#!/usr/bin/env python3
"""How qsd's speed depends on processes, batch and molecule size. Started by bench/scaling.sh.

    bench/scaling.sh                 three rounds
    bench/scaling.sh --quick         one short round
    bench/scaling.sh --table FILE    the tables of an earlier run's scaling.jsonl

- Processes: `qsd-train`, one process of one thread against two of one thread, with the same global batch and with
  twice the batch.
- Batch: one thread, the sample's molecules.
- Size: one thread, made-up molecules, batches of 8.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import harness

SIZES = [20, 42, 80, 120, 180]
BATCHES = [1, 2, 4, 8, 16, 32]


def runs(quick: bool, dtype: str, mpi: bool) -> list[tuple[str, str, Callable[[], dict]]]:
    """What is measured: the table it belongs to, its name there, how it is run."""
    steps, seconds = (10, 0.0) if quick else (60, 3.0)
    chosen: list[tuple[str, str, Callable[[], dict]]] = []
    layouts = [(8, 1), (8, 2), (16, 2)] if mpi else [(8, 1)]
    for batch, ranks in layouts:
        run = partial(harness.train, "drugs-o3", dtype, batch, steps, ranks, threads=1)
        chosen.append(("processes", f"{ranks} of 1 thread, global batch {batch}", run))
    for batch in BATCHES:
        total = max(8, batch) if quick else 64
        run = partial(harness.engine, precision=dtype, molecules=batch, total=total, seconds=seconds)
        chosen.append(("batch", str(batch), run))
    for size in SIZES:
        total = 8 if quick else 32
        run = partial(harness.engine, precision=dtype, size=size, total=total, seconds=seconds)
        chosen.append(("size", str(size), run))
    return chosen


def process_table(records: list[dict]) -> str:
    """One process against two."""
    speeds: dict[str, list[float]] = {}
    for record in records:
        if record.get("table") == "processes":
            speeds.setdefault(record["name"], []).append(record["molecules_per_second"])
    middle = {name: statistics.median(values) for name, values in speeds.items()}
    one = next(iter(middle.values()), 1.0)
    rows = [[name, f"{value:.3g}", f"{value / one:.2f}"] for name, value in middle.items()]
    return harness.table(["processes", "molecules/s", "× one process"], rows)


def engine_table(records: list[dict], table: str, head: str) -> str:
    """What a molecule costs, against batch or size."""
    names = list(dict.fromkeys(record["name"] for record in records if record.get("table") == table))
    rows = []
    for name in names:
        found = [record for record in records if (record.get("table"), record.get("name")) == (table, name)]

        def median(key: str) -> float:
            values = [record[key] for record in found if record[key] is not None]
            return statistics.median(values) if values else float("nan")

        cpu, atoms = median("cpu_seconds_per_molecule"), median("atoms")
        cells = [f"{median('molecules_per_second'):.3g}", f"{1e3 * cpu:.2f}", f"{1e6 * cpu / atoms:.0f}"]
        cells += [f"{median('edges'):.0f}", f"{median('pairs'):.0f}", f"{median('gflop_per_molecule'):.2f}"]
        cells += [f"{100 * median('share_of_peak'):.0f} %", f"{median('per_molecule_mb'):.1f}"]
        rows.append([name, *cells])
    columns = ["molecules/s", "CPU ms a molecule", "CPU µs an atom", "edges", "near pairs", "GFLOP"]
    return harness.table([head, *columns, "of one core's f32 peak", "MB a molecule"], rows)


def tables(records: list[dict]) -> str:
    """All tables, with the machine above them."""
    parts = [harness.described(record) + "." for record in records if record.get("program") == "machine"]
    measured = [record for record in records if "error" not in record]
    parts += [process_table(measured), engine_table(measured, "batch", "molecules a batch")]
    parts += [engine_table(measured, "size", "atoms a molecule")]
    parts += [f"Failed: {r['table']} {r['name']}: {r['error']}" for r in records if "error" in r]
    return "\n\n".join(parts)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--out", type=Path, default=harness.BIN.parent / "bench", help="folder for scaling.jsonl")
    parser.add_argument("--table", type=Path, help="only print the tables of such a file")
    parser.add_argument("--no-build", action="store_true", help="the programs are built already")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if options.table:
        print(tables(harness.read(options.table)))
        return 0
    if not options.no_build:
        harness.build()
    here = harness.machine()
    log = harness.Log(options.out.resolve(), "scaling.jsonl")
    log.write(here)
    print(harness.described(here), flush=True)
    records = [here]
    for turn in range(1, (1 if options.quick else options.rounds) + 1):
        for table, name, run in runs(options.quick, options.precision, here["mpi"] != "absent"):
            try:
                record = {**run(), "round": turn, "table": table, "name": name}
                shown = f"{record['molecules_per_second']:.3g} molecules/s"
            except harness.Failed as error:
                record = {"round": turn, "table": table, "name": name, "error": str(error)}
                shown = f"FAILED: {error}"
            print(f"round {turn}: {table}, {name}: {shown}", flush=True)
            log.write(record)
            records.append(record)
    print(f"\n{tables(records)}\n\n{log.path}")
    return 1 if any("error" in record for record in records) else 0


if __name__ == "__main__":
    sys.exit(main())
