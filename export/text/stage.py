"""The text stage of a training run: from labelled sentences to an encoder folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..encoder_folder import TOKENIZER_FILE
from ..errors import ExportError
from ..training.context import StageContext
from ..training.cpu import prepare_cpu
from ..training.metrics import Floats
from .batches import Encoded, encode_rows, make_batch
from .corpora import TextRow
from .labels import AFFECT_CORPORA, CORPORA, UNDIVIDED
from .measure import bundle_metrics, measure
from .network import TextEncoder
from .onnx_text import MAX_TOKENS, leave_encoder
from .prior import CHOSEN_ON, dev_score, dev_sets, fit_prior
from .settings import TextSettings
from .splits import folds, hold_out, read_rows
from .tokens import load_tokenizer, train_tokenizer
from .train_text import fit, standard_scores

FIGURES_FILE = "figures.json"
USUAL_PRIOR = (0.5, -1.3, -1.2, 0.7, 1.2, -0.4, 0.5)
"""Logits of `EMOTIONS` that runs before ended with; `serve_prior` fits them anew."""

_BATCH = 256


def train(settings: TextSettings, context: StageContext) -> None:
    """Train the text encoder, and leave it as `context.encoder`.

    Reads `context.data / "text"`; its own splits hold whatever `context.split` says of speakers.
    Beside the checkpoints, `context.folder` gets tokenizer.json and figures.json.

    Raises:
        ExportError: a corpus is not there, or settings do not fit.
    """
    prepare_cpu(context.threads)
    rows = _divided(read_rows(context.data / "text", settings.corpora), settings)
    trained = [row for row in rows if row.split == "train"]
    if not trained:
        raise ExportError("no sentences to train on are left; name more corpora in [text]")
    context.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(context, trained, settings)
    dev = [row for row in rows if row.split == "dev" and row.corpus in (*CHOSEN_ON, "emobank")]
    dev_encoded = encode_rows(dev, tokenizer, MAX_TOKENS, context.seed)

    def score(model: TextEncoder) -> tuple[float, dict[str, float]]:
        return dev_score(dev, *answers(model, dev_encoded))

    encoded, scales = standard_scores(
        encode_rows(trained, tokenizer, settings.max_tokens, context.seed)
    )
    model = fit(
        _network(settings, tokenizer, scales, context.seed),
        encoded,
        settings,
        context.folder,
        seed=context.seed,
        progress=context.progress,
        resume=context.resume,
        score=score if dev else None,
    )
    serve_prior(model, dev, dev_encoded)
    options = {
        "corpora": [name for name in CORPORA if any(row.corpus == name for row in trained)],
        "settings": asdict(settings),
        "seed": context.seed,
    }
    leave_encoder(model, tokenizer, context.encoder, options)
    figures = measure(context.encoder, rows, context.threads)
    figures = {"metrics": bundle_metrics(figures, settings.folds), **figures}
    path = context.folder / FIGURES_FILE
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _divided(rows: Sequence[TextRow], settings: TextSettings) -> Sequence[TextRow]:
    """With the fold of each undivided corpus as its test set."""
    for corpus in UNDIVIDED:
        # Seed 0 always: the folds of two runs are the same, whatever their seeds.
        fold_of = folds(rows, corpus, settings.folds, 0)
        rows = hold_out(rows, corpus, fold_of, settings.fold)
    return rows


def _tokenizer(context: StageContext, rows: Sequence[TextRow], settings: TextSettings) -> Tokenizer:
    path = context.folder / TOKENIZER_FILE
    if not path.exists() or not context.resume:
        train_tokenizer([row.text for row in rows], settings.network.vocabulary).save(str(path))
    return load_tokenizer(path)


def _network(
    settings: TextSettings, tokenizer: Tokenizer, scales: NDArray[np.float32], seed: int
) -> TextEncoder:
    """A new network, with the prior that `prior` finds near enough to start from."""
    torch.manual_seed(seed)
    model = TextEncoder(replace(settings.network, vocabulary=tokenizer.get_vocab_size()))
    model.prior.copy_(torch.tensor(USUAL_PRIOR))
    for corpus in AFFECT_CORPORA:
        mean, deviation = torch.from_numpy(scales[CORPORA.index(corpus)])
        if not (mean.isnan() | deviation.isnan()).any():
            model.affect_mean.copy_(mean)
            model.affect_deviation.copy_(deviation)
            break
    return model


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
    """Fit the prior on dev and put it into the network."""
    model.prior.zero_()
    sets = dev_sets(dev, answers(model, encoded)[0])
    model.prior.copy_(torch.from_numpy(fit_prior(sets)))
