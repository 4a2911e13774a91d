"""ONNX Runtime's operator com.microsoft.MoE with SwiGLU; the shared experts are the last ones of the same operator.

    python bench/peers/onnx_moe.py [options of run.py]

Needs onnxruntime and onnx. The operator chooses by itself and takes the softmax of what the router gave the chosen: it is given the
logarithms of the weights, and its output is multiplied by their sum.
"""

import numpy as np

from layer import Peer, aligned

try:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    missing = None
except ImportError:
    missing = "not installed"


class OnnxRuntime(Peer):
    name = "onnxruntime"
    formats = ("float",)  # its CPU provider has no bf16
    copies = 1.0

    def __init__(self, weights, threads, most_tokens, training):
        s = self.shape = weights.shape
        n = s.E + s.S
        up = aligned((n, 2 * s.F, s.H), np.float32)  # gate and up row by row in turn
        down = aligned((n, s.H, s.F), np.float32)
        for e in range(n):
            up[e, 0::2], up[e, 1::2], down[e] = weights.gate(e), weights.up(e), weights.down_of(e)
        self.memory = {"up": up, "down": down}

        def value(name, width):
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["T", width])

        def external(name, a):
            t = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=a.shape, data_location=TensorProto.EXTERNAL)
            t.external_data.add(key="location", value=name)
            return t

        node = helper.make_node(
            "MoE", ["x", "router", "up", "", "down"], ["mean"], domain="com.microsoft", k=s.K + s.S, activation_type="swiglu",
            swiglu_fusion=1, activation_alpha=1.0, activation_beta=0.0, normalize_routing_weights=1,
        )  # fmt: skip
        scale = helper.make_node("Mul", ["mean", "sum"], ["y"])
        inputs = [value("x", s.H), value("router", n), value("sum", 1)]
        initial = [external(k, a) for k, a in self.memory.items()]
        graph = helper.make_graph([node, scale], "layer", inputs, [value("y", s.H)], initial)
        sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=sets, ir_version=9)

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self.values = [onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in self.memory.values()]
        options.add_external_initializers(list(self.memory), self.values)
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def prepare(self, batch):
        ids, weight = batch.with_shared(self.shape)
        router = np.full((len(ids), self.shape.E + self.shape.S), -1e4, np.float32)
        np.put_along_axis(router, ids.astype(np.int64), np.log(weight), 1)
        return {"x": batch.x, "router": router, "sum": weight.sum(1, keepdims=True)}

    def forward(self, prepared):
        return self.session.run(None, prepared)[0]

    def numpy(self, result):
        return result


PEERS = [OnnxRuntime]

if __name__ == "__main__":
    import run

    run.main(only="onnxruntime")
