"""The training step of the unit vocoder written out: no class of the package takes part.

Every function takes parameters by their published names, in float64.
"""

import torch
from torch.nn import functional

PERIODS = (2, 3)
STRIDES, GROUPS, PADS = (1, 2, 2, 4, 4, 1, 1), (1, 4, 16, 16, 16, 16, 1), (7, 20, 20, 20, 20, 20, 2)


def normed(p, name):
    """Weight norm."""
    v = p[f"{name}.weight_v"]
    return v * p[f"{name}.weight_g"] / v.square().sum(dim=tuple(range(1, v.dim())), keepdim=True).sqrt()


def generator(p, units, pitch, speaker):
    """`(batch, samples)` of one residual kernel of three taps; units of 160 samples, codes of 1280."""
    x = p["dict.weight"][units].transpose(1, 2)
    y = p["f0_dict.weight"][pitch].transpose(1, 2).repeat_interleave(8, dim=2)
    s = p["spkr.weight"][speaker][:, :, None].expand(-1, -1, x.shape[2])
    x = functional.conv1d(torch.cat([x, y, s], dim=1), normed(p, "conv_pre"), p["conv_pre.bias"], padding=3)
    for stage, (rate, kernel) in enumerate(zip((5, 4, 2, 2, 2), (11, 8, 4, 4, 4), strict=True)):
        name = f"ups.{stage}"
        x = functional.conv_transpose1d(
            functional.leaky_relu(x, 0.1), normed(p, name), p[f"{name}.bias"], rate, (kernel - rate) // 2
        )
        for number, dilation in enumerate((1, 3, 5)):
            first, second = (f"resblocks.{stage}.convs{part}.{number}" for part in (1, 2))
            y = functional.conv1d(
                functional.leaky_relu(x, 0.1), normed(p, first), p[f"{first}.bias"],
                padding=dilation, dilation=dilation,
            )  # fmt: skip
            x = x + functional.conv1d(
                functional.leaky_relu(y, 0.1), normed(p, second), p[f"{second}.bias"], padding=1
            )
    x = functional.conv1d(
        functional.leaky_relu(x, 0.01), normed(p, "conv_post"), p["conv_post.bias"], padding=3
    )
    return torch.tanh(x)[:, 0]


def judged(p, wave):
    """Feature maps of periods and scales; the singular vectors in `p` move on."""
    found = []
    for number, period in enumerate(PERIODS):
        x = wave[:, None]
        if rest := -wave.shape[1] % period:
            x = functional.pad(x, (0, rest), mode="reflect")
        x, maps, name = x.view(len(wave), 1, -1, period), [], f"mpd.discriminators.{number}"
        for layer, stride in enumerate((3, 3, 1)):
            own = f"{name}.convs.{layer}"
            x = functional.conv2d(x, normed(p, own), p[f"{own}.bias"], (stride, 1), (2, 0))
            x = functional.leaky_relu(x, 0.1)
            maps.append(x)
        own = f"{name}.conv_post"
        found.append([*maps, functional.conv2d(x, normed(p, own), p[f"{own}.bias"], 1, (1, 0))])
    for scale in range(3):
        x, maps, name = wave[:, None], [], f"msd.discriminators.{scale}"
        for _ in range(scale):
            x = functional.avg_pool1d(x, 4, 2, 2)
        weigh = spectral if scale == 0 else normed
        for layer, (stride, groups, pad) in enumerate(zip(STRIDES, GROUPS, PADS, strict=True)):
            own = f"{name}.convs.{layer}"
            x = functional.conv1d(x, weigh(p, own), p[f"{own}.bias"], stride, pad, 1, groups)
            x = functional.leaky_relu(x, 0.1)
            maps.append(x)
        own = f"{name}.conv_post"
        found.append([*maps, functional.conv1d(x, weigh(p, own), p[f"{own}.bias"], 1, 1)])
    return found


def spectral(p, name):
    """Spectral norm with one power iteration."""
    weight = p[f"{name}.weight_orig"]
    rows = weight.reshape(len(weight), -1)
    with torch.no_grad():
        v = rows.T @ p[f"{name}.weight_u"]
        v = v / v.norm()
        u = rows @ v
        u = u / u.norm()
    p[f"{name}.weight_u"], p[f"{name}.weight_v"] = u, v
    return weight / (u @ rows @ v)


def log_mel(wave, filters):
    """Natural logarithms, `(batch, bands, frames)`."""
    x = functional.pad(wave[:, None], (384, 384), mode="reflect")[:, 0].unfold(1, 1024, 256)
    spectrum = torch.fft.rfft(x * torch.hann_window(1024, dtype=torch.float64))
    magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()
    return torch.log((magnitude @ filters).clamp(min=1e-5))


class AdamW:
    """Decoupled weight decay, moments with correction."""

    def __init__(self, names, rate=2e-4, betas=(0.8, 0.99), decay=0.01, epsilon=1e-8):
        self.rate, self.betas, self.decay, self.epsilon, self.count = rate, betas, decay, epsilon, 0
        self.first, self.second = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)

    def step(self, p, gradients):
        self.count += 1
        one, two = self.betas
        for name, gradient in gradients.items():
            self.first[name] = one * self.first[name] + (1 - one) * gradient
            self.second[name] = two * self.second[name] + (1 - two) * gradient**2
            moved = self.first[name] / (1 - one**self.count)
            scale = (self.second[name] / (1 - two**self.count)).sqrt() + self.epsilon
            value = p[name].detach() * (1 - self.rate * self.decay) - self.rate * moved / scale
            p[name] = value.requires_grad_()


class ByHand:
    """Both networks, and steps on batches."""

    def __init__(self, vocoder, judges, filters):
        self.g = {name: value.clone() for name, value in vocoder.items() if not name.startswith("quantizer.")}
        self.d = {name: value.clone() for name, value in judges.items()}
        self.filters = filters
        learnt = [
            name for name in self.d if not (is_singular(name) and name.startswith("msd.discriminators.0."))
        ]
        for p, names in ((self.g, list(self.g)), (self.d, learnt)):
            for name in names:
                p[name].requires_grad_()
        self.of_g, self.of_d = AdamW(self.g), AdamW(learnt)

    def step(self, batch):
        """Return the losses."""
        real = batch["waveform"]
        made = generator(self.g, batch["units"], batch["pitch"], batch["speaker"])
        true, fake = judged(self.d, real), judged(self.d, made.detach())
        loss_d = sum(
            (1 - b[-1]).square().mean() + a[-1].square().mean() for a, b in zip(fake, true, strict=True)
        )
        move(loss_d, self.d, self.of_d)
        true, fake = judged(self.d, real), judged(self.d, made)
        adversarial = sum((1 - maps[-1]).square().mean() for maps in fake)
        features = sum(
            (a - b).abs().mean() for x, y in zip(fake, true, strict=True) for a, b in zip(x, y, strict=True)
        )
        mel = (log_mel(made, self.filters) - log_mel(real, self.filters)).abs().mean()
        loss_g = adversarial + 2 * features + 45 * mel
        move(loss_g, self.g, self.of_g)
        return {"discriminators": float(loss_d.detach()), "vocoder": float(loss_g.detach())}


def is_singular(name):
    """Whether an entry of spectral norm is one of the vectors."""
    return name.endswith(("weight_u", "weight_v"))


def move(loss, p, optimizer):
    names = list(optimizer.first)
    gradients = torch.autograd.grad(loss, [p[name] for name in names])
    optimizer.step(p, dict(zip(names, gradients, strict=True)))
