"""PyTorch on the CPU: a loop over the experts, grouped_mm, and a loop over weights that oneDNN or MKL packed or that were quantised to int8.
The loop and grouped_mm also train; as an optimiser does by default, gradients are dropped before each step, not set to zero.

    python bench/peers/pytorch.py [options of run.py]
"""

import numpy as np

from layer import Peer

try:
    import torch
    import torch.nn.functional as F

    missing = None
except ImportError:
    missing = "not installed"


def tensor(a):
    """Without a copy; the bits of bf16 as bfloat16."""
    return torch.from_numpy(a) if a.dtype != np.uint16 else torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)


def swiglu(h):
    gate, up = h.chunk(2, -1)
    return F.silu(gate) * up


class _Torch(Peer):
    """Sorts the rows by expert, asks `experts` for their outputs, and adds them with index_add."""

    def __init__(self, weights, threads, most_tokens, training):
        torch.set_num_threads(threads)
        self.shape = weights.shape
        self.dtype = torch.bfloat16 if weights.format == "bf16" else torch.float32
        self.training = training
        self.w13, self.down = tensor(weights.w13), tensor(weights.down)
        self.shared13, self.shared_down = tensor(weights.shared13), tensor(weights.shared_down)
        self.router = tensor(weights.router)
        if training:
            self.leaves()

    def leaves(self):
        for w in (self.router, self.shared13, self.shared_down):
            w.requires_grad_()

    def prepare(self, batch):
        x, ids, weight = tensor(batch.x), tensor(batch.ids).long(), tensor(batch.weight)
        if self.training:
            return x.clone().requires_grad_(), ids, tensor(batch.dy)
        return x.to(self.dtype), ids, weight.to(self.dtype)

    def layer(self, x, ids, weight):
        order = ids.view(-1).argsort()
        token = order // self.shape.K
        count = torch.bincount(ids.view(-1), minlength=self.shape.E)
        out = self.experts(x[token], count) * weight.reshape(-1)[order, None]
        y = self.shared(x) if self.shape.S else torch.zeros_like(x)
        return y.index_add(0, token, out) if self.training else y.index_add_(0, token, out)

    def shared(self, x):
        return F.linear(swiglu(F.linear(x, self.shared13)), self.shared_down)

    def forward(self, prepared):
        with torch.inference_mode():
            return self.layer(*prepared)

    def numpy(self, result):
        return result.float().numpy()

    def parameters(self):
        return [self.router, self.shared13, self.shared_down, self.w13, self.down]

    def train(self, prepared):
        x, ids, dy = prepared
        for p in [x, *self.parameters()]:
            p.grad = None
        weight = F.linear(x, self.router).softmax(-1).gather(1, ids)
        y = self.layer(x, ids, weight)
        y.backward(dy)
        return y.detach().numpy(), x.grad.numpy()

    def gradient(self, name, e):
        width = self.shape.F
        if name == "router":
            return self.router.grad.numpy()
        if name == "down":
            return self.expert_gradient(self.down, e).numpy()
        return self.expert_gradient(self.w13, e).numpy()[slice(width) if name == "gate" else slice(width, None)]


class Loop(_Torch):
    """F.linear on each expert's rows. In training every expert has parameters of its own: one stacked parameter would get a
    full-size gradient from each."""

    name = "pytorch loop"
    trains = True

    def leaves(self):
        super().leaves()
        self.w13 = [w.detach().requires_grad_() for w in self.w13]
        self.down = [w.detach().requires_grad_() for w in self.down]

    def parameters(self):
        return [self.router, self.shared13, self.shared_down, *self.w13, *self.down]

    def expert_gradient(self, parameter, e):
        return parameter[e].grad

    def experts(self, rows, count):
        first, out = 0, []
        for e, n in enumerate(count.tolist()):
            if n:
                out.append(F.linear(swiglu(F.linear(rows[first : first + n], self.w13[e])), self.down[e]))
                first += n
        return torch.cat(out)


class Grouped(_Torch):
    """grouped_mm over all experts at once."""

    name = "pytorch grouped"
    trains = True

    def __init__(self, *arguments):
        self.product = getattr(F, "grouped_mm", None) or torch._grouped_mm
        super().__init__(*arguments)

    def leaves(self):
        super().leaves()
        self.w13.requires_grad_()
        self.down.requires_grad_()

    def expert_gradient(self, parameter, e):
        return parameter.grad[e]

    def experts(self, rows, count):
        ends = count.cumsum(0).int()
        h = self.product(rows, self.w13.transpose(-2, -1), offs=ends)
        return self.product(swiglu(h), self.down.transpose(-2, -1), offs=ends)


class _Packed(_Torch):
    """A loop over weights in a library's own layout, as torch.compile freezes them."""

    copies = 1.0

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.packed13 = [self.pack(w) for w in self.w13]
        self.packed_down = [self.pack(w) for w in self.down]
        if self.shape.S:
            self.packed_shared = self.pack(self.shared13), self.pack(self.shared_down)

    def experts(self, rows, count):
        first, out = 0, []
        for e, n in enumerate(count.tolist()):
            if n:
                h = swiglu(self.linear(rows[first : first + n], self.packed13[e], self.w13[e]))
                out.append(self.linear(h, self.packed_down[e], self.down[e]))
                first += n
        return torch.cat(out)

    def shared(self, x):
        return self.linear(swiglu(self.linear(x, self.packed_shared[0], self.shared13)), self.packed_shared[1], self.shared_down)


class OneDnn(_Packed):
    name = "pytorch oneDNN"

    def pack(self, w):
        return torch.ops.mkldnn._reorder_linear_weight(w, None)

    def linear(self, x, packed, plain):
        return torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


class Mkl(_Packed):
    name = "pytorch MKL"
    formats = ("float",)
    rows = 64  # MKL packs for a number of rows; others give the same result

    def pack(self, w):
        return torch.ops.mkl._mkl_reorder_linear_weight(w, self.rows)

    def linear(self, x, packed, plain):
        return torch.ops.mkl._mkl_linear(x, packed, plain, None, self.rows)


class Quantised(_Packed):
    """Dynamically quantised linear layers: int8 weights with a scale for each row, activations with a scale for each matrix, in 7
    bits where there is no VNNI."""

    name = "pytorch int8"
    formats = ("int8",)

    def pack(self, w):
        scale = w.abs().amax(1).double() / 127
        return torch.ops.quantized.linear_prepack(torch.quantize_per_channel(w, scale, torch.zeros(len(w), dtype=torch.long), 0, torch.qint8), None)

    def linear(self, x, packed, plain):
        return torch.ops.quantized.linear_dynamic(x, packed, not torch.cpu._is_vnni_supported())  # 8 bits would overflow


PEERS = [Loop, Grouped, OneDnn, Mkl, Quantised]

if __name__ == "__main__":
    import run

    run.main(only="pytorch")
