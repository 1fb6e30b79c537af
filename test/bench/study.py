#!/usr/bin/env python3
"""Training and search from SQL on real data: what a user gets, end to end.

    pip install numpy
    make demo KEEP=1            # a throw-away cluster; export PGHOST, PGPORT, PGUSER as it says
    test/bench/study.py trec    # 6 question types, 500 rows held out, defaults
    test/bench/study.py sst2    # 1 + 1 epochs, whole sentences held out with all their phrases

    labelled rows --split--> train, held out, (SST-2: dev) --psql--> tables
        --lat_train--> model --lat_search on the held-out rows--> lat_pareto
        --lat_classify at budgets--> accuracy, beside a plainly fine-tuned model with the same drops

The rows of SST-2 are phrases of one another: a phrase that occurs in a held-out sentence is kept
out of training. Needs ../shared/data; prints as it goes and writes build/study-NAME.json.
"""
import argparse
import csv
import io
import json
import pathlib
import random
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
BUDGETS = (1, 0.7, 0.5, 0.33)
SEED = 1


# ---- data ---------------------------------------------------------------------------------------

def sst2_rows(name):
    lines = (SHARED / f"data/sst2/{name}.tsv").read_text().splitlines()[1:]
    return [(text.strip(), "positive" if label == "1" else "negative")
            for label, text in (line.split("\t") for line in lines)]


def phrases_in(text, phrases):
    """The given phrases that occur in a text at word boundaries, but for the text itself."""
    words = text.split()
    for start in range(len(words)):
        for stop in range(start + 1, len(words) + 1):
            if stop - start < len(words):
                phrase = " ".join(words[start:stop])
                if phrase in phrases:
                    yield phrase


def sst2_split(count=1000):
    """Train rows and held-out sentences that share no phrase; dev."""
    rows = list(dict(sst2_rows("train")).items())
    phrases = {text for text, _ in rows}
    parts = {part for text in phrases for part in phrases_in(text, phrases)}
    sentences = sorted(phrases - parts)
    random.Random(SEED).shuffle(sentences)
    held = set(sentences[:count])
    barred = held | {part for text in held for part in phrases_in(text, phrases)}
    return ([r for r in rows if r[0] not in barred], [r for r in rows if r[0] in held],
            sst2_rows("dev"))


def trec_split(count=500):
    """Train rows, held-out rows for the search and the report."""
    with open(SHARED / "data/trec/train.csv", newline="") as file:
        rows = [(text, f"type{label}") for label, text in csv.reader(file)]
    random.Random(SEED).shuffle(rows)
    return rows[count:], rows[:count], rows[:count]


# ---- SQL ----------------------------------------------------------------------------------------

def sql(text, data=None):
    """What psql prints, unaligned."""
    result = subprocess.run(["psql", "-X", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", text],
                            input=data, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(result.stderr)
    if result.stderr:
        print(result.stderr.strip(), flush=True)
    return result.stdout.strip()


def load(table, rows):
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    sql(f"DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (body text, label text)")
    sql(f"COPY {table} FROM STDIN (FORMAT csv)", buffer.getvalue())


def run_to_end(call, what):
    """Start a run, wait for it, return its seconds."""
    start = time.time()
    run = sql(f"SELECT {call}")
    state = sql(f"SELECT lat_wait({run})")
    seconds = time.time() - start
    print(f"{what}: run {run} {state} after {seconds:.0f} s", flush=True)
    return {"run": int(run), "seconds": seconds, "log": json.loads(sql(
        f"SELECT coalesce(json_agg(l ORDER BY at), '[]') FROM lat_run_log l WHERE run = {run}"))}


def accuracy(table, model, budget):
    return float(sql(f"SELECT 100 * avg((lat_classify(body, {budget}, '{model}') = label)::int) "
                     f"FROM {table}"))


def print_accuracies(result, models, table):
    for model in models:
        values = {str(b): accuracy(table, model, b) for b in BUDGETS}
        result.setdefault("accuracy", {})[model] = values
        print(f"{model} on {table}: " + ", ".join(f"{v:.2f} at {b}" for b, v in values.items()),
              flush=True)


# ---- studies ------------------------------------------------------------------------------------

def study(name, options, search_options, plain=None):
    splits = sst2_split() if name == "sst2" else trec_split()
    for part, rows in zip(("train", "held", "dev"), splits):
        load(f"{name}_{part}", rows)
    counts = [len(rows) for rows in splits]
    print(f"{name}: {counts[0]} rows to train on, {counts[1]} held out, {counts[2]} reported on",
          flush=True)
    model = f"{name}_study"
    result = {"rows": counts}
    result["train"] = run_to_end(
        f"lat_train('{model}', 'minilm', 'classify', 'SELECT body, label FROM {name}_train', "
        f"'{json.dumps(options)}')", "lat_train")
    result["search"] = run_to_end(
        f"lat_search('{model}', 'SELECT body, label FROM {name}_held', "
        f"'{json.dumps(search_options)}')", "lat_search")
    models = [model]
    if plain is not None:
        sql(f"SELECT lat_import_model('{name}_plain', '{plain}')")
        sql("INSERT INTO lat_pareto SELECT p.digest, t.lengths, t.reference_length, t.fraction, "
            "t.mean_fraction, t.paper_fraction, t.quality FROM lat_pareto t, lat_model m, "
            f"lat_model p WHERE m.name = '{model}' AND t.digest = m.digest "
            f"AND p.name = '{name}_plain' ON CONFLICT DO NOTHING")
        models.append(f"{name}_plain")
    print_accuracies(result, models, f"{name}_dev")
    result["pareto"] = json.loads(sql(
        "SELECT json_agg(p ORDER BY fraction) FROM lat_pareto p NATURAL JOIN lat_model "
        f"WHERE name = '{model}'"))
    (ROOT / f"build/study-{name}.svg").write_text(sql(f"SELECT lat_pareto_svg('{model}')"))
    (ROOT / f"build/study-{name}.json").write_text(json.dumps(result, indent=1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=("trec", "sst2"))
    parser.add_argument("--options", default=None, help="of lat_train, as JSON")
    parser.add_argument("--search-options", default="{}", help="of lat_search, as JSON")
    parser.add_argument("--plain", help="directory of a plainly fine-tuned checkpoint to compare "
                        "with, readable by the server")
    arguments = parser.parse_args()
    defaults = '{"epochs": 1, "lengthdrop_epochs": 1}' if arguments.name == "sst2" else "{}"
    (ROOT / "build").mkdir(exist_ok=True)
    study(arguments.name, json.loads(arguments.options or defaults),
          json.loads(arguments.search_options), arguments.plain)


if __name__ == "__main__":
    main()
