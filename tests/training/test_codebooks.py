"""Codebooks that learn, against what is computed by hand, and in two processes."""

from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from speechtok.nets.residual_codebooks import ResidualCodebooks
from speechtok.nets.weight_norm import fold
from speechtok.training.codebooks import LearntCodebooks
from speechtok.training.spectral.networks import Standardized

SECONDS = 120


def made(seed: int = 0, **options) -> LearntCodebooks:
    generator = torch.Generator().manual_seed(seed)
    books = LearntCodebooks(3, 16, 4, **options).double()
    for _ in range(20):
        books.remember(torch.randn(2, 20, 4, dtype=torch.float64, generator=generator))
    books.begin(40)
    return books


def rows(seed: int, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_step_by_hand():
    books = made(decay=0.9, least_use=0.0)
    x, before = rows(5).requires_grad_(), books.embed.clone()
    counts, sums = books.counts.clone(), books.sums.clone()
    coded = books(x)
    left, total, commitment = x.detach().flatten(0, 1), 0, 0.0
    for stage in range(3):
        codes = torch.cdist(left, before[stage]).argmin(dim=1)
        assert torch.equal(coded.codes[:, stage].flatten(), codes)
        for code in range(16):
            mine = left[codes == code]
            assert books.counts[stage, code] == pytest.approx(
                0.9 * float(counts[stage, code]) + 0.1 * len(mine)
            )
            torch.testing.assert_close(
                books.sums[stage, code], 0.9 * sums[stage, code] + 0.1 * mine.sum(dim=0)
            )
        values = before[stage][codes]
        commitment += float((left - values).square().mean())
        left, total = left - values, total + values
    torch.testing.assert_close(coded.features.flatten(0, 1), total)
    assert float(coded.commitment.detach()) == pytest.approx(commitment)
    coded.features.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))  # straight through
    torch.testing.assert_close(books.embed, books.sums / books.counts.clamp(min=1e-6)[..., None])


def test_stages_that_do_not_count():
    books = made().eval()
    x = rows(6)
    parts = books(x, torch.tensor([1, 2, 3, 3]))
    whole = books(x[2:])
    torch.testing.assert_close(parts.features[2:], whole.features)
    torch.testing.assert_close(parts.features[0], books.embed[0][parts.codes[0, 0]])
    assert torch.equal(parts.codes[2:], whole.codes)


def test_the_codes_are_those_of_the_codec():
    books = made().eval()
    codec = ResidualCodebooks(3, 16, 4).double()
    codec.embed.data.copy_(books.embed)
    fold(codec)
    coded = books(rows(7))
    assert torch.equal(codec.encode(rows(7)), coded.codes)
    torch.testing.assert_close(codec.decode(coded.codes), coded.features)


def test_k_means_begins_near_the_features():
    books = made()
    x = rows(8, batch=50)
    left = [float((x - books.eval()(x, torch.full((50,), n)).features).square().mean()) for n in (1, 2, 3)]
    # a code of 4 bits for 4 channels leaves 2^-2 of the power at best (Shannon), each stage again
    assert 0.25 < left[0] < 0.5
    assert left[2] < left[1] < left[0]


def test_rows_that_nobody_uses_become_features():
    books = made(least_use=0.05, decay=0.5)
    books.embed[0, 3], books.sums[0, 3], books.counts[0, 3] = 1e6, 1e6 * 0.01, 0.01  # far from everything
    x = rows(9)
    books(x)
    replaced = books.embed[0, 3]
    assert (x.flatten(0, 1) - replaced).abs().sum(dim=1).min() < 1e-9
    assert books.counts[0, 3] == pytest.approx(0.3)


def _learn(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    torch.save(_learnt(rank, world), f"{folder}/{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _learnt(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Codebooks, statistics and gradients after some steps on this process's share of each batch."""
    books, norm = LearntCodebooks(3, 16, 4, first_features=80).double(), Standardized(4).double()
    weight = torch.eye(4, dtype=torch.float64, requires_grad=True)
    for step in range(6):
        x = rows(step)[rank * 4 // world : (rank + 1) * 4 // world] @ weight
        latents = norm(x)
        books.remember(latents)
        if step == 2:
            books.begin(40)
        coded = books(latents) if step > 2 else None
        if coded is not None:
            ((coded.features**3).mean() + coded.commitment).backward()
    gradient = weight.grad.clone()
    if world > 1:
        torch.distributed.all_reduce(gradient)
        gradient /= world
    return {
        "embed": books.embed,
        "counts": books.counts,
        "mean": norm.mean,
        "variance": norm.variance,
        "gradient": gradient,
    }


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    context = multiprocessing.spawn(_learn, args=(2, str(tmp_path)), nprocs=2, join=False)
    while not context.join(timeout=SECONDS):
        pass
    alone = _learnt(0, 1)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, value in alone.items():
            torch.testing.assert_close(
                found[name], value.detach(), rtol=0, atol=1e-9, msg=f"{name} of process {rank}"
            )
