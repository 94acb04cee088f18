"""The seven emotions, and what each corpus calls them.

A corpus keeps its own labels (`OWN_LABELS`); `SHARED` says which of the seven each of them counts
as. Labels that fit none (shame, anticipation, trust, powerful, peaceful) count as nothing: such a
row teaches the label set of its corpus only.
"""

from __future__ import annotations

from collections.abc import Mapping

EMOTIONS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")

_EKMAN = {
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "joy": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
}

# Demszky et al., "GoEmotions: A Dataset of Fine-Grained Emotions" (ACL 2020), the corpus's
# `ekman_mapping.json`.
_GOEMOTIONS = {
    "angry": ("anger", "annoyance", "disapproval"),
    "disgust": ("disgust",),
    "fearful": ("fear", "nervousness"),
    "happy": (
        *("admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude"),
        *("joy", "love", "optimism", "pride", "relief"),
    ),
    "neutral": ("neutral",),
    "sad": ("disappointment", "embarrassment", "grief", "remorse", "sadness"),
    "surprised": ("confusion", "curiosity", "realization", "surprise"),
}

# Emotions of Plutchik's wheel (XED) and of SemEval-2018 task 1 E-c; anticipation and trust are
# none of the seven.
_PLUTCHIK = ("anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise", "trust")
_SEMEVAL = (
    *("anger", "anticipation", "disgust", "fear", "joy", "love", "optimism", "pessimism"),
    *("sadness", "surprise", "trust"),
)
_BRIGHTER = ("anger", "disgust", "fear", "joy", "sadness", "surprise")
_SUBSET = {label: _EKMAN[label] for label in _BRIGHTER} | {"neutral": "neutral"}


def _without(mapping: Mapping[str, str], *labels: str) -> dict[str, str]:
    return {label: emotion for label, emotion in mapping.items() if label not in labels}


SHARED: Mapping[str, Mapping[str, str]] = {
    "goemotions": {label: emotion for emotion, own in _GOEMOTIONS.items() for label in own},
    "meld": _EKMAN,
    # Zahiri and Choi (2018) use the feeling wheel of Willcox: mad, scared, joyful are Ekman's.
    "emorynlp": {
        "joyful": "happy",
        "mad": "angry",
        "neutral": "neutral",
        "sad": "sad",
        "scared": "fearful",
    },
    # Love is joy, as in GoEmotions; the corpus has no neutral.
    "dairai": _without(_EKMAN, "disgust", "neutral") | {"love": "happy"},
    "isear": _without(_EKMAN, "surprise", "neutral"),
    # "others" is whatever is none of Ekman's six: most of it says nothing emotional.
    "emoevent_en": _without(_EKMAN, "neutral") | {"others": "neutral"},
    "emoevent_es": _without(_EKMAN, "neutral") | {"others": "neutral"},
    "meacorpus": _without(_EKMAN, "surprise"),
    "semeval_en": _SUBSET | {"love": "happy", "optimism": "happy", "pessimism": "sad"},
    "semeval_es": _without(_EKMAN, "disgust", "neutral", "surprise"),
    "xed_en": _SUBSET,
    "xed_es": _without(_SUBSET, "neutral"),
    "brighter_en": _without(_SUBSET, "disgust"),
    "brighter_es": _SUBSET,
}
"""Corpus -> its label -> one of the seven. Its values are what the corpus can tell apart."""

OWN_LABELS: Mapping[str, tuple[str, ...]] = {
    **{corpus: tuple(sorted(mapping)) for corpus, mapping in SHARED.items()},
    "emorynlp": ("joyful", "mad", "neutral", "peaceful", "powerful", "sad", "scared"),
    "isear": ("anger", "disgust", "fear", "guilt", "joy", "sadness", "shame"),
    "semeval_en": (*_SEMEVAL, "neutral"),
    "xed_en": (*_PLUTCHIK, "neutral"),
    "xed_es": _PLUTCHIK,
}
"""Corpus -> all labels of its own."""

AFFECT_CORPORA = ("emobank", "fb", "semeval_es_valence")
"""Corpora with ratings of valence, arousal or dominance and without emotions."""

UNDIVIDED = ("meacorpus",)
"""Corpora without dev and test rows: a fold of them is held out. They learn the logits as they are
served (see `prior`), so that their own frequencies of emotions count."""

CORPORA = (*SHARED, *AFFECT_CORPORA)
