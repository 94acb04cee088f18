"""The tokenizer of a Hugging Face folder as the one file that the runtime reads.

The runtime has the library `tokenizers` alone, without transformers. So what transformers adds
when it loads a tokenizer (settings of tokenizer_config.json, the conversion of vocab.txt, of merges
or of a SentencePiece model) is done here, once, and written down as tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

from realtime_ser.models.hub import first_line

from ..errors import ExportError

# tokenizer_config.json writes "no limit" as 10^30.
_NO_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A tokenizer, and how it is used.

    Attributes:
        original: as transformers loads it.
        max_tokens: longer texts are cut at the end; special tokens count.
        pad_id: of the token that fills up shorter texts of a batch.
        largest_id: of any token.
    """

    original: PreTrainedTokenizerFast
    max_tokens: int
    pad_id: int
    largest_id: int

    def save(self, path: Path) -> None:
        """Write tokenizer.json, without settings that bundle.json makes."""
        copy = Tokenizer.from_str(self.original.backend_tokenizer.to_str())
        copy.no_padding()
        copy.no_truncation()
        copy.save(str(path))

    def encode_original(self, text: str) -> Mapping[str, Tensor]:
        """All inputs of the original model, [1, tokens] each, as transformers makes them."""
        encoded: Mapping[str, Tensor] = self.original(
            text, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        return encoded


def load_tokenizer(folder: Path, positions: int, max_tokens: int | None = None) -> TextTokenizer:
    """Load the tokenizer of `folder`.

    Args:
        positions: the most tokens that the model can take.
        max_tokens: what is wanted; None for the model's own limit.

    Raises:
        ExportError: there is none that the library `tokenizers` can run; or `max_tokens` is more
            than the model takes, or leaves no room for text.
    """
    original = _load(folder)
    # The runtime cuts at the end. A model of one text at a time was hardly trained otherwise.
    original.truncation_side = "right"
    # As the library itself tells: transformers and the file may disagree about added tokens.
    largest = max(original.get_vocab().values())
    limit = min(positions, original.model_max_length)
    if limit > _NO_LIMIT:
        raise ExportError(f"{folder.name} does not say how long a text may be; give --max-tokens")
    wanted = limit if max_tokens is None else max_tokens
    special = original.num_special_tokens_to_add()
    if not special < wanted <= limit:
        raise ExportError(
            f"--max-tokens {wanted} does not fit {folder.name}: it takes {special + 1} to {limit} "
            f"tokens, of which {special} mark beginning and end"
        )
    pad = original.pad_token_id
    return TextTokenizer(original, wanted, 0 if pad is None else pad, largest)


def _load(folder: Path) -> PreTrainedTokenizerFast:
    verbosity = logging.get_verbosity()
    # It tells of conversions that take a while, and of lengths that are cut here on purpose.
    logging.set_verbosity_error()
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, use_fast=True, trust_remote_code=False, local_files_only=True
        )
    # Broad: the libraries behind it raise ImportError, OSError, ValueError and bare Exception.
    except Exception as error:
        raise ExportError(
            f"{folder.name}: its tokenizer does not load ({first_line(error)}); add the "
            "tokenizer.json of the model (or of the one that it was made from), or install what "
            "is missing to convert it (pip install sentencepiece)"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ExportError(
            f"{folder.name}: its tokenizer ({type(tokenizer).__name__}) exists in Python only and "
            "cannot be served; choose a model that has a tokenizer.json"
        )
    return tokenizer
