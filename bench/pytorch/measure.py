"""Measures one configuration in a process of its own: throughput, CPU time and memory.

`benchmark.py` starts it; its only output is one line of JSON.
"""

import json
import os
import platform
import resource
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from memory import status_mb
from molecule_work import MoleculeWork
from protein_work import ProteinWork
from settings import Settings

Work = MoleculeWork | ProteinWork


@dataclass
class Timing:
    """Of one rank: wall seconds of each batch (by batch, then by pass), and of each pass user and system time."""

    batches: list[list[float]]
    user: list[float]
    system: list[float]

    def seconds(self) -> float:
        """Wall time of a pass: the sum of the batches' medians."""
        return sum(statistics.median(times) for times in self.batches)


def timed(work: Work) -> Timing:
    """Passes over the batches until there are `passes` of them and `seconds` have gone by, on all ranks."""
    settings, batches = work.settings, work.batches
    timing = Timing([[] for _ in batches], [], [])
    start, more = time.perf_counter(), True
    while more:
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        if settings.ranks > 1:
            dist.barrier()
        for batch, times in zip(batches, timing.batches):
            before = time.perf_counter()
            work(batch)
            times.append(time.perf_counter() - before)
        used = resource.getrusage(resource.RUSAGE_SELF)
        timing.user.append(used.ru_utime - cpu.ru_utime)
        timing.system.append(used.ru_stime - cpu.ru_stime)
        more = len(timing.user) < settings.passes or time.perf_counter() - start < settings.seconds
        if settings.ranks > 1:
            # Rank 0's clock decides, or a rank would wait for a step that the other does not take.
            flag = torch.tensor([float(more)])
            dist.broadcast(flag, 0)
            more = bool(flag)
    return timing


def rank_main(rank: int, settings: Settings, answers: mp.SimpleQueue) -> None:
    """What one rank does; rank 0 puts every rank's result into `answers`."""
    torch.set_num_threads(settings.threads)
    if settings.ranks > 1:
        dist.init_process_group("gloo", init_method="env://", rank=rank, world_size=settings.ranks)
    work = ProteinWork(settings, rank) if settings.recipe.startswith("protein") else MoleculeWork(settings, rank)
    warm_up = work.warm_up()
    timing = timed(work)
    # Of a sample only some of the steps are timed.
    parts = settings.euler_steps / settings.timed_steps if settings.task == "sample" else 1.0
    result = {
        "molecules": work.count(),
        "batches": len(work.batches),
        "seconds": timing.seconds() * parts,
        "user": statistics.median(timing.user) * parts,
        "system": statistics.median(timing.system) * parts,
        "passes": len(timing.user),
        "steps": len(timing.user) * len(work.batches),
        "warm_up_seconds": warm_up,
        "ru_maxrss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3,
        "baseline_mb": work.baseline_mb,
        "last": work.last,
        **work.memory(),
        "sizes": work.sizes(),
    }
    results = [result]
    if settings.ranks > 1:
        results = [{}] * settings.ranks
        dist.all_gather_object(results, result)
        dist.destroy_process_group()
    if rank == 0:
        answers.put(results)


def combined(settings: Settings, ranks: list[dict]) -> dict:
    """The configuration's numbers: rates and memory are sums over ranks."""
    molecules = sum(r["molecules"] for r in ranks)
    steps = settings.euler_steps if settings.task == "sample" else 1

    def mean(values: list[float]) -> float:
        return sum(value * r["molecules"] for value, r in zip(values, ranks)) / molecules

    rate = sum(r["molecules"] / r["seconds"] for r in ranks)
    sums = ["peak_mb", "peak_one_mb", "rest_mb", "baseline_mb", "ru_maxrss_mb"]
    sizes = {key: mean([r["sizes"][key] for r in ranks]) for key in ranks[0]["sizes"]}
    return {
        **asdict(settings),
        "batch_in_all": settings.batch * settings.ranks,
        "molecules_per_second": rate,
        # A step is a training step, or an evaluation with what surrounds it; all ranks take theirs at the same time.
        "atoms_per_second": rate * sizes["atoms"] * steps,
        "seconds_per_step": max(r["seconds"] / r["batches"] for r in ranks) / steps,
        "cpu_seconds_per_molecule": sum(r["user"] + r["system"] for r in ranks) / molecules,
        "system_seconds_per_molecule": sum(r["system"] for r in ranks) / molecules,
        **sizes,
        "per_molecule_mb": mean([r["per_molecule_mb"] for r in ranks]),
        **{key: sum(r[key] for r in ranks) for key in sums if key in ranks[0]},
        "warm_up_seconds": max(r["warm_up_seconds"] for r in ranks),
        "passes": ranks[0]["passes"],
        "steps": ranks[0]["steps"],
        "last": ranks[0]["last"],
        "load_average": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def main() -> None:
    settings = Settings(**json.loads(sys.argv[1]))
    answers = mp.get_context("spawn").SimpleQueue()
    if settings.ranks == 1:
        rank_main(0, settings, answers)
    else:
        mp.spawn(rank_main, (settings, answers), nprocs=settings.ranks)
    print(json.dumps(combined(settings, answers.get())), flush=True)


if __name__ == "__main__":
    main()
