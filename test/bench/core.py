"""The core as a Python object, through ctypes: for parity, quality, making models, benchmarks.

    core = Core.from_directory("../shared/models/sst2", precision="int8")
    ids, segments, offsets = core.tokenize("a fine film")
    logits = core.forward([(ids, segments)], lengths=[[5, 4, 4, 3, 3, 3]])

Builds the shared library when it is missing or older than the sources.
"""
import ctypes as c
import mmap
import pathlib
import subprocess
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "liblatcore.so"
PARTS = ["config.json", "tokenizer_config.json", "vocab.txt", "tokenizer.json", "model.safetensors"]
TASKS = ["classify", "span", "tag", "embed"]
HUGE_PAGE = 2 << 20
FIELDS = """architecture task layers heads hidden embedding intermediate vocabulary positions segments
labels activation head_activation layer_norm_eps hidden_dropout attention_dropout lowercase
strip_accents split_cjk pad_id unk_id cls_id sep_id mask_id""".split()


class Config(c.Structure):
    _fields_ = [(f, c.c_float if f in ("layer_norm_eps", "hidden_dropout", "attention_dropout")
                 else c.c_int32) for f in FIELDS]


class Batch(c.Structure):
    _fields_ = [("count", c.c_int), ("offsets", c.c_void_p), ("ids", c.c_void_p),
                ("segments", c.c_void_p), ("lengths", c.c_void_p), ("cls_only", c.c_bool)]


class Span(c.Structure):
    _fields_ = [("found", c.c_bool), ("start", c.c_int32), ("stop", c.c_int32), ("score", c.c_float),
                ("truncated", c.c_bool), ("tokens_in", c.c_int64), ("tokens_kept", c.c_int64)]


def library():
    sources = sorted((ROOT / "src/core").glob("*.c")) + [ROOT / "test/bench/core_shim.c"]
    newest = max(p.stat().st_mtime for p in [*sources, *(ROOT / "src/core").glob("*.h")])
    if not LIBRARY.exists() or LIBRARY.stat().st_mtime < newest:
        LIBRARY.parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fPIC",
                        "-shared", f"-I{ROOT / 'src'}", *map(str, sources), "-o", str(LIBRARY),
                        "-lutf8proc", "-lm"], check=True)
    lib = c.CDLL(str(LIBRARY))
    for name, result in dict(core_open=c.c_void_p, core_error=c.c_char_p, core_image=c.c_void_p,
                             core_token_text=c.c_void_p,
                             core_config=c.POINTER(Config), lat_source_header_size=c.c_size_t,
                             lat_source_part_offset=c.c_uint64, lat_source_size=c.c_uint64,
                             lat_cost=c.c_double, lat_paper_cost=c.c_double).items():
        getattr(lib, name).restype = result
    return lib


def source_of(directory):
    """The files of a checkpoint directory as one source, as lat_import_model stores it."""
    lib, directory = library(), pathlib.Path(directory)
    parts = [(directory / p).read_bytes() if (directory / p).exists() else b"" for p in PARTS]
    sizes = (c.c_uint64 * len(parts))(*map(len, parts))
    source = c.create_string_buffer(lib.lat_source_size(sizes))
    lib.lat_write_source_header(source, sizes)
    for i, part in enumerate(parts):
        at = lib.lat_source_part_offset(sizes, i)
        source[at:at + len(part)] = part
    return source.raw


class Core:
    def __init__(self, content, precision="int8", kernels="auto"):
        self.lib = library()
        self.content = np.frombuffer(content, np.uint8)  # an image stays where it is
        self.core = self.lib.core_open(
            c.c_void_p(self.content.ctypes.data), c.c_size_t(len(content)),
            {"fp32": 0, "int8": 1}[precision], kernels.encode())
        if not self.core:
            raise ValueError(self.lib.core_error().decode())
        self.core = c.c_void_p(self.core)
        self.config = self.lib.core_config(self.core).contents
        self.task = TASKS[self.config.task]
        self.columns = self.lib.core_output_columns(self.core)

    @classmethod
    def from_directory(cls, directory, precision="int8", kernels="auto"):
        packed = cls(source_of(directory), precision, kernels)
        image = packed.image()
        packed.close()
        return cls.from_image(image, kernels)

    @classmethod
    def from_file(cls, path, kernels="auto"):
        return cls.from_image(pathlib.Path(path).read_bytes(), kernels)

    @classmethod
    def from_image(cls, image, kernels="auto"):
        """A file written in huge pages and mapped, as in the server (src/model_file.c).

        It lies in build/, since the file system of temporary files may have no huge pages.
        """
        LIBRARY.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=LIBRARY.parent, buffering=0) as file:
            left = memoryview(image)
            while left:
                left = left[file.write(left[:HUGE_PAGE]):]
            mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            mapped.madvise(mmap.MADV_HUGEPAGE)
        return cls(mapped, kernels=kernels)

    def close(self):
        self.lib.core_close(self.core)

    def image(self):
        size = c.c_size_t()
        at = self.lib.core_image(self.core, c.byref(size))
        return c.string_at(at, size.value)

    def vocabulary(self):
        """The words, by token id."""
        size = c.c_size_t()
        return [c.string_at(self.lib.core_token_text(self.core, i, c.byref(size)), size.value).decode()
                for i in range(self.config.vocabulary)]

    def check(self, status):
        if status:
            raise ValueError(self.lib.core_error().decode())

    def tokenize(self, text, pair=None, max_tokens=None):
        """ids, segments, [(start, stop)]; special tokens have (-1, -1)."""
        n = max_tokens or self.config.positions
        ids, starts, stops = (np.empty(n, np.int32) for _ in range(3))
        segments = np.empty(n, np.uint8)
        text, pair = text.encode(), pair.encode() if pair is not None else None
        count = self.lib.core_tokenize(
            self.core, text, c.c_size_t(len(text)), pair, c.c_size_t(len(pair or b"")), n,
            *(a.ctypes.data_as(c.c_void_p) for a in (ids, segments, starts, stops)))
        self.check(max(0, -count))
        return ids[:count], segments[:count], list(zip(starts[:count].tolist(), stops[:count].tolist()))

    def forward(self, inputs, lengths=None, cls_only=False, trace=False):
        """inputs: [(ids, segments)]; lengths: one tuple of absolute lengths an input, or None.

        Returns (count, columns), or for span and tag models a list of (T, columns); with trace
        also the kept positions, [input][layer].
        """
        sizes = [len(i[0]) for i in inputs]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        ids = np.concatenate([i[0] for i in inputs]).astype(np.int32)
        segments = np.concatenate([i[1] for i in inputs]).astype(np.uint8)
        wide = self.task in ("span", "tag")
        output = np.empty((offsets[-1] if wide else len(inputs), self.columns), np.float32)
        chosen = None if lengths is None else np.ascontiguousarray(lengths, np.int32)
        layers = self.config.layers
        counts = np.empty((layers, len(inputs)), np.int32)
        kept = np.empty((layers, offsets[-1]), np.int32)
        batch = Batch(len(inputs), offsets.ctypes.data, ids.ctypes.data, segments.ctypes.data,
                      None if chosen is None else chosen.ctypes.data, cls_only)
        at = [a.ctypes.data_as(c.c_void_p) for a in (counts, kept)] if trace else [None, None]
        self.check(self.lib.core_forward(self.core, c.byref(batch),
                                         output.ctypes.data_as(c.c_void_p), *at))
        result = np.split(output, offsets[1:-1]) if wide else output
        if not trace:
            return result
        return result, [[kept[l, offsets[s]:offsets[s] + counts[l, s]].tolist() for l in range(layers)]
                        for s in range(len(inputs))]

    def answer(self, question, context, lengths=None, reference_length=384):
        """(answer text, score) of the best span, or ("", 0.0)."""
        q, t, span = question.encode(), context.encode(), Span()
        chosen = None if lengths is None else np.asarray(lengths, np.int32)
        self.check(self.lib.core_answer(
            self.core, q, c.c_size_t(len(q)), t, c.c_size_t(len(t)),
            None if chosen is None else chosen.ctypes.data_as(c.c_void_p), reference_length,
            c.byref(span)))
        return (context[span.start:span.stop], span.score) if span.found else ("", 0.0)

    def scale(self, lengths, reference_length, tokens):
        """Absolute lengths of a configuration on a text of this many tokens."""
        scaled = np.empty(self.config.layers, np.int32)
        given = np.asarray(lengths, np.int32)
        self.lib.lat_scale_lengths(given.ctypes.data_as(c.c_void_p), self.config.layers,
                                   reference_length, int(tokens), scaled.ctypes.data_as(c.c_void_p))
        return scaled

    def cost(self, tokens, lengths=None, cls_only=None, paper=False):
        """Multiply-adds executed (or the paper's count) at absolute lengths."""
        given = None if lengths is None else np.asarray(lengths, np.int32)
        at = None if given is None else given.ctypes.data_as(c.c_void_p)
        if paper:
            return self.lib.lat_paper_cost(c.byref(self.config), int(tokens), at)
        only = self.task == "classify" if cls_only is None else cls_only
        return self.lib.lat_cost(c.byref(self.config), int(tokens), at, c.c_bool(only))
