#!/usr/bin/env python3
"""Expected values for the tokenizer, from the PyPI package `tokenizers`.

    pip install tokenizers
    make_tokenizer.py VOCAB.TXT

writes, next to this script,

    tokenizer.vocab     the word list: VOCAB.TXT, capitalised words, rare characters; one a line
    tokenizer.golden    texts with their tokens, one a line, fields separated by tabs:
        uncased|cased   text   id:start:stop:begins ...
        pair            max_tokens   text   text   id:segment ...    (uncased, special tokens included)

In a text, \\u{HEX} stands for a character that is not printable ASCII, and \\\\ for a backslash.
The texts are generated (seeded), or taken from test/demo.
compare_tokenizer.py compares far more, and imports this file's generators.
"""
import argparse
import csv
import json
import os
import random
import unicodedata

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

HERE = os.path.dirname(os.path.abspath(__file__))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# ---- the reference ---------------------------------------------------------------------------


def read_words(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read().rstrip("\n").split("\n")


def make_reference(words, lowercase, strip_accents=None):
    """A BertTokenizerFast's backend over these words; strip_accents None: as lowercase."""
    reference = Tokenizer(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]",
                                    max_input_chars_per_word=100))
    reference.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=strip_accents, lowercase=lowercase)
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.add_special_tokens(SPECIAL)
    cls, sep = words.index("[CLS]"), words.index("[SEP]")
    reference.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    return reference


def reference_tokens(encoding):
    """(id, start, stop, begins a word) of each token."""
    result, previous = [], None
    for token, (start, stop), word in zip(encoding.ids, encoding.offsets, encoding.word_ids):
        result.append((token, start, stop, int(word != previous)))
        previous = word
    return result


def widen(words, texts):
    """The list, with capitalised words, and with every character of the texts as word and as piece.

    Rare characters would otherwise all end up as [UNK], which hides what became of them.
    """
    known, extra = set(words), []

    def add(word):
        if word and word not in known and not any(c.isspace() or ord(c) < 32 for c in word):
            known.add(word)
            extra.append(word)

    for word in words[1000:8000]:
        if word.isascii() and word.isalpha():
            add(word.capitalize())
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        add(letter)
        add("##" + letter)
    characters = {c for text in texts for c in text if ord(c) > 127}
    for c in sorted(characters):
        forms = {c, c.lower()} | set(unicodedata.normalize("NFD", c))
        forms |= set(unicodedata.normalize("NFD", c).lower())
        for form in sorted(forms):
            if not 0xD800 <= ord(form[0]) < 0xE000:
                add(form)
                add("##" + form)
    return words + extra


# ---- texts -----------------------------------------------------------------------------------


def data_texts(directory):
    """Every text of the data folder, by source: a dictionary of lists of texts or pairs."""
    def path(*parts):
        return os.path.join(directory, *parts)

    result = {}
    for part in ("train", "dev"):
        with open(path("sst2", part + ".tsv"), encoding="utf-8") as file:
            result["sst2 " + part] = [line.rstrip("\n").split("\t", 1)[1] for line in file][1:]
        with open(path("snli", part + ".tsv"), encoding="utf-8") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
            result["snli " + part + " pairs"] = [(row[0], row[1]) for row in rows]
            result["snli " + part] = [text for row in rows for text in row[:2]]
        with open(path("wnut17", part + ".conll"), encoding="utf-8") as file:
            lines = [line.split("\t")[0].strip() for line in file]
        result["wnut17 " + part] = [" ".join(sentence.split("\n"))
                                    for sentence in "\n".join(lines).split("\n\n")]
    with open(path("trec", "train.csv"), encoding="utf-8") as file:
        result["trec"] = [",".join(row[1:]) for row in csv.reader(file)]
    for name in ("dev", "train", "train-sentences"):
        with open(path("squad", name + ".json"), encoding="utf-8") as file:
            paragraphs = [p for a in json.load(file)["data"] for p in a["paragraphs"]]
        questions = [(q["question"], p["context"]) for p in paragraphs for q in p["qas"]]
        result["squad " + name + " contexts"] = [p["context"] for p in paragraphs]
        result["squad " + name + " questions"] = [q for q, _ in questions]
        result["squad " + name + " pairs"] = questions
    return result


def code_points(*ranges):
    return [chr(c) for first, last in ranges for c in range(first, last + 1)]


POOLS = {
    "ascii": code_points((33, 126)),
    "letters": list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "controls": code_points((1, 31), (127, 159)),
    "spaces": list(" \t\n\r\x0b\x0c\x1c\x85\xa0\u1680\u2000\u2003\u2007\u2009\u200a\u2028\u2029"
                   "\u202f\u205f\u3000"),
    "zero width": list("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\xad\u180e\u061c\u2066\u202e"),
    "latin": code_points((0xC0, 0x24F), (0x1E00, 0x1EFF)),
    "marks": code_points((0x300, 0x36F), (0x483, 0x489), (0x591, 0x5C7), (0x610, 0x61A),
                         (0x64B, 0x65F), (0x1AB0, 0x1ACE), (0x1DC0, 0x1DFF), (0x20D0, 0x20F0)),
    "kept marks": code_points((0x302E, 0x302F), (0x1D15E, 0x1D172), (0x1DFB, 0x1DFB),
                              (0x8D4, 0x8E1), (0x1E944, 0x1E94A), (0x1E000, 0x1E02A))
    + list("\u1b44\u1baa\ua953\ua9c0\U000111c0\U0001d1bb\U0001d1bc\U0001d1bd\u0f73\u0f75\u0f81"
           "\u0344\u0340\u0341\u0343"),
    "greek": code_points((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": code_points((0x400, 0x52F)),
    "hebrew arabic": code_points((0x590, 0x6FF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFF)),
    "indic": code_points((0x900, 0xDFF)),
    "thai tibetan": code_points((0xE00, 0xFFF)),
    "hangul": code_points((0x1100, 0x11FF), (0xAC00, 0xAC80), (0xD780, 0xD7A3), (0xD7B0, 0xD7FB)),
    "kana": code_points((0x3000, 0x30FF), (0xFF00, 0xFFEF)),
    "cjk": code_points((0x4E00, 0x4E80), (0x9F80, 0x9FFF), (0x3400, 0x3420), (0xF900, 0xFAFF)),
    "cjk supplementary": code_points((0x20000, 0x20040), (0x2A6D0, 0x2A6E0), (0x2A700, 0x2A720),
                                     (0x2B730, 0x2B820), (0x2B910, 0x2B930), (0x2CEA0, 0x2CEB2),
                                     (0x2F800, 0x2FA1F), (0x30000, 0x30010)),
    "emoji": code_points((0x1F300, 0x1F64F), (0x1F900, 0x1F9FF), (0x1F1E6, 0x1F1FF))
    + list("\u200d\ufe0f\u20e3\U0001f3fb\U0001f3ff\u2764\u2640"),
    "punctuation": code_points((0x2010, 0x205E), (0x3001, 0x3030), (0xFE10, 0xFE6B)),
    "symbols": code_points((0x2190, 0x23FF), (0x2200, 0x22FF), (0x1FBD, 0x1FC1), (0x1FED, 0x1FEF)),
    "private": code_points((0xE000, 0xE010), (0xF8F0, 0xF8FF)) + ["\U000f0000", "\U0010fffd"],
    "unassigned": list("\u0378\u0380\u05ff\u2fe0\ufdd0\ufffe\uffff\U0001fffe\U000e0080\U0010ffff"
                       "\U00050000"),
    "tricky": list("\u0130\u0131ßẞςσΣſKÅΩﬁﬂﬃﬄﬅﬆǅǆǄŉĿŀ´ˋ\u1fef\u037e\u0387\u2260\u226e\u2329\u232a"
                   "\ufffd\U0001d15e\U0001e900\U00010400\u13a0\uab70\u1c90\u10d0\U00011938\u166d"
                   "\U000111c9\u2f00\uff21\U0001d400"),
    "later": code_points((0x1C89, 0x1C8A), (0xA7C0, 0xA7DC), (0x10D50, 0x10D85),
                         (0x16EA0, 0x16EB8), (0x11F00, 0x11F59), (0x1E4D0, 0x1E4F9),
                         (0x2E43, 0x2E5D), (0x890, 0x8E1)),
}
BITS = SPECIAL + ["[sep]", "[SEP", "SEP]", "[[SEP]]", "[MASK][MASK]", "[CLS", "[", "]", "[UNK]s", "##ing",
                  "##", "[PAD]\u0301", "\u0301[SEP]\u0323", "unaffable", "Zürich", "naïve", "İstanbul",
                  "ΌΔΟΣ", "ΣΑΣ", "straße", "STRASSE", "ẞ", "ﬁnance", "e\u0301\u0323", "\u1e69\u0323\u0307",
                  "한국어", "\u1112\u1161\u11ab", "日本語テキスト", "中国人", "𠮷野家", "שָׁלוֹם", "مَرْحَبًا", "नमस्ते",
                  "ภาษาไทย", "👩\u200d👩\u200d👧\u200d👦", "🏳\ufe0f\u200d🌈", "👍🏽", "🇩🇪", "1\ufe0f\u20e3",
                  "don't", "U.S.A.", "$3.50", "C++", "a\xa0b", "a\u200bb", "a\xadb", "\ufeffstart",
                  "a\U0001d165\u0323b", "x\u0323\U0001d15e\U0001d16e", "\u302e\u302f", "9\u302e"]


def long_texts():
    """Words at and beyond the limit of 100 characters, and much longer ones."""
    texts = []
    for length in (99, 100, 101, 200, 10000):
        for letter in "a", "Q", "é", "e\u0301", "中", "한", "İ", "ß", "\u302e", "\u0301", "😀", "\U0001d15e":
            texts.append("x " + letter * length + " y")
    texts.append("a" * 50 + "." + "b" * 101 + "-" + "c" * 100)
    texts.append("unaffable" * 11 + "u" + " " + "unaffable" * 11 + "un")
    texts.append("a" + "\u0301" * 10000 + "b \U0001d165" + "\u0323\u0301" * 300 + "\u302e" * 150 + "z")
    texts.append("[SEP]" * 500 + "[MASK" * 500)
    texts.append("\u200b" * 10000 + "a" + "\u200b" * 10000)
    texts.append("q\U0001d16d\U0001d165" + "\u0334\u0301\u200b" * 400 + "\U0001d16e\u302e w")
    return texts


def hard_texts(count, seed):
    """Generated strings: characters out of one to four pools, mixed with words that have bitten others."""
    chance = random.Random(seed)
    texts = ["", " ", "\u200b", "\u0301", "\ufffd", "[SEP]", " [SEP] ", "a", "\U0001d165"] + BITS
    names = sorted(POOLS)
    while len(texts) < count:
        pools = [POOLS[name] for name in chance.sample(names, chance.randint(1, 4))]
        if chance.random() < 0.25:
            pools += [POOLS["marks"], POOLS["kept marks"]]
        bits = []
        for _ in range(chance.randint(1, 40)):
            kind = chance.random()
            if kind < 0.06:
                bits.append(chance.choice(BITS))
            elif kind < 0.2:
                bits.append(chance.choice("aeinosxE "))
            elif kind < 0.3:
                bits.append(" ")
            else:
                bits.append(chance.choice(chance.choice(pools)))
        texts.append("".join(bits))
    return texts


# ---- the golden sample -----------------------------------------------------------------------


def demo_texts():
    texts = []
    for name in "demo-reviews.tsv", "demo-documents.tsv":
        with open(os.path.join(os.path.dirname(HERE), "demo", name), encoding="utf-8") as file:
            texts += [line.rstrip("\n").split("\t")[-1] for line in file][1:]
    return texts


def escape(text):
    return "".join("\\\\" if c == "\\" else c if " " <= c <= "~" else "\\u{%X}" % ord(c) for c in text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vocabulary")
    arguments = parser.parse_args()
    chance = random.Random(7)
    hard = hard_texts(800, 1)
    texts = hard + [text for text in long_texts() if len(text) < 1000] + demo_texts()[::4]
    pairs = [(chance.choice(hard), chance.choice(hard)) for _ in range(300)]
    words = widen(read_words(arguments.vocabulary), hard)
    with open(os.path.join(HERE, "tokenizer.vocab"), "w", encoding="utf-8", newline="") as file:
        file.write("\n".join(words) + "\n")
    with open(os.path.join(HERE, "tokenizer.golden"), "w", encoding="ascii") as file:
        for name in "uncased", "cased":
            reference = make_reference(words, name == "uncased")
            for text in texts:
                tokens = reference_tokens(reference.encode(text, add_special_tokens=False))
                file.write("%s\t%s\t%s\n" % (name, escape(text),
                                             " ".join("%d:%d:%d:%d" % token for token in tokens)))
        reference = make_reference(words, True)
        for first, second in pairs:
            limit = chance.randint(5, 60)
            reference.enable_truncation(limit)
            encoding = reference.encode(first, second)
            file.write("pair\t%d\t%s\t%s\t%s\n" % (
                limit, escape(first), escape(second),
                " ".join("%d:%d" % token for token in zip(encoding.ids, encoding.type_ids))))


if __name__ == "__main__":
    main()
