"""What every benchmark of test/bench prints: rows `name | ours | peer | ratio | goal`, for run.py.

A goal is a bound of the ratio, ">= 2" or "<= 1". Where there is no peer but a limit, the limit
stands in the peer's place and the ratio is ours over it.
"""
import statistics


def row(name, ours, peer, ratio, goal):
    shown = ratio if isinstance(ratio, str) else f"{ratio:.2f}"
    print(f"{name} | {ours} | {peer} | {shown} | {goal}", flush=True)


def missing(name, ours, peer, goal):
    """A comparison that cannot be made, since the peer is not installed."""
    row(name, ours, f"missing: {peer}", "-", goal)


def limit(name, ours, most, unit):
    """A figure that must not exceed a limit."""
    row(name, f"{ours:.3g} {unit}", f"limit {most:g} {unit}", ours / most, "<= 1")


def median(values):
    return statistics.median(values)


def median_ratio(ours, peers):
    """Median over paired runs: noise of the machine falls on both of a pair."""
    return statistics.median(a / b for a, b in zip(ours, peers))
