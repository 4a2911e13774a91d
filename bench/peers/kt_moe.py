"""kt-kernel, the CPU kernels of KTransformers, in bf16; the shared experts are the last ones of the same call.

    python bench/peers/kt_moe.py [options of run.py]

Its caller spins while it waits for the pool, so with as many pool threads as processors one thread too many is busy.
"""

from layer import Peer

try:
    import torch
    from kt_kernel import kt_kernel_ext
    from pytorch import tensor

    missing = None
except ImportError as error:
    missing = "not installed" if (error.name or "") in ("torch", "kt_kernel") else f"not usable ({error})"


class KtKernel(Peer):
    name = "kt-kernel"
    formats = ("bf16",)
    copies = 1.0
    settle = 0.1

    def __init__(self, weights, threads, most_tokens, training):
        s = self.shape = weights.shape
        kind = getattr(kt_kernel_ext.moe, "AMXBF16_MOE", None) or kt_kernel_ext.moe.AVX2BF16_MOE
        pool = kt_kernel_ext.WorkerPoolConfig()
        pool.subpool_count, pool.subpool_numa_map, pool.subpool_thread_count = 1, [0], [threads]
        self.cpu = kt_kernel_ext.CPUInfer(pool)
        n = s.E + s.S
        self.on_gpu = torch.zeros(n, dtype=torch.bool)
        c = kt_kernel_ext.moe.MOEConfig(n, s.K + s.S, s.H, s.F, self.on_gpu.data_ptr())
        c.layer_idx, c.pool, c.max_len = 0, self.cpu.backend_, max(most_tokens, 512)
        source = {k: [tensor(f(e)) for e in range(n)] for k, f in (("gate", weights.gate), ("up", weights.up), ("down", weights.down_of))}
        for k, matrices in source.items():
            setattr(c, f"{k}_projs", [[m.data_ptr() for m in matrices]])
            setattr(c, f"{k}_scales", [[0] * n])
        self.moe = kind(c)
        order = torch.arange(n)
        self.cpu.submit(self.moe.load_weights_task(order.data_ptr()))
        self.cpu.sync()

    def prepare(self, batch):
        ids, weight = batch.with_shared(self.shape)
        x = tensor(batch.x).bfloat16()
        return torch.tensor([len(x)], dtype=torch.int32), tensor(ids).long(), tensor(weight), x, torch.empty_like(x)

    def forward(self, prepared):
        count, ids, weight, x, y = prepared
        task = self.moe.forward_task(count.data_ptr(), ids.shape[1], ids.data_ptr(), weight.data_ptr(), x.data_ptr(), y.data_ptr(), False)
        self.cpu.submit(task)
        self.cpu.sync()
        return y

    def numpy(self, result):
        return result.float().numpy()


PEERS = [KtKernel]

if __name__ == "__main__":
    import run

    run.main(only="kt-kernel")
