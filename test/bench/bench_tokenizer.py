#!/usr/bin/env python3
"""The tokenizer against Hugging Face tokenizers: one text at a time, one thread, offsets included.

    pip install numpy tokenizers
    test/bench/bench_tokenizer.py [--quick]

Ours runs over all texts in one C loop, which a caller in C does; theirs in a Python loop over
Tokenizer.encode, which costs it about 1 % (an empty text takes 2 microseconds). Runs alternate, a
sample of the texts each, and both must find the same tokens.
"""
import argparse
import ctypes as c
import json
import os
import pathlib
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy as np

import core as lat
import report

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared/data"
PEER = "tokenizers"
REPEATS = 20        # of ours, so that a run takes milliseconds


def sentences():
    return [line.split("\t")[1] for line in (DATA / "sst2/dev.tsv").read_text().splitlines()[1:]]


def paragraphs():
    articles = json.loads((DATA / "squad/dev.json").read_text())["data"]
    return [p["context"] for a in articles for p in a["paragraphs"]]


def accented(texts):
    """The same text with accents on its vowels: nothing of it takes the path for ASCII."""
    return [text.translate(str.maketrans("aeiou", "àéîöù")) for text in texts]


def demo():
    return [line.split("\t")[-1]
            for line in (ROOT / "test/demo/demo-documents.tsv").read_text().splitlines()]


class Ours:
    def __init__(self, texts):
        self.core = lat.Core.from_file(ROOT / "models/sst2.latpack")
        data = [text.encode() for text in texts]
        self.bytes, self.count = b"".join(data), len(data)
        self.offsets = np.cumsum([0] + [len(d) for d in data]).astype(np.int64)
        self.tokens = c.c_int64()

    def run(self):
        self.core.check(self.core.lib.core_tokenize_texts(
            self.core.core, self.bytes, c.c_void_p(self.offsets.ctypes.data), self.count,
            c.byref(self.tokens)))


def make_peer(words):
    try:
        from tokenizers import BertWordPieceTokenizer
    except ImportError:
        return None
    return BertWordPieceTokenizer({word: i for i, word in enumerate(words)}, lowercase=True)


def compare(name, texts, pairs, goal):
    ours = Ours(texts)
    peer = make_peer(ours.core.vocabulary())
    size = len(ours.bytes)
    times, theirs = [], []
    for pair in range(-1, pairs):
        began = time.perf_counter()
        for _ in range(REPEATS):
            ours.run()
        middle = time.perf_counter()
        found = sum(len(peer.encode(t, add_special_tokens=False).ids) for t in texts) if peer else 0
        end = time.perf_counter()
        if peer and found != ours.tokens.value:
            raise SystemExit(f"{name}: {ours.tokens.value} tokens, {PEER} finds {found}")
        if pair >= 0:
            times.append((middle - began) / REPEATS)
            theirs.append(end - middle)
    speed = "%.1f MB/s" % (size / report.median(times) / 1e6)
    if peer:
        report.row(f"tokenizer, {name} / {PEER}", speed,
                   "%.1f MB/s" % (size / report.median(theirs) / 1e6),
                   report.median_ratio(theirs, times), goal)
    else:
        report.missing(f"tokenizer, {name} / {PEER}", speed, PEER, goal)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    quick = parser.parse_args().quick
    pairs = 3 if quick else 9
    if DATA.exists():
        compare("sentences", sentences(), pairs, ">= 5")
        compare("paragraphs", paragraphs()[::2], pairs, ">= 5")
        compare("accented paragraphs", accented(paragraphs()[::8]), pairs, ">= 5")
    else:
        print("# no ../shared/data: the texts are those of test/demo")
        compare("documents", demo(), pairs, ">= 5")


if __name__ == "__main__":
    main()
