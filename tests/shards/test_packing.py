"""What workers send arrives as it was, in one piece."""

import numpy as np
import pytest
import torch

from speechtok.shards.packing import Packing, Parcel, packed, unpacked


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12).reshape(3, 4),
        torch.arange(12).reshape(3, 4).T,
        torch.arange(20)[::3],
        torch.zeros(2, 0, 5),
        torch.tensor(3),
        torch.tensor([True, False]),
        torch.tensor([1.5, -2.5], dtype=torch.float16),
        torch.tensor([1.5, -2.5], dtype=torch.bfloat16),
        torch.ones(2, requires_grad=True),
        torch.nn.Parameter(torch.ones(2)),
        torch.eye(3).to_sparse(),
    ],
    ids=lambda tensor: f"{tuple(tensor.shape)}-{tensor.dtype}",
)
def test_tensors(tensor):
    back = unpacked(packed({"inner": [tensor, "x"]}))["inner"][0]
    assert type(back) is type(tensor)
    assert (back.dtype, back.shape, back.layout) == (tensor.dtype, tensor.shape, tensor.layout)
    assert back.requires_grad == tensor.requires_grad
    assert torch.equal(back.to_dense(), tensor.to_dense())


def test_what_arrives_can_be_written_to():
    back = unpacked(packed([torch.zeros(3), np.zeros(3)]))
    for item in back:
        item += 1
        assert item.tolist() == [1, 1, 1]


def test_one_tensor_twice_arrives_as_one():
    tensor = torch.zeros(3)
    one, other = unpacked(packed([tensor, tensor]))
    assert one is other


def test_only_workers_pack(monkeypatch):
    from speechtok.shards import packing

    assert Packing(len)("abc") == 3
    monkeypatch.setattr(packing, "get_worker_info", lambda: object())
    found = Packing(len)("abc")
    assert isinstance(found, Parcel)
    assert unpacked(found) == 3
    assert unpacked("other") == "other"
