"""The command line `realtime-ser-export`: one registry of verbs, errors to one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from realtime_ser.errors import RealtimeSERError
from realtime_ser.version import __version__

from .errors import ExportError
from .verbs import audio, bundle, precision, reproduce, runs, text, transcriber

# Each adds its verbs with `add_verbs` and imports what is heavy only when one of them runs.
_REGISTRY = (audio, text, precision, bundle, runs, reproduce, transcriber)

_DESCRIPTION = """\
Models in, verified bundles out. A bundle is the folder that `realtime-ser` serves.

  realtime-ser-export audio MODEL --out heard        a Hugging Face model, or a folder of one
  realtime-ser-export text MODEL --out read
  realtime-ser-export bundle RECIPE --out my-bundle --encoder audio=heard --encoder text=read
  realtime-ser file recording.wav --bundle my-bundle
"""

_EPILOG = """\
`realtime-ser-export VERB --help` says more of each.
exit codes: 0 done, 1 a comparison failed, 2 usage, 4 model, 130 interrupted
"""

# What the [export] extra brings; any other module that is missing is a bug of ours.
_EXTRA = {
    "jiwer",
    "librosa",
    "lightgbm",
    "matplotlib",
    "noisereduce",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "optimum",
    "safetensors",
    "sklearn",
    "soundfile",
    "tokenizers",
    "torch",
    "torchmetrics",
    "transformers",
    "xgboost",
}
_USAGE, _MODEL, _INTERRUPTED = 2, 4, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in _EXTRA:
            raise
        return _fail(
            f"{options.verb} needs {missing}, which is not installed; run: "
            "pip install 'realtime-ser[export]'",
            _USAGE,
        )
    except ExportError as error:
        return _fail(str(error), _MODEL)
    except RealtimeSERError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _fail(message: str, code: int) -> int:
    print(f"realtime-ser-export: error: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="realtime-ser-export",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"realtime-ser-export {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", title="verbs")
    for module in _REGISTRY:
        module.add_verbs(verbs)
    return parser
