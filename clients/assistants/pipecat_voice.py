"""A voice assistant on this machine that hears how you feel, with Pipecat.

    pip install 'pipecat-ai[local,openai,silero]>=1.14' ./clients/python
    realtime-ser serve
    OPENAI_API_KEY=... python clients/assistants/pipecat_voice.py

Pipecat's services can be exchanged; what matters here stands between the user's aggregator and the
language model. Without a key, `--dry` runs the same pipeline with a recording for a microphone, a
script for a transcriber, and a language model that prints what it is given.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import wave
from pathlib import Path

from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    TranscriptionFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from realtime_ser_client.pipecat import EmotionProcessor

INSTRUCTIONS = (
    "You are a kind voice assistant; answer in a sentence or two. A line in brackets at the end of "
    "a message says how the speaker sounded, with how likely that is. Let it guide your tone, do "
    "not mention it, and trust a low number little."
)


async def talk(url: str) -> None:
    """Microphone, loudspeaker, and OpenAI's models."""
    from pipecat.audio.vad.silero import SileroVADAnalyzer
    from pipecat.services.openai.llm import OpenAILLMService
    from pipecat.services.openai.stt import OpenAISTTService
    from pipecat.services.openai.tts import OpenAITTSService
    from pipecat.transports.local.audio import LocalAudioTransport, LocalAudioTransportParams

    key = os.environ["OPENAI_API_KEY"]
    transport = LocalAudioTransport(
        LocalAudioTransportParams(audio_in_enabled=True, audio_out_enabled=True)
    )
    context = LLMContext([{"role": "system", "content": INSTRUCTIONS}])
    aggregators = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    pipeline = Pipeline(
        [
            transport.input(),
            OpenAISTTService(api_key=key),
            aggregators.user(),
            EmotionProcessor(url),
            OpenAILLMService(api_key=key),
            OpenAITTSService(api_key=key),
            transport.output(),
            aggregators.assistant(),
        ]
    )
    await run(PipelineWorker(pipeline))


class Printer(FrameProcessor):
    """Stands where the language model would."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMContextFrame):
            for message in frame.context.messages:
                print(f"{message['role']}: {message['content']}")
        await self.push_frame(frame, direction)


async def rehearse(url: str, recording: Path) -> None:
    """The same with a recording, a script and a printer."""
    strategies = ExternalUserTurnStrategies()
    aggregators = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(user_turn_strategies=strategies)
    )
    worker = PipelineWorker(
        Pipeline([aggregators.user(), EmotionProcessor(url), Printer()]), enable_rtvi=False
    )

    async def speak() -> None:
        await worker.queue_frame(UserStartedSpeakingFrame())
        with wave.open(str(recording)) as file:
            rate_hz, channels = file.getframerate(), file.getnchannels()
            while data := file.readframes(rate_hz // 50):
                frame = InputAudioRawFrame(data, sample_rate=rate_hz, num_channels=channels)
                await worker.queue_frame(frame)
                await asyncio.sleep(0.02)
        await worker.queue_frame(TranscriptionFrame("(what was said)", "you", "now"))
        await worker.queue_frame(UserStoppedSpeakingFrame())
        await asyncio.sleep(1)
        await worker.queue_frame(EndFrame())

    await asyncio.gather(run(worker), speak())


async def run(worker: PipelineWorker) -> None:
    """Until the pipeline ends, or Ctrl-C."""
    runner = WorkerRunner()
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A voice assistant that hears how you feel.")
    parser.add_argument("--url", default="ws://127.0.0.1:8765", help="of the realtime-ser server")
    parser.add_argument("--dry", type=Path, metavar="FILE.wav", help="without keys and microphone")
    chosen = parser.parse_args()
    asyncio.run(rehearse(chosen.url, chosen.dry) if chosen.dry else talk(chosen.url))
