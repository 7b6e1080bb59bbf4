"""A yardstick for speed that travels between machines: `python benchmarks/yardstick.py` prints one number.

It times a fixed mix of the work that speech codecs do (float32 one-dimensional convolutions, element-wise
sines over large tensors, one LSTM and one matrix product) on one thread, in CPU seconds of the best of five
rounds. A figure in yardsticks, measured in the same run, can be compared across machines.
"""

import time
from collections.abc import Callable

import torch


def yardstick(rounds: int = 5) -> float:
    """CPU seconds of the best of `rounds` rounds, one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    convs = [
        (torch.nn.Conv1d(c, c, k, padding=k // 2), torch.randn(1, c, n))
        for c, k, n in ((32, 7, 80_000), (64, 7, 40_000), (256, 7, 5_000), (512, 3, 2_000))
    ]
    wave = torch.randn(1, 64, 80_000)
    lstm, steps = torch.nn.LSTM(512, 512, 1), torch.randn(250, 1, 512)
    a, b = torch.randn(500, 768), torch.randn(768, 3072)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(rounds):
            start = time.process_time()
            for conv, x in convs:
                conv(x)
            wave + torch.sin(wave * 1.5) ** 2
            lstm(steps)
            for _ in range(4):
                a @ b
            best = min(best, time.process_time() - start)
    return best


def best(run: Callable[[], object], rounds: int = 5, device: str = "cpu") -> float:
    """Return the CPU seconds of the best round; wall seconds on a GPU."""
    seconds = []
    clock = time.process_time if device == "cpu" else time.perf_counter
    for _ in range(rounds):
        start = clock()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    return min(seconds)


if __name__ == "__main__":
    print(f"{yardstick():.4f}")
