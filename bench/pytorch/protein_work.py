"""What is measured of Proteina: training steps and sampler steps on batches of random chains."""

import time

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import memory
import protein_data
from protein_data import Batch
from protein_network import Config, ProteinNetwork
from protein_objective import Sampler, Trainer
from settings import Settings


class ProteinWork:
    """A network and what is done with a batch: a training step, or sampler steps from the prior.

    Every second batch of a pass is trained with self-conditioning, half of the steps as in published training.
    """

    def __init__(self, settings: Settings, rank: int):
        self.settings = settings
        per_rank = settings.molecules // settings.ranks // settings.batch
        self.batches = [self.batch(settings.batch, rank * per_rank + i) for i in range(per_rank)]
        self.baseline_mb = memory.status_mb("VmRSS")
        torch.manual_seed(0)
        model = ProteinNetwork(Config())
        if settings.mode == "compile":
            model.compile_parts()
        self.model: nn.Module = model
        bf16 = settings.dtype == "bf16"
        if settings.task == "train":
            if settings.ranks > 1:
                self.model = DistributedDataParallel(model)
            self.trainer = Trainer(self.model, bf16)
        else:
            self.sampler = Sampler(model, settings.euler_steps, bf16=bf16)
            self.noise = torch.Generator().manual_seed(rank)
        self.last = float("nan")

    def batch(self, chains: int, place: int) -> Batch:
        """The batch at a place of a pass."""
        return protein_data.batch(chains, self.settings.length, seed=place, self_condition=place % 2 == 1)

    def __call__(self, batch: Batch) -> None:
        """The work that is timed."""
        if self.settings.task == "train":
            b = batch
            self.last = self.trainer.step(b.chains, b.x_1, b.x_t, b.t, b.self_condition)
        else:
            self.last = float(self.sample(batch, self.settings.timed_steps).square().mean().sqrt())
        if self.last != self.last:
            raise RuntimeError("the result is not a number")

    @torch.inference_mode()
    def sample(self, batch: Batch, steps: int) -> Tensor:
        """The first `steps` of the sampler's `euler_steps`, each fed with the one before."""
        x, fed_back = batch.x_0, None
        for k in range(steps):
            noise = torch.randn(x.shape, generator=self.noise)
            x, fed_back = self.sampler.step(k, batch.chains, x, fed_back, noise)
        return x

    def run(self, batch: Batch) -> None:
        """A training step, or the two kinds of sampler steps: without and with an estimate fed back."""
        self(batch) if self.settings.task == "train" else self.sample(batch, 2)

    def warm_up(self) -> float:
        """Runs what compiles and allocates; its seconds."""
        start = time.perf_counter()
        for batch in self.batches[:2]:
            self.run(batch)
        return time.perf_counter() - start

    def count(self) -> int:
        """Chains of a pass."""
        return sum(len(b) for b in self.batches)

    def memory(self) -> dict[str, float]:
        """The peak with a batch (self-conditioned), what weights and optimizer take at rest, and the rest a chain."""
        batch = self.batch(self.settings.batch, 1)
        self.run(batch)
        rest = memory.at_rest_mb()
        peak = memory.peak_of(lambda: self.run(batch))
        return {"rest_mb": rest, "peak_mb": peak, "per_molecule_mb": (peak - rest) / len(batch)}

    def sizes(self) -> dict[str, float]:
        """Residues of a chain."""
        return {"atoms": float(self.settings.length)}
