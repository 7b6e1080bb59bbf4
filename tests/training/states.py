"""What a run saved, and whether two runs saved the same."""

import json

import torch
from safetensors.torch import load_file


def state(folder, step):
    path = folder / "checkpoints" / f"step-{step:08d}"
    tensors = load_file(path / "networks.safetensors") | load_file(path / "optimizers.safetensors")
    return tensors, json.loads((path / "state.json").read_text())


def same_state(first, second, step):
    (tensors, told), (others, other) = state(first, step), state(second, step)
    assert tensors.keys() == others.keys()
    for name, value in tensors.items():
        assert torch.equal(value, others[name]), name
    assert told == other
