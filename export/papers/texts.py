"""Classifiers of text for papers 1, 3 and 5: the paper's transformer where the user has one.

Without any, tf-idf of words and of pieces of words with logistic regression, which needs nothing
but the corpus itself. The default bundle's text encoder is not taken unasked: it has learnt from
the very sentences of MEACorpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline

from ..fusion.answers import Answers
from .fit import FitSettings, Indices, fit, predict, rows_of
from .frozen import read
from .networks import FrozenHead
from .options import Options

Floats = NDArray[np.float32]
_FROZEN = FitSettings(20, 16, 1e-3, "adamw", 0.01)


def text_scores(
    options: Options,
    texts: Sequence[str],
    labels: Indices,
    count: int,
    train: Indices,
    dev: Indices,
    settings: FitSettings,
    folder: Path,
) -> Floats:
    """Logits of all n texts, float32 [n, count], by a classifier that learnt from `train`.

    Args:
        settings: the paper's, for a transformer that is fine-tuned.
        folder: of what is trained; a second call reads it from there.
    """
    if "text" in options.fine_tune:
        from .finetune import Given, fine_tune

        only = {"text": options.fine_tune["text"]}
        every = np.arange(len(labels))
        return fine_tune(
            only, Given(texts=texts), labels, count, train, dev, every, settings, folder
        )
    if options.text:
        answers = read(options.text, texts, options.cache, options.threads)
        network = FrozenHead(answers.embedding.shape[1], count)
        inputs = rows_of(answers.embedding)
        fit(network, inputs, labels, train, dev, _FROZEN, folder, "text encoder + linear")
        return predict(network, inputs, np.arange(len(texts)), 256)
    kept = folder / "scores.npy"
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        scores = _tfidf_scores(texts, labels, count, np.concatenate([train, dev]))
        np.save(kept, scores)
    found: Floats = np.load(kept)
    return found


def _vectorizer() -> FeatureUnion:
    return FeatureUnion(
        [
            ("words", TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents=None)),
            ("pieces", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)),
        ]
    )


def _tfidf_scores(texts: Sequence[str], labels: Indices, count: int, train: Indices) -> Floats:
    model = make_pipeline(
        _vectorizer(), LogisticRegression(C=10, class_weight="balanced", max_iter=2000)
    )
    model.fit([texts[int(i)] or "-" for i in train], labels[train])
    scores = np.full((len(texts), count), -20.0, np.float32)
    found = model.predict_proba([text or "-" for text in texts])
    scores[:, model.classes_] = np.log(np.maximum(found, 1e-9))
    return scores


def text_answers(options: Options, texts: Sequence[str], train: Indices, labels: int) -> Answers:
    """An embedding of each text: the text encoder's, or a latent semantic analysis of `train`.

    Deerwester et al., "Indexing by latent semantic analysis", 1990: tf-idf, singular vectors.
    The logits are zeros [n, labels].
    """
    zeros = np.zeros((len(texts), labels), np.float32)
    nothing = np.zeros((len(texts), 0), np.float32)
    if options.text:
        found = read(options.text, texts, options.cache, options.threads)
        return Answers(zeros, found.embedding, nothing)
    vectors = _vectorizer()
    known = vectors.fit_transform([texts[int(i)] or "-" for i in train])
    width = max(2, min(256, known.shape[1] - 1, known.shape[0] - 1))
    analysis = TruncatedSVD(width, random_state=0).fit(known)
    # Equal texts, of which actors' corpora have many, are looked up once.
    different = sorted(set(texts))
    place = {text: i for i, text in enumerate(different)}
    embedded = analysis.transform(vectors.transform([text or "-" for text in different]))
    rows = np.array([place[text] for text in texts])
    return Answers(zeros, embedded[rows].astype(np.float32), nothing)


def text_system(options: Options) -> str:
    """What stands for the paper's text encoder, in words."""
    if "text" in options.fine_tune:
        return f"{options.fine_tune['text']}, fine-tuned"
    if options.text:
        return "the given text encoder, frozen, with a linear layer"
    return "tf-idf with logistic regression"
