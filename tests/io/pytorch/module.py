"""The PyTorch side of docs/from_pytorch.md: makes module.safetensors, which tests/io/from_pytorch.test.cpp reads.

    pip install torch safetensors
    python tests/io/pytorch/module.py write module.safetensors      # the module, a batch, and one step of training on it
    python tests/io/pytorch/module.py read trained.safetensors      # a file that guild has written back, into the module
"""

import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn

HIDDEN, EXPERT_HIDDEN, EXPERTS, TOP_K, SHARED, TOKENS, RATE = 12, 5, 8, 3, 2, 7, 0.5


# [module
class Expert(nn.Module):
    def __init__(self, hidden, width):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Mixture(nn.Module):
    def __init__(self, hidden, expert_hidden, experts, top_k, shared):
        super().__init__()
        self.top_k = top_k
        self.gate = nn.Linear(hidden, experts, bias=False)
        self.experts = nn.ModuleList(Expert(hidden, expert_hidden) for _ in range(experts))
        self.shared_experts = Expert(hidden, shared * expert_hidden)

    def forward(self, x):
        weight, chosen = self.gate(x).softmax(dim=-1).topk(self.top_k)
        y = self.shared_experts(x)
        for e, expert in enumerate(self.experts):
            token, slot = torch.where(chosen == e)
            y = y.index_add(0, token, weight[token, slot, None] * expert(x[token]))
        return y
# module]


def write(path):
    torch.manual_seed(1)
    module = Mixture(HIDDEN, EXPERT_HIDDEN, EXPERTS, TOP_K, SHARED)
    x, target = torch.randn(TOKENS, HIDDEN, requires_grad=True), torch.randn(TOKENS, HIDDEN)
    numbers = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    y = module(x)
    loss = ((y - target) ** 2).sum() / TOKENS
    loss.backward()
    with torch.no_grad():
        for p in module.parameters():
            if p.grad is not None:  # an expert that nobody chose has none
                p -= RATE * p.grad
    numbers |= {"batch.x": x, "batch.target": target, "batch.y": y, "batch.dx": x.grad}
    numbers |= {"trained." + name: tensor for name, tensor in module.state_dict().items()}
    save_file({name: tensor.detach().contiguous() for name, tensor in numbers.items()}, path)


def read(path):
    module = Mixture(HIDDEN, EXPERT_HIDDEN, EXPERTS, TOP_K, SHARED)
    module.load_state_dict(load_file(path), strict=True)
    print("loaded", sum(p.numel() for p in module.parameters()), "numbers")


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2])
