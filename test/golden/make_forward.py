#!/usr/bin/env python3
"""Write test/golden/forward.txt: what ../shared/oracle/oracle.py gives for the tiny checkpoints.

    pip install torch transformers tokenizers safetensors
    test/golden/make_forward.py

One block a case, numbers separated by spaces:

    case MODEL
    ids T ...            token ids
    segments T ...
    lengths L ...        absolute lengths, L = 0: in full
    kept C ...           a line a layer: the positions kept
    values N ...         logits (T, labels) or (labels), or the embedding

DistilBERT and ELECTRA have other module names; an adapter shows them to the oracle as BERT. The
embeddings are computed by the model's own module. Cases with a near tie at a cut (significances
less than 1e-4 apart, relative) are left out.
"""
import importlib.util
import pathlib
import random
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
TEXTS = [("the cat sat on the mat", None), ("a", None), ("who is it?", "the old man is a teacher in town"),
         ("Naïve façades, 42 times — and never again; the end of all the long stories of it", None)]


def bert_view(model):
    """The encoder as an object with BERT's attribute names, and its width in segments."""
    name = type(model).__name__
    if name.startswith("Bert"):
        return getattr(model, "bert", model)
    if name.startswith("Electra"):
        encoder = model.electra if hasattr(model, "electra") else model
        project = getattr(encoder, "embeddings_project", None)

        def embeddings(input_ids, token_type_ids):
            x = encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
            return project(x) if project else x
        return types.SimpleNamespace(embeddings=embeddings, encoder=encoder.encoder, config=model.config)
    distil = model.distilbert
    layers = []
    for layer in distil.transformer.layer:
        a = layer.attention
        layers.append(types.SimpleNamespace(
            attention=types.SimpleNamespace(
                self=types.SimpleNamespace(query=a.q_lin, key=a.k_lin, value=a.v_lin),
                output=lambda c, x, layer=layer, a=a: layer.sa_layer_norm(a.out_lin(c) + x)),
            intermediate=lambda x, layer=layer: layer.ffn.activation(layer.ffn.lin1(x)),
            output=lambda h, x, layer=layer: layer.output_layer_norm(layer.ffn.lin2(h) + x)))
    return types.SimpleNamespace(
        embeddings=lambda input_ids, token_type_ids: distil.embeddings(input_ids),
        encoder=types.SimpleNamespace(layer=layers),
        config=types.SimpleNamespace(num_attention_heads=model.config.n_heads,
                                     hidden_size=model.config.dim))


def head(model, hidden):
    import torch
    name = type(model).__name__
    if name.endswith("QuestionAnswering"):
        return model.qa_outputs(hidden)
    if name.endswith("TokenClassification"):
        return model.classifier(hidden)
    if name.startswith("Bert") and name.endswith("SequenceClassification"):
        return model.classifier(model.bert.pooler(hidden[None]))[0]
    if name.startswith("Electra") and name.endswith("SequenceClassification"):
        return model.classifier(hidden[None])[0]
    if name.startswith("DistilBert") and name.endswith("SequenceClassification"):
        return model.classifier(torch.relu(model.pre_classifier(hidden[0])))
    mean = hidden.mean(0)
    return mean / mean.norm()


def line(name, values):
    values = list(values)
    return f"{name} {len(values)} " + " ".join(
        str(v) if isinstance(v, int) else f"{v:.7g}" for v in values) + "\n"


def main():
    import torch
    import transformers
    spec = importlib.util.spec_from_file_location("oracle", SHARED / "oracle/oracle.py")
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    rng, out, plain_topk, gaps = random.Random(5), [], torch.topk, []

    def recording_topk(s, k):
        ordered = torch.sort(s, descending=True).values
        gaps.append(float((ordered[k - 1] - ordered[k]) / ordered[k]))
        return plain_topk(s, k)

    oracle.torch.topk = recording_topk
    for directory in sorted((ROOT / "test/golden").glob("tiny-*")):
        cfg = transformers.AutoConfig.from_pretrained(directory)
        architecture = (cfg.architectures or ["BertModel"])[0]
        model = getattr(transformers, architecture).from_pretrained(directory).float().eval()
        tok = transformers.AutoTokenizer.from_pretrained(directory)
        view, layers = bert_view(model), cfg.num_hidden_layers
        for text, pair in TEXTS:
            for round_ in range(3):
                e = tok(text, pair, truncation=True, max_length=cfg.max_position_embeddings)
                ids = e["input_ids"]
                segments = e.get("token_type_ids") or [0] * len(ids)
                lengths, left = None, len(ids)
                if round_:
                    lengths = []
                    for _ in range(layers):
                        left = max(1, round(left * rng.uniform(0.5, 1)))
                        lengths.append(left)
                gaps.clear()
                with torch.inference_mode():
                    hidden, kept = oracle.encoder(view, ids, segments, lengths,
                                                  "QuestionAnswering" not in architecture)
                    values = head(model, hidden)
                if any(g < 1e-4 for g in gaps):
                    continue
                out.append(f"case {directory.name}\n" + line("ids", ids) + line("segments", segments)
                           + line("lengths", lengths or []) + "".join(line("kept", k) for k in kept)
                           + line("values", values.flatten().tolist()))
    (ROOT / "test/golden/forward.txt").write_text("".join(out))
    print(f"{len(out)} cases")


if __name__ == "__main__":
    main()
