#!/usr/bin/env python3
"""Quality of a model on labelled data: accuracy on SST-2, EM and F1 on SQuAD.

    test/bench/quality.py sst2 MODEL [--precision int8] [--lengths 115,104,.. --reference 128]
    test/bench/quality.py squad MODEL [--every 7] ...

MODEL: a checkpoint directory or a packed .latpack file. Answers are normalised and scored as
SQuAD's evaluate-v1.1 does: lower case, without punctuation and articles, best of the references.
"""
import argparse
import collections
import json
import pathlib
import re
import string
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/bench"))
import core as lat  # noqa: E402

DATA = ROOT.parent / "shared/data"


def open_model(path, precision="int8", kernels="auto"):
    if pathlib.Path(path).is_dir():
        return lat.Core.from_directory(path, precision, kernels)
    return lat.Core.from_file(path, kernels)


def sst2_rows(name="dev"):
    rows = (DATA / f"sst2/{name}.tsv").read_text().splitlines()[1:]
    return [(int(r.split("\t")[0]), r.split("\t")[1]) for r in rows]


def classify_all(core, texts, lengths=None, reference=128, batch=32):
    """Logits (rows, labels) and mean executed fraction of the full cost."""
    tokens = [core.tokenize(t)[:2] for t in texts]
    order = sorted(range(len(texts)), key=lambda i: len(tokens[i][0]))
    logits, cost, full = np.empty((len(texts), core.columns), np.float32), 0.0, 0.0
    for at in range(0, len(order), batch):
        rows = order[at:at + batch]
        inputs = [tokens[i] for i in rows]
        scaled = None if lengths is None else [core.scale(lengths, reference, len(i[0])) for i in inputs]
        logits[rows] = core.forward(inputs, scaled, cls_only=True)
        for n, i in enumerate(inputs):
            full += core.cost(len(i[0]))
            cost += core.cost(len(i[0]), None if scaled is None else scaled[n])
    return logits, cost / full


def accuracy(core, rows, lengths=None, reference=128):
    """Per-row hits, mean fraction."""
    logits, fraction = classify_all(core, [t for _, t in rows], lengths, reference)
    return logits.argmax(1) == np.array([label for label, _ in rows]), fraction


def squad_rows(name="dev", every=1, skip=0):
    articles = json.loads((DATA / f"squad/{name}.json").read_text())["data"]
    rows = [(q["question"], p["context"], [a["text"] for a in q["answers"]])
            for a in articles for p in a["paragraphs"] for q in p["qas"]]
    return rows[skip::every]


def normalise(answer):
    answer = "".join(ch for ch in answer.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer).split())


def f1_score(answer, gold):
    ours, theirs = normalise(answer).split(), normalise(gold).split()
    same = sum((collections.Counter(ours) & collections.Counter(theirs)).values())
    return 0.0 if same == 0 else 2 * same / (len(ours) + len(theirs))


def span_quality(core, rows, lengths=None, reference=384):
    """Per-row exact match and F1."""
    answers = [core.answer(q, c, lengths, reference)[0] for q, c, _ in rows]
    em = np.array([max(normalise(a) == normalise(g) for g in gold) for a, (_, _, gold) in zip(answers, rows)])
    f1 = np.array([max(f1_score(a, g) for g in gold) for a, (_, _, gold) in zip(answers, rows)])
    return em, f1


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("task", choices=["sst2", "squad"])
    ap.add_argument("model")
    ap.add_argument("--precision", default="int8", choices=["int8", "fp32"])
    ap.add_argument("--kernels", default="auto")
    ap.add_argument("--lengths")
    ap.add_argument("--reference", type=int)
    ap.add_argument("--every", type=int, default=1, help="take every n-th row")
    o = ap.parse_args()
    core = open_model(o.model, o.precision, o.kernels)
    lengths = [int(x) for x in o.lengths.split(",")] if o.lengths else None
    if o.task == "sst2":
        rows = sst2_rows()[::o.every]
        hits, fraction = accuracy(core, rows, lengths, o.reference or 128)
        print(f"{len(rows)} rows, accuracy {100 * hits.mean():.2f}, mean fraction {fraction:.3f}")
    else:
        rows = squad_rows(every=o.every)
        em, f1 = span_quality(core, rows, lengths, o.reference or 384)
        print(f"{len(rows)} questions, EM {100 * em.mean():.2f}, F1 {100 * f1.mean():.2f}")


if __name__ == "__main__":
    main()
