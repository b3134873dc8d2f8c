"""Features and class probabilities, and what numpy makes of them: distributions.py FOLDER. Prints the expected numbers."""

import json
import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
random = np.random.default_rng(3)


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """With the eigenvalues of the product of the covariances, as the field computes it."""
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(first @ second).astype(complex)).real.sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * root)


def probabilities(n: int, classes: int, sharpness: float) -> np.ndarray:
    logits = sharpness * random.normal(size=(n, classes)) + np.linspace(0, sharpness, classes)
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * np.log(p / q)).sum(-1)


def score(p: np.ndarray) -> float:
    return float(np.exp(kl(p, p.mean(0)).mean()))


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    p, q = p.mean(0), q.mean(0)
    return float(10 * (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2)


mixing = random.normal(size=(24, 24))
x = (random.normal(size=(300, 24)) @ mixing).astype(np.float32)
y = np.asfortranarray(random.normal(size=(500, 24)) * 2 + random.normal(size=24))
few = random.normal(size=(9, 24))
np.save(folder / "x.npy", x)
np.save(folder / "y.npy", y)
np.savetxt(folder / "few.csv", few, delimiter=",")
p, q = probabilities(200, 7, 2.0), probabilities(350, 7, 1.0)
np.save(folder / "p.npy", p)
np.savetxt(folder / "q.csv", q, delimiter=",", header="a,b,c,d,e,f,g", comments="")
np.savetxt(folder / "swapped.csv", q, delimiter=",", header="a,c,b,d,e,f,g", comments="")
x = x.astype(np.float64)
expected = {"x-y": frechet(x, y), "x-few": frechet(x, few), "p": score(p), "q": score(q), "p-q": divergence(p, q)}
print(json.dumps(expected))
