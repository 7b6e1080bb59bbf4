"""From published FAcodec files to networks.

Two Hub repositories hold a `pytorch_model.bin` each: a dictionary of state dicts by module, which
self-trained files keep under `net`, and whose names may begin with `module.` there (distributed
training). Entry names of our networks are the published ones. Modules of training (the discriminators,
the predictors) are accepted and never read, as is everything else beside the modules that are used.

Each file serves the *parts* of a `Codec`, which are loaded when they are first needed:

    codec       → encoder, quantizer, decoder
    redecoder   → redecoder (its modules `encoder` and `decoder`)

Contents: `Source`, `build_part`, `FILE_PARTS`, `BUILDERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from speechtok.checkpoints.build import build_network, entry_shapes
from speechtok.checkpoints.read import check_entries, read_shapes, read_state_dict
from speechtok.tokenizers.facodec_24k.config import Facodec24kConfig
from speechtok.tokenizers.facodec_24k.network import Decoder, Encoder
from speechtok.tokenizers.facodec_24k.quantizer import Quantizer
from speechtok.tokenizers.facodec_24k.redecoder import Redecoder

FILE_PARTS = {"codec": ("encoder", "quantizer", "decoder"), "redecoder": ("redecoder",)}
"""Role of a file → parts it serves."""
BUILDERS: dict[str, Callable[[Facodec24kConfig], nn.Module]] = {
    "encoder": lambda c: Encoder(c.encoder_channels, c.strides, c.lstm_layers),
    "quantizer": Quantizer,
    "decoder": lambda c: Decoder(
        c.latent_channels, c.decoder_channels, c.decoder_strides, lstm_layers=c.lstm_layers, causal=True
    ),
    "redecoder": Redecoder,
}
"""Part → what makes its network."""


class Source:
    """One weights file: which of its entries make up which part.

    Args:
        config: settings of the networks.
        role: "codec" or "redecoder".
        path: the file.
        prefix: what our own saved files put before the published names of this role.

    Raises:
        CheckpointError: when the file cannot be read, or an entry of a module that is used is missing,
            unexpected or misshaped.
    """

    def __init__(self, config: Facodec24kConfig, role: str, path: Path, prefix: str = "") -> None:
        self.config, self.path, self._prefix = config, path, prefix
        expected: dict[str, tuple[int, ...]] = {}
        for part in FILE_PARTS[role]:
            shapes = entry_shapes(lambda part=part: BUILDERS[part](config))  # type: ignore[misc]
            expected |= {_published(part, name): shape for name, shape in shapes.items()}
        modules = tuple({name.split(".", 1)[0] + "." for name in expected})
        found = {self._plain(name): shape for name, shape in read_shapes(path).items()}
        used = {name: shape for name, shape in found.items() if name.startswith(modules)}
        check_entries(expected, used, source=f"'{path}'")

    @staticmethod
    def roles(path: Path) -> list[str]:
        """Return the roles whose entries one of our own saved files holds."""
        names = read_shapes(path)
        return [role for role in FILE_PARTS if any(name.startswith(f"{role}.") for name in names)]

    def read(self, part: str) -> dict[str, Tensor]:
        """Return the stored entries of one part by their names in its network, in their stored type."""
        ours = {_published(part, name): name for name in entry_shapes(lambda: BUILDERS[part](self.config))}
        stored = read_state_dict(self.path, wanted=lambda name: self._plain(name) in ours)
        return {ours[self._plain(name)]: value for name, value in stored.items()}

    def _plain(self, name: str) -> str:
        """Return an entry's name as `<module>.<key>`; what is not under our prefix has none."""
        if not name.startswith(self._prefix):
            return ""
        module, _, key = name.removeprefix(self._prefix).removeprefix("net.").partition(".")
        return f"{module}.{key.removeprefix('module.')}"


def build_part(source: Source, part: str, weights: dict[str, Tensor], *, dtype: torch.dtype) -> nn.Module:
    """Return one part, ready for inference.

    Args:
        source: where the weights are from.
        part: name of the part.
        weights: its entries, as `Source.read` returns them.
        dtype: floating-point type of the network; entries go to it straight from their own.

    Raises:
        CheckpointError: when an entry is missing, unexpected or misshaped.
    """
    return build_network(
        lambda: BUILDERS[part](source.config), weights, dtype=dtype, source=f"'{source.path}'"
    )


def _published(part: str, name: str) -> str:
    """Return the published name of a part's entry; the redecoder is all of its file."""
    return name if part == "redecoder" else f"{part}.{name}"
