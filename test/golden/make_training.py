#!/usr/bin/env python3
"""Write test/golden/training.txt: PyTorch's gradients and losses for the tiny checkpoints.

    pip install torch transformers numpy safetensors
    test/golden/make_training.py

The encoder is ../shared/oracle/oracle.py's, with autograd: significance is a constant, tokens that a
layer drops keep their state in `restored`. Dropout is off. DistilBERT and ELECTRA are shown as BERT
by make_forward.py's adapter. Numbers are separated by spaces:

    model NAME
    case KIND LOSS              task, kl or reverse: the loss of the logits that the lines below give
    skipped N ...               layers that are skipped
    sequence                    for each sequence of the batch
    ids T ...
    segments T ...
    target 2 ...
    labels T ...                -1: does not count (tag models; else empty)
    lengths L ...               absolute lengths; L = 0: in full
    gradient NAME NORM P0 .. P3 for each parameter: its norm and four projections on vectors of signs
    end

    run COUNT BATCH LR SEED     a training run on the sequences that follow, as above
    losses N ...                of each step
    end

Sign i of projection j of the parameter in line p is bit 0 of lat_random_bits(lat_random(p, j, 0, 0, 0), i),
src/core/random.h, over the elements in PyTorch's order. A wrong gradient shows in a projection as
large as it is, so this stands for the gradient itself, which would be megabytes. kl is
KL(full || sub) of the sub-model with these lengths and skipped layers, reverse KL(sub || full).
The run is ordinary fine-tuning: AdamW, linear schedule, clipping, permutation of training_plan.c.
"""
import importlib.util
import math
import pathlib
import random

import numpy
import torch
import torch.nn.functional as F
import transformers

HERE = pathlib.Path(__file__).resolve().parent
SEQUENCES = (17, 5, 24)
STEPS, COUNT, BATCH, RATE, SEED = 100, 20, 8, 1e-3, 77
WARMUP, DECAY, CLIP = 0.1, 0.01, 1.0
SITE_PERMUTATION = 1
M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF

spec = importlib.util.spec_from_file_location("make_forward", HERE / "make_forward.py")
make_forward = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_forward)


# ---- src/core/random.h

def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & M64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & M64
    return x ^ (x >> 31)


def lat_random(seed, a=0, b=0, c=0, d=0):
    key = mix((seed + 0x9E3779B97F4A7C15) & M64)
    key = mix(key ^ (a << 32 | b))
    key = mix(key ^ (c << 32 | d))
    return key & M32, key >> 32


def random_bits(key, index):
    x = numpy.asarray(index, numpy.uint64) ^ numpy.uint64(key[0])
    m = numpy.uint64(M32)
    x = ((x ^ (x >> numpy.uint64(16))) * numpy.uint64(0x21F0AAAD)) & m
    x = ((x ^ (x >> numpy.uint64(15))) + numpy.uint64(key[1])) & m
    x = (x * numpy.uint64(0x735A2D97)) & m
    x = ((x ^ (x >> numpy.uint64(15))) * numpy.uint64(0x846CA68B)) & m
    return x ^ (x >> numpy.uint64(16))


def random_below(key, index, n):
    wide = int(random_bits(key, index)) << 32 | int(random_bits((key[1], key[0]), index))
    return ((wide >> 32) * n + ((wide & M32) * n >> 32)) >> 32


def permutation(epoch):
    order, key = list(range(COUNT)), lat_random(SEED, 0, epoch, SITE_PERMUTATION, 0)
    for i in range(COUNT - 1, 0, -1):
        j = random_below(key, i, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


# ---- model

class NearTie(Exception):
    pass


def encode(view, sequence, keep_cls, lengths, skipped):
    """The oracle's encoder: restored states (T, H) of one sequence."""
    ids, types = (torch.tensor([sequence[k]]) for k in ("ids", "segments"))
    x = view.embeddings(input_ids=ids, token_type_ids=types)[0]
    restored, pos, heads = x, torch.arange(x.shape[0]), view.config.num_attention_heads
    for i, layer in enumerate(view.encoder.layer):
        if i in skipped:
            continue
        a, (t, h) = layer.attention.self, x.shape
        q, k, v = (f(x).view(t, heads, h // heads).transpose(0, 1) for f in (a.query, a.key, a.value))
        p = torch.softmax(q @ k.transpose(1, 2) / (h // heads) ** 0.5, -1)
        x = layer.attention.output((p @ v).transpose(0, 1).reshape(t, h), x)
        if lengths and lengths[i] < t:
            s = p.detach().sum((0, 1))
            if keep_cls:
                s[0] = float("inf")
            ordered = torch.sort(s, descending=True).values
            if (ordered[lengths[i] - 1] - ordered[lengths[i]]) / ordered[lengths[i]] < 1e-3:
                raise NearTie
            keep = torch.sort(torch.topk(s, lengths[i]).indices).values
            x, pos = x[keep], pos[keep]
        x = layer.output(layer.intermediate(x), x)
        restored = restored.index_put((pos,), x)
    return restored


def logits_of(model, sequence, lengths=None, skipped=()):
    keep_cls = "QuestionAnswering" not in type(model).__name__
    hidden = encode(make_forward.bert_view(model), sequence, keep_cls, lengths, skipped)
    return make_forward.head(model, hidden)


def distributions(task, logits, sequence):
    """(logits of one softmax, target, weight) for each distribution that the loss is over."""
    if task == "classify":
        return [(logits, sequence["target"][0], 1.0)]
    if task == "span":
        return [(logits[:, c], sequence["target"][c], 0.5) for c in range(2)]
    return [(z, y, 1.0) for z, y in zip(logits, sequence["labels"]) if y >= 0]


def weight_of(task, batch):
    return 1 / (sum(y >= 0 for s in batch for y in s["labels"]) if task == "tag" else len(batch))


def task_loss(model, task, batch, lengths=None, skipped=()):
    total = 0
    for i, s in enumerate(batch):
        for z, y, w in distributions(task, logits_of(model, s, lengths and lengths[i], skipped), s):
            total = total + w * F.cross_entropy(z[None], torch.tensor([y]))
    return total * weight_of(task, batch)


def distillation_loss(model, task, batch, lengths, skipped, reverse):
    total = 0
    for i, s in enumerate(batch):
        sub = distributions(task, logits_of(model, s, lengths[i], skipped), s)
        full = distributions(task, logits_of(model, s).detach(), s)
        for (q, _, w), (p, _, _) in zip(sub, full):
            q, p = torch.log_softmax(q, -1), torch.log_softmax(p, -1)
            a, b = (q, p) if reverse else (p, q)
            total = total + w * (a.exp() * (a - b)).sum()
    return total * weight_of(task, batch)


# ---- data

def make_sequence(rng, task, cfg, tokens):
    vocabulary = min(cfg.vocab_size, 300)
    ids = [2] + [rng.randrange(5, vocabulary) for _ in range(tokens - 2)] + [3]
    first = rng.randrange(2, tokens)
    segments = [0] * tokens if cfg.model_type == "distilbert" else [0] * first + [1] * (tokens - first)
    start = rng.randrange(tokens)
    return {"ids": ids, "segments": segments,
            "target": [start, rng.randrange(start, tokens)] if task == "span"
            else [rng.randrange(cfg.num_labels), 0],
            "labels": [rng.randrange(-1, cfg.num_labels) for _ in range(tokens)] if task == "tag" else []}


def sequence_lines(sequence, lengths):
    return "sequence\n" + "".join(make_forward.line(k, v) for k, v in (
        *((k, sequence[k]) for k in ("ids", "segments", "target", "labels")), ("lengths", lengths or [])))


def gradient_lines(model):
    out = []
    for p, (name, parameter) in enumerate(sorted(model.named_parameters())):
        g = parameter.grad
        g = numpy.zeros(parameter.numel()) if g is None else g.numpy().astype(numpy.float64).ravel()
        signs = [1 - 2.0 * (random_bits(lat_random(p, j), numpy.arange(g.size)) & numpy.uint64(1))
                 for j in range(4)]
        out.append(f"gradient {name} " + " ".join(f"{v:.7g}" for v in
                                                  (numpy.linalg.norm(g), *(s @ g for s in signs))) + "\n")
    return "".join(out)


def case(model, task, kind, batch, lengths, skipped):
    model.zero_grad(set_to_none=True)
    if kind == "task":
        loss = task_loss(model, task, batch, lengths, skipped)
    else:
        loss = distillation_loss(model, task, batch, lengths, skipped, kind == "reverse")
    loss.backward()
    return (f"case {kind} {loss.item():.9g}\n" + make_forward.line("skipped", sorted(skipped)) +
            "".join(sequence_lines(s, lengths and lengths[i]) for i, s in enumerate(batch)) +
            gradient_lines(model) + "end\n")


def draw_lengths(rng, batch, layers):
    out = []
    for s in batch:
        left, lengths = len(s["ids"]), []
        for _ in range(layers):
            left = max(2, math.ceil(left * rng.uniform(0.6, 1)))
            lengths.append(left)
        out.append(lengths)
    return out


def cases(model, task, cfg, rng):
    out = ""
    for kind, drops, skipped in (("task", False, ()), ("task", True, ()), ("task", True, (1,)),
                                 ("kl", True, ()), ("kl", True, (0,)), ("reverse", True, ())):
        while True:
            batch = [make_sequence(rng, task, cfg, t) for t in SEQUENCES]
            lengths = draw_lengths(rng, batch, cfg.num_hidden_layers) if drops else None
            try:
                out += case(model, task, kind, batch, lengths, skipped)
                break
            except NearTie:
                continue
    return out


def run(model, task, cfg, rng):
    data = [make_sequence(rng, task, cfg, rng.randrange(5, 20)) for _ in range(COUNT)]
    plain = [p for n, p in model.named_parameters() if n.endswith("bias") or "norm" in n.lower()]
    decayed = [p for n, p in model.named_parameters() if not (n.endswith("bias") or "norm" in n.lower())]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY},
                                   {"params": plain, "weight_decay": 0.0}], lr=RATE)
    losses, an_epoch, rising = [], math.ceil(COUNT / BATCH), int(WARMUP * STEPS)
    for step in range(STEPS):
        order, first = permutation(step // an_epoch), step % an_epoch * BATCH
        batch = [data[i] for i in order[first:first + BATCH]]
        rate = (step + 1) / (rising + 1) if step < rising else (STEPS - step) / (STEPS - rising)
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate
        optimizer.zero_grad()
        loss = task_loss(model, task, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    return (f"run {COUNT} {BATCH} {RATE} {SEED}\n" + "".join(sequence_lines(s, None) for s in data) +
            f"losses {STEPS} " + " ".join(f"{v:.9g}" for v in losses) + "\nend\n"), losses


def main():
    torch.manual_seed(0)
    rng, out = random.Random(6), []
    for directory in sorted(HERE.glob("tiny-*")):
        cfg = transformers.AutoConfig.from_pretrained(directory)
        architecture = (cfg.architectures or ["BertModel"])[0]
        task = ("span" if "QuestionAnswering" in architecture else "classify" if
                "SequenceClassification" in architecture else "tag" if "TokenClass" in architecture else None)
        if task is None:
            continue
        model = getattr(transformers, architecture).from_pretrained(directory).float().eval()
        out.append(f"model {directory.name}\n" + cases(model, task, cfg, rng))
        text, losses = run(model, task, cfg, rng)
        out.append(text)
        print(f"{directory.name}: loss {losses[0]:.3f} to {losses[-1]:.3f}")
    (HERE / "training.txt").write_text("".join(out))


if __name__ == "__main__":
    main()
