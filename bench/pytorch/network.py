"""ET-Flow's equivariant transformer as a PyTorch user would write it, from its published behaviour.

It is the baseline that qsd's engine is compared with: plain modules, gathers to edges, `index_add` to atoms,
every edge treated alike. N atoms, E edges, H channels, h heads, d = H/h, m parts per head, K radial functions.
Parameters have the names of published checkpoints.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

import graph
from graph import Molecules


@dataclass(frozen=True)
class Config:
    """The shape of the network; the defaults are those of `drugs-o3`."""

    hidden: int = 160
    layers: int = 20
    heads: int = 8
    rbf: int = 64
    so3: bool = False
    output_layer_norm: bool = False
    max_z: int = 100
    features: int = 10
    cutoff: float = 10.0


def linear(inputs: int, outputs: int, weight: str = "xavier", bias: str = "zero") -> nn.Linear:
    """A linear layer with weight `xavier` or PyTorch's `default`, and bias `zero`, `default` or `none`."""
    layer = nn.Linear(inputs, outputs, bias=bias != "none")
    if weight == "xavier":
        nn.init.xavier_uniform_(layer.weight)
    if bias == "zero":
        nn.init.zeros_(layer.bias)
    return layer


def sum_at(targets: Tensor, messages: Tensor, atoms: int) -> Tensor:
    """Messages (E, …) summed at their targets, (N, …), in the type of the messages."""
    return messages.new_zeros(atoms, *messages.shape[1:]).index_add(0, targets, messages)


class RadialBasis(nn.Module):
    """C(D) exp(−β_k (exp(−5 D/cutoff) − μ_k)²) of the *squared* distance D, (E, K)."""

    def __init__(self, config: Config):
        super().__init__()
        self.cutoff = config.cutoff
        start = torch.exp(torch.tensor(-config.cutoff))
        self.means = nn.Parameter(torch.linspace(float(start), 1.0, config.rbf))
        self.betas = nn.Parameter(torch.full((config.rbf,), float((2 / config.rbf * (1 - start)) ** -2)))

    def forward(self, d2: Tensor, envelope: Tensor) -> Tensor:
        decay = torch.exp(-5.0 / self.cutoff * d2)
        return envelope[:, None] * torch.exp(-self.betas * (decay[:, None] - self.means) ** 2)


class NeighborEmbedding(nn.Module):
    """x ← combine([x, Σ_j emb(z_j) distance_proj(f_ji) C(D_ji)])."""

    def __init__(self, config: Config):
        super().__init__()
        self.embedding = nn.Embedding(config.max_z, config.hidden)
        self.distance_proj = linear(config.rbf + 1, config.hidden)
        self.combine = linear(2 * config.hidden, config.hidden)

    def forward(self, z: Tensor, x: Tensor, edge_index: Tensor, f: Tensor, envelope: Tensor) -> Tensor:
        source, target = edge_index
        messages = self.embedding(z)[source] * (self.distance_proj(f) * envelope[:, None])
        return self.combine(torch.cat([x, sum_at(target, messages, x.shape[0])], dim=1))


class AttentionLayer(nn.Module):
    """Messages along edges update the scalars x (N, H) and the vectors V (N, 3, H)."""

    def __init__(self, config: Config):
        super().__init__()
        hidden, f = config.hidden, config.rbf + 1
        self.heads, self.width, self.parts = config.heads, hidden // config.heads, 4 if config.so3 else 3
        self.layernorm = nn.LayerNorm(hidden)
        self.mixing_mlp = nn.Sequential(
            linear(2 * hidden + 1, hidden, "default", "default"), nn.SiLU(), linear(hidden, hidden, "default", "default")
        )
        self.q_proj = nn.Sequential(linear(hidden, hidden), nn.LayerNorm(hidden))
        self.k_proj = nn.Sequential(linear(hidden, hidden), nn.LayerNorm(hidden))
        self.v_proj = linear(hidden, self.parts * hidden, "default")
        self.o_proj = linear(hidden, 3 * hidden)
        self.vec_proj = linear(hidden, 3 * hidden, bias="none")
        self.dk_proj = linear(f, hidden)
        self.dv_proj = linear(f, self.parts * hidden)

    def forward(
        self, x: Tensor, vec: Tensor, t: Tensor, a: Tensor, edge_index: Tensor, f: Tensor, envelope: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor]:
        g = self.layernorm(self.mixing_mlp(torch.cat([x, t, a], dim=1)))
        scalars, vectors = self.messages(g, vec, edge_index, f, envelope, u)
        w1, w2, w3 = self.vec_proj(vec).chunk(3, dim=-1)
        o1, o2, o3 = self.o_proj(scalars).chunk(3, dim=-1)
        x = x + (w1 * w2).sum(1) * o2 + o3
        return x, vec + w3 * o1[:, None] + vectors

    def messages(
        self, g: Tensor, vec: Tensor, edge_index: Tensor, f: Tensor, envelope: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Σ_j s att, (N, H), and Σ_j V_j v1 + u v2 [+ (u × V_j) v3], (N, 3, H)."""
        atoms, heads, width = g.shape[0], self.heads, self.width
        source, target = edge_index
        q = self.q_proj(g).view(atoms, heads, width)
        k = self.k_proj(g).view(atoms, heads, width)
        v = self.v_proj(g).view(atoms, heads, self.parts * width)
        dk = silu(self.dk_proj(f)).view(-1, heads, width)
        dv = silu(self.dv_proj(f)).view(-1, heads, self.parts * width)

        attention = silu((q[target] * k[source] * dk).sum(-1)) * envelope[:, None]
        s, v1, v2, *v3 = (v[source] * dv).split(width, dim=-1)
        scalars = s * attention[:, :, None]
        vec_j = vec.view(atoms, 3, heads, width)[source]
        vectors = vec_j * v1[:, None] + u[:, :, None, None] * v2[:, None]
        if v3:
            vectors = vectors + torch.linalg.cross(u[:, :, None, None].expand_as(vec_j), vec_j, dim=1) * v3[0][:, None]
        return sum_at(target, scalars, atoms).flatten(1), sum_at(target, vectors, atoms).flatten(2)


class RepresentationModel(nn.Module):
    """Atoms and edges to scalars and vectors per atom."""

    def __init__(self, config: Config):
        super().__init__()
        hidden = config.hidden
        self.cutoff = config.cutoff
        self.embedding = nn.Embedding(config.max_z, hidden)
        self.distance_expansion = RadialBasis(config)
        self.neighbor_embedding = NeighborEmbedding(config)
        self.node_mlp = nn.Sequential(
            linear(config.features, hidden, "default", "default"),
            nn.SiLU(),
            nn.LayerNorm(hidden),
            linear(hidden, hidden, "default", "default"),
        )
        self.attention_layers = nn.ModuleList(AttentionLayer(config) for _ in range(config.layers))
        self.out_norm = nn.LayerNorm(hidden)

    def forward(
        self, z: Tensor, features: Tensor, t: Tensor, positions: Tensor, edge_index: Tensor, edge_type: Tensor
    ) -> tuple[Tensor, Tensor]:
        source, target = edge_index
        r = positions[source] - positions[target]
        d2 = (r * r).sum(-1)
        u = r / d2.clamp(min=0.01)[:, None]
        inside = 0.5 * (torch.cos(torch.pi / self.cutoff * d2) + 1.0)
        envelope = torch.where(d2 < self.cutoff, inside, 0.0)
        f = torch.cat([self.distance_expansion(d2, envelope), edge_type[:, None].to(d2.dtype)], dim=1)

        x = self.neighbor_embedding(z, self.embedding(z), edge_index, f, envelope)
        a = self.node_mlp(features)
        vec = x.new_zeros(x.shape[0], 3, x.shape[1], dtype=positions.dtype)
        for layer in self.attention_layers:
            x, vec = layer(x, vec, t, a, edge_index, f, envelope, u)
        return self.out_norm(x), vec


class GatedBlock(nn.Module):
    """[s, gate] = update_net([x, ‖V vec1ᵀ‖]); V ← gate · V vec2ᵀ."""

    def __init__(self, inputs: int, scalars: int, vectors: int, layer_norm: bool):
        super().__init__()
        self.widths = [scalars, vectors]
        self.vec1_proj = linear(inputs, inputs, bias="none")
        self.vec2_proj = linear(inputs, vectors, bias="none")
        norm = [nn.LayerNorm(inputs)] if layer_norm else []
        self.update_net = nn.Sequential(
            linear(2 * inputs, inputs), *norm, nn.SiLU(), linear(inputs, scalars + vectors)
        )

    def forward(self, x: Tensor, vec: Tensor) -> tuple[Tensor, Tensor]:
        p = self.vec1_proj(vec)
        # As in the reference: one exact zero among an atom's numbers, and all its lengths are zero.
        whole = (p != 0).flatten(1).all(1, keepdim=True)
        length = torch.where(whole, torch.linalg.vector_norm(p, dim=1), 0.0)
        scalars, gate = self.update_net(torch.cat([x, length], dim=1)).split(self.widths, dim=1)
        return scalars, gate[:, None] * self.vec2_proj(vec)


class OutputModel(nn.Module):
    """Scalars and vectors to one vector per atom, (N, 3)."""

    def __init__(self, config: Config):
        super().__init__()
        hidden, half = config.hidden, config.hidden // 2
        self.output_network = nn.ModuleList([
            GatedBlock(hidden, half, half, config.output_layer_norm),
            GatedBlock(half, hidden, 1, config.output_layer_norm),
        ])

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        first, second = self.output_network
        x, vec = first(x, vec)
        return second(silu(x), vec)[1].squeeze(-1)


class Network(nn.Module):
    """From atoms and given edges to one vector per atom."""

    def __init__(self, config: Config):
        super().__init__()
        self.representation_model = RepresentationModel(config)
        self.output_model = OutputModel(config)

    def forward(
        self, z: Tensor, features: Tensor, t: Tensor, positions: Tensor, edge_index: Tensor, edge_type: Tensor
    ) -> Tensor:
        return self.output_model(*self.representation_model(z, features, t, positions, edge_index, edge_type))


class EtFlow(nn.Module):
    """Velocities (N, 3), centred per molecule, at positions x_t (N, 3) and times t (B)."""

    def __init__(self, config: Config):
        super().__init__()
        self.network = Network(config)

    def compile_layers(self) -> None:
        """Layer by layer, as PyTorch advises for repeated blocks: compiled once, not twenty times."""
        for layer in self.network.representation_model.attention_layers:
            layer.compile(dynamic=True, fullgraph=True)

    def forward(self, molecules: Molecules, x_t: Tensor, t: Tensor) -> Tensor:
        positions = molecules.centred(x_t)
        edge_index, edge_type = graph.edges(molecules, positions)
        times = t[molecules.molecule, None]
        v = self.network(molecules.atomic_numbers, molecules.features, times, positions, edge_index, edge_type)
        return molecules.centred(v)
