#!/usr/bin/env python3
"""Run the benchmarks and print one table: ours, peer, ratio, goal (make bench, bench-quick).

    test/bench/run.py [--quick] [NAME ...]    NAME: gemm, encoder, flops, tokenizer, sql, load, ...

A benchmark is a program that prints lines `name | ours | peer | ratio | goal` (report.py); a goal
is a bound of the ratio, ">= 2" or "<= 1", and "-" where there is none. Peers that are not installed
stand in the table as missing. Everything that was printed goes to build/bench/NAME.txt.
"""
import argparse
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build/bench"
ORDER = ("gemm", "encoder", "flops", "tokenizer", "sql", "load", "growth", "train")
IN_CLUSTER = ("sql", "load", "growth")
ONE_CORE = ("gemm", "encoder", "flops", "tokenizer", "encoder_stages")     # kept on one
QUICK_ARGUMENTS = {"bench_gemm": ["auto", "GEMM 25 x"]}
# Benchmarks of many shapes: the table shows the worst and the middle of each group.
FOLDED = re.compile(r"(int8 GEMM) .* (hot|rotated)$")


def find():
    """{name: command} of the benchmarks that this tree has."""
    commands = {}
    for path in sorted([*HERE.glob("bench_*"), *HERE.glob("train.py")]):
        name = path.stem.removeprefix("bench_")
        if path.suffix == ".py":
            commands[name] = [sys.executable, str(path)]
        elif path.suffix == ".c":
            commands[name] = [str(BUILD / path.stem)]
    rank = {name: i for i, name in enumerate(ORDER)}
    return dict(sorted(commands.items(), key=lambda item: rank.get(item[0], len(rank))))


def stay_on_one_core():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def run(name, command):
    """Output of a program, shown as it comes and kept."""
    lines, began = [], time.perf_counter()
    print(f"-- {name}", flush=True)
    environment = dict(os.environ, PYTHONPATH=str(HERE), OMP_NUM_THREADS="1",
                       OPENBLAS_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment,
                          cwd=ROOT,
                          preexec_fn=stay_on_one_core if name in ONE_CORE else None) as program:
        for line in program.stdout:
            lines.append(line.rstrip("\n"))
            print("   " + lines[-1], flush=True)
    (BUILD / f"{name}.txt").write_text("\n".join(lines) + "\n")
    print(f"   {time.perf_counter() - began:.0f} s", flush=True)
    return lines, program.returncode


def parse(lines):
    rows = [[cell.strip() for cell in line.split(" | ")] for line in lines
            if not line.startswith("#")]
    return [row for row in rows if len(row) == 5 and row[3] != "ratio"]


def fold(rows):
    groups, out = {}, []
    for row in rows:
        match = FOLDED.match(row[0])
        if not match:
            out.append(row)
            continue
        groups.setdefault(f"{match[1]}, {match[2]}", []).append(row)
    for name, members in groups.items():
        measured = [row for row in members if is_number(row[3])]
        if not measured:
            out.append([f"{name}, {len(members)} shapes", "-", *members[0][2:]])
            continue
        worst = min(measured, key=lambda row: float(row[3]))
        middle = statistics.median(float(row[3]) for row in measured)
        out.append([f"{name}, median of {len(members)} shapes", "", "", f"{middle:.2f}", worst[4]])
        out.append([f"{name}, worst: {worst[0].removeprefix('int8 GEMM ')}", *worst[1:]])
    return out


def is_number(text):
    return re.fullmatch(r"[0-9.]+", text) is not None


def reached(ratio, goal):
    """yes, no, or nothing where there is no goal or no ratio."""
    match = re.fullmatch(r"(>=|<=)\s*([0-9.]+)", goal)
    if not match or not is_number(ratio):
        return ""
    met = float(ratio) >= float(match[2]) if match[1] == ">=" else float(ratio) <= float(match[2])
    return "yes" if met else "NO"


def print_table(rows):
    table = [["", "ours", "peer", "ratio", "goal", "reached"]]
    table += [row + [reached(row[3], row[4])] for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    table.insert(1, ["-" * width for width in widths])
    print()
    for row in table:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")


def processor():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="under two minutes, coarser")
    parser.add_argument("names", nargs="*")
    o = parser.parse_args()
    commands, began, rows, failed = find(), time.perf_counter(), [], []
    unknown = [name for name in o.names if name not in commands]
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(commands)}")
    names = o.names or list(commands)
    BUILD.mkdir(parents=True, exist_ok=True)

    jobs = {name: list(commands[name]) for name in names if name not in IN_CLUSTER}
    for command in jobs.values():
        program = pathlib.Path(command[-1]).name
        if o.quick:
            command += QUICK_ARGUMENTS.get(program, ["--quick"])
    clustered = [f"bench_{name}.py" + (" --quick" if o.quick else "")
                 for name in names if name in IN_CLUSTER]
    if clustered:
        jobs["cluster"] = [str(HERE / "run_in_cluster.sh"), *clustered]
    for name, command in jobs.items():
        lines, status = run(name, command)
        rows += parse(lines)
        if status:
            failed.append(name)
    print_table(fold(rows))
    missing = sorted({row[2].removeprefix("missing: ") for row in rows
                      if row[2].startswith("missing: ")})
    print(f"\n{processor()}, {os.cpu_count()} CPUs; {time.perf_counter() - began:.0f} s")
    if missing:
        print("Peers that are missing: " + ", ".join(missing) + ". See test/bench/README.md.")
    if failed:
        sys.exit("Failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
