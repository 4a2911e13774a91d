"""llama.cpp's operators for mixtures (ggml): mul_mat_id over the routed experts, mul_mat over the shared ones, over the weights as they
are; int8 as its Q8_0, in blocks of 32 with a scale each.

    python bench/peers/llama_cpp_moe.py [options of run.py]

The libraries are those that the package llama-cpp-python compiles for the machine when it is installed; its Python code is not used. In
bf16 ggml keeps activations in float and rounds them where a product reads them.
"""

import ctypes
import importlib.util
import pathlib

import numpy as np

from layer import Peer, aligned

missing = None if importlib.util.find_spec("llama_cpp") else "not installed"
F32, Q8_0, I32, BF16 = 0, 8, 26, 30  # ggml_type


class _Context(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("memory", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


class _Library:
    """The functions of ggml that are used: all take and return pointers, but for what `signatures` and `results` list."""

    results = {"ggml_gallocr_alloc_graph": ctypes.c_bool, "ggml_backend_graph_compute": ctypes.c_int, "ggml_quantize_chunk": ctypes.c_size_t}
    signatures = {
        "ggml_init": [_Context],
        "ggml_new_tensor_3d": [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64],
        "ggml_view_2d": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_size_t, ctypes.c_size_t],
        "ggml_backend_cpu_buffer_from_ptr": [ctypes.c_void_p, ctypes.c_size_t],
        "ggml_quantize_chunk": [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p],
        "ggml_backend_cpu_set_n_threads": [ctypes.c_void_p, ctypes.c_int],
    }

    def __init__(self):
        folder = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib"
        self.files = [ctypes.CDLL(str(folder / f"libggml-{part}.so"), ctypes.RTLD_GLOBAL) for part in ("base", "cpu")]

    def __getattr__(self, name):
        name = "ggml_" + name
        f = next((getattr(file, name) for file in self.files if hasattr(file, name)), None)
        if not f:
            raise AttributeError(f"the package has no {name}")
        f.restype = self.results.get(name, ctypes.c_void_p)
        f.argtypes = self.signatures.get(name)

        def call(*arguments):
            return f(*arguments) if f.argtypes else f(*map(ctypes.c_void_p, arguments))

        setattr(self, name.removeprefix("ggml_"), call)
        return call


class _Tensors:
    """A context whose tensors have their numbers in numpy's memory, or, of results, where `compute` puts them."""

    def __init__(self, c):
        self.c, self.arrays, self.context = c, [], c.init(_Context(1 << 20, None, True))
        self.releases = [(c.free, self.context)]

    def __del__(self):
        for release, what in reversed(self.releases):
            release(what)

    def over(self, array, kind, *shape):
        """A tensor of an array that is aligned."""
        tensor = self.c.new_tensor_3d(self.context, kind, *shape)
        buffer = self.c.backend_cpu_buffer_from_ptr(array.ctypes.data, array.nbytes)
        self.c.backend_tensor_alloc(buffer, tensor, array.ctypes.data)
        self.arrays.append(array)
        self.releases.append((self.c.backend_buffer_free, buffer))
        return tensor

    def copy(self, values, dtype, *shape):
        array = aligned(values.shape, dtype)
        array[...] = values
        return self.over(array, F32 if dtype == np.float32 else I32, *shape)


class LlamaCpp(Peer):
    name = "llama.cpp"
    formats = ("float", "bf16", "int8")
    copies = 1.0  # in int8; none of the others

    def __init__(self, weights, threads, most_tokens, training):
        self.c, s = _Library(), weights.shape
        self.shape = s
        self.backend = self.c.backend_cpu_init()
        self.c.backend_cpu_set_n_threads(self.backend, threads)
        self.weights, self.kind = _Tensors(self.c), {"float": F32, "bf16": BF16, "int8": Q8_0}[weights.format]
        self.up, self.down = self.stored(weights.w13, s.H, 2 * s.F, s.E), self.stored(weights.down, s.F, s.H, s.E)
        if s.S:
            self.shared_up = self.stored(weights.shared13, s.H, 2 * s.S * s.F, 1)
            self.shared_down = self.stored(weights.shared_down, s.S * s.F, s.H, 1)

    def __del__(self):
        if getattr(self, "backend", None):
            self.c.backend_free(self.backend)

    def stored(self, w, columns, rows, experts):
        if self.kind == Q8_0:
            plain, w = w, aligned(w.size // 32 * 34, np.uint8)
            self.c.quantize_chunk(Q8_0, plain.ctypes.data, w.ctypes.data, 0, rows * experts, columns, None)
        return self.weights.over(w, self.kind, columns, rows, experts)

    def prepare(self, batch):
        c, s, T = self.c, self.shape, len(batch.x)
        b = _Tensors(c)
        x = b.copy(batch.x, np.float32, s.H, 1, T)
        ids = b.copy(batch.ids, np.int32, s.K, T, 1)
        weight = b.copy(batch.weight, np.float32, 1, s.K, T)
        y = aligned((T, s.H), np.float32)
        out = b.over(y, F32, s.H, T, 1)

        context = b.context
        a = c.swiglu(context, c.mul_mat_id(context, self.up, x, ids))  # [T, K, F]
        rows = c.mul(context, c.mul_mat_id(context, self.down, a, ids), weight)  # [T, K, H]
        width = 4 * s.H
        parts = [c.view_2d(context, rows, s.H, T, s.K * width, k * width) for k in range(s.K)]
        if s.S:
            flat = c.view_2d(context, x, s.H, T, width, 0)
            parts.append(c.mul_mat(context, self.shared_down, c.swiglu(context, c.mul_mat(context, self.shared_up, flat))))
        total = parts[0]
        for part in parts[1:]:
            total = c.add(context, total, part)
        graph = c.new_graph(context)
        c.build_forward_expand(graph, c.cpy(context, total, out))
        memory = c.gallocr_new(c.backend_cpu_buffer_type())
        b.releases.append((c.gallocr_free, memory))
        if not c.gallocr_alloc_graph(memory, graph):
            raise MemoryError("ggml has no room for the graph")
        return graph, y, b

    def forward(self, prepared):
        graph, y, _ = prepared
        if self.c.backend_graph_compute(self.backend, graph) != 0:
            raise RuntimeError("ggml did not compute the graph")
        return y

    def numpy(self, result):
        return result


PEERS = [LlamaCpp]

if __name__ == "__main__":
    import run

    run.main(only="llama.cpp")
