"""Published transformers trained together with a linear layer on top: the papers' own systems.

Paper 1: DistilBERT. Paper 2: HuBERT and BERT, "mean-pooled along the sequence dimension, passed
through a dropout layer, concatenated", linear. Papers 3 and 5: BETO, MarIA, BERTIN, wav2vec 2.0.
The modules are those that are exported (`huggingface`), so that what was trained can be served.
What the papers keep frozen is exported first, and given as an encoder folder with --audio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ExportError
from ..huggingface.audio import load_audio
from ..huggingface.source import AUDIO_FILES, TEXT_FILES, resolve
from ..huggingface.text import load_text
from .fit import FitSettings, Indices, Inputs, fit, predict
from .frozen import Waves

Floats = NDArray[np.float32]


class FineTuned(nn.Module):
    """One or two encoders, dropout, linear.

    Args:
        audio, text: modules of `huggingface`, whose first output is the pooled embedding.
        width: of all embeddings together.
        labels: n.
    """

    def __init__(
        self, audio: nn.Module | None, text: nn.Module | None, width: int, labels: int
    ) -> None:
        super().__init__()
        self.audio, self.text = audio, text
        self.dropout = nn.Dropout(0.1)
        self.linear = nn.Linear(width, labels)

    def forward(self, *inputs: Tensor) -> Tensor:
        """waveform, lengths where there is audio; token ids, mask where there is text -> logits."""
        left = list(inputs)
        pooled = []
        for encoder in (self.audio, self.text):
            if encoder is not None:
                given = encoder(left.pop(0), left.pop(0))
                pooled.append(given[0] if isinstance(given, tuple) else given)
        out: Tensor = self.linear(self.dropout(torch.cat(pooled, dim=1)))
        return out


def fine_tune(
    models: Mapping[str, str],
    waves: Waves | None,
    texts: Sequence[str] | None,
    labels: Indices,
    count: int,
    train: Indices,
    dev: Indices,
    settings: FitSettings,
    folder: Path,
) -> Floats:
    """Train, or go on; gives the logits of all n clips, float32 [n, count].

    Args:
        models: folder or hub id by modality, audio and text; one of them or both.
        waves, texts: of the n clips, where their modality is trained.

    Raises:
        ExportError: a model is not to be had, or is none that can be exported.
    """
    modules: dict[str, nn.Module] = {}
    width = 0
    sources: list[Inputs] = []
    if "audio" in models:
        assert waves is not None
        heard = load_audio(resolve(models["audio"], needs=AUDIO_FILES), "none")
        modules["audio"] = heard.module.requires_grad_(True)
        width += _width(heard.part)
        sources.append(_waveforms(waves, heard.part))
    if "text" in models:
        assert texts is not None
        known = load_text(resolve(models["text"], needs=TEXT_FILES), "none")
        modules["text"] = known.module.requires_grad_(True)
        width += _width(known.part)
        sources.append(_tokens(texts, known))
    if not modules:
        raise ExportError("nothing to fine-tune; give --fine-tune audio=MODEL or text=MODEL")
    torch.manual_seed(settings.seed)
    network = FineTuned(modules.get("audio"), modules.get("text"), width, count)

    def inputs(clips: Indices) -> tuple[Tensor, ...]:
        return tuple(tensor for source in sources for tensor in source(clips))

    fit(network, inputs, labels, train, dev, settings, folder, "fine-tuning")
    return predict(network, inputs, np.arange(len(labels)), settings.batch_size)


def _width(part: Mapping[str, object]) -> int:
    outputs = part["outputs"]
    assert isinstance(outputs, list | tuple)
    return next(int(spec["shape"][-1]) for spec in outputs if spec["role"] == "embedding")


def _waveforms(waves: Waves, part: Mapping[str, object]) -> Inputs:
    least, most = int(str(part["minimum_samples"])), int(str(part["maximum_samples"]))

    def inputs(clips: Indices) -> tuple[Tensor, ...]:
        cut = [waves[int(clip)][-most:] for clip in clips]
        lengths = [max(len(wave), least) for wave in cut]
        batch = np.zeros((len(cut), max(lengths)), np.float32)
        for row, wave in zip(batch, cut, strict=True):
            row[: len(wave)] = wave
        return torch.from_numpy(batch), torch.tensor(lengths)

    return inputs


def _tokens(texts: Sequence[str], model: object) -> Inputs:
    tokenizer = model.tokenizer  # type: ignore[attr-defined]
    most, pad = tokenizer.max_tokens, tokenizer.pad_id
    ids = [
        tokenizer.original(text, truncation=True, max_length=most)["input_ids"] for text in texts
    ]

    def inputs(clips: Indices) -> tuple[Tensor, ...]:
        chosen = [ids[int(clip)] for clip in clips]
        width = max(len(row) for row in chosen)
        tokens = torch.full((len(chosen), width), pad)
        mask = torch.zeros((len(chosen), width), dtype=torch.int64)
        for place, row in enumerate(chosen):
            tokens[place, : len(row)] = torch.tensor(row)
            mask[place, : len(row)] = 1
        return tokens, mask

    return inputs
