#!/usr/bin/env python3
"""SQL, row by row: count(lat_classify(t)) against the core alone, PL/Python, parallel workers.

    test/bench/run_in_cluster.sh bench_sql.py [--quick]

10,000 sentences in tables of 1,000, SST-2's dev set over and over (25 tokens in the mean). Each
table is scored in SQL, by the core alone in this process (batch 1, the same texts), and by
PL/Python with onnxruntime in int8 and tokenizers in a backend of the same cluster; ratios are
medians over tables.
"""
import argparse
import ctypes as c
import os
import pathlib
import sys
import time

import numpy as np

import core as lat
import report
from psql import ONE_BACKEND, Session, load_texts

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/sst2.latpack"
HALF = 0.5

PEER = """
CREATE EXTENSION IF NOT EXISTS plpython3u;
CREATE OR REPLACE FUNCTION peer_classify(t text) RETURNS text LANGUAGE plpython3u AS $$
if "run" not in SD:
    import sys
    sys.path.insert(0, "{work}/python")
    import numpy, onnxruntime, tokenizers
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession("{work}/onnx/int8.onnx", options,
                                           providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    encoder = tokenizers.Tokenizer.from_file("{work}/onnx/tokenizer.json")
    encoder.no_padding()
    encoder.enable_truncation(512)
    def run(text):
        ids = numpy.array([encoder.encode(text).ids], dtype=numpy.int64)
        given = dict(input_ids=ids, attention_mask=numpy.ones_like(ids),
                     token_type_ids=numpy.zeros_like(ids))
        logits = session.run(None, {{n: given[n] for n in names}})[0]
        return "positive" if logits[0, 1] > logits[0, 0] else "negative"
    SD["run"] = run
return SD["run"](t)
$$
"""


def sentences(count):
    """SST-2's dev sentences, or without ../shared the demo's reviews, as often as it takes."""
    dev = ROOT.parent / "shared/data/sst2/dev.tsv"
    if dev.exists():
        texts = [line.split("\t")[1] for line in dev.read_text().splitlines()[1:]]
    else:
        print("# no ../shared/data/sst2: the texts are those of test/demo")
        texts = [line.split("\t")[-1]
                 for line in (ROOT / "test/demo/demo-reviews.tsv").read_text().splitlines()]
    return (texts * (count // len(texts) + 1))[:count]


def half_point():
    """Lengths and reference length that lat.budget = HALF chooses."""
    rows = [line.split("\t") for line in MODEL.with_suffix(".pareto").read_text().splitlines()]
    at = {name: i for i, name in enumerate(rows[0])}
    within = [r for r in rows[1:] if float(r[at["fraction"]]) <= HALF]
    best = max(within, key=lambda r: (float(r[at["quality"]]), -float(r[at["fraction"]])))
    return [int(x) for x in best[at["lengths"]].split(",")], int(best[at["reference_length"]])


class CoreAlone:
    """The core in this process, a text at a time, without Python in between."""

    def __init__(self, texts):
        self.core = lat.Core.from_file(MODEL)
        data = [text.encode() for text in texts]
        self.bytes, self.count = b"".join(data), len(data)
        self.offsets = np.cumsum([0] + [len(d) for d in data]).astype(np.int64)
        self.best = np.empty(self.count, np.int32)

    def run(self, first, count, lengths=None, reference=0):
        chosen = None if lengths is None else np.asarray(lengths, np.int32)
        self.core.check(self.core.lib.core_classify_texts(
            self.core.core, self.bytes, c.c_void_p(self.offsets[first:].ctypes.data), count,
            None if chosen is None else c.c_void_p(chosen.ctypes.data), reference,
            c.c_void_p(self.best[first:].ctypes.data)))


def make_peer(session):
    work = os.environ["BENCH_WORK"]
    for part in "python/onnxruntime", "onnx/int8.onnx":
        if not pathlib.Path(work, part).exists():
            return False
    session.query(PEER.format(work=work))
    return True


def per_second(rows, seconds):
    return "%.0f rows/s" % (rows / report.median(seconds))


def compare_rows(tables, n):
    """In SQL, in the core, in PL/Python; in full and at half the budget; n rows a table."""
    texts = sentences(tables * n)
    ours, peer, alone = Session(ONE_BACKEND), Session(ONE_BACKEND), CoreAlone(texts)
    lengths, reference = half_point()
    for i in range(tables):
        load_texts(ours, f"w{i}", texts[i * n:(i + 1) * n])
    has_peer = make_peer(peer)
    full, half, core_full, core_half, theirs = [], [], [], [], []
    for i in range(-1, tables):      # once to warm up, which is not counted
        table, first = f"w{max(i, 0)}", max(i, 0) * n
        sql = f"SELECT count(lat_classify(t)) FROM {table}"
        half_sql = f"SELECT count(lat_classify(t, {HALF})) FROM {table}"
        times = [ours.seconds(sql)]
        for chosen in None, lengths:
            began = time.perf_counter()
            alone.run(first, n, chosen, reference)
            times.append(time.perf_counter() - began)
        times.insert(2, ours.seconds(half_sql))
        peer_sql = f"SELECT count(peer_classify(t)) FROM {table}"
        times.append(peer.seconds(peer_sql) if has_peer else 0)
        if i >= 0:
            for series, seconds in zip((full, core_full, half, core_half, theirs), times):
                series.append(seconds)
    report.row("SQL, row by row / core alone", per_second(n, full), per_second(n, core_full),
               report.median_ratio(core_full, full), ">= 0.93")
    report.row("SQL at budget 0.5 / core alone", per_second(n, half), per_second(n, core_half),
               report.median_ratio(core_half, half), ">= 0.93")
    for name, series, goal in (("SQL", full, ">= 2"), ("SQL at budget 0.5", half, ">= 3")):
        name += " / PL/Python, onnxruntime int8"
        if has_peer:
            report.row(name, per_second(n, series), per_second(n, theirs),
                       report.median_ratio(theirs, series), goal)
        else:
            report.missing(name, per_second(n, series), "build/peers (test/bench/peers.sh)", goal)
    ours.close()
    peer.close()


def compare_workers(rows, pairs):
    """Two parallel workers against one, the leader idle; of the same plan one is not launched."""
    session = Session("parallel_leader_participation = off", "parallel_setup_cost = 0",
                      "min_parallel_table_scan_size = 0", "max_parallel_workers_per_gather = 2")
    load_texts(session, "parallel", sentences(rows), "WITH (parallel_workers = 2)")
    sql = "SELECT count(lat_classify(t)) FROM parallel"
    times = {1: [], 2: []}
    for pair in range(-1, pairs):
        for workers in times:
            session.query(f"SET max_parallel_workers = {workers}")
            if pair < 0 and not any(f"Workers Launched: {workers}" in line
                                    for line in session.query("EXPLAIN ANALYZE " + sql)):
                sys.exit(f"{workers} parallel workers were not launched")
            seconds = session.seconds(sql)
            if pair >= 0:
                times[workers].append(seconds)
    report.row("SQL, two parallel workers / one", per_second(rows, times[2]),
               per_second(rows, times[1]), report.median_ratio(times[1], times[2]), ">= 1.9")
    session.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="tables of 300")
    quick = parser.parse_args().quick
    session = Session()
    session.query("CREATE EXTENSION IF NOT EXISTS lat")
    session.query("SELECT * FROM lat_install_default_models()")
    session.close()
    compare_rows(*((3, 300) if quick else (10, 1000)))
    compare_workers(*((1000, 3) if quick else (3000, 5)))


if __name__ == "__main__":
    main()
