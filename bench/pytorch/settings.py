"""One configuration that is measured, and how it is told to the process that measures it."""

from dataclasses import dataclass

from data import SAMPLE


@dataclass(frozen=True)
class Settings:
    """One configuration. `threads` and `batch` are per rank; a molecule is a chain where the recipe is of proteins.

    A sample takes `euler_steps`; `timed_steps` of them are timed, the first ones, since all cost the same.
    """

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
    length: int = 128
    euler_steps: int = 50
    timed_steps: int = 50
    passes: int = 3
    seconds: float = 20.0
    data: str = str(SAMPLE)
