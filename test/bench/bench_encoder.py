#!/usr/bin/env python3
"""The whole encoder on one core against ONNX Runtime: sequences a second, nothing dropped.

    pip install numpy onnxruntime onnx torch transformers
    OMP_NUM_THREADS=1 taskset -c 0 test/bench/bench_encoder.py [--seconds 15]

Model: ../shared/models/sst2 (MiniLM-L6-H384, two labels), in lat as int8, in ONNX Runtime as int8
with dynamic quantisation of its MatMuls, once plainly and once after its own transformer
optimizer; the better one counts. The ONNX files are made with torch and stay in build/bench.

Texts: SST-2 dev sentences (25 tokens in the mean), and pieces of SQuAD contexts of 128 and 384
tokens, give or take a quarter. Both engines run them one at a time and in batches of 32 sorted by
length (ONNX Runtime pads them); the better of the two counts, for each. Runs of all take turns;
rates are medians, the ratio is the median of the rounds'. Tokenizing is not part of it. Accuracy
on SST-2 dev comes last: speed was not bought with it.
"""
import argparse
import ctypes as c
import pathlib
import random
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/bench"))
import core as lat  # noqa: E402
import quality  # noqa: E402
import report  # noqa: E402
from export_onnx import export  # noqa: E402

MODEL = ROOT.parent / "shared/models/sst2"
BUILD = ROOT / "build/bench"
GOALS = {25: 1.8, 128: 1.6, 384: 1.6}
BATCH = 32


# ---- texts --------------------------------------------------------------------------------------

def inputs_of(core, mean, count):
    """[ids] of about this many tokens in the mean, real text."""
    rng = random.Random(1)
    if mean == 25:
        texts = [text for _, text in quality.sst2_rows()]
        return [core.tokenize(t)[0] for t in rng.sample(texts, count)]
    rows = []
    contexts = list(dict.fromkeys(context for _, context, _ in quality.squad_rows()))
    stream = np.concatenate([core.tokenize(t)[0][1:-1] for t in contexts[:count + 200]])
    at = 0
    for _ in range(count):
        length = rng.randint(mean * 3 // 4, mean * 5 // 4)
        rows.append(np.concatenate([[core.config.cls_id], stream[at:at + length - 2],
                                    [core.config.sep_id]]).astype(np.int32))
        at = (at + length) % (len(stream) - 2 * mean)
    return rows


def batches(rows, size):
    """Sorted by length, in groups of `size`."""
    order = sorted(rows, key=len)
    return [order[i:i + size] for i in range(0, len(order), size)]


# ---- ours ---------------------------------------------------------------------------------------

class Ours:
    """Calls of core_forward with everything laid out beforehand."""

    def __init__(self, core, groups, lengths=None):
        """groups: a call each, of [ids]; lengths: what each layer keeps, of every text."""
        self.core, self.calls = core, []
        for group in groups:
            offsets = np.concatenate([[0], np.cumsum([len(r) for r in group])]).astype(np.int32)
            ids = np.concatenate(group).astype(np.int32)
            kept = None if lengths is None else np.tile(np.int32(lengths), (len(group), 1))
            rows = len(group) if core.task == "classify" else len(ids)
            output = np.empty((rows, core.columns), np.float32)
            batch = lat.Batch(len(group), offsets.ctypes.data, ids.ctypes.data, None,
                              None if kept is None else kept.ctypes.data, core.task == "classify")
            self.calls.append((batch, output, offsets, ids, kept))

    def run(self):
        forward = self.core.lib.core_forward
        for batch, output, *_ in self.calls:
            forward(self.core.core, c.byref(batch), output.ctypes.data_as(c.c_void_p), None, None)


# ---- ONNX Runtime -------------------------------------------------------------------------------

def onnx_files():
    """{name: path} of the int8 graphs, made where they are missing."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    BUILD.mkdir(parents=True, exist_ok=True)
    fp32, optimized = BUILD / "sst2.onnx", BUILD / "sst2-optimized.onnx"
    files = {"plain": BUILD / "sst2-int8.onnx", "optimized": BUILD / "sst2-optimized-int8.onnx"}
    if not fp32.exists():
        export(MODEL, fp32)
    if not optimized.exists():
        config = lat.Core.from_directory(MODEL).config
        optimizer.optimize_model(str(fp32), "bert", num_heads=config.heads,
                                 hidden_size=config.hidden).save_model_to_file(str(optimized))
    for source, target in zip((fp32, optimized), files.values()):
        if not target.exists():
            quantize_dynamic(source, target, weight_type=QuantType.QInt8,
                             extra_options={"DefaultTensorType": 1})  # float, behind fused nodes
    return files


class Onnx:
    def __init__(self, session, groups, pad_id):
        self.session, self.calls = session, []
        for group in groups:
            longest = max(len(r) for r in group)
            ids = np.full((len(group), longest), pad_id, np.int64)
            mask = np.zeros_like(ids)
            for i, row in enumerate(group):
                ids[i, :len(row)], mask[i, :len(row)] = row, 1
            self.calls.append({"input_ids": ids, "attention_mask": mask,
                               "token_type_ids": np.zeros_like(ids)})

    def run(self):
        return [self.session.run(None, call)[0] for call in self.calls]


def sessions():
    """{name: session} on one thread; empty without ONNX Runtime or what makes its graphs."""
    try:
        import onnxruntime
        files = onnx_files()
    except ImportError:
        return {}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return {name: onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
            for name, path in files.items()}


# ---- measuring ----------------------------------------------------------------------------------

def measure(core, peers, mean, seconds):
    """One row of the table; each round runs everything once."""
    rows = inputs_of(core, mean, {25: 160, 128: 32, 384: 32}[mean])
    ours = [Ours(core, batches(rows, size)) for size in (1, BATCH)]
    theirs = [Onnx(session, batches(rows, size), core.config.pad_id)
              for session in peers.values() for size in (1, BATCH)]
    rates = []
    for runner in ours + theirs:
        runner.run()
    start = time.perf_counter()
    while len(rates) < 3 or time.perf_counter() - start < seconds:
        times = []
        for runner in ours + theirs:
            began = time.perf_counter()
            runner.run()
            times.append(len(rows) / (time.perf_counter() - began))
        rates.append(times)
    rates = np.array(rates)
    middle = np.median(rates, 0)
    tokens = sum(map(len, rows)) / len(rows)
    name = f"encoder {mean} tokens ({tokens:.0f} in the mean), int8, one core"
    detail = f"batch 1 {middle[0]:.1f}, {BATCH} {middle[1]:.1f}"
    best_of_ours = int(np.argmax(middle[:2]))
    ours_shown = f"{middle[best_of_ours]:.1f} seq/s ({detail})"
    if not peers:
        report.missing(name, ours_shown, "onnxruntime, onnx, torch, transformers",
                       f">= {GOALS[mean]}")
        return
    best = 2 + int(np.argmax(middle[2:]))
    names = [f"{n} {b}" for n in peers for b in (1, BATCH)]
    shown = ", ".join(f"{n} {m:.1f}" for n, m in zip(names, middle[2:]))
    report.row(name, ours_shown, f"{middle[best]:.1f} ({shown})",
               np.median(rates[:, best_of_ours] / rates[:, best]), f">= {GOALS[mean]}")


def report_accuracy(core, peers):
    rows = quality.sst2_rows()
    hits, _ = quality.accuracy(core, rows)
    labels = np.array([label for label, _ in rows])
    ids = [core.tokenize(text)[0] for _, text in rows]
    best = 0
    for name, session in peers.items():
        logits = np.concatenate(Onnx(session, [[i] for i in ids], core.config.pad_id).run())
        accuracy = (logits.argmax(1) == labels).mean()
        print(f"# SST-2 dev accuracy, ONNX Runtime {name}: {100 * accuracy:.2f}")
        best = max(best, accuracy)
    if peers:
        report.row("SST-2 dev accuracy, the same checkpoint", f"{100 * hits.mean():.2f}",
                   f"{100 * best:.2f}", hits.mean() / best, ">= 1")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--seconds", type=float, default=15, help="of measuring, a row")
    ap.add_argument("--quick", action="store_true", help="neither 384 tokens nor the accuracy")
    ap.add_argument("--kernels", default="auto")
    ap.add_argument("--tokens", type=int, nargs="*", default=list(GOALS))
    o = ap.parse_args()
    if not MODEL.exists():
        report.missing("encoder", "-", "the checkpoint ../shared/models/sst2", ">= 1.6")
        return
    core = lat.Core.from_directory(MODEL, "int8", o.kernels)
    peers = sessions()
    print("name | lat | ONNX Runtime int8 | ratio | goal")
    for mean in [n for n in o.tokens if n < 384 or not o.quick]:
        measure(core, peers, mean, 4 if o.quick else o.seconds)
    if not o.quick:
        report_accuracy(core, peers)


if __name__ == "__main__":
    main()
