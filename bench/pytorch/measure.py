"""Measures one configuration in a process of its own: throughput, CPU time and memory.

`benchmark.py` starts it; its only output is one line of JSON.
"""

import ctypes
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import data
import graph
from data import Batch, Sample
from network import Config, EtFlow
from objective import Trainer


@dataclass(frozen=True)
class Settings:
    """One configuration. `threads` and `batch` are per rank."""

    task: str = "train"
    recipe: str = "drugs-o3"
    mode: str = "eager"
    dtype: str = "f32"
    threads: int = 1
    ranks: int = 1
    batch: int = 8
    loss: str = "projected_mse"
    memory: str = "default"
    molecules: int = 64
    euler_steps: int = 50
    passes: int = 3
    seconds: float = 20.0
    data: str = str(data.SAMPLE)


@dataclass
class Timing:
    """Of one rank: wall seconds of each batch (by batch, then by pass), and of each pass user and system time."""

    batches: list[list[float]]
    user: list[float]
    system: list[float]

    def seconds(self) -> float:
        """Wall time of a pass: the sum of the batches' medians."""
        return sum(statistics.median(times) for times in self.batches)


def status_mb(key: str) -> float:
    """A line of /proc/self/status in MB (10⁶ bytes): VmRSS is now, VmHWM the peak since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1.024e-3
    raise KeyError(key)


def peak_of(run: Callable[[], object]) -> float:
    """The largest resident size during a call, MB, after memory that is free has been given back."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    run()
    return status_mb("VmHWM")


class Work:
    """A network and what is done with a batch: a training step, or Euler steps from the prior."""

    def __init__(self, settings: Settings):
        torch.manual_seed(0)
        self.settings = settings
        model = EtFlow(Config(so3=settings.recipe.endswith("so3")))
        if settings.mode == "compile":
            model.compile_layers()
        self.model: nn.Module = model
        if settings.task == "train":
            if settings.ranks > 1:
                self.model = DistributedDataParallel(model)
            self.trainer = Trainer(self.model, settings.loss, autocast=settings.dtype == "bf16")
        self.last = float("nan")

    def __call__(self, batch: Batch) -> None:
        if self.settings.task == "train":
            self.last = self.trainer.step(batch.molecules, batch.x_t, batch.t, batch.target)
        else:
            self.last = float(self.sample(batch, self.settings.euler_steps).square().mean().sqrt())
        if self.last != self.last:
            raise RuntimeError("the result is not a number")

    @torch.inference_mode()
    def sample(self, batch: Batch, steps: int) -> torch.Tensor:
        """Euler integration from the prior with all of `euler_steps`' step sizes; the first `steps` of them."""
        x = batch.x_0
        h = 1.0 / self.settings.euler_steps
        for step in range(steps):
            t = torch.full((len(batch.molecules),), step * h)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.dtype == "bf16"):
                v = self.model(batch.molecules, x, t)
            x = x + h * v.float()
        return x

    def warm_up(self, batches: list[Batch]) -> float:
        """Runs what compiles and allocates; its seconds."""
        start = time.perf_counter()
        for batch in batches if self.settings.mode == "compile" else batches[:2]:
            self(batch) if self.settings.task == "train" else self.sample(batch, 2)
        return time.perf_counter() - start


def timed(work: Work, batches: list[Batch]) -> Timing:
    """Passes over the batches until there are `passes` of them and `seconds` have gone by, on all ranks."""
    settings = work.settings
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


def memory(work: Work, samples: list[Sample], batches: list[Batch]) -> dict[str, float]:
    """Peaks with one molecule and with a full batch, and their difference per average molecule."""
    mean = statistics.mean(len(s.x_1) for s in samples)
    one = data.batch([min(samples, key=lambda s: abs(len(s.x_1) - mean))])
    full = max(batches, key=lambda b: len(b.x_t))
    sampling = work.settings.task == "sample"
    run = (lambda b: work.sample(b, 2)) if sampling else work
    # Twice: the first may compile or allocate for the new size.
    run(one)
    peak_one = peak_of(lambda: run(one))
    peak_full = peak_of(lambda: run(full))
    growth = (peak_full - peak_one) / (len(full.x_t) - len(one.x_t)) * mean
    return {"peak_one_mb": peak_one, "peak_mb": peak_full, "per_molecule_mb": growth}


def mean_edges(batches: list[Batch], sampling: bool) -> dict[str, float]:
    """Averages per molecule, and the share of edges beyond √10 Å, where the filters end."""
    count = sum(len(b.molecules) for b in batches)
    edges = far = 0
    for b in batches:
        x = b.x_0 if sampling else b.x_t
        (source, target), _ = graph.edges(b.molecules, x)
        edges += len(source)
        far += int(((x[source] - x[target]).square().sum(1) >= 10.0).sum())
    return {"atoms": sum(len(b.x_t) for b in batches) / count, "edges": edges / count, "far_share": far / edges}


def rank_main(rank: int, settings: Settings, answers: mp.SimpleQueue) -> None:
    """What one rank does; rank 0 puts every rank's result into `answers`."""
    torch.set_num_threads(settings.threads)
    if settings.ranks > 1:
        dist.init_process_group("gloo", init_method="env://", rank=rank, world_size=settings.ranks)
    samples = data.samples(Path(settings.data), settings.molecules)
    size = settings.batch
    batches = [data.batch(samples[i : i + size]) for i in range(0, len(samples), size)][rank :: settings.ranks]
    baseline = status_mb("VmRSS")
    work = Work(settings)
    warm_up = work.warm_up(batches)
    timing = timed(work, batches)
    result = {
        "molecules": sum(len(b.molecules) for b in batches),
        "seconds": timing.seconds(),
        "user": statistics.median(timing.user),
        "system": statistics.median(timing.system),
        "passes": len(timing.user),
        "steps": len(timing.user) * len(batches),
        "warm_up_seconds": warm_up,
        "ru_maxrss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024e-3,
        "baseline_mb": baseline,
        "last": work.last,
        **memory(work, samples, batches),
        **mean_edges(batches, settings.task == "sample"),
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

    def mean(key: str) -> float:
        return sum(r[key] * r["molecules"] for r in ranks) / molecules

    return {
        **asdict(settings),
        "molecules_per_second": sum(r["molecules"] / r["seconds"] for r in ranks),
        "cpu_seconds_per_molecule": sum(r["user"] + r["system"] for r in ranks) / molecules,
        "system_seconds_per_molecule": sum(r["system"] for r in ranks) / molecules,
        "atoms": mean("atoms"),
        "edges": mean("edges"),
        "far_share": mean("far_share"),
        "per_molecule_mb": mean("per_molecule_mb"),
        **{key: sum(r[key] for r in ranks) for key in ["peak_mb", "peak_one_mb", "baseline_mb", "ru_maxrss_mb"]},
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
