#!/usr/bin/env python3
"""Golden values of answers' F1, as SQuAD's evaluate-v1.1 computes it; and a comparison on real answers.

    make_answer_f1.py > answer_f1.txt
    make_answer_f1.py --compare SQUAD_JSON

A line: F1 to nine digits, answer, truth, separated by tabs; bytes of characters that do not print,
and of backslashes, as \\xNN. --compare takes the questions of a SQuAD file: each reference answer against
the question's others, against pieces of its context around it and the same in upper case, in C and here.
The last line is the sum; the exit status is 1 if there is any difference.
"""
import argparse
import collections
import ctypes as c
import json
import pathlib
import random
import re
import string
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# White space, punctuation and letters of several scripts, articles and what only looks like them.
PIECES = ["a", "an", "the", "A", "An", "THE", "The", "than", "thea", "a1", "1a", "_a_", "a_b", "a-b", "a–b",
          "the–end", "—an—", "“a”", "(the)", "the's", "a.", "'an'", "á", "a\u0301", "thé", "the\u0301",
          "Über", "über", "ÜBER", "İstanbul", "istanbul", "Москва", "МОСКВА", "москва", "北京", "北京市", "ΔΕΛΤΑ",
          "δελτα", "ﬁn", "FIN", "ß", "ẞ", "Ⅷ", "ⅷ", "²", "x²", "½", "٣", "１２", "12", "12.5", "125", "$12", "€12", "12€",
          "U.S.", "US", "u.s.a.", "Roger", "roger", "roger's", "rogers", "co-op", "coop", "…", "...", "—", "–",
          "‘", "’", "·", "a·b", "\u200b", "a\u200bb", "\u00ad", "°", "§", "€", "+", "=", "🙂", "a🙂", "Ⱥ", "ⱥ", "ꟃ", "Ა",
          "e\u0301", "É", "é", "ａ", "Ａ", "ª", "ʰ", "\u0345a", "ⓐ", "𝐚", "𝒜", "𐐀", "𐐨"]
GAPS = [" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\u2029", "\x1c", "\x1f",
        "\x85", "\x0b", "\u1680", "\u202f", "\u205f", "", "-", ",", "/", "_", "—", "\u200b", "\ufeff", "\u180e"]


def normalise(answer):
    answer = "".join(ch for ch in answer.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", answer).split())


def f1_score(answer, truth):
    ours, theirs = normalise(answer).split(), normalise(truth).split()
    same = sum((collections.Counter(ours) & collections.Counter(theirs)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def invented(count):
    """Pairs whose words come from a few pieces each, so that they share some."""
    rng = random.Random(20100703)
    for _ in range(count):
        pieces = rng.sample(PIECES, rng.randint(1, 5))
        yield tuple("".join(rng.choice(pieces) + rng.choice(GAPS) for _ in range(rng.randint(0, 7)))
                    for _ in range(2))


def escape(text):
    return "".join(ch if ch.isprintable() and ch not in "\\" and (ch == " " or not ch.isspace())
                   else "".join(f"\\x{b:02x}" for b in ch.encode()) for ch in text)


def squad_pairs(path):
    for article in json.loads(pathlib.Path(path).read_text())["data"]:
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            for question in paragraph["qas"]:
                answers = [a["text"] for a in question["answers"]]
                for answer in question["answers"]:
                    start, stop = answer["answer_start"], answer["answer_start"] + len(answer["text"])
                    for other in answers:
                        yield other, answer["text"]
                    for left, right in ((10, 0), (0, 10), (25, 40), (-3, 0), (0, -3)):
                        yield context[max(0, start - left):max(0, stop + right)], answer["text"]
                    yield answer["text"].upper(), answer["text"]


class Word(c.Structure):
    _fields_ = [("text", c.c_char_p), ("bytes", c.c_size_t)]


ALLOC = c.CFUNCTYPE(c.c_void_p, c.c_void_p, c.c_size_t)
RELEASE = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p)
INTERRUPTED = c.CFUNCTYPE(c.c_bool, c.c_void_p)


class Host(c.Structure):
    _fields_ = [("alloc", ALLOC), ("release", RELEASE), ("interrupted", INTERRUPTED), ("arg", c.c_void_p)]


def core_f1():
    """lat_answer_f1 as a Python function."""
    sys.path.insert(0, str(ROOT / "test/bench"))
    import core
    lib, libc = core.library(), c.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = c.c_void_p, [c.c_size_t], [c.c_void_p]
    host = Host(ALLOC(lambda arg, size: libc.malloc(size)), RELEASE(lambda arg, at: libc.free(at)),
                INTERRUPTED(lambda arg: False), None)
    lib.lat_answer_f1.argtypes = [c.c_void_p, Word, Word, c.POINTER(c.c_float), c.c_void_p]

    def f1(answer, truth):
        value, answer, truth = c.c_float(), answer.encode(), truth.encode()
        status = lib.lat_answer_f1(c.byref(host), Word(answer, len(answer)), Word(truth, len(truth)),
                                   c.byref(value), None)
        assert status == 0
        return value.value
    return f1


def compare(pairs):
    f1, count, different, partial = core_f1(), 0, 0, 0
    for answer, truth in pairs:
        ours, theirs = f1(answer, truth), f1_score(answer, truth)
        count += 1
        partial += 0 < theirs < 1
        if abs(ours - theirs) > 1e-6:
            different += 1
            print(f"{ours:.6f} {theirs:.6f} {escape(answer)!r} {escape(truth)!r}")
    print(f"{count} pairs, {partial} of them with an F1 between 0 and 1: {different} different")
    return different > 0


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--compare", metavar="SQUAD_JSON")
    o = ap.parse_args()
    if o.compare:
        sys.exit(compare(squad_pairs(o.compare)))
    for answer, truth in invented(400):
        print(f"{f1_score(answer, truth):.9f}\t{escape(answer)}\t{escape(truth)}")


if __name__ == "__main__":
    main()
