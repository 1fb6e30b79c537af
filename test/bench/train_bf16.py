#!/usr/bin/env python3
"""Final quality of training in f32 and in bf16: the same runs with each of the option's values.

    pip install numpy
    test/bench/train_bf16.py [--seeds 3] [--processes 1] [--modes none backward all]

TREC's six classes from MiniLM-L6: 2,000 questions, two epochs of fine-tuning and one with
LengthDrop, accuracy on 2,500 other questions, in full and of the smallest sub-model. The seed decides
order, dropout and sub-models; how much runs of one mode differ by it is the noise that modes are to
be told from.
"""
import argparse
import csv
import ctypes as c
import time

import train

MODES = ("none", "backward", "all")
DATA = train.ROOT.parent / "shared/data/trec/train.csv"
TRAIN, DEV = 2000, 2500


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--modes", nargs="*", choices=MODES, default=MODES)
    args = parser.parse_args()
    labels, texts = zip(*csv.reader(DATA.open()))
    ids, labels = train.tokenize(texts), list(map(int, labels))
    data = train.records_of(ids[:TRAIN], labels[:TRAIN])
    dev = train.records_of(ids[TRAIN:TRAIN + DEV], labels[TRAIN:TRAIN + DEV])
    image = train.IMAGE.read_bytes()
    print("seed  bf16      in full  smallest  seconds")
    for seed in range(1, args.seeds + 1):
        for mode in args.modes:
            options = train.options_of(epochs=(c.c_double * 2)(2, 1), learning_rate=1e-4, seed=seed,
                                       bf16=MODES.index(mode), ranks=args.processes)
            run = train.Run(image, data, max(labels) + 1, options, dev)
            began = time.perf_counter()
            run.steps(args.processes, 3 * -(-TRAIN // train.BATCH))
            seconds = time.perf_counter() - began
            full, smallest = run.evaluate()
            print(f"{seed:4}  {mode:8}  {full:7.2%}  {smallest:8.2%}  {seconds:7.0f}", flush=True)


if __name__ == "__main__":
    main()
