"""Published transformers trained together with a linear layer on top: the papers' own systems.

Paper 1: DistilBERT. Paper 2: HuBERT and BERT, "mean-pooled along the sequence dimension, passed
through a dropout layer, concatenated", linear. Papers 3 and 5: BETO, MarIA, BERTIN, wav2vec 2.0.
The modules are those that are exported (`huggingface`), so that what was trained can be served.
What the papers keep frozen is exported first, and given as an encoder folder with --audio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ExportError
from ..huggingface.audio import load_audio
from ..huggingface.source import AUDIO_FILES, TEXT_FILES, resolve
from ..huggingface.text import load_text
from .fit import FitSettings, Indices, Inputs, fit, goes_on, predict, rows_of
from .frozen import Waves

Floats = NDArray[np.float32]

TOP_RATE = 1e-3
_HEARD_AT_ONCE = 32


class FineTuned(nn.Module):
    """One or two encoders, dropout, linear.

    The embeddings are brought to a mean of 0 and a variance of 1 as they are at the start: the
    states of some encoders are a hundred times as small as those of others.

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
        self.top = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, labels))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.mean: Tensor
        self.deviation: Tensor

    def forward(self, *inputs: Tensor) -> Tensor:
        """See `embedding` -> logits [batch, labels]."""
        out: Tensor = self.top(self.embedding(*inputs))
        return out

    def embedding(self, *inputs: Tensor) -> Tensor:
        """-> [batch, width].

        Args:
            inputs: waveform, lengths where there is audio; token ids, mask where there is text;
                then embeddings that are as they are, [batch, ...] each.
        """
        left = list(inputs)
        pooled = []
        for encoder in (self.audio, self.text):
            if encoder is not None:
                given = encoder(left.pop(0), left.pop(0))
                pooled.append(given[0] if isinstance(given, tuple) else given)
        return (torch.cat([*pooled, *left], dim=1) - self.mean) / self.deviation


@dataclass(frozen=True, slots=True)
class Given:
    """What n clips are to the networks.

    Attributes:
        waves, texts: where their modality is trained.
        embeddings: float32 [n, ...] of encoders that stay as they are, side by side with what is
            trained.
    """

    waves: Waves | None = None
    texts: Sequence[str] | None = None
    embeddings: Sequence[Floats] = ()


def fine_tune(
    models: Mapping[str, str],
    given: Given,
    labels: Indices,
    count: int,
    train: Indices,
    dev: Indices,
    test: Indices,
    settings: FitSettings,
    folder: Path,
) -> Floats:
    """Train, or go on; gives the logits of the clips `test`, float32 [their number, count].

    The layer on top is trained first, alone, and then all together: a layer that knows nothing yet
    would pull the encoder away from what it knows (Kumar et al., "Fine-tuning can distort
    pretrained features and underperform out-of-distribution", ICLR 2022).

    Args:
        models: folder or hub id by modality, audio and text; one of them or both.
        given: the n clips.
        settings: of all together. The layer alone has as many epochs at `TOP_RATE`.

    Raises:
        ExportError: a model is not to be had, or is none that can be exported.
    """
    modules: dict[str, nn.Module] = {}
    width = sum(each.shape[1] for each in given.embeddings)
    sources: list[Inputs] = []
    lengths = None
    if "audio" in models:
        assert given.waves is not None
        heard = load_audio(resolve(models["audio"], needs=AUDIO_FILES), "none")
        modules["audio"] = heard.module.requires_grad_(True)
        width += _width(heard.part)
        sources.append(_waveforms(given.waves, heard.part))
        lengths = np.array([len(given.waves[row]) for row in range(len(labels))])
    if "text" in models:
        assert given.texts is not None
        known = load_text(resolve(models["text"], needs=TEXT_FILES), "none")
        modules["text"] = known.module.requires_grad_(True)
        width += _width(known.part)
        sources.append(_tokens(given.texts, known))
    if not modules:
        raise ExportError("nothing to fine-tune; give --fine-tune audio=MODEL or text=MODEL")
    sources += [rows_of(each) for each in given.embeddings]
    torch.manual_seed(settings.seed)
    network = FineTuned(modules.get("audio"), modules.get("text"), width, count)

    def inputs(clips: Indices) -> tuple[Tensor, ...]:
        return tuple(tensor for source in sources for tensor in source(clips))

    if not goes_on(folder, settings):
        _fit_top(network, inputs, labels, train, dev, settings, folder / "top", lengths)
    fit(network, inputs, labels, train, dev, settings, folder, "fine-tuning", lengths,
        learnt_before=True)  # fmt: skip
    return predict(network, inputs, test, settings.batch_size, lengths)


def _fit_top(
    network: FineTuned,
    inputs: Inputs,
    labels: Indices,
    train: Indices,
    dev: Indices,
    settings: FitSettings,
    folder: Path,
    lengths: Indices | None,
) -> None:
    heard = np.concatenate([train, dev])
    title = "encoders as they are"
    found = predict(network, inputs, heard, _HEARD_AT_ONCE, lengths, network.embedding, title)
    mean, deviation = found[: len(train)].mean(0), found[: len(train)].std(0) + 1e-3
    network.mean.copy_(torch.from_numpy(mean))
    network.deviation.copy_(torch.from_numpy(deviation))
    places = np.arange(len(heard))
    fit(network.top, rows_of((found - mean) / deviation), labels[heard], places[: len(train)],
        places[len(train) :], replace(settings, learning_rate=TOP_RATE), folder,
        "the layer on top")  # fmt: skip


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
