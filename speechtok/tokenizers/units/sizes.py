"""Sizes of networks from the shapes in their files, so that no `config.json` is needed.

Contents: `shapes_of`, `vqvae_settings`, `vocoder_settings`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from speechtok.checkpoints.read import read_shapes
from speechtok.errors import CheckpointError
from speechtok.tokenizers.units.jukebox import VqVaeSettings
from speechtok.tokenizers.units.sources import Source
from speechtok.tokenizers.units.vocoder import VocoderSettings


def shapes_of(source: Source) -> dict[str, tuple[int, ...]]:
    """Return the shape of every entry of a part, by its name without what precedes it."""
    shapes = read_shapes(source.path).items()
    return {
        name.removeprefix(source.prefix): shape for name, shape in shapes if name.startswith(source.prefix)
    }


def vqvae_settings(
    shapes: Mapping[str, tuple[int, ...]], encoder: str, codebook: str, source: Source
) -> VqVaeSettings:
    """Return the sizes of a VQ-VAE.

    Args:
        shapes: shape of every entry.
        encoder: what precedes the encoder's names.
        codebook: what precedes the codebook's.
        source: for messages.

    Raises:
        CheckpointError: when there is none.
    """
    pattern = re.compile(re.escape(encoder) + r"level_blocks\.0\.model\.(\d+)\.0\.weight$")
    kernels = {int(match[1]): shape[2] for name, shape in shapes.items() if (match := pattern.match(name))}
    vectors = shapes.get(f"{codebook}level_blocks.0.k")
    if not kernels or vectors is None:
        raise CheckpointError(f"{source} holds no VQ-VAE: it has no entries {encoder}* and {codebook}*.")
    return VqVaeSettings(
        strides=tuple(kernels[index] // 2 for index in sorted(kernels)),
        codebook_size=vectors[0],
        channels=vectors[1],
    )


def vocoder_settings(shapes: Mapping[str, tuple[int, ...]], source: Source) -> VocoderSettings:
    """Return the sizes of a vocoder.

    Raises:
        CheckpointError: when there is none.
    """

    def weight(name: str) -> tuple[int, ...] | None:
        return shapes.get(f"{name}.weight_v") or shapes.get(f"{name}.weight")

    kernels: list[int] = []
    while (up := weight(f"ups.{len(kernels)}")) is not None:
        kernels.append(up[2])
    first, table = weight("conv_pre"), shapes.get("dict.weight")
    if first is None or not kernels:
        raise CheckpointError(f"{source} holds no unit vocoder: it has no entries conv_pre.* and ups.*.")
    blocks: list[int] = []
    while (block := weight(f"resblocks.{len(blocks)}.convs1.0")) is not None:
        blocks.append(block[2])
    learned = None
    if table is None:
        learned = vqvae_settings(shapes, "code_encoder.", "code_vq.", source)
    has_f0, speaker = "f0_dict.weight" in shapes, None
    if "spkr.weight" in shapes:
        speaker = "xvector" if "spkr.bias" in shapes else "table"
    styles = shapes["style.weight"][0] if "style.weight" in shapes else 0
    durations = shapes.get("dur_predictor.conv1.0.weight", (0, 0, VocoderSettings.duration_kernel))
    if durations[2] % 2 == 0:
        raise CheckpointError(
            f"{source} has a predictor of durations whose convolutions see {durations[2]} frames; an odd number is needed."
        )
    streams = 1 + has_f0 + (speaker is not None) + (styles > 0)
    return VocoderSettings(
        has_statistics=table is not None and first[1] == table[1] * streams + 2,
        num_units=table[0] if table is not None else VocoderSettings.num_units,
        rates=tuple(kernel // 2 for kernel in kernels),
        kernels=tuple(kernels),
        channels=first[0],
        embedding=table[1] if table is not None else first[1],
        block_kernels=tuple(blocks[: len(blocks) // len(kernels)]),
        f0=vqvae_settings(shapes, "quantizer.encoder.", "quantizer.vq.", source) if has_f0 else None,
        f0_codes=shapes["f0_dict.weight"][0] if has_f0 else VocoderSettings.f0_codes,
        speaker=speaker,
        voices=shapes["spkr.weight"][0] if speaker == "table" else VocoderSettings.voices,
        styles=styles,
        duration_hidden=durations[0],
        duration_kernel=durations[2],
        unit_encoder=learned,
    )
