"""What the user of `reproduce` decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """Where to read and write, and with what.

    Attributes:
        data: folder with speech.csv, speech/ and text/.
        out: folder of this paper's results.
        cache: for what can be made again.
        quick: a few clips and one epoch of everything, to see that it runs.
        threads: of the CPU.
        seed: of everything that is drawn.
        audio: the speech encoder: a bundle or an encoder folder, or empty for what the paper's
            module takes by itself.
        text: the text encoder: a bundle or an encoder folder, or empty.
        fine_tune: Hugging Face folders or hub ids by modality, to be trained on with the head.
        corpora: folders of corpora that are licensed, by the names of `readers.READERS`.
        vectors: files of word vectors by language.
        frames: encoders whose embeddings of successive windows are frames, or log-mel (paper 4).
        only: pattern of the systems to run, by their folders below `out`.
        image_network: folder of a published MobileNetV2; random weights where empty.
    """

    data: Path
    out: Path
    cache: Path
    quick: bool = False
    threads: int = 1
    seed: int = 0
    audio: str = ""
    text: str = ""
    fine_tune: Mapping[str, str] = field(default_factory=dict)
    corpora: Mapping[str, Path] = field(default_factory=dict)
    vectors: Mapping[str, Path] = field(default_factory=dict)
    frames: tuple[str, ...] = ()
    image_network: str = ""
    only: str = "*"
