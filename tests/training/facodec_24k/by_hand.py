"""The training step of FAcodec written out, in float64.

Networks are called as they are, since the published numbers hold for them; what a step makes of them is written anew:
quantizers with their losses, what reaches the decoder, the mel distance, all terms, clipping and AdamW.
"""

import math

import numpy as np
import torch
from torch.nn import functional

from tests.training.unit_vocoder.by_hand import AdamW

WINDOWS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
STREAMS = {"prosody": 1, "content": 2, "residual": 3}


def seed(*numbers):
    """What the loop does before a step."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def log_mel(wave, window, filters):
    """Base 10, `(batch, frames, bands)`."""
    x = functional.pad(wave[:, None], (window // 2, window // 2), mode="reflect")[:, 0]
    spectrum = torch.fft.rfft(
        x.unfold(1, window, window // 4) * torch.hann_window(window, dtype=torch.float64)
    )
    return (spectrum.abs() @ filters[window]).clamp(min=1e-5).log10()


def mel_distance(made, real, filters):
    """Sum over the scales."""
    return sum((log_mel(made, w, filters) - log_mel(real, w, filters)).abs().mean() for w in WINDOWS)


def smooth_l1(a, b):
    """With beta 1."""
    d = (a - b).abs()
    return torch.where(d < 1, d**2 / 2, d - 0.5).mean()


def entropy(logits, classes):
    """Mean cross entropy."""
    chances = logits - logits.logsumexp(dim=-1, keepdim=True)
    return -chances.gather(-1, classes[..., None]).mean()


def focal(logits, classes):
    """Of the mean."""
    mean = entropy(logits, classes)
    return (1 - torch.exp(-mean)) ** 2 * mean


def standardised(f0):
    """Logarithm, clip by clip."""
    rows = []
    for row in f0:
        voiced = row > 5
        values = row[voiced].log2()
        deviation = values.std() if voiced.sum() > 1 else torch.tensor(math.nan)
        filled = torch.full_like(row, -10.0)
        filled[voiced] = ((values - values.mean()) / deviation).nan_to_num(-10.0, -10.0, -10.0)
        rows.append(filled)
    return torch.stack(rows)


def quantized(stages, x, counts):
    """Sum, commitment loss and codebook loss of the stages that count."""
    total, commitment, codebook = torch.zeros_like(x), 0.0, 0.0
    for number, stage in enumerate(stages):
        used = (counts > number).double()
        y = stage.in_proj(x)
        table = stage.rows
        angle = torch.einsum("btc,kc->btk", y, table / table.norm(dim=1, keepdim=True))
        row = table[angle.argmax(dim=-1)]
        commitment = commitment + ((y - row.detach()).square().mean(dim=(1, 2)) * used).mean()
        codebook = codebook + ((row - y.detach()).square().mean(dim=(1, 2)) * used).mean()
        out = stage.out_proj(y + (row - y).detach())
        total = total + out * used[:, None, None]
        x = x - out
    return total, commitment, codebook


def forward(codec, batch):
    """What the codec makes of a batch, and its terms; draws as it goes."""
    wave, quantizer = batch["waveform"], codec.part("quantizer")
    latent = codec.part("encoder")(wave)
    most = max(1025, int(batch["num_samples"].max()))
    speaker = quantizer.timbre_encoder(
        quantizer.to_mel(batch["utterance"][:, :most]), batch["num_samples"] // 300
    )
    counts = {}
    for name, count in STREAMS.items():
        counts[name] = torch.full((len(wave),), count)
        first = len(wave) // 2
        counts[name][:first] = torch.randint(1, count + 1, (first,))
    kept = (torch.rand(len(wave)) >= 0.75).double()[:, None, None]
    mel = quantizer.to_mel(wave)
    p = quantized(quantizer.stream("prosody").stages, quantizer.prosody_features(mel), counts["prosody"])
    latent = latent[:, : mel.shape[1]]
    c = quantized(quantizer.stream("content").stages, latent, counts["content"])
    r = quantized(
        quantizer.stream("residual").stages, latent - p[0].detach() - c[0].detach(), counts["residual"]
    )
    x = p[0].detach() + c[0].detach() + kept * r[0]
    x = (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    scale, shift = quantizer.timbre_linear(speaker)[:, None].chunk(2, dim=-1)
    made = codec.part("decoder")(x * scale + shift)
    return made, speaker, (p[0], c[0], r[0]), p[1] + c[1] + r[1], p[2] + c[2] + r[2]


class Adversarial:
    """Copies of networks, and steps on batches."""

    def __init__(self, groups, filters):
        self.groups, self.judges, self.filters = groups, groups["discriminators"], filters
        self.optimizers = {
            name: AdamW(dict(network.named_parameters()), 1e-4, (0.9, 0.98), 0.1, 1e-9)
            for name, network in groups.items()
        }

    def judge(self, made, real, rate):
        """Let the discriminators learn, and return their loss, and what the audio then costs."""
        fake, true = self.judges(made.detach()), self.judges(real)
        loss_d = sum(
            a[-1].square().mean() + (1 - b[-1]).square().mean() for a, b in zip(fake, true, strict=True)
        )
        self.move(loss_d, ("discriminators",), 10, rate)
        fake, true = self.judges(made), self.judges(real)
        loss = 15 * mel_distance(made, real, self.filters)
        loss = loss + sum((1 - maps[-1]).square().mean() for maps in fake)
        loss = loss + sum(
            (a - b.detach()).abs().mean()
            for x, y in zip(fake, true, strict=True)
            for a, b in zip(x[:-1], y[:-1], strict=True)
        )
        return float(loss_d.detach()), loss

    def move(self, loss, groups, most, rate):
        """Clip and step each group on its own; parameters without a gradient stay."""
        named = {
            (group, name): p
            for group in groups
            for name, p in self.groups[group].named_parameters()
            if p.requires_grad
        }
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        gradients = {key: value for key, value in zip(named, found, strict=True) if value is not None}
        for group in groups:
            own = {name: value for (of, name), value in gradients.items() if of == group}
            length = sum(value.square().sum() for value in own.values()).sqrt()
            own = {name: value * min(1.0, most / (float(length) + 1e-6)) for name, value in own.items()}
            values = {name: named[group, name].detach() for name in own}
            optimizer = self.optimizers[group]
            optimizer.rate = rate
            optimizer.step(values, own)
            for name, value in values.items():
                named[group, name].data.copy_(value.detach())


class ByHand(Adversarial):
    """Of the codec."""

    def __init__(self, codec, predictors, judges, filters):
        self.codec, self.predictors = codec, predictors
        parts = {name: codec.part(name) for name in ("encoder", "quantizer", "decoder")}
        super().__init__({**parts, "predictors": predictors, "discriminators": judges}, filters)

    def step(self, batch, rate):
        """Return the losses."""
        made, speaker, parts, commitment, codebook = forward(self.codec, batch)
        loss_d, loss = self.judge(made, batch["waveform"], rate)
        said = self.predictors(*parts, speaker)
        f0 = standardised(batch["f0"])
        loss = loss + smooth_l1(said.f0, f0) + smooth_l1(said.rev_f0, f0)
        loss = loss + smooth_l1(said.energy, batch["energy"]) + smooth_l1(said.rev_energy, batch["energy"])
        loss = loss + 5 * (focal(said.content, batch["content"]) + focal(said.rev_content, batch["content"]))
        loss = loss + entropy(said.speaker, batch["speaker"]) + entropy(said.rev_speaker, batch["speaker"])
        loss = loss + 0.25 * commitment + codebook
        self.move(loss, ("encoder", "quantizer", "decoder", "predictors"), 1000, rate)
        return {"discriminators": loss_d, "codec": float(loss.detach())}


class Redecoding(Adversarial):
    """Of the redecoder."""

    def __init__(self, redecoder, judges, filters):
        self.redecoder = redecoder
        super().__init__({"redecoder": redecoder, "discriminators": judges}, filters)

    def step(self, batch, rate):
        """Return the losses; of the codes, only the first content codebook is shown."""
        encoder = self.redecoder.encoder
        embedded = encoder.content_embed[0].weight[batch["content"][:, 0]]
        latent = encoder.conv_out(encoder.encoder(embedded, batch["speaker"]))
        loss_d, loss = self.judge(self.redecoder.decoder(latent), batch["waveform"], rate)
        self.move(loss, ("redecoder",), 1000, rate)
        return {"discriminators": loss_d, "redecoder": float(loss.detach())}
