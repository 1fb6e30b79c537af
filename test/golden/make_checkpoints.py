#!/usr/bin/env python3
"""Write test/golden/tiny-*/: random checkpoints of every architecture and task, small enough to commit.

    pip install torch transformers safetensors numpy
    test/golden/make_checkpoints.py

They differ on purpose, so that together they cover what real checkpoints do: dtype (F32, F16, BF16),
sizes that are no multiple of 16, cased and uncased, vocab.txt or tokenizer.json or both, names with
and without prefix, named and unnamed labels. Weights are larger than at the start of a real
training: attention must tell tokens apart, or every cut would be a tie.
"""
import json
import pathlib
import shutil

import numpy
import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the a of and to in is it that was he for on with as his they at be this from have or by one
had not but what all were when we there can an your which their said if do will each about how up out
them then she many some so these would other into has more her two like him see time could no make
than first been its who now people my made over did down only way find use may water long little very
after words called just where most know get through back much before go good new write our used me
man too any day same right look think also around another came come work three word must because does
part even place well such here take why things help put years different away again off went old number
great tell men say small every found still between name should home big give air line set own under
read last never us left end along while might next sound below saw something thought both few those
always looked show large often together asked house world going want school important until form food
keep children feet land side without boy once animals life enough took sometimes four head above kind
began almost live page got earth need far hand high year mother light parts country father let night
following picture being study second eyes soon times story boys since white days ever paper hard near
sentence better best across during today others however sure means knew tried told young miles sun
ways thing whole hear example heard several change answer room sea against top turned learn point city
play toward five using himself usually cat sat mat dog teacher town film bad love hate book 日 本 語""".split()
SUFFIXES = ["s", "ed", "ing", "er", "est", "ly", "ness", "less", "ful", "ment", "tion", "able", "al", "en"]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["—", "«", "»", "“", "”", "…", "。"]


def vocabulary(cased):
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789")
    upper = list("ABCDEFGHIJKLMNOPQRSTUVWXYZéßñ") if cased else []
    words = list(dict.fromkeys(WORDS))
    if cased:
        words = words[:200] + [w.capitalize() for w in words[:60] if len(w) > 2]
    pieces = ["##" + p for p in letters + upper + SUFFIXES]
    return list(dict.fromkeys(SPECIALS + letters + upper + PUNCTUATION + words + pieces))


def tokenizer_json(words, lowercase):
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    cls, sep = ({"SpecialToken": {"id": t, "type_id": 0}} for t in ("[CLS]", "[SEP]"))
    a, b = ({"Sequence": {"id": s, "type_id": i}} for i, s in enumerate("AB"))
    last = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": [{"id": i, "content": t, **special} for i, t in enumerate(SPECIALS)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": lowercase},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [cls, a, sep], "pair": [cls, a, sep, b, last],
                           "special_tokens": {t: {"id": t, "ids": [SPECIALS.index(t)], "tokens": [t]}
                                              for t in ("[CLS]", "[SEP]")}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {w: i for i, w in enumerate(words)}},
    }


def fill(model, seed):
    """Weights that depend on nothing but the seed and the order of the names."""
    random = numpy.random.RandomState(seed)
    for name, parameter in sorted(model.named_parameters()):
        shape = tuple(parameter.shape)
        if "LayerNorm" in name or "layer_norm" in name:
            values = random.normal(1.0 if name.endswith("weight") else 0.0, 0.1, shape)
        elif "embeddings." in name:
            values = random.normal(0, 0.5, shape)
        elif name.endswith("bias"):
            values = random.normal(0, 0.1, shape)
        else:
            values = random.normal(0, 1.6 / shape[-1] ** 0.5, shape)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values.astype(numpy.float32)))


def write(name, model_class, config, dtype, seed, words, lowercase, files, drop=()):
    directory = HERE / ("tiny-" + name)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    model = model_class(config).eval()
    fill(model, seed)
    state = {k: v.to(dtype).contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(state, str(directory / "model.safetensors"), metadata={"format": "pt"})
    (directory / "model.safetensors").chmod(0o644)
    settings = config.to_dict()
    settings.update(architectures=[model_class.__name__], dtype=str(dtype).split(".")[1])
    for key in drop + ("transformers_version", "_name_or_path"):
        settings.pop(key, None)
    (directory / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    if "tokenizer_config.json" in files:
        (directory / "tokenizer_config.json").write_text(json.dumps({
            "tokenizer_class": "BertTokenizer", "do_lower_case": lowercase, "strip_accents": None,
            "tokenize_chinese_chars": True, "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
            "cls_token": "[CLS]", "mask_token": "[MASK]", "model_max_length": 64}, indent=2) + "\n")
    if "vocab.txt" in files:
        (directory / "vocab.txt").write_text("".join(w + "\n" for w in words))
    if "tokenizer.json" in files:
        (directory / "tokenizer.json").write_text(json.dumps(tokenizer_json(words, lowercase)) + "\n")


def main():
    uncased, cased = vocabulary(False), vocabulary(True)
    t = transformers

    def bert(words, **settings):
        return t.BertConfig(vocab_size=len(words), max_position_embeddings=64, **settings)

    write("classify", t.BertForSequenceClassification,
          bert(uncased, hidden_size=40, num_attention_heads=4, num_hidden_layers=4, intermediate_size=72,
               id2label={0: "negative", 1: "neutral", 2: "positive"},
               label2id={"negative": 0, "neutral": 1, "positive": 2}),
          torch.float16, 1, uncased, True, ("tokenizer_config.json", "vocab.txt", "tokenizer.json"))
    write("span", t.BertForQuestionAnswering,
          bert(uncased, hidden_size=32, num_attention_heads=4, num_hidden_layers=3, intermediate_size=64),
          torch.float32, 2, uncased, True, ("tokenizer_config.json", "vocab.txt"))
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    write("tag", t.BertForTokenClassification,
          bert(cased, hidden_size=48, num_attention_heads=3, num_hidden_layers=3, intermediate_size=80,
               hidden_act="relu", id2label=dict(enumerate(labels)),
               label2id={l: i for i, l in enumerate(labels)}),
          torch.bfloat16, 3, cased, False, ("tokenizer_config.json", "vocab.txt"))
    write("embed", t.BertModel,
          bert(uncased, hidden_size=36, num_attention_heads=3, num_hidden_layers=3, intermediate_size=72),
          torch.float32, 4, uncased, True, ("tokenizer.json",), ("id2label", "label2id"))
    write("electra", t.ElectraForSequenceClassification,
          t.ElectraConfig(vocab_size=len(uncased), embedding_size=24, hidden_size=48, num_attention_heads=4,
                          num_hidden_layers=3, intermediate_size=96, max_position_embeddings=64),
          torch.float16, 5, uncased, True, ("tokenizer_config.json", "vocab.txt"))
    write("distilbert", t.DistilBertForSequenceClassification,
          t.DistilBertConfig(vocab_size=len(uncased), dim=32, n_heads=4, n_layers=4, hidden_dim=64,
                             max_position_embeddings=64),
          torch.float32, 6, uncased, True, ("vocab.txt",), ("id2label", "label2id"))


if __name__ == "__main__":
    main()
