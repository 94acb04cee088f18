"""What each command does: the composition root, where sources, recognizer and outputs meet."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from realtime_ser.config import EffectiveSettings, ServerSettings, Settings
from realtime_ser.errors import AudioError
from realtime_ser.io.file import AudioFile, paced
from realtime_ser.io.outputs import Outputs
from realtime_ser.io.pipe import read_pcm
from realtime_ser.io.terminal import make_view
from realtime_ser.recognizer import Recognizer
from realtime_ser.runtime.ports import AudioBlock

INTERRUPTED = 130
"""Exit code after Ctrl-C, by the shells' convention; where Ctrl-C is the way to end, it is 0."""

_REFRESH_S = 0.1


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command's events go; see the flags of the same names."""

    json: bool
    out: Path | None
    plain: bool
    screenshot: Path | None


def run_files(settings: Settings, paths: list[Path], realtime: bool, output: Output) -> int:
    """Recognise files, each as a stream; a bad one is reported and the others go on."""
    code = 0
    with Recognizer(settings) as recognizer, _outputs(output, live=realtime) as outputs:
        for path in paths:
            try:
                file = AudioFile(path)
                if realtime:
                    if _run_live(recognizer, paced(file), str(path), outputs):
                        return code or INTERRUPTED
                else:
                    for event in recognizer.events(outputs.with_progress(file), str(path)):
                        outputs.write(event)
            except AudioError as error:
                outputs.complain(f"realtime-ser: error: {error}")
                code = code or error.exit_code
    return code


def run_microphone(
    settings: Settings, device: str | None, save: Path | None, output: Output
) -> int:
    """Recognise a microphone until Ctrl-C."""
    from realtime_ser.io.microphone import MicrophoneSource
    from realtime_ser.io.recording import recorded

    source = MicrophoneSource(device)

    async def blocks(path: Path | None) -> AsyncIterator[AudioBlock]:
        with source:
            async for block in source if path is None else recorded(source, path):
                yield block

    with (
        Recognizer(settings) as recognizer,
        _outputs(output, live=True, save=save) as outputs,
    ):
        _run_live(recognizer, blocks(outputs.audio_path), "microphone", outputs)
        if source.overflows:
            lost_s = source.lost_samples / source.device.sample_rate_hz
            outputs.complain(
                f"realtime-ser: audio was lost {source.overflows} times, {lost_s:.2f} s in all; "
                "is the machine too busy?"
            )
    return 0


def run_pipe(
    settings: Settings, *, rate_hz: int, encoding: str, channels: int, output: Output
) -> int:
    """Recognise raw PCM from standard input until it ends."""
    with (
        Recognizer(settings) as recognizer,
        _outputs(output, live=True) as outputs,
        FileIO(sys.stdin.fileno(), closefd=False) as stdin,
    ):
        blocks = read_pcm(stdin, rate_hz=rate_hz, encoding=encoding, channels=channels)
        _run_live(recognizer, blocks, "stdin", outputs)
    return 0


def run_server(settings: Settings, server_settings: ServerSettings) -> int:
    """Serve until SIGTERM or Ctrl-C; what was said by then is finished and told."""
    from realtime_ser.io.server import RecognitionServer

    recognizer = Recognizer(settings)
    server = RecognitionServer(recognizer, server_settings)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with server.running() as listening:
            warming = asyncio.create_task(server.warm_up())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({warming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if warming.done():
                warming.result()
                for notice in recognizer.description.notices:
                    print(f"realtime-ser: {notice.message}", file=sys.stderr)
                listens = f"{server.address(listening)}, page {server.page_address(listening)}"
                print(f"serving {listens}; {_described(recognizer)}", flush=True)
                await stopping

    with contextlib.closing(recognizer):
        asyncio.run(run())
    return 0


def _described(recognizer: Recognizer) -> str:
    """What listens, in a few words."""
    description = recognizer.description
    bundle = description.bundle
    providers = ", ".join(description.providers)
    return (
        f"bundle {bundle['name']} {bundle['version']}, {providers}, transcripts {description.asr}"
    )


def _run_live(
    recognizer: Recognizer, source: AsyncIterable[AudioBlock], stream_id: str, outputs: Outputs
) -> bool:
    """Run one live stream; returns whether it was interrupted.

    The first Ctrl-C ends it tidily, a second one at once.
    """

    async def heard() -> AsyncIterator[AudioBlock]:
        async for block in source:
            outputs.hear(block)
            yield block

    async def refresh() -> None:
        while True:
            outputs.update()
            await asyncio.sleep(_REFRESH_S)

    async def run() -> bool:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            stop.set()
            loop.remove_signal_handler(signal.SIGINT)

        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, interrupt)
        drawing = asyncio.create_task(refresh())
        try:
            async for event in recognizer.live(heard(), stream_id, stop=stop):
                outputs.write(event)
        finally:
            drawing.cancel()
        return stop.is_set()

    return asyncio.run(run())


def _outputs(output: Output, *, live: bool, save: Path | None = None) -> Outputs:
    """A view for people unless JSON has standard output; a live one only where time passes."""
    view = None if output.json else make_view(sys.stdout, plain=output.plain or not live)
    return Outputs(
        json=output.json, out=output.out, save=save, view=view, screenshot=output.screenshot
    )


def list_microphones() -> int:
    """Print the microphones."""
    from realtime_ser.io.microphone import list_devices

    for device in list_devices():
        mark = "*" if device.is_default else " "
        print(
            f"{mark} {device.index:>3}  {device.name}  "
            f"({device.host_api}, {device.channels} channels, {device.sample_rate_hz} Hz)"
        )
    return 0


def list_models() -> int:
    """Print bundles and transcription models, those of this package and those in the cache."""
    from realtime_ser.models.bundle import load_bundle, packaged_bundles
    from realtime_ser.models.describe import format_bytes
    from realtime_ser.models.hub import REPOSITORIES, cached_models, packaged_models
    from realtime_ser.models.transcriber_profile import read_profile

    print("bundles")
    for name in packaged_bundles():
        description = load_bundle(name).description
        size = format_bytes(sum(record.bytes for record in description.files.values()))
        print(f"  {name:<12}{size:>10}  {description.description}")
    packaged = packaged_models()
    if packaged:
        print("transcription models of this package")
    for name, folder in packaged.items():
        size = format_bytes(sum(file.stat().st_size for file in folder.iterdir()))
        print(f"  {name:<12}{size:>10}  {read_profile(folder).description}")
    print("transcription models in the cache")
    cached = cached_models()
    for model in cached:
        print(f"  {model.names[0]:<12}{format_bytes(model.size_bytes):>10}  {model.folder}")
    if not cached:
        print("  none; `realtime-ser models pull tiny` downloads one")
    known = sorted({names[0] for names in _aliases(REPOSITORIES)})
    print("known: " + ", ".join(known))
    return 0


def show_model(name: str) -> int:
    """Print what a bundle, or a transcription model that is at hand, holds."""
    from realtime_ser.models.bundle import load_bundle
    from realtime_ser.models.describe import describe, describe_transcriber
    from realtime_ser.models.hub import packaged_models

    folder = packaged_models().get(name, Path(name).expanduser())
    if (folder / "model.bin").is_file():
        print(describe_transcriber(name, folder))
    else:
        print(describe(load_bundle(name)))
    return 0


def verify_model(name: str, device: str) -> int:
    """Check a bundle's files and replay its golden record."""
    from realtime_ser.models.bundle import load_bundle
    from realtime_ser.models.golden import verify_golden

    bundle = load_bundle(name)
    print(f"files   ok: {len(bundle.description.files)} and the description, sha256 {bundle.hash}")
    report = verify_golden(bundle, device=device)
    verdict = "ok" if report.passed else "DIFFERS"
    print(
        f"golden  {verdict}: {len(report.deviations)} outputs on {report.how}, worst "
        f"difference {report.worst.error:.2g}, tolerance {report.tolerance:g}"
    )
    if not report.passed:
        print(
            f"realtime-ser: error: case {report.worst.case} of {report.worst.part} does not answer "
            "as when it was made; try another version of onnxruntime",
            file=sys.stderr,
        )
    return 0 if report.passed else 4


def pull_model(name: str) -> int:
    """Download a transcription model."""
    from realtime_ser.models.hub import pull

    print(pull(name))
    return 0


def run_doctor(settings: Settings) -> int:
    """Print what works here; exit code 4 when speech cannot be recognised."""
    from realtime_ser.doctor import Status, diagnose, format_findings

    findings = diagnose(settings.bundle)
    print(format_findings(findings))
    return 4 if any(finding.status is Status.FAIL for finding in findings) else 0


def print_config(effective: EffectiveSettings) -> int:
    """Print settings as TOML, each with its origin; a token stays secret."""
    values = asdict(effective.settings) | asdict(effective.server)
    values["token"] = "(set)" if values["token"] else ""
    lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
    width = max(map(len, lines))
    for line, origin in zip(lines, effective.origins.values(), strict=True):
        print(f"{line:<{width}}  # {origin}")
    return 0


def print_schema(of: str) -> int:
    """Print the JSON Schema of the `events`, or of a `client`'s messages, or `asyncapi` of both."""
    from realtime_ser.core import interface

    print(interface.documents()[of], end="")
    return 0


def _aliases(repositories: dict[str, str]) -> list[list[str]]:
    by_place: dict[str, list[str]] = {}
    for name, place in repositories.items():
        by_place.setdefault(place, []).append(name)
    return list(by_place.values())


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)
