#!/usr/bin/env python3
"""Turns GEOM's RDKit pickles into the shards that qsd trains on (docs/data-format.md).

    python data/prepare_geom.py --geom rdkit_folder.tar.gz --partition drugs --split split.npy --out shards/drugs

WARNING: opening a pickle executes whatever code it carries. Run this only on files from a source you trust (GEOM's
Dataverse, https://doi.org/10.7910/DVN/JNGTDF), with their published checksums compared. qsd itself never opens one.

Needs rdkit, numpy and pyarrow (`pip install rdkit numpy pyarrow`).

The split is the field's `split.npy`: an object array of three index arrays (train, validation, test) into the *sorted*
file names of the partition. Training and validation keep the `--max-conformers` of highest Boltzmann weight; the test
split keeps all. With `--test-mols test_mols.pkl` (`{SMILES: [mol, ...]}`) the test split comes from that file. With
`--clean-test test_smiles_corrected.csv`, the field's list of test molecules, the test split holds what the field evaluates
on: the molecules of the list, without the conformers whose graph is not the corrected one.

The graph that is stored is what RDKit reads from the molecule's atom-mapped SMILES, so that the column `smiles` and the
columns of the graph say the same. It is the graph of the conformer of highest weight.

A killed run continues where it stopped when the same command is given again: finished shards are kept in `OUT.partial`.
The bytes written depend on the inputs, the options and the versions of the tools, not on `--workers`.
"""

import argparse
import concurrent.futures
import dataclasses
import fcntl
import hashlib
import json
import os
import pickle
import platform
import shutil
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import rdkit
from geom_molecules import Dropped, clean, from_mols, read_corrected, read_species, row_of
from rdkit import RDLogger

SCHEMA_VERSION = 1
ROWS_PER_BATCH = 64
SPLITS = ("train", "val", "test")
BOND_ORDERS = ("other", "single", "double", "triple", "aromatic")
# What the numbers of the atoms' features stand for. They follow from the graph and are computed when it is read; qsd
# refuses a manifest whose vocabulary is not its own (src/chem/features.rs).
FEATURES = {
    "chirality": ["unspecified", "clockwise", "counter-clockwise", "other type", "other"],
    "neighbours": [*map(str, range(11)), "other"],
    "formal_charge": [*map(str, range(-5, 6)), "other"],
    "implicit_valence": [*map(str, range(7)), "other"],
    "implicit_hydrogens": [*map(str, range(9)), "other"],
    "hybridisation": ["sp", "sp2", "sp3", "sp3d", "sp3d2", "other"],
    "unpaired_electrons": [*map(str, range(5)), "other"],
    "aromatic": ["no", "yes"],
    "in_ring": ["no", "yes"],
    "ring_sizes": [*map(str, range(5))],
}


def list_of(value_type):
    return pa.list_(pa.field("item", value_type, nullable=False))


SCHEMA = pa.schema(
    [
        pa.field(name, value_type, nullable=False)
        for name, value_type in [
            ("key", pa.string()),
            ("smiles", pa.string()),
            ("atomic_numbers", list_of(pa.uint8())),
            ("formal_charges", list_of(pa.int8())),
            ("radical_electrons", list_of(pa.uint8())),
            ("chirality", list_of(pa.int8())),
            ("bonds", list_of(pa.uint32())),
            ("bond_orders", list_of(pa.uint8())),
            ("weights", list_of(pa.float32())),
            ("energies", list_of(pa.float32())),
            ("positions", list_of(pa.float32())),
        ]
    ]
)


# ---------------------------------------------------------------------------------------------------------------------
# One shard


@dataclasses.dataclass(frozen=True)
class Task:
    """The inputs of one shard: names of pickles in `folder`, or keys of `test_mols`."""

    split: str
    number: int
    folder: str
    names: tuple
    test_mols: str | None
    clean_test: str | None
    max_conformers: int | None

    @property
    def stem(self):
        return f"{self.split}-{self.number:05d}"


def ensembles(task, source_hash):
    """Yields (name, function that gives the ensemble); feeds every input byte to the hash."""
    if task.test_mols:
        content = Path(task.test_mols).read_bytes()
        molecules = pickle.loads(content)
        source_hash.update(content)
        for key in task.names:
            yield key, lambda key=key: from_mols(key, molecules[key])
        return
    for name in task.names:
        content = Path(task.folder, name).read_bytes()
        source_hash.update(f"{name}\0{len(content)}\0".encode())
        source_hash.update(content)
        yield name, lambda name=name, content=content: read_species(content, name)


def make_shard(task, folder):
    """Writes one shard and, last, its sidecar, whose presence says that the shard is whole."""
    RDLogger.DisableLog("rdApp.*")
    rows, dropped, source_hash = [], [], hashlib.sha256()
    corrected = read_corrected(task.clean_test) if task.clean_test else None
    for name, read in ensembles(task, source_hash):
        try:
            ensemble = clean(read(), corrected) if corrected else read()
            rows.append(row_of(ensemble, task.max_conformers))
        except Dropped as cause:
            dropped.append({"split": task.split, "molecule": name, "reason": cause.reason, "detail": str(cause)})
        except Exception as cause:  # RDKit refuses a molecule in many ways
            detail = f"{type(cause).__name__}: {cause}"
            dropped.append({"split": task.split, "molecule": name, "reason": "unreadable", "detail": detail})
    sidecar = {"dropped": dropped, "source_sha256": source_hash.hexdigest(), "elements": [], "entry": None}
    if rows:
        path = Path(folder, task.stem + ".arrow")
        write_arrow(path, rows)
        sidecar["entry"] = entry_of(path, rows)
        sidecar["elements"] = sorted({z for row in rows for z in row["atomic_numbers"]})
    write_durably(Path(folder, task.stem + ".json"), json.dumps(sidecar).encode())
    return task.stem


def write_arrow(path, rows):
    """One Arrow file, uncompressed so that it can be mapped, in record batches of ROWS_PER_BATCH rows."""
    with open(path, "wb") as file:
        with pa.ipc.new_file(file, SCHEMA, options=pa.ipc.IpcWriteOptions(compression=None)) as writer:
            for start in range(0, len(rows), ROWS_PER_BATCH):
                chunk = rows[start : start + ROWS_PER_BATCH]
                columns = [pa.array([row[f.name] for row in chunk], type=f.type) for f in SCHEMA]
                writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
        file.flush()
        os.fsync(file.fileno())


def entry_of(path, rows):
    """The manifest's line on one shard."""
    sizes = [len(row["atomic_numbers"]) for row in rows]
    return {
        "file": path.name,
        "samples": len(rows),
        "conformers": sum(len(row["weights"]) for row in rows),
        "points": sum(sizes),
        "max_points": max(sizes),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
    }


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path, content):
    """Writes beside, fsyncs, renames: the file is whole or absent."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder):
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


# ---------------------------------------------------------------------------------------------------------------------
# The data set


def unpack(archive, partition, folder):
    """Unpacks the partition's pickles, and nothing else, from the archive; done once per work folder."""
    target = folder / "pickles"
    done = folder / "unpacked"
    if done.exists():
        return target
    target.mkdir(exist_ok=True)
    with tarfile.open(archive, "r|*") as tar:
        for count, member in enumerate(m for m in tar if is_pickle(m, partition)):
            with tar.extractfile(member) as source, open(target / Path(member.name).name, "wb") as copy:
                shutil.copyfileobj(source, copy)
            if count % 1000 == 999:
                progress(f"unpacked {count + 1} files")
    write_durably(done, b"")
    return target


def is_pickle(member, partition):
    path = Path(member.name)
    return member.isreg() and path.suffix == ".pickle" and path.parent.name == partition


def find_partition(geom, partition):
    """The folder that holds the partition's pickles."""
    for folder in (geom / partition, geom / "rdkit_folder" / partition, geom):
        if folder.is_dir() and any(folder.glob("*.pickle")):
            return folder
    sys.exit(f"{geom}: no *.pickle in it, in {partition}/ or in rdkit_folder/{partition}/")


def read_split(path, count):
    """Three index arrays; each index names one of the `count` files, none twice."""
    arrays = np.load(path, allow_pickle=True)
    if len(arrays) != 3:
        sys.exit(f"{path}: expected 3 index arrays (train, val, test), found {len(arrays)}")
    parts = [np.asarray(a, dtype=np.int64) for a in arrays]
    together = np.concatenate(parts)
    if len(together) and (together.min() < 0 or together.max() >= count):
        sys.exit(f"{path}: index {together.min()}..{together.max()}, but the partition has {count} pickles; is it whole?")
    if len(np.unique(together)) != len(together):
        sys.exit(f"{path}: an index occurs twice")
    return dict(zip(SPLITS, parts))


def plan_tasks(options, folder):
    names = sorted(path.name for path in folder.glob("*.pickle"))
    split = read_split(options.split, len(names))
    tasks = []
    for name in SPLITS:
        inputs = [names[i] for i in split[name]]
        test_mols = str(options.test_mols) if name == "test" and options.test_mols else None
        if test_mols:
            inputs = sorted(pickle.loads(options.test_mols.read_bytes()))
        size = len(inputs) if test_mols else options.molecules_per_shard  # that file is read whole, so do it once
        limit = None if name == "test" else options.max_conformers
        corrected = str(options.clean_test) if name == "test" and options.clean_test else None
        for number, start in enumerate(range(0, len(inputs), max(size, 1))):
            part = tuple(inputs[start : start + size])
            tasks.append(Task(name, number, str(folder), part, test_mols, corrected, limit))
    return tasks


def run_tasks(tasks, folder, workers):
    """Makes the shards that are not there yet, reporting progress; sums up what was there."""
    waiting = [task for task in tasks if not (folder / (task.stem + ".json")).exists()]
    total = sum(len(task.names) for task in tasks)
    before = total - sum(len(task.names) for task in waiting)
    if before:
        print(f"continuing: {before} of {total} molecules were finished before", file=sys.stderr)
    done, start = before, time.monotonic()
    pool = concurrent.futures.ProcessPoolExecutor(workers, initializer=end_with_parent, initargs=(os.getpid(),))
    try:
        running = {pool.submit(make_shard, task, str(folder)): task for task in waiting}
        for future in concurrent.futures.as_completed(running):
            future.result()
            done += len(running[future].names)
            elapsed = time.monotonic() - start
            left = elapsed * (total - done) / max(done - before, 1)
            progress(f"{done}/{total} molecules, {elapsed:.0f} s, about {left:.0f} s left ")
    finally:
        pool.shutdown(cancel_futures=True)
        print(file=sys.stderr)


def progress(text):
    print("\r" + text, end="", file=sys.stderr, flush=True)


def end_with_parent(parent):
    """Lets a worker end soon after a killed parent: it would wait for ever, and hold the work folder's lock."""

    def watch():
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def sum_up(tasks, folder, options):
    """The manifest, and the list of dropped molecules."""
    sidecars = {task: json.loads((folder / (task.stem + ".json")).read_text()) for task in tasks}
    splits = {name: [] for name in SPLITS}
    counts = {name: {} for name in SPLITS}
    dropped, source = [], hashlib.sha256()
    for task, sidecar in sidecars.items():
        if sidecar["entry"]:
            splits[task.split].append(sidecar["entry"])
        source.update(bytes.fromhex(sidecar["source_sha256"]))
        dropped += sidecar["dropped"]
        for record in sidecar["dropped"]:
            counts[task.split][record["reason"]] = counts[task.split].get(record["reason"], 0) + 1
    elements = sorted({z for sidecar in sidecars.values() for z in sidecar["elements"]})
    return manifest_of(options, splits, counts, elements, source.hexdigest()), dropped


def manifest_of(options, splits, counts, elements, source_sha256):
    files = {"split": options.split, "test_mols": options.test_mols, "clean_test": options.clean_test}
    files = {key: path for key, path in files.items() if path}
    command = (
        f"prepare_geom.py --geom {options.geom.name} --partition {options.partition} "
        + " ".join(f"--{key.replace('_', '-')} {path.name}" for key, path in files.items())
        + f" --max-conformers {options.max_conformers} --molecules-per-shard {options.molecules_per_shard}"
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "name": options.name or f"geom-{options.partition}",
        "units": {"positions": "angstrom", "energies": "kcal/mol"},
        "rows_per_batch": ROWS_PER_BATCH,
        "bond_orders": list(BOND_ORDERS),
        "features": [{"name": name, "categories": categories} for name, categories in FEATURES.items()],
        "elements": elements,
        "splits": splits,
        "dropped": counts,
        "source": {
            "inputs_sha256": source_sha256,
            "files": {key: {"name": path.name, "sha256": sha256_of(path)} for key, path in files.items()},
        },
        "created": {
            "command": command,
            "tools": {
                "python": platform.python_version(),
                "rdkit": rdkit.__version__,
                "pyarrow": pa.__version__,
                "numpy": np.__version__,
            },
        },
    }


def fingerprint(options):
    """What must be the same for a killed run to be continued."""
    return {
        "geom": str(options.geom.resolve()),
        "partition": options.partition,
        "split": sha256_of(options.split),
        "test_mols": sha256_of(options.test_mols) if options.test_mols else None,
        "clean_test": sha256_of(options.clean_test) if options.clean_test else None,
        "max_conformers": options.max_conformers,
        "molecules_per_shard": options.molecules_per_shard,
        "tools": [platform.python_version(), rdkit.__version__, pa.__version__, np.__version__],
    }


def enter_work_folder(options):
    """Creates or takes up `OUT.partial`; holds its lock while the returned file is open."""
    work = options.out.with_name(options.out.name + ".partial")
    work.mkdir(parents=True, exist_ok=True)
    lock = open(work / "lock", "w")
    for attempt in range(10):  # the workers of a killed run let go within a second
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if attempt == 9:
                sys.exit(f"{work}: another run is at work there")
            time.sleep(0.3)
    note, wanted = work / "run.json", fingerprint(options)
    if note.exists():
        found = json.loads(note.read_text())
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        if differing:
            sys.exit(f"{work}: left by a run with another {', '.join(differing)}; finish that run, or delete the folder")
    write_durably(note, json.dumps(wanted).encode())
    return work, lock


def publish(work, out, manifest, dropped):
    """Writes the manifest, sweeps the work files, and renames the folder into place."""
    lines = "".join(json.dumps(record) + "\n" for record in dropped)
    write_durably(work / "dropped.jsonl", lines.encode())
    write_durably(work / "manifest.json", (json.dumps(manifest, indent=1) + "\n").encode())
    keep = {entry["file"] for entries in manifest["splits"].values() for entry in entries}
    keep |= {"manifest.json", "dropped.jsonl"}
    for path in work.iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    sync_folder(work)
    os.rename(work, out)
    sync_folder(out.parent.resolve())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--geom",
        type=Path,
        required=True,
        help="rdkit_folder.tar.gz, or the unpacked folder; an archive is unpacked beside the output while the run lasts",
    )
    parser.add_argument("--partition", choices=("drugs", "qm9"), required=True)
    parser.add_argument("--split", type=Path, required=True, help="split.npy of that partition (its loading, too, unpickles)")
    parser.add_argument("--test-mols", type=Path, help="test_mols.pkl in place of the split's test molecules")
    parser.add_argument(
        "--clean-test", type=Path, help="test_smiles_corrected.csv: keep in the test split what the field evaluates on"
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to create; must not exist")
    parser.add_argument("--name", help="the data set's name (default: geom-PARTITION)")
    parser.add_argument("--max-conformers", type=positive, default=30, help="kept in train and val (default 30)")
    parser.add_argument("--molecules-per-shard", type=positive, default=1024)
    parser.add_argument("--workers", type=positive, default=os.cpu_count(), help="processes (default: all cores)")
    return parser.parse_args()


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main():
    options = parse_arguments()
    if options.out.exists():
        sys.exit(f"{options.out}: exists already; refusing to overwrite it")
    work, lock = enter_work_folder(options)
    with lock:
        if options.geom.is_dir():
            folder = find_partition(options.geom, options.partition)
        else:
            folder = find_partition(unpack(options.geom, options.partition, work), options.partition)
        tasks = plan_tasks(options, folder)
        run_tasks(tasks, work, options.workers)
        manifest, dropped = sum_up(tasks, work, options)
        publish(work, options.out, manifest, dropped)
    for name in SPLITS:
        kept = sum(entry["samples"] for entry in manifest["splits"][name])
        print(f"{name}: {kept} molecules, dropped {manifest['dropped'][name] or 'none'}")


if __name__ == "__main__":
    main()
