"""The F0 network of the released training, frozen: a mel spectrogram to one F0 per frame.

Source: Kum and Nam 2019, Joint Detection and Classification of Singing Voice Melody, Applied Sciences 9(7), sections
2.1 and 2.2 (the main network; the branch that detects voice is not used); one output as in `Plachtaa/FAcodec`, whose file `Plachta/JDCnet`
names the entries.

Contents: `PitchNetwork`.
"""

from __future__ import annotations

from torch import Tensor, nn

SLOPE = 0.01
UNUSED = ("detector_conv.", "bilstm_detector.", "detector.")
"""Beginnings of entries of the branch that is not used."""


class PitchNetwork(nn.Module):
    """Entries: `conv_block`, `res_block1` … `res_block3`, `pool_block`, `bilstm_classifier`, `classifier`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(1, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(64, 64, 3, padding=1, bias=False),
        )
        self.res_block1 = _ResidualBlock(64, 128)
        self.res_block2 = _ResidualBlock(128, 192)
        self.res_block3 = _ResidualBlock(192, 256)
        self.pool_block = nn.Sequential(nn.BatchNorm2d(256), nn.LeakyReLU(SLOPE), nn.MaxPool2d((1, 4)))
        self.bilstm_classifier = nn.LSTM(512, 256, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(512, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Return F0, `(batch, frames)`, at least 0; what is above 5 counts as voiced.

        Args:
            mel: `(batch, frames, 80)`, of `targets.TargetMel`.
        """
        x = self.conv_block(mel[:, None])  # (batch, 64, frames, 80)
        x = self.pool_block(self.res_block3(self.res_block2(self.res_block1(x))))  # (batch, 256, frames, 2)
        x, _ = self.bilstm_classifier(x.transpose(1, 2).flatten(2))
        f0: Tensor = self.classifier(x)[..., 0].abs()
        return f0


class _ResidualBlock(nn.Module):
    """Halves the bands. Entries: `pre_conv.0`, `conv.N`, `conv1by1`."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.pre_conv = nn.Sequential(nn.BatchNorm2d(channels_in), nn.LeakyReLU(SLOPE), nn.MaxPool2d((1, 2)))
        self.conv = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        self.conv1by1 = nn.Conv2d(channels_in, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pre_conv(x)
        added: Tensor = self.conv(pooled) + self.conv1by1(pooled)
        return added
