#!/usr/bin/env python3
"""Makes tests/data/gguf with the Python package of llama.cpp, which is what the reader is held against.

    pip install gguf numpy safetensors
    python3 make_gguf_fixtures.py tests/data

encoded.safetensors  values, and under the name of each type that krait writes the bytes that they become
blocks.safetensors   per element type in blocks: NAME.blocks, random bytes with sound scales, and NAME.values, what they mean
tiny-mixed.gguf      models/tiny in a mixture of element types
tokenizer.gguf       the tokenizer of models/text-small: metadata and no tensors
"""
import argparse, json, os
import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.numpy import load_file, save_file

# Offsets of the scales in half precision.
SCALES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0]}


def make_blocks(rng):
    tensors = {}
    for dtype, scales in SCALES.items():
        elements, size = gguf.GGML_QUANT_SIZES[dtype]
        blocks = rng.integers(0, 256, (4 if elements == 32 else 2, size), dtype=np.uint8)
        for at in scales:
            values = rng.standard_normal(len(blocks)).astype(np.float16)
            values[0] = np.float16(3e-6)  # below the normal numbers
            blocks[:, at:at + 2] = values[:, None].view(np.uint8)
        tensors[f"{dtype.name}.blocks"] = blocks
        tensors[f"{dtype.name}.values"] = gguf.dequantize(blocks, dtype).reshape(-1)
    return tensors


def make_encoded(rng):
    values = rng.standard_normal((28, 32)).astype(np.float32)
    values[0] = 0
    values[1] = np.arange(-16, 16)  # halves between numbers
    values[2, :2] = 4, -4  # two largest
    values[3, :2] = -4, 4
    values[4] *= np.float32(1e-8)  # the scale is no normal half
    values[5] *= np.float32(1e-30)  # and nothing
    values[6] *= 20000
    values[7, 5] = 200  # an outlier
    values[8:] *= np.exp(rng.uniform(-6, 3, (20, 1))).astype(np.float32)
    values = values.astype(np.float32)
    tensors = {"values": values}
    for dtype in (T.F16, T.BF16, T.Q8_0, T.Q4_0):
        tensors[dtype.name] = np.ascontiguousarray(gguf.quantize(values, dtype)).view(np.uint8).reshape(-1)
    return tensors


def gguf_name(name):
    for hf, ours in (("backbone.embeddings", "token_embd"), ("backbone.norm_f", "output_norm"), ("backbone.layers", "blk"),
                     ("mixer.in_proj", "ssm_in"), ("mixer.conv1d", "ssm_conv1d"), ("mixer.x_proj", "ssm_x"),
                     ("mixer.dt_proj", "ssm_dt"), ("mixer.A_log", "ssm_a"), ("mixer.D", "ssm_d"),
                     ("mixer.out_proj", "ssm_out"), (".norm.", ".attn_norm.")):
        name = name.replace(hf, ours)
    return name


def add_config(writer, config):
    writer.add_context_length(2**20)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_ssm_conv_kernel(config["conv_kernel"])
    writer.add_ssm_inner_size(config["intermediate_size"])
    writer.add_ssm_state_size(config["state_size"])
    writer.add_ssm_time_step_rank(config["time_step_rank"])
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    writer.add_ssm_dt_b_c_rms(config["model_type"] == "falcon_mamba")
    writer.add_vocab_size(config["vocab_size"])


def make_mixed(path, folder):
    types = {"token_embd.weight": T.Q8_0, "blk.0.ssm_in.weight": T.Q4_0, "blk.1.ssm_in.weight": T.Q5_0,
             "blk.2.ssm_in.weight": T.Q4_1, "blk.0.ssm_out.weight": T.Q5_1, "blk.1.ssm_out.weight": T.BF16,
             "blk.2.ssm_out.weight": T.F16, "blk.0.ssm_x.weight": T.Q8_0, "blk.1.ssm_x.weight": T.F16,
             "blk.2.ssm_x.weight": T.Q4_0}
    writer = gguf.GGUFWriter(path, "mamba")
    add_config(writer, json.load(open(os.path.join(folder, "config.json"))))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, tensor in load_file(os.path.join(folder, "model.safetensors")).items():
        name = gguf_name(name)
        if name.endswith("ssm_a"):
            tensor = -np.exp(tensor.astype(np.float64)).astype(np.float32)
        if "conv1d.weight" in name:
            tensor = tensor.squeeze(1)
        if name in types:
            writer.add_tensor(name, gguf.quantize(tensor, types[name]), raw_dtype=types[name])
        else:
            writer.add_tensor(name, tensor)
    finish(writer)


def make_tokenizer(path, file):
    tokenizer = json.load(open(file))
    vocab = tokenizer["model"]["vocab"]
    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    n = max(list(vocab.values()) + list(added)) + 1
    tokens, types = [f"[PAD{i}]" for i in range(n)], [gguf.TokenType.UNUSED] * n
    for text, i in vocab.items():
        tokens[i], types[i] = text, gguf.TokenType.NORMAL
    for i, token in added.items():
        tokens[i] = token["content"]
        types[i] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("olmo")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="tests/data")
    data = parser.parse_args().data
    out = os.path.join(data, "gguf")
    os.makedirs(out, exist_ok=True)
    for name, make in (("blocks", make_blocks), ("encoded", make_encoded)):
        path = os.path.join(out, f"{name}.safetensors")
        save_file(make(np.random.default_rng(7)), path)
        os.chmod(path, 0o644)
    make_mixed(os.path.join(out, "tiny-mixed.gguf"), os.path.join(data, "models", "tiny"))
    make_tokenizer(os.path.join(out, "tokenizer.gguf"), os.path.join(data, "..", "..", "models", "text-small", "tokenizer.json"))


if __name__ == "__main__":
    main()
