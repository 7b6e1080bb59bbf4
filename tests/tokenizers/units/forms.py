"""Small networks of `transformers`, and the files that fairseq and others would have written of them."""

import argparse
import re

import torch

SMALL = {
    "hidden_size": 128,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
IN_FAIRSEQ = (
    (r"conv_layers\.(\d+)\.conv\.", r"conv_layers.\1.0."),
    (r"feature_projection\.layer_norm", "layer_norm"),
    (r"feature_projection\.projection", "post_extract_proj"),
    (r"pos_conv_embed\.batch_norm\.", "pos_conv.0."),
    (r"pos_conv_embed\.layers\.(\d+)\.conv\.", r"pos_conv.\1.0."),
    (r"rel_attn_embed", "relative_attention_bias"),
    (r"gru_rel_pos_linear", "grep_linear"),
    (r"gru_rel_pos_const", "grep_a"),
    (r"parametrizations\.weight\.original0", "weight_g"),
    (r"parametrizations\.weight\.original1", "weight_v"),
    (r"(layers\.\d+)\.attention", r"\1.self_attn"),
    (r"(encoder\.layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
    (r"feed_forward\.intermediate_dense", "fc1"),
    (r"feed_forward\.output_dense", "fc2"),
)


def fairseq_file(model, *, tuned: bool) -> dict:
    """The same network as fairseq would have saved it, before or after tuning."""
    c, weights = model.config, {}
    kind = c.model_type
    large = kind == "data2vec-audio" or c.feat_extract_norm == "layer"
    normed = getattr(c, "conv_pos_batch_norm", False)
    for name, value in model.state_dict().items():
        name = re.sub(r"conv_layers\.(\d+)\.layer_norm\.", rf"conv_layers.\1.2.{'1.' if large else ''}", name)
        for pattern, replacement in ((r"pos_conv_embed\.conv\.", f"pos_conv.{int(normed)}."), *IN_FAIRSEQ):
            name = re.sub(pattern, replacement, name)
        weights[f"w2v_encoder.w2v_model.{name}" if tuned else name] = value
    layers = list(zip(c.conv_dim, c.conv_kernel, c.conv_stride, strict=True))
    stated = {
        "encoder_embed_dim": c.hidden_size,
        "encoder_attention_heads": c.num_attention_heads,
        "layer_norm_first": getattr(c, "do_stable_layer_norm", False),
        "activation_fn": c.hidden_act,
        "extractor_mode": "layer_norm" if large else "default",
        "conv_feature_layers": " + ".join([str(layers[:1]), f"[{layers[1]}] * 1", str(layers[2:])]),
    }
    if kind == "wavlm":
        stated |= {"relative_position_embedding": True, "gru_rel_pos": True}
        stated |= {"num_buckets": c.num_buckets, "max_distance": c.max_bucket_distance}
        return {"cfg": stated, "model": weights}
    if not getattr(c, "feat_proj_layer_norm", True):
        stated["extractor_conv_feature_layers"] = stated.pop("conv_feature_layers")
        return {
            "Config": {"distiller": stated},
            "Distiller": weights | {"output_layer.0.bias": torch.ones(2)},
        }
    if kind == "data2vec-audio":
        stated |= {"conv_pos": 95, "pos_conv_depth": c.num_conv_pos_embeddings}
    if normed:
        stated["conv_pos_batch_norm"] = True
    if tuned:
        stated = {"w2v_args": argparse.Namespace(model=argparse.Namespace(**stated))}
    return {"args": None, "cfg": {"task": {"normalize": False}, "model": stated}, "model": weights}
