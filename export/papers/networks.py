"""The networks of papers 1 and 2 that no library has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .images import MEL_COLUMNS

_POOLED = 4 * 4 * 2
"""Columns of a spectrogram that are one behind the convolutions of `SpectrogramNetwork`."""


class SpectrogramNetwork(nn.Module):
    """Paper 1, section 3.1.1: "three convolutional layers with 3, 5 and 10 filters and three linear
    layers with 70, 40 and n neurons and ReLU", on mel spectrograms of 128 by 625.

    Neither kernels nor pooling are given: 3 by 3, and pooling of 4, 4 and 2, after which 4 by 19
    values of each of ten filters are left.

    Args:
        labels: n.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, pooled in ((1, 3, 4), (3, 5, 4), (5, 10, 2)):
            # The largest of what is cut off at 0 is what is largest, cut off: sixteen times less.
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(pooled), nn.ReLU()]
        # Channels last: so few of them would leave most of each vector instruction empty.
        self.convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.linear = nn.Sequential(
            nn.Flatten(),
            nn.Linear(10 * 4 * 19, 70),
            nn.ReLU(),
            nn.Linear(70, 40),
            nn.ReLU(),
            nn.Linear(40, labels),
        )

    def forward(self, spectrogram: Tensor) -> Tensor:
        """float32 [batch, 128, columns] -> logits [batch, n].

        Zeros follow a clip's end, and all of them up to 625 columns.
        """
        out: Tensor = self.linear(self._convolved(spectrogram[:, None]))
        return out

    def _convolved(self, pictures: Tensor) -> Tensor:
        """What the convolutions make of [batch, 1, 128, columns]: [batch, 10, 4, 19].

        Most of the 20 s is padding, of which a column is like the next: one is computed, and
        stands for all but the last, which sees the edge.
        """
        used = pictures.shape[3]
        # A column of the result sees those from 21 before its own 32 to 20 behind.
        needed = -(-(used + 21) // _POOLED) + 2
        missing = max(0, MEL_COLUMNS // _POOLED - needed)
        padding = MEL_COLUMNS - missing * _POOLED - used
        cut: Tensor = self.convolutions(nn.functional.pad(pictures, (0, padding)))
        empty = cut[..., -2:-1].expand(-1, -1, -1, missing)
        return torch.cat([cut[..., :-1], empty, cut[..., -1:]], dim=3)


class FrozenHead(nn.Module):
    """Layers on the embedding of an encoder that is not trained.

    Paper 1, section 3.1.2: "froze the model and added a 1024 dimensional and a n dimensional linear
    layer" (hidden 1024); elsewhere one linear layer (hidden 0).

    Args:
        width: of the embedding.
        labels: n.
        hidden: units in between; no activation is named.
    """

    def __init__(self, width: int, labels: int, hidden: int = 0) -> None:
        super().__init__()
        # Encoders differ in scale by orders of magnitude, and the rates of the papers are meant
        # for the layer-normalised states of transformers.
        self.norm = nn.LayerNorm(width)
        self.layers = (
            nn.Sequential(nn.Linear(width, hidden), nn.Linear(hidden, labels))
            if hidden
            else nn.Linear(width, labels)
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """float32 [batch, width] -> logits [batch, n]."""
        out: Tensor = self.layers(self.norm(embedding))
        return out


class Convolutions1d(nn.Module):
    """Paper 2, table 5: eight convolutions of width 8 over the 94 hand-crafted features.

    The table leaves the dense layers' sizes blank: 128 and 64.

    Args:
        features: 94.
        labels: n.
    """

    def __init__(self, features: int, labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for channels, count in ((256, 2), (128, 4), (64, 2)):
            for _ in range(count):
                # "Same" padding of an even width, as Keras pads it: one more on the right.
                layers += [nn.ConstantPad1d((3, 4), 0.0), nn.Conv1d(before, channels, 8), nn.ReLU()]
                before = channels
            if channels > 64:
                layers += [nn.BatchNorm1d(channels), nn.Dropout(0.6)]
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * features, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Dropout(0.6),
            nn.Linear(64, labels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """float32 [batch, features], standardised -> logits [batch, n]."""
        out: Tensor = self.dense(self.convolutions(features[:, None]))
        return out


class ImageNetwork(nn.Module):
    """MobileNetV2 on images of spectrograms, from transformers; see `spectrogram_images`.

    Args:
        labels: n.
        folder: of a published MobileNetV2 in the layout of transformers; random weights without.
        width: multiplier of the channels where there is no folder.
    """

    def __init__(self, labels: int, folder: str | None = None, width: float = 1.0) -> None:
        super().__init__()
        from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

        if folder is None:
            config = MobileNetV2Config(num_labels=labels, depth_multiplier=width, tf_padding=False)
            self.model = MobileNetV2ForImageClassification(config)
        else:
            self.model = MobileNetV2ForImageClassification.from_pretrained(
                folder, num_labels=labels, ignore_mismatched_sizes=True
            )

        # The many convolutions of one channel each take two thirds of the time that way.
        self.model.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """float32 [batch, 3, height, width] in -1..1 -> logits [batch, n]."""
        images = images.contiguous(memory_format=torch.channels_last)
        out: Tensor = self.model(pixel_values=images).logits
        return out


def mean_of_blocks(scores: Tensor, clip_of: Tensor, clips: int) -> Tensor:
    """Probabilities of a clip, [clips, n], as the mean of those of its 1-s blocks [blocks, n]."""
    total = torch.zeros(clips, scores.shape[1]).index_add(0, clip_of, scores.softmax(1))
    count = torch.zeros(clips).index_add(0, clip_of, torch.ones(len(clip_of)))
    return total / count[:, None]
