#!/usr/bin/env python3
"""Does time follow FLOPs? Every Pareto point of the shipped models against the model in full.

    taskset -c 0 test/bench/bench_flops.py [--rounds 51]

Ours: how many times faster a configuration is than the whole model, on the same texts. Peer: how
many times fewer multiply-adds it executes (lat_cost). Their ratio is 1 if time follows FLOPs;
QuaLA-MiniLM in int8 came to 0.64. At 128 and 384 tokens a text runs alone; at 25 tokens alone and
in batches of 32 (alone, the weights of layers with few rows come from the third-level cache for
little work). The image is a mapped file, as in the server. Points of each model, the full one and
it, take turns, for four seconds at least, since neighbours come and go; medians. The table shows
each model's worst point; lines that begin with "#" show all. Short configurations suffer most when
others use the third-level cache or the memory: they wait for the weights of their last layers, of
few rows.
"""
import argparse
import csv
import pathlib
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/bench"))
import core as lat  # noqa: E402
import report  # noqa: E402
from bench_encoder import Ours  # noqa: E402

CASES = [(25, 1, 0.8), (25, 32, 0.8), (128, 1, 0.9), (384, 1, 0.9)]


def points(name):
    """[(lengths, reference length)], the full one first."""
    with open(ROOT / f"models/{name}.pareto", newline="") as file:
        rows = [([int(n) for n in r["lengths"].split(",")], int(r["reference_length"]))
                for r in csv.DictReader(file, delimiter="\t")]
    return sorted(rows, reverse=True)


def random_rows(core, tokens, count):
    rng = np.random.default_rng(1)
    rows = rng.integers(1000, 20000, (count, tokens)).astype(np.int32)
    rows[:, 0], rows[:, -1] = core.config.cls_id, core.config.sep_id
    return list(rows)


def seconds(runner):
    start = time.perf_counter()
    runner.run()
    return time.perf_counter() - start


def measure(core, name, tokens, batch, goal, rounds, least_seconds):
    group = random_rows(core, tokens, batch)
    chosen = [core.scale(lengths, reference, tokens) for lengths, reference in points(name)]
    costs = [core.cost(tokens, lengths) for lengths in chosen]
    runners = [Ours(core, [group], lengths) for lengths in [None] + chosen[1:]]
    times, began = [], time.perf_counter()
    while len(times) < rounds or time.perf_counter() - began < least_seconds:
        times.append([seconds(runner) for runner in runners])
    times = np.array(times)
    speedups = np.median(times[:, :1] / times, 0)
    case = f"{name}, {tokens} tokens, batch {batch}"
    worst = (np.inf, "", "")
    for cost, speedup in list(zip(costs, speedups))[1:]:
        fewer = costs[0] / cost
        ours, peer = f"{speedup:.2f} times faster", f"{fewer:.2f} times fewer"
        print(f"# {case}, {cost / costs[0]:.3f} of the work: {ours}, {peer}, {speedup / fewer:.2f}")
        worst = min(worst, (speedup / fewer, ours, peer))
    report.row(f"time follows FLOPs, {case}, worst of {len(costs) - 1} points", worst[1], worst[2],
               worst[0], f">= {goal}")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--rounds", type=int, default=51)
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--kernels", default="auto")
    ap.add_argument("--models", nargs="*", default=["sst2", "squad"])
    o = ap.parse_args()
    print("name | lat | multiply-adds | ratio | goal")
    for name in o.models:
        core = lat.Core.from_file(ROOT / f"models/{name}.latpack", o.kernels)
        for tokens, batch, goal in CASES:
            measure(core, name, tokens, batch, goal, *((5, 0.5) if o.quick else (o.rounds, 4)))


if __name__ == "__main__":
    main()
