"""What networks that make audio and discriminators that judge it minimise.

Sources: Mao et al. 2017, Least Squares GAN, arXiv:1611.04076; Kumar et al. 2019, MelGAN, arXiv:1910.06711, section 2.3
(feature matching).

Conventions: a discriminator gives its feature maps, the last one being its verdict; several give a list each.

Contents: `discriminator_loss`, `adversarial_loss`, `feature_loss`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Maps = Sequence[Sequence[Tensor]]
"""Feature maps of each discriminator."""


def discriminator_loss(made: Maps, real: Maps) -> Tensor:
    """Return how far the discriminators are from 0 for what was made and from 1 for what is real."""
    terms = [
        fake[-1].square().mean() + (1 - true[-1]).square().mean()
        for fake, true in zip(made, real, strict=True)
    ]
    return torch.stack(terms).sum()


def adversarial_loss(made: Maps) -> Tensor:
    """Return how far the discriminators are from 1 for what was made."""
    return torch.stack([(1 - maps[-1]).square().mean() for maps in made]).sum()


def feature_loss(made: Maps, real: Maps, *, with_verdicts: bool = False) -> Tensor:
    """Return the sum of mean distances between feature maps; `real` gets no gradient.

    Args:
        made: feature maps of what was made.
        real: of what is real.
        with_verdicts: whether the last map of each discriminator counts too.
    """
    terms = [
        functional.l1_loss(first, second.detach())
        for fake, true in zip(made, real, strict=True)
        for first, second in zip(fake, true, strict=True)
        if with_verdicts or first is not fake[-1]
    ]
    return torch.stack(terms).sum()
