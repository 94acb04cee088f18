"""Where a Hugging Face model comes from (a folder, the local cache, the hub), and what it says.

Nothing of a model is executed. Weights are read from safetensors; pickles, which can run anything
when they are read, through the reader of torch that takes tensors only. Code in the repository of
a model (`auto_map`) is never looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from realtime_ser.models.hub import HUB_DEADLINE_S, first_line

from ..encoder_folder import Source
from ..errors import ExportError
from . import moonshine, smart_turn
from .hub import LAYOUT, download, find_cached

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
_INDEX = ".index.json"
AUDIO_FILES: tuple[tuple[str, ...], ...] = (("preprocessor_config.json",),)
"""What a speech model needs beside its configuration and weights; any one of each row."""
TEXT_FILES: tuple[tuple[str, ...], ...] = (
    ("tokenizer.json", "vocab.txt", "merges.txt", "sentencepiece.bpe.model"),
)
"""The same of a text model."""

IN_WHEELS: Mapping[str, Callable[[], Path]] = {
    smart_turn.NAME: smart_turn.smart_turn_folder,
    moonshine.NAME: moonshine.moonshine_folder,
}
"""Models that the package index has, by name."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_UNNAMED = re.compile(r"LABEL_\d+")

Model = TypeVar("Model")


def resolve(
    model: str,
    revision: str | None = None,
    *,
    needs: Sequence[tuple[str, ...]] = (),
    deadline_s: float = HUB_DEADLINE_S,
) -> Path:
    """The folder of `model`, downloaded when it is neither a folder nor in the local cache.

    Args:
        model: path of a folder, or the id of a model on the hub, `owner/name`, or a name in
            `IN_WHEELS`. A folder that is called like one needs `./`.
        revision: branch, tag or commit on the hub; without it the one in the cache, or main.
        needs: files it must hold beside configuration and weights: `AUDIO_FILES`, `TEXT_FILES`.
        deadline_s: how long the hub may take to hand out the first byte of the weights.

    Raises:
        ExportError: there is no such model, it lacks files (which are named), or the hub does not
            give it; the latter is known after `deadline_s` and the import of huggingface_hub.
    """
    folder = Path(model).expanduser()
    if model and folder.is_dir():
        if revision is not None:
            raise ExportError(f"{model} is a folder; --revision goes with a model of the hub")
        return _checked(folder, needs)
    if model in IN_WHEELS:
        if revision is not None:
            raise ExportError(f"{model} lies in a wheel; --revision goes with a model of the hub")
        return IN_WHEELS[model]()
    if model.startswith((".", "~", os.sep)) or not _HUB_ID.fullmatch(model):
        raise ExportError(
            f"there is no folder {model}; give one that holds {LAYOUT}, or the id of a model on "
            "the Hugging Face hub, owner/name"
        )
    cached = find_cached(model, revision)
    # Of an interrupted download, or one by another program, files are missing.
    if cached is not None and not missing_files(cached, needs):
        return cached
    return _checked(download(model, revision, deadline_s), needs)


def missing_files(folder: Path, needs: Sequence[tuple[str, ...]] = ()) -> list[str]:
    """What `folder` lacks to be a model."""
    wanted = [("config.json",), *needs]
    lacking = [
        " or ".join(names)
        for names in wanted
        if not any((folder / name).is_file() for name in names)
    ]
    try:
        lacking += [file.name for file in weight_files(folder) if not file.is_file()]
    except ExportError:
        lacking.append(f"{SAFETENSORS} or {PICKLE}")
    return lacking


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        ExportError: it is not there, is no JSON object, or does not name its architecture.
    """
    path = folder / "config.json"
    config = _read_object(path)
    if not isinstance(config.get("model_type"), str):
        raise ExportError(
            f"{path} has no model_type, so it is not known what to load; take config.json of the "
            "published model that this one was made from as a pattern"
        )
    return config


def labels_of(
    config: Mapping[str, Any], names: Sequence[str] | None = None, *, model: str = "the model"
) -> tuple[str, ...]:
    """The labels of a head in the order of its outputs.

    Args:
        config: of `read_config`.
        names: to use instead, from a recipe or the command line; as many as there are outputs.

    Raises:
        ExportError: the model does not name its labels, or not as many.
    """
    own = _own_labels(config, model)
    if names is not None:
        if own and len(own) != len(names):
            raise ExportError(
                f"{model} has {len(own)} outputs ({', '.join(own)}), and {len(names)} names are "
                f"given for them: {', '.join(names)}"
            )
        if len(set(names)) != len(names):
            raise ExportError(f"the names {', '.join(names)} hold one twice; name each output once")
        return tuple(names)
    if not own or any(_UNNAMED.fullmatch(label) for label in own):
        raise ExportError(
            f"{model} does not name its labels (id2label in config.json: "
            f"{', '.join(own) or 'missing'}); look them up in its model card and give them in the "
            "order of the outputs, with `labels` in the recipe or --name-labels"
        )
    if len(set(own)) != len(own):
        raise ExportError(f"{model} has a label twice ({', '.join(own)}); give --name-labels")
    return own


def _own_labels(config: Mapping[str, Any], model: str) -> tuple[str, ...]:
    table = config.get("id2label")
    if table is None:
        return ()
    try:
        by_index = {int(index): str(label) for index, label in table.items()}
    except (AttributeError, ValueError, TypeError) as error:
        raise ExportError(f"{model}: id2label in config.json is no table of labels") from error
    if sorted(by_index) != list(range(len(by_index))):
        raise ExportError(
            f"{model}: id2label in config.json names outputs {sorted(by_index)}, not 0, 1, 2, ...; "
            "give --name-labels"
        )
    return tuple(by_index[index] for index in range(len(by_index)))


def weight_files(folder: Path) -> list[Path]:
    """The files that `load_weights` reads, sorted; shards may be listed and not be there.

    Raises:
        ExportError: there are no weights, or the index of the shards is damaged.
    """
    for name in (SAFETENSORS, PICKLE):
        index = folder / (name + _INDEX)
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            table = _read_object(index).get("weight_map")
            if not isinstance(table, dict) or not table:
                raise ExportError(f"{index} has no weight_map; copy the model again")
            shards = sorted({str(shard) for shard in table.values()})
            outside = [shard for shard in shards if Path(shard).name != shard]
            if outside:
                raise ExportError(f"{index} names {outside[0]}, which is no file beside it")
            return [folder / shard for shard in shards]
    raise ExportError(f"{folder} has neither {SAFETENSORS} nor {PICKLE}; it must hold {LAYOUT}")


def load_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors by name, on the CPU, in the precision they are stored in.

    Raises:
        ExportError: files are missing or damaged, or a pickle holds more than tensors.
    """
    weights: dict[str, Tensor] = {}
    for path in weight_files(folder):
        if not path.is_file():
            raise ExportError(f"{folder} lacks {path.name}, a part of its weights; copy it too")
        weights |= _read_safetensors(path) if path.suffix == ".safetensors" else _unpickle(path)
    return weights


def of_encoder(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the encoder of a model that has a decoder too, under the encoder's own names."""
    short = {name.removeprefix("model."): each for name, each in weights.items()}
    prefix = "encoder."
    return {
        name.removeprefix(prefix): each for name, each in short.items() if name.startswith(prefix)
    }


def load_model(
    model_class: type[Model],
    config: Any,
    weights: Mapping[str, Tensor],
    name: str,
    *,
    may_lack: str = r"masked_spec_embed|position_ids",
) -> Model:
    """A class of transformers with `weights`, float32, in evaluation mode, attention as written.

    Args:
        config: of the model; it is copied.
        may_lack: pattern of weights that do not matter to what is exported. By default those that
            only pretraining uses. transformers would fill others with random numbers and a warning.

    Raises:
        ExportError: weights are missing, have other shapes than the configuration says, or are
            those of a classifier that the class does not have.
    """
    import copy

    import torch
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    # It lists what it has no use for, such as heads of pretraining; what it lacks is below.
    logging.set_verbosity_error()
    try:
        model, report = model_class.from_pretrained(  # type: ignore[attr-defined]
            None,
            config=copy.deepcopy(config),
            state_dict=dict(weights),
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
    except RuntimeError as error:
        raise ExportError(f"{name}: its weights do not fit config.json: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
    missing = sorted(key for key in report["missing_keys"] if not re.search(may_lack, key))
    if missing:
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        raise ExportError(
            f"{name}: its weights lack {', '.join(missing[:4])}{more}, which "
            f"{model_class.__name__} has; with --head none the encoder alone is exported"
        )
    # A class of the same name in the model's own repository; transformers would leave these out.
    foreign = [key for key in report["unexpected_keys"] if key.startswith("classifier")]
    if foreign and hasattr(model, "classifier"):
        raise ExportError(
            f"{name}: its weights have {', '.join(sorted(foreign)[:4])}, for which "
            f"{model_class.__name__} has no place, so its head is another one; with --head none "
            "the encoder alone is exported"
        )
    loaded: Model = model.eval().requires_grad_(False)
    return loaded


def source_record(folder: Path, model: str, revision: str | None = None) -> Source:
    """What `encoder.json` says of the model; of a folder its name, not its path.

    The hub's cache keeps each commit in a folder `snapshots/<commit>`, which is the revision then,
    whatever branch or tag was asked for.
    """
    config = read_config(folder)
    local = Path(model).expanduser().is_dir()
    if not local and folder.parent.name == "snapshots":
        revision = folder.name
    return Source(
        model=folder.resolve().name if local else model,
        revision=None if local else revision,
        architecture=next(iter(config.get("architectures") or ()), ""),
        family=config["model_type"],
        licence=read_licence(folder),
        weights_sha256=_sha256(weight_files(folder)),
    )


def read_licence(folder: Path) -> str | None:
    """The licence in the front matter of the model card, README.md; None where there is none."""
    import yaml

    card = folder / "README.md"
    if not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        table = yaml.safe_load(front.group(1)) if front else None
    except yaml.YAMLError:
        return None
    if not isinstance(table, dict):
        return None
    licence = table.get("license")
    # The hub's list of licences ends in "other", with the name in a field of its own.
    if licence == "other" and table.get("license_name"):
        licence = table["license_name"]
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    return str(licence) if licence else None


def _checked(folder: Path, needs: Sequence[tuple[str, ...]]) -> Path:
    lacking = missing_files(folder, needs)
    if lacking:
        raise ExportError(
            f"{folder} is no model that can be exported, it lacks {', '.join(lacking)}; "
            f"a folder must hold {LAYOUT}"
        )
    return folder


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(
            f"{path.parent} lacks {path.name}; a folder must hold {LAYOUT}"
        ) from error
    except ValueError as error:
        raise ExportError(f"{path} is no JSON ({error}); copy the model again") from error
    if not isinstance(content, dict):
        raise ExportError(f"{path} holds no JSON object; copy the model again")
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ExportError(f"{path} is damaged ({first_line(error)}); copy it again") from error
    return weights


def _unpickle(path: Path) -> dict[str, Tensor]:
    import pickle

    import torch

    remedy = "get the model as safetensors, or convert it on a machine that you can spare"
    try:
        with warnings.catch_warnings():
            # Of pickles that another program than torch wrote; what they hold is checked below.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ExportError(
            f"{path} holds more than tensors, and reading it could run anything; {remedy}"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise ExportError(f"{path} is damaged ({first_line(error)}); copy it again") from error
    if not isinstance(weights, dict) or not all(
        isinstance(each, torch.Tensor) for each in weights.values()
    ):
        raise ExportError(f"{path} is no table of tensors; {remedy}")
    return weights


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
