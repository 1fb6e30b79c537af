#!/usr/bin/env python3
"""Final quality of training in f32 and in bf16: the same runs with each of the option's values.

    pip install numpy
    test/bench/train_bf16.py [--task sst2] [--seeds 3] [--processes 1] [--modes none backward all]

From MiniLM-L6, two epochs of fine-tuning and one with LengthDrop; accuracy in full and of the
smallest sub-model. trec: 2,000 questions, accuracy on 2,500 others; sst2: 2,000 phrases, accuracy
on dev. The seed decides order, dropout and sub-models; how much runs of one mode differ by it is the
noise that modes are to be told from.
"""
import argparse
import csv
import ctypes as c
import time

import train

MODES = ("none", "backward", "all")
SHARED = train.ROOT.parent / "shared/data"
TRAIN, DEV = 2000, 2500


def read_rows(task):
    """[(label, text)] to train on, and to evaluate with."""
    if task == "trec":
        rows = list(csv.reader((SHARED / "trec/train.csv").open()))
        return rows[:TRAIN], rows[TRAIN:TRAIN + DEV]
    files = [(SHARED / f"sst2/{part}.tsv").read_text().splitlines()[1:] for part in ("train", "dev")]
    rows = [[line.split("\t") for line in lines] for lines in files]
    return rows[0][:TRAIN], rows[1]


def records_of(rows):
    labels, texts = zip(*rows)
    return train.records_of(train.tokenize(texts), list(map(int, labels)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", choices=("trec", "sst2"), default="trec")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--modes", nargs="*", choices=MODES, default=MODES)
    args = parser.parse_args()
    rows, dev_rows = read_rows(args.task)
    data, dev, classes = records_of(rows), records_of(dev_rows), len({row[0] for row in rows})
    image = train.IMAGE.read_bytes()
    print("seed  bf16      in full  smallest  seconds")
    for seed in range(1, args.seeds + 1):
        for mode in args.modes:
            options = train.options_of(epochs=(c.c_double * 2)(2, 1), learning_rate=1e-4, seed=seed,
                                       bf16=MODES.index(mode), ranks=args.processes)
            run = train.Run(image, data, classes, options, dev)
            began = time.perf_counter()
            run.steps(args.processes, 3 * -(-TRAIN // train.BATCH))
            seconds = time.perf_counter() - began
            full, smallest = run.evaluate()
            print(f"{seed:4}  {mode:8}  {full:7.2%}  {smallest:8.2%}  {seconds:7.0f}", flush=True)


if __name__ == "__main__":
    main()
