"""What the comparisons with other libraries share: the shape of a layer, its weights in memory that everybody reads, and guild itself,
loaded from the shared library of guild_c.cpp (CMake target bench_peers_guild).

Letters as everywhere: T tokens, H hidden, F width of an expert, E routed experts, K chosen per token, S shared experts.
"""

import ctypes
import os
import pathlib
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Shape:
    H: int
    F: int
    E: int
    K: int
    S: int = 0

    def numbers(self):
        """How many numbers the matrices of all experts have."""
        return 3 * self.H * self.F * (self.E + self.S)


PRESETS = {
    "deepseek_moe_16b": Shape(H=2048, F=1408, E=64, K=6, S=2),
    "qwen3_30b_a3b": Shape(H=2048, F=768, E=128, K=8),
    "olmoe": Shape(H=2048, F=1024, E=64, K=8),
    "mixtral": Shape(H=4096, F=14336, E=8, K=2),  # in float it is 5.6 GB a copy: bf16 only
    "small": Shape(H=256, F=128, E=16, K=4, S=2),
    "small_unshared": Shape(H=128, F=192, E=8, K=2),
}
BYTES = {"float": 4, "bf16": 2, "int8": 1}


def aligned(shape, dtype):
    """Uninitialised, at the beginning of a huge page."""
    page, size = 2 << 20, int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + page, np.uint8)
    start = -memory.ctypes.data % page
    return memory[start : start + size].view(dtype).reshape(shape)


def round_bf16(x):
    """float32 to the bits of bf16 (uint16), to nearest, ties to even."""
    bits = x.view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def decode(w):
    """Weights as float32: themselves, or from the bits of bf16."""
    return w if w.dtype == np.float32 else (w.astype(np.uint32) << 16).view(np.float32)


class Weights:
    """Random weights, uniform with variance 1 / fan-in; a random router chooses uniformly among the experts.

    router [E, H] float32; w13 [E, 2 F, H], gate over up; down [E, H, F]; shared13 [2 S F, H]; shared_down [H, S F]. In bf16 these
    hold bits (uint16); for int8 they are float32, of which everybody makes int8 in his own way. Nobody may write to them: all contenders
    read the same memory unless they pack a copy of their own.
    """

    def __init__(self, shape, format, seed=1):
        self.shape, self.format = shape, format
        random = np.random.default_rng(seed)
        H, F, E, S = shape.H, shape.F, shape.E, shape.S
        dtype = np.uint16 if format == "bf16" else np.float32

        def fill(rows, columns, experts=None):
            w = aligned((experts or 1, rows, columns), dtype)
            for one in w:
                numbers = random.random(one.shape, np.float32)
                numbers -= 0.5
                numbers *= np.sqrt(12 / max(columns, 1))
                one[...] = round_bf16(numbers) if format == "bf16" else numbers
            return w if experts else w[0]

        self.router = (random.standard_normal((E, H), np.float32) / np.sqrt(H)).astype(np.float32)
        self.w13 = fill(2 * F, H, E)
        self.down = fill(H, F, E)
        self.shared13 = fill(2 * S * F, H)
        self.shared_down = fill(H, S * F)

    def gate(self, e):
        """Expert e's three matrices; e from E on are the shared ones."""
        return self._up(e, 0)

    def up(self, e):
        return self._up(e, 1)

    def down_of(self, e):
        F, E = self.shape.F, self.shape.E
        return self.down[e] if e < E else np.ascontiguousarray(self.shared_down[:, (e - E) * F : (e - E + 1) * F])

    def _up(self, e, half):
        F, E, S = self.shape.F, self.shape.E, self.shape.S
        if e < E:
            return self.w13[e, half * F : (half + 1) * F]
        first = half * S * F + (e - E) * F
        return self.shared13[first : first + F]


@dataclass
class Batch:
    """Tokens, what guild chose for them, and what it made of them."""

    x: np.ndarray  # [T, H]
    ids: np.ndarray = None  # [T, K] int32
    weight: np.ndarray = None  # [T, K]
    y: np.ndarray = None  # [T, H]
    dy: np.ndarray = None  # [T, H], for training
    made: dict = field(default_factory=dict)  # contender -> what it prepared

    def with_shared(self, shape):
        """ids, weight [T, K + S]: the shared experts as the last ones, chosen by every token with weight 1."""
        T = len(self.x)
        last = np.broadcast_to(np.arange(shape.E, shape.E + shape.S, dtype=np.int32), (T, shape.S))
        return np.concatenate([self.ids, last], 1), np.concatenate([self.weight, np.ones((T, shape.S), np.float32)], 1)


def relative(found, expected):
    """Relative L2 distance."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def reference(weights, batch):
    """The layer in plain numpy."""
    shape, y = weights.shape, np.zeros_like(batch.x)
    ids, weight = batch.with_shared(shape)
    for e in np.unique(ids):
        token, slot = np.nonzero(ids == e)
        rows = batch.x[token]
        g, u = rows @ decode(weights.gate(e)).T, rows @ decode(weights.up(e)).T
        out = (g / (1 + np.exp(-g)) * u) @ decode(weights.down_of(e)).T
        np.add.at(y, token, out * weight[token, slot, None])
    return y


class Peer:
    """A contender. Made for one layer and a number of threads; raises if it cannot run here."""

    name = ""
    formats = ("float", "bf16")
    copies = 0.0  # of the experts' weights that it makes for itself
    trains = False
    settle = 0.02  # seconds that its threads may go on spinning after a call

    def __init__(self, weights, threads, most_tokens, training):
        raise NotImplementedError

    def prepare(self, batch):
        """The batch in the peer's own types; not timed."""
        raise NotImplementedError

    def forward(self, prepared):
        """What is timed."""
        raise NotImplementedError

    def numpy(self, result):
        """[T, H] float32 from what forward returned."""
        raise NotImplementedError

    # of a peer that trains: the router's gradient included, the choice given
    def train(self, prepared):
        """What is timed; returns y, dx. Gradients of this step alone."""
        raise NotImplementedError

    def gradient(self, name, e):
        """Of the last step: "router", or "gate", "up", "down" of expert e, as numpy."""
        raise NotImplementedError


class _Description(ctypes.Structure):
    _fields_ = (
        [(n, ctypes.c_long) for n in "HFEKS"]
        + [("threads", ctypes.c_int), ("training", ctypes.c_int)]
        + [(n, ctypes.c_void_p) for n in ("router", "gate", "up")]
        + [("expert_stride", ctypes.c_long)]
        + [(n, ctypes.c_void_p) for n in ("down", "shared_gate", "shared_up", "shared_down")]
    )


def _pointer(a):
    assert a is None or a.flags["C_CONTIGUOUS"]
    return ctypes.c_void_p(None if a is None or a.size == 0 else a.ctypes.data)


def find_library():
    found = os.environ.get("GUILD_PEERS_LIBRARY")
    root = pathlib.Path(__file__).resolve().parents[2]
    return pathlib.Path(found) if found else root / "build/bench/bench/libbench_peers_guild.so"


class Library:
    """The functions of guild_c.cpp."""

    def __init__(self, path=None):
        path = pathlib.Path(path or find_library())
        if not path.exists():
            raise SystemExit(f"{path} is missing: cmake --preset bench && cmake --build --preset bench --target bench_peers_guild")
        c = ctypes.CDLL(str(path))
        pointer, long, double, text = ctypes.c_void_p, ctypes.c_long, ctypes.c_double, ctypes.c_char_p
        for name, result, arguments in (
            ("error", text, []),
            ("create", pointer, [ctypes.POINTER(_Description), text]),
            ("destroy", None, [pointer]),
            ("forward", ctypes.c_int, [pointer, pointer, long, pointer]),
            ("train", ctypes.c_int, [pointer, pointer, long, pointer, pointer, pointer]),
            ("choice", ctypes.c_int, [pointer, pointer, pointer]),
            ("gradient", pointer, [pointer, text]),
            ("zero_gradient", ctypes.c_int, [pointer]),
            ("flops", double, [ctypes.c_int, text]),
            ("bandwidth", double, [ctypes.c_int]),
            ("unit", text, [text]),
            ("roofline", double, [pointer, long, long, long, double, ctypes.c_int, double, double]),
        ):
            function = getattr(c, "guild_" + name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def check(self, failed):
        if failed:
            raise RuntimeError(self.error().decode())

    def limit(self, shape, batch, format, training, flops, bandwidth):
        """Seconds that the layer takes at least, by its experts one after the other: see bench/support/limits.hpp."""
        rows = np.bincount(batch.ids.ravel(), minlength=shape.E).tolist() + [len(batch.x)] * shape.S
        rows = np.array(rows, np.int64)
        return self.roofline(_pointer(rows), len(rows), shape.H, shape.F, BYTES[format], training, flops, bandwidth)


class Guild(Peer):
    """guild's layer, its router and gate included."""

    name = "guild"
    copies = 1.0  # packed
    trains = True
    settle = 0.0

    def __init__(self, weights, threads, most_tokens, training, library):
        self.c, self.weights, s = library, weights, weights.shape
        F = s.F
        self.description = _Description(
            s.H, s.F, s.E, s.K, s.S, threads, int(training), _pointer(weights.router), _pointer(weights.w13),
            ctypes.c_void_p(weights.w13[0, F:].ctypes.data), 2 * F * s.H, _pointer(weights.down),
            _pointer(weights.shared13[: s.S * F]), _pointer(weights.shared13[s.S * F :]), _pointer(weights.shared_down),
        )  # fmt: skip
        self.layer = self.c.create(ctypes.byref(self.description), weights.format.encode())
        self.c.check(not self.layer)
        self.y = np.empty((most_tokens, s.H), np.float32)
        self.dx = np.empty_like(self.y)

    def __del__(self):
        if getattr(self, "layer", None):
            self.c.destroy(self.layer)

    def prepare(self, batch):
        return batch

    def forward(self, batch):
        self.c.check(self.c.forward(self.layer, _pointer(batch.x), len(batch.x), _pointer(self.y)))
        return self.y[: len(batch.x)]

    def numpy(self, result):
        return result

    def choose(self, batch):
        """Fills in what guild chose and made."""
        batch.y = self.forward(batch).copy()
        batch.ids = np.empty((len(batch.x), self.weights.shape.K), np.int32)
        batch.weight = np.empty(batch.ids.shape, np.float32)
        self.c.check(self.c.choice(self.layer, _pointer(batch.ids), _pointer(batch.weight)))

    def train(self, batch):
        T = len(batch.x)
        self.c.check(self.c.train(self.layer, _pointer(batch.x), T, _pointer(self.y), _pointer(batch.dy), _pointer(self.dx)))
        return self.y[:T], self.dx[:T]

    def zero_gradient(self):
        self.c.check(self.c.zero_gradient(self.layer))

    def gradient(self, name, e):
        s = self.weights.shape
        tensor, shape = ("router", (s.E, s.H)) if name == "router" else (f"experts.{name}", (s.E, s.H, s.F) if name == "down" else (s.E, s.F, s.H))
        data = self.c.gradient(self.layer, tensor.encode())
        all = np.ctypeslib.as_array(ctypes.cast(data, ctypes.POINTER(ctypes.c_float)), shape)
        return all if name == "router" else all[e]
