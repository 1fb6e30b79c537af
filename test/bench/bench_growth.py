#!/usr/bin/env python3
"""How cost grows: with tokens, batch, rows and the model's size. One core, int8, in full.

    pip install numpy
    test/bench/run_in_cluster.sh "bench_growth.py --rows 100000 --budget 0.3 --svg growth.svg"

	tokens	8 to 512, batch 1, for MiniLM-L6-H384 and for BERT-base's shape with random weights
	batch	1 to 64 sequences of 25 and of 128 tokens
	rows	SELECT count(lat_classify(t)) over 10^3 rows and ten times as many, up to --rows, at a
			--budget; 10^6 take half an hour in full, so `make bench` stops at 10^4

Prints a table (lines with #) and the rows for run.py; README.md explains them. --svg draws them.
Without a cluster it leaves out the rows.
"""
import argparse
import ctypes as c
import json
import math
import os
import pathlib
import time

import numpy as np

import core as lat
import report

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENS = (8, 16, 32, 64, 128, 256, 384, 512)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
BERT_BASE = dict(architectures=["BertForSequenceClassification"], model_type="bert",
                 hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
                 intermediate_size=3072,
                 vocab_size=30522, max_position_embeddings=512, type_vocab_size=2,
                 hidden_act="gelu", layer_norm_eps=1e-12, hidden_dropout_prob=0.1,
                 attention_probs_dropout_prob=0.1, pad_token_id=0,
                 id2label={"0": "negative", "1": "positive"},
                 label2id={"negative": 0, "positive": 1})


# ---- a model of BERT-base's shape ---------------------------------------------------------------

def bert_base_shapes():
    h, i = BERT_BASE["hidden_size"], BERT_BASE["intermediate_size"]
    yield "bert.embeddings.word_embeddings.weight", (BERT_BASE["vocab_size"], h)
    yield "bert.embeddings.position_embeddings.weight", (512, h)
    yield "bert.embeddings.token_type_embeddings.weight", (2, h)
    linears = [("attention.self." + name, h, h) for name in ("query", "key", "value")]
    linears += [("attention.output.dense", h, h), ("intermediate.dense", i, h)]
    linears += [("output.dense", h, i)]
    norms = ["attention.output.LayerNorm", "output.LayerNorm"]
    layers = [f"bert.encoder.layer.{n}." for n in range(BERT_BASE["num_hidden_layers"])]
    linears = [(layer + name, n, k) for layer in layers for name, n, k in linears]
    linears += [("bert.pooler.dense", h, h), ("classifier", 2, h)]
    for name, n, k in linears:
        yield name + ".weight", (n, k)
        yield name + ".bias", (n,)
    norms = ["bert.embeddings.LayerNorm"] + [layer + name for layer in layers for name in norms]
    for name in norms:
        yield name + ".weight", (h,)
        yield name + ".bias", (h,)


def write_bert_base(directory, words):
    """A checkpoint with random weights, float16."""
    random, header, parts, at = np.random.default_rng(1), {}, [], 0
    for name, shape in bert_base_shapes():
        values = (random.standard_normal(shape, np.float32) * 0.02).astype(np.float16)
        if "LayerNorm.weight" in name:
            values = np.ones(shape, np.float16)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
        parts.append(values.tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + b"".join(parts))
    (directory / "config.json").write_text(json.dumps(BERT_BASE))
    (directory / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    (directory / "vocab.txt").write_text("\n".join(words) + "\n")


def bert_base():
    directory = ROOT / "build/bench/bert-base"
    if not (directory / "vocab.txt").exists():
        write_bert_base(directory, minilm().vocabulary())
    return lat.Core.from_directory(directory)


def minilm():
    return lat.Core.from_file(ROOT / "models/sst2.latpack")


# ---- measuring ----------------------------------------------------------------------------------

def rate(core, tokens, batch, quick):
    """Sequences a second: best of several runs, since other work on the machine only slows."""
    ids = np.random.default_rng(tokens).integers(1996, 20000, tokens * batch).astype(np.int32)
    ids[::tokens] = 101
    offsets = (np.arange(batch + 1) * tokens).astype(np.int32)
    output = np.empty((batch, core.columns), np.float32)
    given = lat.Batch(batch, offsets.ctypes.data, ids.ctypes.data, None, None, True)
    best, spent = math.inf, 0.0
    while spent < (0.1 if quick else 0.8) or best == math.inf:
        began = time.perf_counter()
        core.check(core.lib.core_forward(core.core, c.byref(given), c.c_void_p(output.ctypes.data),
                                         None, None))
        taken = time.perf_counter() - began
        best, spent = min(best, taken), spent + taken
    return batch / best


def gmacs(core, tokens, per_second):
    return core.cost(tokens) * per_second / 1e9


def measure_tokens(models, quick):
    growth = {}
    for name, core in models.items():
        chosen = TOKENS[::2] + TOKENS[-1:] if quick else TOKENS
        growth[name] = [(n, rate(core, n, 1, quick)) for n in chosen]
        for n, r in growth[name]:
            print(f"# {name}, batch 1, {n} tokens: {r:.1f} sequences/s, {r * n:.0f} tokens/s, "
                  f"{gmacs(core, n, r):.1f} G multiply-adds/s")
        at = dict(growth[name])
        report.row(f"growth, {name}: multiply-adds/s at 512 tokens / at 128",
                   "%.0f G" % gmacs(core, 512, at[512]), "%.0f G" % gmacs(core, 128, at[128]),
                   gmacs(core, 512, at[512]) / gmacs(core, 128, at[128]), "-")
    return growth


def measure_batch(core, quick):
    growth = {}
    for tokens in 25, 128:
        name = f"{tokens} tokens"
        chosen = BATCHES[::3] if quick else BATCHES
        growth[name] = [(n, rate(core, tokens, n, quick)) for n in chosen]
        for n, r in growth[name]:
            print(f"# MiniLM, batch {n}, {tokens} tokens: {r:.1f} sequences/s, "
                  f"{gmacs(core, tokens, r):.1f} G multiply-adds/s")
        report.row(f"growth, MiniLM, {name}: best batch / batch 1",
                   "%.0f/s" % max(r for _, r in growth[name]), "%.0f/s" % growth[name][0][1],
                   max(r for _, r in growth[name]) / growth[name][0][1], "-")
    return growth


def measure_rows(most, budget):
    """Rows a second in SQL over tables of 10^3, 10^4, ... rows of one length mix."""
    from bench_sql import sentences
    from psql import ONE_BACKEND, Session, load_texts
    session, growth, count = Session(f"lat.budget = {budget}", ONE_BACKEND), [], 1000
    session.query("CREATE EXTENSION IF NOT EXISTS lat")
    session.query("SELECT * FROM lat_install_default_models()")
    load_texts(session, "growth_texts", sentences(872))
    session.query("SELECT count(lat_classify(t)) FROM growth_texts")     # packs and maps the model
    while count <= most:
        session.query(f"""CREATE TABLE growth_{count} AS
                          SELECT g AS id, t FROM generate_series(1, {count}) g
                          JOIN growth_texts ON growth_texts.id = (g - 1) % 872""")
        session.query(f"VACUUM ANALYZE growth_{count}")
        seconds = session.seconds(f"SELECT count(lat_classify(t)) FROM growth_{count}")
        growth.append((count, count / seconds))
        print(f"# SQL, {count} rows: {seconds:.1f} s, {count / seconds:.1f} rows/s")
        count *= 10
    report.row(f"growth, SQL: rows/s over {growth[-1][0]} rows / over {growth[0][0]}",
               "%.0f" % growth[-1][1], "%.0f" % growth[0][1], growth[-1][1] / growth[0][1], "-")
    session.close()
    return growth


# ---- the picture --------------------------------------------------------------------------------

WIDTH, HEIGHT, MARGIN = 300, 240, 52
COLOURS = ("#1f5fa8", "#c2571a", "#3c8a4e")


class Panel:
    """One diagram, logarithmic on both axes."""

    def __init__(self, left, title, label, series):
        self.left, self.title, self.label, self.series = left, title, label, series
        points = [p for values in series.values() for p in values]
        self.x = [min(p[0] for p in points), max(p[0] for p in points)]
        self.y = [10 ** math.floor(math.log10(min(p[1] for p in points) / 2)),
                  10 ** math.ceil(math.log10(max(p[1] for p in points)))]

    def place(self, x, y):
        across = math.log(x / self.x[0]) / math.log(self.x[1] / self.x[0])
        up = math.log(y / self.y[0]) / math.log(self.y[1] / self.y[0])
        return self.left + MARGIN + across * (WIDTH - MARGIN - 24), \
            HEIGHT - 40 - up * (HEIGHT - 40 - 34)

    def ticks(self, ends, steps):
        out, value = [], ends[0]
        while value <= ends[1] * 1.001:
            out.append(value)
            value *= steps
        return out

    def draw(self):
        step = 10 if self.x[1] > 512 else 2
        yield f'<text x="{self.left + MARGIN}" y="16" font-weight="bold">{self.title}</text>'
        for x in self.ticks(self.x, step):
            at, bottom = self.place(x, self.y[0])
            top = self.place(x, self.y[1])[1]
            yield f'<path d="M{at:.1f} {bottom:.1f}V{top:.1f}" stroke="#e4e4e4"/>'
            yield f'<text x="{at:.1f}" y="{bottom + 15:.1f}" text-anchor="middle">{x:g}</text>'
        for y in self.ticks(self.y, 10):
            left, at = self.place(self.x[0], y)
            right = self.place(self.x[1], y)[0]
            yield f'<path d="M{left:.1f} {at:.1f}H{right:.1f}" stroke="#c8c8c8"/>'
            yield f'<text x="{left - 5:.1f}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>'
        yield (f'<text x="{self.left + MARGIN + (WIDTH - MARGIN - 24) / 2:.0f}" y="{HEIGHT - 7}" '
               f'text-anchor="middle">{self.label}</text>')
        for (name, values), colour in zip(self.series.items(), COLOURS):
            line = "M" + "L".join("%.1f %.1f" % self.place(*p) for p in values)
            yield f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
            for p in values:
                yield '<circle cx="%.1f" cy="%.1f" r="2.6" fill="%s"/>' % (*self.place(*p), colour)
            left, top = self.place(*values[0])[0], min(self.place(*p)[1] for p in values[:2])
            yield f'<text x="{left + 8:.1f}" y="{top - 8:.1f}" fill="{colour}">{name}</text>'


def draw(panels, path):
    panels = [Panel(i * WIDTH, *panel) for i, panel in enumerate(panels)]
    body = "\n".join(line for panel in panels for line in panel.draw())
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(panels)} '
                    f'{HEIGHT}" font-family="sans-serif" font-size="11">\n'
                    f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer, shorter runs; no rows")
    parser.add_argument("--rows", type=int, default=10000, help="of the largest table")
    parser.add_argument("--budget", type=float, default=1, help="of the rows")
    parser.add_argument("--svg", type=pathlib.Path)
    o = parser.parse_args()
    models = {"MiniLM": minilm(), "BERT-base": bert_base()}
    tokens = measure_tokens(models, o.quick)
    batch = measure_batch(models["MiniLM"], o.quick)
    panels = [("sequences/s, one core, batch 1", "tokens", tokens),
              ("sequences/s, one core, MiniLM", "batch", batch)]
    if "BENCH_WORK" in os.environ and not o.quick:
        rows = measure_rows(o.rows, o.budget)
        panels.append((f"rows/s in SQL, budget {o.budget:g}", "rows", {"MiniLM, 25 tokens": rows}))
    if o.svg:
        draw(panels, o.svg)


if __name__ == "__main__":
    main()
