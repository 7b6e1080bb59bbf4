"""The models of the examples: VALL-E's two, and one that fills masked codes, as NaturalSpeech 3 does.

Source: Wang et al. 2023, VALL-E, arXiv:2301.02111; Ju et al. 2024, NaturalSpeech 3, arXiv:2403.03100.
"""

import torch
from torch import nn

from speechtok.lm import Vocabulary, codebook_losses


class Model(nn.Module):
    """A Transformer over embeddings, causal or not, with positions and one output layer."""

    def __init__(self, size: int, channels: int = 64, layers: int = 2) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(
            channels, 4, 4 * channels, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.positions = nn.Embedding(4096, channels)
        self.output = nn.Linear(channels, size)

    def forward(self, features, mask, *, causal):
        steps = features.shape[1]
        features = features + self.positions(torch.arange(steps))
        ahead = torch.ones(steps, steps, dtype=torch.bool).triu(1) if causal else None
        return self.output(self.layers(features, mask=ahead, src_key_padding_mask=mask == 0))


class Valle(nn.Module):
    """VALL-E: an autoregressive model for the first codebook, a non-autoregressive one for the others."""

    def __init__(self, vocabulary: Vocabulary, channels: int = 64) -> None:
        super().__init__()
        self.books = vocabulary.num_codebooks
        self.ids = nn.Embedding(len(vocabulary), channels)
        self.codes = nn.ModuleList(nn.Embedding(vocabulary.head_size, channels) for _ in range(self.books))
        self.levels = nn.Embedding(self.books, channels)
        self.ar = Model(len(vocabulary), channels)
        self.nar = Model(vocabulary.head_size, channels)

    def losses(self, batch):
        """Return the AR loss, and the NAR loss of each codebook; levels that nobody drew are NaN."""
        logits = self.ar(self.ids(batch["input_ids"]), batch["attention_mask"], causal=True)
        ar = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
        parts = [self.ids(batch["text_ids"]), self._sum(batch["prompt_codes"]), self._sum(batch["codes"])]
        masks = [batch["text_mask"], batch["prompt_mask"], batch["nar_mask"]]
        features = torch.cat(parts, dim=1) + self.levels(batch["level"])[:, None]
        logits = self.nar(features, torch.cat(masks, dim=1), causal=False)[:, -batch["codes"].shape[2] :]
        levels = batch["nar_labels"][:, None].expand(-1, self.books, -1)
        levels = levels.where(batch["loss_masks"], -100)
        heads = logits[:, None].expand(-1, self.books, -1, -1)
        return ar, codebook_losses(heads, levels, batch["loss_masks"], shift=False)

    def _sum(self, codes):
        return sum(embed(codes[:, k]) for k, embed in enumerate(self.codes))


class MaskedModel(nn.Module):
    """All codebooks of a frame in, all codebooks out; it sees the whole utterance and the text.

    The text stands in each frame where the batch has durations (`frame_text`), and before the frames where it has none.
    """

    def __init__(self, vocabulary: Vocabulary, channels: int = 64) -> None:
        super().__init__()
        books = vocabulary.num_codebooks
        self.inputs = nn.ModuleList(nn.Embedding(vocabulary.head_size, channels) for _ in range(books))
        self.text = nn.Embedding(len(vocabulary), channels)
        self.stages = nn.Embedding(books, channels)
        block = nn.TransformerEncoderLayer(channels, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.outputs = nn.ModuleList(nn.Linear(channels, vocabulary.head_size) for _ in range(books))

    def losses(self, batch):
        """Return the loss of each codebook; those of stages that nobody drew are NaN."""
        frames = sum(embed(batch["input_ids"][:, k]) for k, embed in enumerate(self.inputs))
        features, mask = frames, batch["attention_mask"]
        if "frame_text" in batch:
            features = features + self.text(batch["frame_text"])
        else:
            features = torch.cat([self.text(batch["text_ids"]), features], dim=1)
            mask = torch.cat([batch["text_mask"], mask], dim=1)
        features = features + self.stages(batch["stage"])[:, None]
        features = self.layers(features, src_key_padding_mask=mask == 0)[:, -frames.shape[1] :]
        logits = torch.stack([output(features) for output in self.outputs], dim=1)
        return codebook_losses(logits, batch["labels"], batch["loss_masks"], shift=False)


def learn(model: Valle, loader, steps: int) -> list[float]:
    """Train VALL-E's two models, and return the loss of each step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history: list[float] = []
    while len(history) < steps:
        for batch in loader:  # one epoch; with a stream, the next one has another order
            ar, levels = model.losses(batch)
            loss = ar + levels.nanmean()  # levels that nobody drew are NaN
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
            if len(history) % 10 == 0:
                print(f"step {len(history)}: AR {ar.item():.3f}, NAR {levels.nanmean().item():.3f}")
            if len(history) == steps:
                break
    return history
