"""The Audio Spectrogram Transformer from raw waveform to pooled answer.

Gong, Chung & Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021. Like Whisper it always
hears its whole window, usually 10.24 s; after the end of an utterance that is the value 0 in the
spectrogram, not silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers import ASTModel

from ..errors import ExportError
from ..graphs.spectrograms import KaldiLogMel
from .masked_layers import Loudness

FAMILIES = ("audio-spectrogram-transformer",)
FLOAT32_SCOPES = ("/loudness/", "/log_mel/")


class AstGraph(nn.Module):
    """Raw waveforms and lengths in; an embedding out, after the answer of a head if there is one.

    The embedding is the model's own: the mean of its two class tokens.
    """

    def __init__(self, encoder: Any, head: nn.Module | None, extractor: Any) -> None:
        super().__init__()
        self.loudness = Loudness(normalise=False)
        self.log_mel = KaldiLogMel(extractor)
        self.encoder, self.head = encoder, head
        self.width = encoder.config.hidden_size
        self.minimum_samples = KaldiLogMel.FRAME_SAMPLES
        self.maximum_samples = self.log_mel.window_samples

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """float32 [batch, samples], int64 [batch] -> (logits,) embedding, [batch, ...] each."""
        features = self.log_mel(self.loudness(waveform, lengths), lengths)
        embedding = self.encoder(features).pooler_output
        if self.head is None:
            return (embedding,)
        return self.head(embedding), embedding


def build(original: Any, dense: nn.Module | None, extractor: Any) -> AstGraph:
    """The module to export; it shares the layers of the transformers model and changes none."""
    encoder = encoder_of(original)
    config = encoder.config
    heard = (extractor.max_length, extractor.num_mel_bins)
    if heard != (config.max_length, config.num_mel_bins):
        raise ExportError(
            f"preprocessor_config.json makes {heard[0]} frames of {heard[1]} bands, the model "
            f"takes {config.max_length} of {config.num_mel_bins}; they are not of the same model"
        )
    head = dense if encoder is original else original.classifier
    return AstGraph(encoder, head, extractor)


def bare_encoder(
    config: Any, weights: Mapping[str, Tensor]
) -> tuple[Any, Any, Mapping[str, Tensor]]:
    """Class without head, configuration and weights, for `load_model`."""
    return ASTModel, config, weights


def encoder_of(original: Any) -> Any:
    """The model without its head."""
    return getattr(original, "audio_spectrogram_transformer", original)


def pooled(output: Any, samples: int) -> Tensor:
    """What the original encoder gave for one utterance -> its embedding, [1, width]."""
    embedding: Tensor = output.pooler_output
    return embedding
