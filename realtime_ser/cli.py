"""The command line: flags to settings, errors to one line and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from realtime_ser import commands
from realtime_ser.bench.arguments import add_bench
from realtime_ser.config import ALL_SPECS, SERVER_SPECS, SPECS, EffectiveSettings, SettingSpec, load
from realtime_ser.core.pcm import ENCODINGS
from realtime_ser.errors import ConfigError, RealtimeSERError
from realtime_ser.version import __version__

_EPILOG = """\
exit codes: 0 done, 2 usage, 3 input, 4 model, 5 device, 130 interrupted
every setting also has a name in a TOML file (--config) and in the environment:
  --hangover-ms 600   hangover_ms = 600   REALTIME_SER_HANGOVER_MS=600
"""

_COMPUTE_DEVICES = SPECS["device"].choices


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
        code: int = options.run(options)
        # a reader that has gone must show here, not as a traceback at exit
        sys.stdout.flush()
        return code
    except RealtimeSERError as error:
        print(f"realtime-ser: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return commands.INTERRUPTED
    except BrokenPipeError:
        # `realtime-ser file a.wav | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="realtime-ser",
        description="Which emotion is heard, while the person is still talking.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"realtime-ser {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_file(subparsers)
    _add_listen(subparsers)
    _add_pipe(subparsers)
    _add_serve(subparsers)
    _add_models(subparsers)
    add_bench(subparsers, _add_setting_flags, lambda options: _settings(options).settings)
    _add_simple_commands(subparsers)
    return parser


def _add_file(subparsers: Any) -> None:
    parser = _add(subparsers, "file", _file, "recognise recordings, or the sound of videos")
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a file; each is one stream"
    )
    parser.add_argument("--realtime", action="store_true", help="at the pace of a microphone")
    _add_output_flags(parser)
    _add_setting_flags(parser)


def _add_listen(subparsers: Any) -> None:
    parser = _add(subparsers, "listen", _listen, "recognise what a microphone hears")
    parser.add_argument("--list-devices", action="store_true", help="list microphones and end")
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="DEVICE",
        help="a microphone, by part of its name or by index; auto, cpu or cuda say instead where "
        "the models run; may be given twice",
    )
    parser.add_argument("--save", type=Path, metavar="DIR", help="keep audio and events in DIR")
    _add_output_flags(parser)
    _add_setting_flags(parser, but="device")


def _add_pipe(subparsers: Any) -> None:
    parser = _add(subparsers, "pipe", _pipe, "recognise raw PCM from standard input")
    parser.add_argument("--rate", type=int, default=16000, metavar="HZ", help="sample rate (16000)")
    parser.add_argument(
        "--encoding", default="s16le", metavar="NAME", help=f"{', '.join(ENCODINGS)} (s16le)"
    )
    parser.add_argument("--channels", type=int, default=1, metavar="N", help="interleaved (1)")
    _add_output_flags(parser)
    _add_setting_flags(parser)


def _add_serve(subparsers: Any) -> None:
    parser = _add(subparsers, "serve", _serve, "serve programs and a page over WebSocket")
    _add_setting_flags(parser)
    _add_spec_flags(parser.add_argument_group("server"), SERVER_SPECS)


def _add_models(subparsers: Any) -> None:
    models = subparsers.add_parser("models", help="list, show, verify or pull models")
    verbs = models.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add(verbs, "list", lambda _: commands.list_models(), "bundles and transcription models here")
    show = _add(verbs, "show", lambda o: commands.show_model(o.bundle), "describe a model")
    verify = _add(
        verbs,
        "verify",
        lambda o: commands.verify_model(o.bundle, o.device),
        "check a bundle's files, and that it answers as when it was made",
    )
    for parser in (show, verify):
        parser.add_argument("bundle", nargs="?", default="default", help="a name, or a folder")
    verify.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where it is to answer (cpu)"
    )
    pull = _add(
        verbs, "pull", lambda o: commands.pull_model(o.name), "download a transcription model"
    )
    pull.add_argument("name", help="tiny, base, small, ...")


def _add_simple_commands(subparsers: Any) -> None:
    doctor = _add(subparsers, "doctor", _doctor, "check this machine, and say what to do")
    _add_setting_flags(doctor)
    config = _add(
        subparsers,
        "config",
        lambda o: commands.print_config(_settings(o)),
        "print the effective settings and where each came from",
    )
    _add_setting_flags(config)
    _add_spec_flags(config.add_argument_group("server"), SERVER_SPECS)
    schema = _add(
        subparsers,
        "schema",
        lambda o: commands.print_schema(o.of),
        "print the JSON Schema of the events, or another description of the interface",
    )
    schema.set_defaults(of="events")
    for of, what in (("client", "of what a client may send"), ("asyncapi", "AsyncAPI, YAML")):
        schema.add_argument(f"--{of}", dest="of", action="store_const", const=of, help=what)


def _add(subparsers: Any, name: str, run: Any, description: str) -> Any:
    parser = subparsers.add_parser(name, help=description, description=description)
    parser.set_defaults(run=run)
    return parser


def _add_output_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="events as JSON Lines on stdout")
    group.add_argument("--out", type=Path, metavar="FILE", help="... also, or only, in FILE")
    group.add_argument("--plain", action="store_true", help="a line an utterance, no live view")
    group.add_argument(
        "--screenshot", type=Path, metavar="FILE", help="save the last view as an SVG"
    )


def _add_setting_flags(parser: argparse.ArgumentParser, but: str = "") -> None:
    group = parser.add_argument_group("settings")
    group.add_argument("--config", type=Path, metavar="FILE", help="read settings from a TOML file")
    _add_spec_flags(group, {name: spec for name, spec in SPECS.items() if name != but})


def _add_spec_flags(group: Any, specs: Mapping[str, SettingSpec]) -> None:
    for name, spec in specs.items():
        arguments: dict[str, Any] = {"dest": f"setting_{name}", "default": None}
        help_text = f"{spec.help} ({spec.default})".replace("%", "%%")
        if spec.type is bool:
            group.add_argument(
                spec.flag, action=argparse.BooleanOptionalAction, help=help_text, **arguments
            )
        else:
            metavar = "|".join(map(str, spec.choices)) or ("NAME" if spec.type is str else "N")
            group.add_argument(spec.flag, metavar=metavar, help=help_text, **arguments)


def _settings(options: argparse.Namespace, **more: Any) -> EffectiveSettings:
    flags = dict(more)
    for name, spec in ALL_SPECS.items():
        value = getattr(options, f"setting_{name}", None)
        if value is not None:
            flags[name] = spec.parse(value, spec.flag) if isinstance(value, str) else value
    return load(file=options.config, environment=os.environ, flags=flags)


def _output(options: argparse.Namespace) -> commands.Output:
    return commands.Output(options.json, options.out, options.plain, options.screenshot)


def _file(options: argparse.Namespace) -> int:
    return commands.run_files(
        _settings(options).settings, options.paths, options.realtime, _output(options)
    )


def _listen(options: argparse.Namespace) -> int:
    if options.list_devices:
        return commands.list_microphones()
    compute = [value for value in options.device if value in _COMPUTE_DEVICES]
    microphones = [value for value in options.device if value not in _COMPUTE_DEVICES]
    if len(compute) > 1 or len(microphones) > 1:
        raise ConfigError(f"--device names two of a kind: {', '.join(options.device)}; keep one")
    settings = _settings(options, **({"device": compute[0]} if compute else {})).settings
    microphone = microphones[0] if microphones else None
    return commands.run_microphone(settings, microphone, options.save, _output(options))


def _pipe(options: argparse.Namespace) -> int:
    return commands.run_pipe(
        _settings(options).settings,
        rate_hz=options.rate,
        encoding=options.encoding,
        channels=options.channels,
        output=_output(options),
    )


def _serve(options: argparse.Namespace) -> int:
    effective = _settings(options)
    return commands.run_server(effective.settings, effective.server)


def _doctor(options: argparse.Namespace) -> int:
    return commands.run_doctor(_settings(options).settings)
