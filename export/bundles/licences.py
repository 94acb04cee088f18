"""Under what terms the data came that a bundle's weights were made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..training.corpora import title

TRAINING, EVALUATION = "training", "evaluation only"

_SPEECH = {
    "cremad": "ODbL-1.0",
    "ravdess": "CC-BY-NC-SA-4.0",
    "emodb": "free for research use",
    "nemo": "CC-BY-NC-SA-4.0",
    "banglaser": "CC-BY-4.0",
    "tess": "CC-BY-NC-ND-4.0",
}
_TEXT = {
    "goemotions": ("GoEmotions", "Apache-2.0"),
    "meld": ("MELD", "GPL-3.0 (repository)"),
    "emorynlp": ("EmoryNLP", "GPL-3.0 (repository)"),
    "dairai": ("dair-ai/emotion", "research use"),
    "isear": ("ISEAR", "data terms not stated"),
    "emoevent_en": ("EmoEvent", "not stated"),
    "emoevent_es": ("EmoEvent", "not stated"),
    "meacorpus": ("Spanish MEACorpus 2023 (transcripts)", "CC-BY-NC-4.0"),
    "semeval_en": ("SemEval-2018 task 1", "data terms not stated"),
    "semeval_es": ("SemEval-2018 task 1", "data terms not stated"),
    "semeval_es_valence": ("SemEval-2018 task 1", "data terms not stated"),
    "xed_en": ("XED", "CC-BY-4.0"),
    "xed_es": ("XED", "CC-BY-4.0"),
    "brighter_en": ("BRIGHTER", "CC-BY-4.0"),
    "brighter_es": ("BRIGHTER", "CC-BY-4.0"),
    "emobank": ("EmoBank", "CC-BY-SA-4.0"),
    "fb": ("Facebook posts with valence and arousal", "research use"),
}
_UNKNOWN = "not known here"


def text_title(corpus: str) -> str:
    """A text corpus for people, with its language where it comes in several."""
    name, _ = _TEXT.get(corpus, (corpus, ""))
    _, _, language = corpus.rpartition("_")
    return f"{name} ({language})" if language in ("en", "es") and corpus in _TEXT else name


def data_uses(
    trained: Iterable[str],
    measured: Iterable[str],
    texts: Sequence[str],
    fused: Sequence[str],
    *,
    readers: bool,
    noises: bool,
) -> list[dict[str, str]]:
    """The rows of `licence.data` in `bundle.json`.

    Args:
        trained: speech corpora that were trained on.
        measured: those that there were to measure on.
        texts: text corpora that the text encoder was trained on.
        fused: text corpora whose sentences the fusion head was trained on.
        readers, noises: whether half of them were trained on.
    """
    known = set(trained)
    uses = [
        (title(corpus), _SPEECH.get(corpus, _UNKNOWN), TRAINING if corpus in known else EVALUATION)
        for corpus in sorted({*known, *measured}, key=lambda name: (name not in known, name))
    ]
    half = "training on one half, evaluation on the other"
    uses += [
        ("LibriSpeech (200 utterances)", "CC-BY-4.0", half if readers else EVALUATION),
        ("non-speech recordings", "research use", half if noises else EVALUATION),
    ]
    for corpus in dict.fromkeys([*texts, *fused]):
        name, licence = _TEXT.get(corpus, (corpus, _UNKNOWN))
        roles = ["text" if corpus in texts else "", "fusion" if corpus in fused else ""]
        use = f"{TRAINING} ({' and '.join(role for role in roles if role)})"
        uses.append((f"{name}, text", licence, use))
    # Two languages of one corpus are one row.
    return [
        {"name": name, "licence": licence, "used_for": use}
        for name, licence, use in dict.fromkeys(uses)
    ]
