"""What is measured of ET-Flow: training steps and Euler steps on batches of molecules."""

import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import data
import graph
import memory
from data import Batch
from network import Config, EtFlow
from objective import Trainer
from settings import Settings


class MoleculeWork:
    """A network and what is done with a batch: a training step, or Euler steps from the prior."""

    def __init__(self, settings: Settings, rank: int):
        self.settings = settings
        self.samples = data.samples(Path(settings.data), settings.molecules)
        size = settings.batch
        batches = [data.batch(self.samples[i : i + size]) for i in range(0, len(self.samples), size)]
        self.batches: list[Batch] = batches[rank :: settings.ranks]
        self.baseline_mb = memory.status_mb("VmRSS")
        torch.manual_seed(0)
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
        """The work that is timed."""
        if self.settings.task == "train":
            self.last = self.trainer.step(batch.molecules, batch.x_t, batch.t, batch.target)
        else:
            self.last = float(self.sample(batch, self.settings.timed_steps).square().mean().sqrt())
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

    def warm_up(self) -> float:
        """Runs what compiles and allocates; its seconds."""
        start = time.perf_counter()
        for batch in self.batches if self.settings.mode == "compile" else self.batches[:2]:
            self(batch) if self.settings.task == "train" else self.sample(batch, 2)
        return time.perf_counter() - start

    def count(self) -> int:
        """Molecules of a pass."""
        return sum(len(b.molecules) for b in self.batches)

    def memory(self) -> dict[str, float]:
        """Peaks with one molecule and with a full batch, and their difference per average molecule."""
        mean = statistics.mean(len(s.x_1) for s in self.samples)
        one = data.batch([min(self.samples, key=lambda s: abs(len(s.x_1) - mean))])
        full = max(self.batches, key=lambda b: len(b.x_t))
        run = (lambda b: self.sample(b, 2)) if self.settings.task == "sample" else self
        # Twice: the first may compile or allocate for the new size.
        run(one)
        peak_one = memory.peak_of(lambda: run(one))
        peak_full = memory.peak_of(lambda: run(full))
        growth = (peak_full - peak_one) / (len(full.x_t) - len(one.x_t)) * mean
        return {"peak_one_mb": peak_one, "peak_mb": peak_full, "per_molecule_mb": growth}

    def sizes(self) -> dict[str, float]:
        """Averages per molecule, and the share of edges beyond √10 Å, where the filters end."""
        edges = far = 0
        for b in self.batches:
            x = b.x_0 if self.settings.task == "sample" else b.x_t
            (source, target), _ = graph.edges(b.molecules, x)
            edges += len(source)
            far += int(((x[source] - x[target]).square().sum(1) >= 10.0).sum())
        count = self.count()
        atoms = sum(len(b.x_t) for b in self.batches) / count
        return {"atoms": atoms, "edges": edges / count, "far_share": far / edges}
