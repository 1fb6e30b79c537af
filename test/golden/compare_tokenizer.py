#!/usr/bin/env python3
"""Compare the tokenizer with the PyPI package `tokenizers`: ids, offsets, word beginnings, pairs, truncation.

    pip install tokenizers
    compare_tokenizer.py VOCAB.TXT [--data DIRECTORY] [--hard COUNT] [--points] [--speed]
    compare_tokenizer.py --classes

Data: all texts of DIRECTORY.  Hard: COUNT generated strings, over a vocabulary with their characters.
Points: every code point, alone and as a<c>b, over vocabularies that hold what each becomes.
Each uncased and cased.  For every text it also checks that a cut text gives a prefix of the whole
text's tokens.  The last line is the sum; the exit status is 1 if there is any difference.
--classes prints src/core/text_classes.h's table, as observed.
"""
import argparse
import ctypes
import os
import random
import subprocess
import sys
import tempfile
import time

from tokenizers import normalizers, pre_tokenizers

import make_tokenizer as golden

ROOT = os.path.dirname(os.path.dirname(golden.HERE))
NO_LIMIT = (1 << 31) - 1


class Tokens(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32), ("capacity", ctypes.c_int32),
                ("ids", ctypes.POINTER(ctypes.c_int32)), ("starts", ctypes.POINTER(ctypes.c_int32)),
                ("stops", ctypes.POINTER(ctypes.c_int32)), ("begins", ctypes.POINTER(ctypes.c_uint8)),
                ("complete", ctypes.c_bool)]


class Input(ctypes.Structure):
    _fields_ = [("tokens", ctypes.c_int32), ("ids", ctypes.POINTER(ctypes.c_int32)),
                ("segments", ctypes.POINTER(ctypes.c_uint8)),
                ("sources", ctypes.POINTER(ctypes.c_int32)), ("truncated", ctypes.c_bool)]


def build_library():
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "tokenizer.so")
    core = os.path.join(ROOT, "src", "core")
    sources = [os.path.join(core, name + ".c") for name in
               ("status", "text", "trie", "vocabulary", "marks", "wordpiece", "input")]
    subprocess.run(["cc", "-std=gnu11", "-O2", "-fPIC", "-shared", "-o", path,
                    os.path.join(golden.HERE, "tokenizer_library.c"), *sources, "-lutf8proc"],
                   check=True)
    library = ctypes.CDLL(path)
    pointer = ctypes.c_void_p
    library.tokenizer_open.restype = pointer
    library.tokenizer_error.restype = ctypes.c_char_p
    library.tokenizer_error.argtypes = [pointer]
    library.tokenizer_close.argtypes = [pointer]
    library.tokenizer_run.argtypes = [pointer, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t,
                                      ctypes.c_int, ctypes.c_int32]
    library.tokenizer_tokens.argtypes = [pointer, ctypes.c_int]
    library.tokenizer_tokens.restype = ctypes.POINTER(Tokens)
    library.tokenizer_input.argtypes = [pointer, ctypes.c_int, ctypes.c_int32]
    library.tokenizer_input.restype = ctypes.POINTER(Input)
    return library


class Ours:
    def __init__(self, library, words, lowercase, strip_accents=None):
        self.library = library
        strip = lowercase if strip_accents is None else strip_accents
        self.handle = library.tokenizer_open(("\n".join(words) + "\n").encode(), len(words),
                                             int(lowercase), int(strip))
        error = library.tokenizer_error(self.handle)
        if error:
            sys.exit("vocabulary: " + error.decode())

    def close(self):
        self.library.tokenizer_close(self.handle)

    def run(self, data, which=0, continues=False, limit=NO_LIMIT):
        status = self.library.tokenizer_run(self.handle, which, data, len(data), int(continues), limit)
        if status:
            return "status %d: %s" % (status, self.library.tokenizer_error(self.handle).decode())
        t = self.library.tokenizer_tokens(self.handle, which).contents
        n = t.count
        return list(zip(t.ids[:n], t.starts[:n], t.stops[:n], t.begins[:n]))

    def complete(self):
        return self.library.tokenizer_tokens(self.handle, 0).contents.complete

    def input(self, pair, limit):
        i = self.library.tokenizer_input(self.handle, int(pair), limit).contents
        return list(zip(i.ids[:i.tokens], i.segments[:i.tokens]))


class Comparison:
    def __init__(self):
        self.strings = 0
        self.differences = 0
        self.chance = random.Random(5)

    def differ(self, what, text, expected, found):
        self.differences += 1
        if self.differences <= 20:
            print("DIFFERENCE %s %s\n  expected %s\n  found    %s" %
                  (what, golden.escape(text if isinstance(text, str) else " | ".join(text))[:600],
                   str(expected)[:600], str(found)[:600]))

    def texts(self, name, ours, reference, texts, cuts=1):
        before, start = self.differences, self.strings
        for at in range(0, len(texts), 1000):
            batch = texts[at:at + 1000]
            for text, encoding in zip(batch, reference.encode_batch(batch, add_special_tokens=False)):
                expected = golden.reference_tokens(encoding)
                data = text.encode()
                found = ours.run(data)
                self.strings += 1
                if found != expected or not ours.complete():
                    self.differ(name, text, expected, found)
                for _ in range(cuts):
                    stop = self.chance.randint(0, len(data))
                    found = ours.run(data[:stop], continues=True)
                    if found != expected[:len(found)] or ours.complete():
                        self.differ(name + " cut at %d" % stop, text, expected, found)
                    limit = self.chance.randint(1, len(expected) + 2)
                    found = ours.run(data, limit=limit)
                    if (found != expected[:len(found)] or len(found) < min(limit, len(expected)) or
                            ours.complete() != (len(found) == len(expected))):
                        self.differ(name + " limit %d" % limit, text, expected, found)
        self.report(name, start, before)

    def pairs(self, name, ours, reference, pairs):
        before, start = self.differences, self.strings
        for at in range(0, len(pairs), 200):
            batch = pairs[at:at + 200]
            limit = self.chance.choice([5, 6, 7, 12, 33, 64, 128, 384])
            reference.enable_truncation(limit)
            for pair, encoding in zip(batch, reference.encode_batch(batch)):
                single = isinstance(pair, str)
                for which, text in enumerate([pair] if single else pair):
                    ours.run(text.encode(), which)
                expected = list(zip(encoding.ids, encoding.type_ids))
                found = ours.input(not single, limit)
                self.strings += 1
                if found != expected:
                    self.differ(name + " limit %d" % limit, pair, expected, found)
            reference.no_truncation()
        self.report(name, start, before)

    def report(self, name, start, before):
        print("%-46s %8d strings, %d differences" % (name, self.strings - start, self.differences - before),
              flush=True)


def compare_data(comparison, library, words, directory):
    for case in "uncased", "cased":
        used = words if case == "uncased" else golden.widen(words, [])
        ours, reference = (Ours(library, used, case == "uncased"),
                           golden.make_reference(used, case == "uncased"))
        for name, rows in golden.data_texts(directory).items():
            if rows and isinstance(rows[0], tuple):
                comparison.pairs(case + " " + name, ours, reference, rows)
            else:
                comparison.texts(case + " " + name, ours, reference, rows)
        ours.close()


def compare_hard(comparison, library, words, count):
    texts = golden.hard_texts(count, 2026) + golden.long_texts()
    wide = golden.widen(words, texts)
    chance = random.Random(3)
    for case in "uncased", "cased":
        for kind, used in ("", words), (" wide", wide):
            ours, reference = (Ours(library, used, case == "uncased"),
                               golden.make_reference(used, case == "uncased"))
            comparison.texts(case + " hard" + kind, ours, reference, texts, cuts=4)
            comparison.pairs(case + " hard singles" + kind, ours, reference, texts)
            pairs = [(chance.choice(texts), chance.choice(texts)) for _ in range(count)]
            comparison.pairs(case + " hard pairs" + kind, ours, reference, pairs)
            ours.close()
        for strip in False, True:
            settings = (wide, case == "uncased", strip)
            ours, reference = Ours(library, *settings), golden.make_reference(*settings)
            comparison.texts("%s hard wide, strip_accents %s" % (case, strip), ours, reference, texts)
            ours.close()


def compare_points(comparison, library):
    """Every code point, in vocabularies of what the reference's normaliser makes of each."""
    for case in "uncased", "cased":
        normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=None,
            lowercase=case == "uncased")
        strings = 0
        total = comparison.differences
        for first in range(0, 0x110000, 0x10000):
            characters = [chr(c) for c in range(first, first + 0x10000) if not 0xD800 <= c < 0xE000]
            words = dict.fromkeys(golden.SPECIAL + ["a", "b", "ab", "##b"])
            for character in characters:
                for form in (character, normalizer.normalize_str(character)):
                    for c in form:
                        if c not in "\n\0":
                            words.update({c: None, "##" + c: None})
            words = list(words)
            ours, reference = (Ours(library, words, case == "uncased"),
                               golden.make_reference(words, case == "uncased"))
            texts = [t for c in characters for t in (c, "a" + c + "b")]
            before = comparison.strings
            with_report, comparison.report = comparison.report, lambda *_: None
            comparison.texts(case + " points", ours, reference, texts, cuts=0)
            comparison.report = with_report
            strings += comparison.strings - before
            ours.close()
        comparison.report(case + " code points", comparison.strings - strings, total)


def measure_speed(library, words, directory):
    texts = golden.data_texts(directory)["squad train contexts"]
    size = sum(len(text.encode()) for text in texts)
    reference = golden.make_reference(words, True)
    ours = Ours(library, words, True)
    data = [text.encode() for text in texts]
    began = time.perf_counter()
    for text in data:
        library.tokenizer_run(ours.handle, 0, text, len(text), 0, NO_LIMIT)
    ours_time = time.perf_counter() - began
    sample = texts[:500]
    sample_size = sum(len(text.encode()) for text in sample)
    began = time.perf_counter()
    for text in sample:
        reference.encode(text, add_special_tokens=False)
    theirs_time = time.perf_counter() - began
    print("rough speed on paragraphs, one thread: %.1f MB/s, tokenizers %.1f MB/s" %
          (size / ours_time / 1e6, sample_size / theirs_time / 1e6))


def print_classes():
    def behaviour(options):
        return normalizers.BertNormalizer(**{**dict(clean_text=False, handle_chinese_chars=False,
                                                    strip_accents=False, lowercase=False), **options})

    clean, strip = behaviour({"clean_text": True}), behaviour({"strip_accents": True})
    nfd, cut = normalizers.NFD(), pre_tokenizers.BertPreTokenizer()

    def letter(c):
        cleaned = clean.normalize_str("a" + c + "b")
        if cleaned == "ab":
            return "R"
        if cleaned == "a b":
            return "S"
        if nfd.normalize_str(c) == c:
            if strip.normalize_str(c) == "":
                return "M"
            for probe in (c + "\u0334", "\u0345" + c):
                if nfd.normalize_str("a" + probe) != "a" + probe:
                    return "K"
        return "P" if len(cut.pre_tokenize_str("a" + c + "b")) == 3 else None

    ranges = []
    for code in range(0x80, 0x110000):
        kind = None if 0xD800 <= code < 0xE000 else letter(chr(code))
        if kind and ranges and ranges[-1][2] == kind and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        elif kind:
            ranges.append([code, code, kind])
    line = "\t"
    for first, last, kind in ranges:
        entry = "%s(%04X, %04X)," % (kind, first, last)
        if len(line) + 3 + 1 + len(entry) > 92:
            print(line)
            line = "\t"
        line += (" " if line != "\t" else "") + entry
    print(line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vocabulary", nargs="?")
    parser.add_argument("--data")
    parser.add_argument("--hard", type=int, default=0)
    parser.add_argument("--points", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--classes", action="store_true")
    arguments = parser.parse_args()
    if arguments.classes:
        print_classes()
        return
    if not (arguments.points or (arguments.vocabulary and (arguments.data or arguments.hard))):
        parser.error("nothing to compare: give VOCAB.TXT with --data or --hard, or --points")
    library = build_library()
    comparison = Comparison()
    if arguments.vocabulary:
        words = golden.read_words(arguments.vocabulary)
        if arguments.hard:
            compare_hard(comparison, library, words, arguments.hard)
        if arguments.data:
            compare_data(comparison, library, words, arguments.data)
        if arguments.data and arguments.speed:
            measure_speed(library, words, arguments.data)
    if arguments.points:
        compare_points(comparison, library)
    print("%d strings compared, %d differences" % (comparison.strings, comparison.differences))
    sys.exit(1 if comparison.differences else 0)


if __name__ == "__main__":
    main()
