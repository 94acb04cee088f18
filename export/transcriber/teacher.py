"""A published speech encoder as a teacher: what it hears, the small encoder learns to tell as well.

Few people, and for some sentences only synthesizers, speak for training. An encoder that has heard
hundreds of thousands of hours (`huggingface.smart_turn`, Whisper tiny's) hears the same sounds in
all of them; to foretell its inner states is to learn which differences between voices to ignore.
Romero et al., "FitNets: Hints for thin deep nets", ICLR 2015. Only training needs it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ExportError
from ..huggingface.audio import load_audio
from ..huggingface.audio_whisper import utterance_states
from ..huggingface.source import resolve
from ..speech.front_end import mask_up_to
from .log_mel import BANDS, loudness, power
from .text_batches import TextBatch

TARGETS = 96
"""Principal components of the states that are foretold."""

_LAYERS = (2, 3)
_FURTHEST = 4.0  # standard deviations; a few frames would otherwise weigh as much as all others
# The mean band power, as the extractor scales it, of sound with a variance of 1.
_UNIT_LOUDNESS = 3.9


class Hints(nn.Module):
    """A teacher, and the layer by which the small encoder foretells it; only the latter learns.

    Args:
        model: folder or name of a Whisper encoder that hears an utterance of any length.
        width: of the small encoder.
    """

    def __init__(self, model: str, width: int) -> None:
        super().__init__()
        self.teacher = Teacher(model)
        self.teacher.requires_grad_(False)
        self.pupil = nn.Linear(width, TARGETS)

    def forward(self, encoded: Tensor, batch: TextBatch) -> Tensor:
        """How far off the foretold states are, squared, where anybody speaks: a scalar.

        Args:
            encoded: float32 [batch, positions, width] of the small encoder.
        """
        lengths = batch.lengths.clamp(max=batch.clean.shape[1])
        targets, mask = self.teacher(batch.clean, lengths)
        mask = mask * batch.voiced[:, None]
        told = self.pupil(encoded[:, : targets.shape[1]])
        return ((told - targets).square().mean(2) * mask).sum() / mask.sum().clamp(min=1)

    def prepare(self, batches: Iterable[TextBatch]) -> None:
        """Choose what is foretold by some batches; nothing where that was done before."""
        if bool(self.teacher.basis.any()):
            return
        self.teacher.learn_components(
            (each.clean, each.lengths.clamp(max=each.clean.shape[1])) for each in batches
        )


class Teacher(nn.Module):
    """Clean spectrograms to targets, one for each position of the small encoder.

    Raises:
        ExportError: the model is not to be had, or is no Whisper encoder with layers enough.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        loaded = load_audio(resolve(model), "none")
        config = loaded.config
        if (
            loaded.family != "whisper"
            or config.num_mel_bins != BANDS
            or config.encoder_layers < max(_LAYERS)
        ):
            raise ExportError(
                f"{model} cannot teach: it is no Whisper encoder with {max(_LAYERS)} layers or "
                f"more on {BANDS} bands; give --teacher smart-turn-v3.2, or such a Whisper"
            )
        self.encoder = loaded.module.encoder
        width = len(_LAYERS) * self.encoder.config.d_model
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("basis", torch.zeros(width, TARGETS))
        self.mean: Tensor
        self.basis: Tensor

    @torch.no_grad()
    def forward(self, clean: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [batch, frames, bands] at 50 frames a second, int64 [batch] frames -> targets
        [batch, frames / 2, TARGETS] and which of them count, [batch, frames / 2]."""
        states, mask = self._states(clean, lengths)
        targets = ((states - self.mean) @ self.basis).clamp(-_FURTHEST, _FURTHEST)
        return targets, mask

    @torch.no_grad()
    def learn_components(self, examples: Iterable[tuple[Tensor, Tensor]]) -> None:
        """The principal components of the states of some batches, scaled to a variance of 1."""
        found = []
        for clean, lengths in examples:
            states, mask = self._states(clean, lengths)
            found.append(states[mask > 0])
        rows = torch.cat(found)
        self.mean.copy_(rows.mean(0))
        values, vectors = torch.linalg.eigh(torch.cov(rows.T))
        largest = slice(-TARGETS, None)
        self.basis.copy_(vectors[:, largest] / values[largest].sqrt())

    def _states(self, clean: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        clean = clean[:, : self.encoder.config.max_source_positions]
        lengths = lengths.clamp(max=clean.shape[1])
        inside = mask_up_to(lengths, clean[:, :, 0])
        # It was trained on sound with a variance of 1.
        mean = loudness(power(clean) * inside[:, :, None]) * clean.shape[1] / lengths
        levelled = clean + (_UNIT_LOUDNESS / mean).log10()[:, None, None] / 4
        # It has 100 frames a second.
        fine = functional.interpolate(levelled.transpose(1, 2), scale_factor=2.0, mode="linear")
        layers = self.encoder.layers[: max(_LAYERS)]
        states = utterance_states(self.encoder, fine, lengths, layers)
        # 50 positions a second; the small encoder has 25.
        pairs = torch.cat([states[number] for number in _LAYERS], 2)
        pairs = pairs[:, : pairs.shape[1] // 2 * 2]
        batch, positions, width = pairs.shape
        mask = mask_up_to(torch.div(lengths, 2, rounding_mode="floor"), pairs[:, ::2, 0])
        return pairs.reshape(batch, positions // 2, 2, width).mean(2), mask
