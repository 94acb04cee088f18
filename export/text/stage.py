"""The text stage of a training run: from labelled sentences to an encoder folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from ..errors import ExportError
from ..training.context import StageContext
from ..training.cpu import prepare_cpu
from ..training.metrics import Floats, restricted
from .batches import Encoded, allowed_emotions, encode_rows, make_batch
from .corpora import TextRow
from .labels import AFFECT_CORPORA, CORPORA
from .measure import bundle_metrics, emotion_figures, measure
from .network import TextEncoder
from .onnx_text import MAX_TOKENS, leave_encoder
from .prior import CHOSEN_ON, dev_score, dev_sets, fit_prior, one_emotion
from .settings import TextSettings
from .splits import folds, hold_out, read_rows
from .tokens import load_tokenizer, train_tokenizer
from .train_text import Score, fit, standard_scores

FIGURES_FILE = "figures.json"
_BATCH = 256


def train(settings: TextSettings, context: StageContext) -> None:
    """Train the text encoder, and leave it as `context.encoder`.

    Reads `context.data / "text"`; its own splits hold whatever `context.split` says of speakers.
    Beside the checkpoints, `context.folder` gets tokenizer.json and figures.json.

    Raises:
        ExportError: a corpus is not there, or settings do not fit.
    """
    prepare_cpu(context.threads)
    rows = [row for row in read_rows(context.data / "text") if row.corpus in settings.corpora]
    if not any(row.split == "train" for row in rows):
        raise ExportError("no sentences to train on are left; name more corpora in [text]")
    run = _Run(settings, context, rows)
    base = run.base()
    fold_figures = run.cross_validate(base)
    model = run.tuned(base, rows, "tune", run.score) if settings.tune.steps else base
    serve_prior(model, run.dev, run.dev_encoded)
    options = {
        "corpora": [name for name in CORPORA if any(row.corpus == name for row in rows)],
        "settings": asdict(settings),
        "seed": context.seed,
    }
    leave_encoder(model, run.tokenizer, context.encoder, options)
    figures = measure(context.encoder, rows, context.threads) | fold_figures
    figures = {"metrics": bundle_metrics(figures), **figures}
    path = context.folder / FIGURES_FILE
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


class _Run:
    """What the phases of one run share."""

    def __init__(
        self, settings: TextSettings, context: StageContext, rows: Sequence[TextRow]
    ) -> None:
        self.settings, self.context, self.rows = settings, context, rows
        context.folder.mkdir(parents=True, exist_ok=True)
        self.tokenizer = self._tokenizer(context.folder / "tokenizer.json")
        self.dev = [
            row for row in rows if row.split == "dev" and row.corpus in (*CHOSEN_ON, "emobank")
        ]
        self.dev_encoded = encode_rows(self.dev, self.tokenizer, MAX_TOKENS, context.seed)

    def _tokenizer(self, path: Path) -> Tokenizer:
        if not path.exists() or not self.context.resume:
            # Of the rows that cross-validation holds out too: their words, not their labels.
            texts = [row.text for row in self.rows if row.split == "train"]
            train_tokenizer(texts, self.settings.network.vocabulary).save(str(path))
        return load_tokenizer(path)

    def train_encoded(self, rows: Sequence[TextRow]) -> Encoded:
        """The training rows, affect as rated."""
        kept = [row for row in rows if row.split == "train"]
        return encode_rows(kept, self.tokenizer, self.settings.max_tokens, self.context.seed)

    @property
    def score(self) -> Score | None:
        if not self.dev:
            return None

        def score(model: TextEncoder) -> tuple[float, dict[str, float]]:
            return dev_score(self.dev, *answers(model, self.dev_encoded))

        return score

    def base(self) -> TextEncoder:
        """The network after the first phase."""
        settings, context = self.settings, self.context
        rows = [row for row in self.rows if row.corpus not in settings.tuned_on]
        encoded, scales = standard_scores(self.train_encoded(rows))
        torch.manual_seed(context.seed)
        network = replace(settings.network, vocabulary=self.tokenizer.get_vocab_size())
        model = TextEncoder(network)
        for corpus in AFFECT_CORPORA:
            scale = scales[CORPORA.index(corpus)]
            if not np.isnan(scale).any():
                model.affect_mean.copy_(torch.from_numpy(scale[0]))
                model.affect_deviation.copy_(torch.from_numpy(scale[1]))
                break
        return fit(
            model,
            encoded,
            settings.base,
            settings,
            context.folder / "base",
            seed=context.seed,
            progress=context.progress,
            resume=context.resume,
            score=self.score,
        )

    def tuned(
        self, base: TextEncoder, rows: Sequence[TextRow], name: str, score: Score | None
    ) -> TextEncoder:
        """The network after the second phase, on `rows`."""
        model = TextEncoder(base.settings)
        model.load_state_dict(base.state_dict())
        encoded, _ = standard_scores(self.train_encoded(rows))
        return fit(
            model,
            encoded,
            self.settings.tune,
            self.settings,
            self.context.folder / name,
            seed=self.context.seed + 1,
            progress=self.context.progress,
            resume=self.context.resume,
            score=score,
        )

    def cross_validate(self, base: TextEncoder) -> dict[str, Any]:
        """Repeat the second phase for each fold of the corpora that only it sees.

        Folds are not chosen by anything: every one takes the last step. Their answers are those
        of the network; that its graph gives the same is checked when it is exported.
        """
        settings, figures = self.settings, {}
        if not settings.folds or not settings.tune.steps:
            return {}
        for corpus in settings.tuned_on:
            fold_of = folds(self.rows, corpus, settings.folds, self.context.seed)
            if not fold_of:
                continue
            logits, truths = [], []
            for number in range(settings.folds):
                rows = hold_out(self.rows, corpus, fold_of, number)
                model = self.tuned(base, rows, f"{corpus}-fold{number}", None)
                serve_prior(model, self.dev, self.dev_encoded)
                held = [row for row in rows if row.corpus == corpus and row.split == "test"]
                places, truth = one_emotion(held)
                encoded = encode_rows(held, self.tokenizer, MAX_TOKENS, self.context.seed)
                own = allowed_emotions()[CORPORA.index(corpus)]
                logits.append(restricted(answers(model, encoded)[0][places], own))
                truths.append(truth)
            figures[f"{corpus}.{settings.folds}-fold"] = emotion_figures(
                np.concatenate(logits), np.concatenate(truths), 1.0
            )
        return {"cross_validated": figures}


def answers(model: TextEncoder, encoded: Encoded) -> tuple[Floats, Floats]:
    """Logits [n, 7] and affect [n, 3] of all rows as written, in order."""
    order = np.argsort([len(ids) for ids in encoded.variants[0]], kind="stable")
    logits = np.zeros((len(encoded), model.emotion.out_features))
    affect = np.zeros((len(encoded), model.affect.out_features))
    model.eval()
    for start in range(0, len(order), _BATCH):
        places = order[start : start + _BATCH]
        batch = make_batch(encoded, places)
        with torch.no_grad():
            rows, _, ratings = model(batch.input_ids, batch.attention_mask)
        logits[places], affect[places] = rows.numpy(), ratings.numpy()
    return logits, affect


def serve_prior(model: TextEncoder, dev: Sequence[TextRow], encoded: Encoded) -> None:
    """Fit the prior on the dev sets of `CHOSEN_ON` and put it into the network."""
    model.prior.zero_()
    sets = dev_sets(dev, answers(model, encoded)[0])
    if sets:
        model.prior.copy_(torch.from_numpy(fit_prior([*sets.values()])))
