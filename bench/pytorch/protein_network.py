"""Proteina's backbone transformer (no triangles) as a PyTorch user would write it, from its published behaviour.

It is the baseline that qsd's protein network is compared with, and it takes none of the shortcuts: a dense batch
padded to its longest chain, pair features as one-hot rows times a matrix, the time of each pair as a row of its own,
adaptive norms from every token's own copy of the condition, a norm of the pairs and a projection in every layer.
B chains, L residues (padded), N = L + registers tokens, d token channels, p pair channels, h heads, lengths in nm.
Parameters have the names of published checkpoints.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu


@dataclass(frozen=True)
class Config:
    """The shape of the network; the defaults are those of the released one with 65 million parameters."""

    token: int = 512
    layers: int = 10
    heads: int = 8
    pair: int = 256
    condition: int = 512
    registers: int = 10
    index: int = 128
    time: int = 256
    fold: int = 256
    separations: int = 127
    distances: int = 64
    fed_back_distances: int = 128
    classes: tuple[int, int, int] = (5, 43, 1336)


@dataclass
class Chains:
    """A padded batch of chains.

    `mask` (B, L): which residues there are; `numbers` (B, L): residue numbers; `breaks` (B, L): whether the chain is
    broken after a residue; `folds` (B, 3): classes at the levels C, A, T, the level's number of classes if not told.
    """

    mask: Tensor
    numbers: Tensor
    breaks: Tensor
    folds: Tensor

    def __len__(self) -> int:
        return self.mask.shape[0]

    @property
    def sizes(self) -> Tensor:
        """Residues of each chain, (B)."""
        return self.mask.sum(1)

    @staticmethod
    def unknown(mask: Tensor, config: Config) -> "Chains":
        """What sampling starts from: numbers from 1, no breaks, no fold."""
        numbers = torch.arange(1, mask.shape[1] + 1).expand(mask.shape)
        return Chains(mask, numbers, torch.zeros_like(mask), torch.tensor(config.classes).expand(len(mask), 3))

    def centred(self, x: Tensor) -> Tensor:
        """x (B, L, 3) without its mean over the residues, and zero where there are none."""
        x = x * self.mask[..., None]
        mean = x.sum(1, keepdim=True) / self.sizes.clamp(min=1)[:, None, None]
        return (x - mean) * self.mask[..., None]


def waves(phase: Tensor) -> Tensor:
    """[sin, cos] of phases (…, k): (…, 2k)."""
    return torch.cat([phase.sin(), phase.cos()], dim=-1)


def binned(value: Tensor, edges: Tensor) -> Tensor:
    """One-hot rows (…, edges + 1) of how many edges lie strictly below a value."""
    return one_hot(torch.bucketize(value, edges), len(edges) + 1)


def distances(x: Tensor, bins: int) -> Tensor:
    """One-hot rows (B, L, L, bins) of the distances between residues, 0.1 to 3 nm."""
    edges = torch.linspace(0.1, 3.0, bins - 1)
    return binned((x[:, :, None] - x[:, None]).square().sum(-1).sqrt(), edges.to(x.dtype))


class TimeEmbedding(nn.Module):
    """sin and cos of 2000 t w_k, w_k = 2000^(−k/(K−1)), k < K = width/2: (B, width)."""

    def __init__(self, width: int):
        super().__init__()
        self.half = width // 2

    def forward(self, t: Tensor) -> Tensor:
        k = torch.arange(self.half, dtype=t.dtype)
        return waves(2000.0 * t[:, None] * torch.exp(k * (-math.log(2000.0) / (self.half - 1))))


class FoldEmbedding(nn.Module):
    """The rows of the classes at the three levels side by side: (B, 3 width). A table's last row: not told."""

    def __init__(self, config: Config):
        super().__init__()
        self.embedding_C, self.embedding_A, self.embedding_T = (
            nn.Embedding(classes + 1, config.fold) for classes in config.classes
        )

    def forward(self, folds: Tensor) -> Tensor:
        c, a, t = folds.unbind(1)
        return torch.cat([self.embedding_C(c), self.embedding_A(a), self.embedding_T(t)], dim=-1)


class SequenceFeatures(nn.Module):
    """Place in the chain, break, and the fed-back positions of every residue to tokens (B, L, d)."""

    def __init__(self, config: Config):
        super().__init__()
        self.width = config.index
        self.linear_out = nn.Linear(config.index + 1 + 3, config.token, bias=False)

    def forward(self, chains: Chains, fed_back: Tensor) -> Tensor:
        mask, dtype = chains.mask[..., None], fed_back.dtype
        place = chains.numbers - chains.numbers[:, :1] + 1
        k = torch.arange(self.width // 2, dtype=dtype)
        index = waves(place[..., None].to(dtype) * math.pi / 2056.0 ** (2 * k / self.width))
        features = torch.cat([index, chains.breaks[..., None].to(dtype), fed_back], dim=-1)
        return self.linear_out(features * mask) * mask


class ConditionFeatures(nn.Module):
    """Time and fold, the same for all residues of a chain: (B, L, condition)."""

    def __init__(self, config: Config):
        super().__init__()
        self.feat_creators = nn.ModuleList([TimeEmbedding(config.time), FoldEmbedding(config)])
        self.linear_out = nn.Linear(config.time + 3 * config.fold, config.condition, bias=False)

    def forward(self, chains: Chains, t: Tensor) -> Tensor:
        mask = chains.mask[..., None]
        time, fold = self.feat_creators
        features = torch.cat([time(t), fold(chains.folds)], dim=-1)[:, None].expand(-1, mask.shape[1], -1)
        return self.linear_out(features * mask) * mask


class PairProjection(nn.Module):
    """Features of pairs through a matrix and a norm, zero where one of the two is not there."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear_out = nn.Linear(inputs, outputs, bias=False)
        self.ln_out = nn.LayerNorm(outputs)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        return self.ln_out(self.linear_out(features * mask)) * mask


class AdaptiveNorm(nn.Module):
    """LN(x) sigmoid(W_γ LN(c) + b_γ) + W_β LN(c)."""

    def __init__(self, width: int, condition: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_cond = nn.LayerNorm(condition)
        self.to_gamma = nn.Sequential(nn.Linear(condition, width), nn.Sigmoid())
        self.to_beta = nn.Linear(condition, width, bias=False)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        c = self.norm_cond(condition)
        return (self.norm(x) * self.to_gamma(c) + self.to_beta(c)) * mask


class PairFeatures(nn.Module):
    """The pairs (B, L, L, p): separation along the chain, distances in x̂_1 and x_t, and the time."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        inputs = config.separations + config.fed_back_distances + config.distances
        self.init_repr_factory = PairProjection(inputs, config.pair)
        self.time = TimeEmbedding(config.time)
        self.cond_factory = PairProjection(config.time, config.condition)
        self.adaln = AdaptiveNorm(config.pair, config.condition)

    def forward(self, chains: Chains, x_t: Tensor, t: Tensor, fed_back: Tensor | None) -> Tensor:
        mask = (chains.mask[:, :, None] & chains.mask[:, None])[..., None]
        numbers = chains.numbers.to(x_t.dtype)
        most = self.config.separations // 2 - 0.5
        steps = torch.linspace(-most, most, self.config.separations - 1, dtype=x_t.dtype)
        separation = binned(numbers[:, :, None] - numbers[:, None], steps)
        bins = self.config.fed_back_distances
        if fed_back is None:
            fed_back_distance = separation.new_zeros(*separation.shape[:3], bins)
        else:
            fed_back_distance = distances(fed_back, bins)
        rows = torch.cat([separation, fed_back_distance, distances(x_t, self.config.distances)], dim=-1)
        pair = self.init_repr_factory(rows.to(x_t.dtype), mask)
        time = self.time(t)[:, None, None].expand(*separation.shape[:3], -1)
        return self.adaln(pair, self.cond_factory(time, mask), mask)


class SwiGlu(nn.Module):
    """value · silu(gate); the gate is the second half."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return value * silu(gate)


class Transition(nn.Module):
    """A gated two-layer perceptron without biases."""

    def __init__(self, width: int, expansion: int):
        super().__init__()
        self.swish_linear = nn.Sequential(nn.Linear(width, 2 * expansion * width, bias=False), SwiGlu())
        self.linear_out = nn.Linear(expansion * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_out(self.swish_linear(x))


class OutputScale(nn.Module):
    """x sigmoid(W_g c + b_g), of the condition as it is; closed at first."""

    def __init__(self, width: int, condition: int):
        super().__init__()
        self.to_adaln_zero_gamma = nn.Sequential(nn.Linear(condition, width), nn.Sigmoid())
        nn.init.zeros_(self.to_adaln_zero_gamma[0].weight)
        nn.init.constant_(self.to_adaln_zero_gamma[0].bias, -2.0)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        return x * self.to_adaln_zero_gamma(condition) * mask


class Attention(nn.Module):
    """Gated attention of all tokens to all, with a bias from their pair."""

    def __init__(self, config: Config):
        super().__init__()
        d = config.token
        self.heads, self.width = config.heads, d // config.heads
        self.node_norm = nn.LayerNorm(d)
        self.to_qkv = nn.Linear(d, 3 * d)
        self.q_layer_norm = nn.LayerNorm(d)
        self.k_layer_norm = nn.LayerNorm(d)
        self.to_g = nn.Linear(d, d)
        self.pair_norm = nn.LayerNorm(config.pair)
        self.to_bias = nn.Linear(config.pair, config.heads, bias=False)
        self.to_out_node = nn.Linear(d, d)

    def forward(self, x: Tensor, pair: Tensor, pair_mask: Tensor) -> Tensor:
        x = self.node_norm(x)
        q, k, v = self.to_qkv(x).chunk(3, dim=-1)
        gate = self.to_g(x).sigmoid()
        bias = self.to_bias(self.pair_norm(pair)).permute(0, 3, 1, 2)
        q, k, v = (
            part.unflatten(-1, (self.heads, self.width)).transpose(1, 2)
            for part in [self.q_layer_norm(q), self.k_layer_norm(k), v]
        )
        logits = q @ k.transpose(2, 3) * self.width**-0.5
        # The bias comes after the mask: rows without a residue stay finite.
        logits = logits.masked_fill(~pair_mask[:, None], torch.finfo(logits.dtype).min) + bias
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.to_out_node(mixed * gate)


class AttentionBlock(nn.Module):
    """Attention between its adaptive norm and its gate."""

    def __init__(self, config: Config):
        super().__init__()
        self.adaln = AdaptiveNorm(config.token, config.condition)
        self.mha = Attention(config)
        self.scale_output = OutputScale(config.token, config.condition)

    def forward(self, s: Tensor, pair: Tensor, condition: Tensor, mask: Tensor, pair_mask: Tensor) -> Tensor:
        out = self.mha(self.adaln(s, condition, mask), pair, pair_mask)
        return self.scale_output(out, condition, mask)


class TransitionBlock(nn.Module):
    """A transition between its adaptive norm and its gate."""

    def __init__(self, config: Config):
        super().__init__()
        self.adaln = AdaptiveNorm(config.token, config.condition)
        self.transition = Transition(config.token, 4)
        self.scale_output = OutputScale(config.token, config.condition)

    def forward(self, s: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        return self.scale_output(self.transition(self.adaln(s, condition, mask)), condition, mask)


class Layer(nn.Module):
    """Attention, then a transition, each added to the tokens."""

    def __init__(self, config: Config):
        super().__init__()
        self.mhba = AttentionBlock(config)
        self.transition = TransitionBlock(config)

    def forward(self, s: Tensor, pair: Tensor, condition: Tensor, mask: Tensor, pair_mask: Tensor) -> Tensor:
        s = (self.mhba(s, pair, condition, mask, pair_mask) + s) * mask
        return (self.transition(s, condition, mask) + s) * mask


class ProteinNetwork(nn.Module):
    """Velocities u ≈ x_1 − x_0 (B, L, 3) in nm at positions x_t (B, L, 3) and times t (B).

    `fed_back` is an earlier x̂_1 (B, L, 3), or None: zero positions, and no distance at all.
    """

    def __init__(self, config: Config):
        super().__init__()
        d = config.token
        self.config = config
        self.registers = nn.Parameter(torch.randn(config.registers, d) / 20.0)
        self.linear_3d_embed = nn.Linear(3, d, bias=False)
        self.init_repr_factory = SequenceFeatures(config)
        self.cond_factory = ConditionFeatures(config)
        self.transition_c_1 = Transition(config.condition, 2)
        self.transition_c_2 = Transition(config.condition, 2)
        self.pair_repr_builder = PairFeatures(config)
        self.transformer_layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.coors_3d_decoder = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 3, bias=False))

    def compile_parts(self) -> None:
        """The layers, compiled once for all of them, and the pairs, which take as long as the layers together."""
        for layer in self.transformer_layers:
            layer.compile(fullgraph=True)
        self.pair_repr_builder.compile(fullgraph=True)

    def forward(self, chains: Chains, x_t: Tensor, t: Tensor, fed_back: Tensor | None) -> Tensor:
        mask, extra = chains.mask[..., None], self.config.registers
        known = torch.zeros_like(x_t) if fed_back is None else fed_back
        s = self.init_repr_factory(chains, known) + self.linear_3d_embed(x_t * mask) * mask
        condition = self.transition_c_2(self.transition_c_1(self.cond_factory(chains, t)))
        pair = self.pair_repr_builder(chains, x_t, t, fed_back)

        # Registers in front: they are always there, their pairs and their condition are zero.
        pad = nn.functional.pad
        s = torch.cat([self.registers.expand(len(chains), -1, -1).to(s.dtype), s], dim=1)
        condition = pad(condition, (0, 0, extra, 0))
        pair = pad(pair, (0, 0, extra, 0, extra, 0))
        there = pad(chains.mask, (extra, 0), value=True)
        pair_mask = there[:, :, None] & there[:, None]
        for layer in self.transformer_layers:
            s = layer(s, pair, condition, there[..., None], pair_mask)
        return self.coors_3d_decoder(s[:, extra:]) * mask
