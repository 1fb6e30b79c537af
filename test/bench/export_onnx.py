#!/usr/bin/env python3
"""Export a classifier's checkpoint to ONNX, in fp32 and in onnxruntime's dynamic int8.

    pip install torch transformers onnx onnxruntime
    test/bench/export_onnx.py CHECKPOINT DIRECTORY

Writes fp32.onnx, int8.onnx and the tokenizer beside them. Dynamic int8 with a scale a tensor is the
fastest of what onnxruntime offers here: its fused attention (onnxruntime.transformers) and scales
a channel, each measured at batch 1 on SST-2, are slower by 5 to 20 %.
"""
import pathlib
import shutil
import sys

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def export(checkpoint, to):
    """The checkpoint of a classifier as an fp32 ONNX graph."""
    import torch
    from transformers import AutoModelForSequenceClassification

    class Logits(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, ids, mask, segments):
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=segments).logits

    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.ones(2, 9, dtype=torch.long)
    torch.onnx.export(Logits(model), (ids, ids, 0 * ids), str(to), input_names=INPUTS,
                      output_names=["logits"], opset_version=17, dynamo=False,
                      dynamic_axes={name: {0: "batch", 1: "tokens"} for name in INPUTS})


def main():
    from onnxruntime.quantization import QuantType, quantize_dynamic
    checkpoint, directory = map(pathlib.Path, sys.argv[1:3])
    directory.mkdir(parents=True, exist_ok=True)
    export(checkpoint, directory / "fp32.onnx")
    quantize_dynamic(directory / "fp32.onnx", directory / "int8.onnx", weight_type=QuantType.QInt8)
    shutil.copy(checkpoint / "tokenizer.json", directory)


if __name__ == "__main__":
    main()
