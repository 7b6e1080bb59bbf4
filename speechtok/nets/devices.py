"""Devices, tried before anything is put on them."""

from __future__ import annotations

import torch


def usable_device(device: torch.device | str) -> torch.device:
    """Return a device that can hold tensors here.

    Raises:
        ValueError: when there is no such device on this machine, or this torch cannot use it.
    """
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:  # of many kinds; the first sentence says enough
        reason = str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
        raise ValueError(
            f"`device` '{device}' cannot be used here: {reason}; use another, such as 'cpu'."
        ) from error
    return found
