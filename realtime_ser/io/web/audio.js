/** Where the page's audio comes from: a microphone, or a file that the browser decodes. */

const FILE_RATE_HZ = 16_000;
const PIECE_S = 0.1;

/** A fault with something to do about it. */
export class AudioProblem extends Error {}

/** Microphones that the browser tells of; names only once one may be used. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter((device) => device.kind === "audioinput" && device.deviceId);
}

/** A microphone at its own rate; `start` calls back with blocks of samples (-1..1). */
export class Microphone {
  #stream;
  #context;

  static async open(deviceId) {
    if (!navigator.mediaDevices || !globalThis.AudioWorkletNode) {
      throw new AudioProblem(
        "This browser gives microphones only to pages from https or localhost. Open the page " +
          "there, or choose a file.",
      );
    }
    const microphone = new Microphone();
    // what takes time comes before the microphone opens: from then on nothing is lost
    microphone.#context = new AudioContext({ latencyHint: "interactive" });
    try {
      await microphone.#context.audioWorklet.addModule("worklet.js");
      microphone.#stream = await navigator.mediaDevices.getUserMedia({
        audio: {
          deviceId: deviceId ? { exact: deviceId } : undefined,
          // what makes calls pleasant takes away how a thing was said
          echoCancellation: false,
          noiseSuppression: false,
          autoGainControl: false,
        },
      });
    } catch (error) {
      microphone.#context.close();
      throw new AudioProblem(
        MICROPHONE_PROBLEMS[error.name] ?? `The microphone failed: ${error.message}`,
      );
    }
    return microphone;
  }

  get sampleRate() {
    return this.#context.sampleRate;
  }

  /** Called back when the microphone is unplugged, or taken away. */
  onEnded(callback) {
    this.#stream.getAudioTracks()[0].addEventListener("ended", callback);
  }

  start(onBlock) {
    const gatherer = new AudioWorkletNode(this.#context, "gatherer", { numberOfOutputs: 0 });
    gatherer.port.onmessage = ({ data }) => onBlock(data);
    this.#context.createMediaStreamSource(this.#stream).connect(gatherer);
    this.#context.resume();
  }

  close() {
    for (const track of this.#stream.getTracks()) track.stop();
    this.#context.close();
  }
}

const MICROPHONE_PROBLEMS = {
  AbortError: "The server does not answer. See that realtime-ser serve still runs, and try again.",
  NotAllowedError:
    "The microphone is blocked for this page. Allow it in the address bar, and press Listen again.",
  NotFoundError: "There is no microphone. Plug one in, or choose a file.",
  NotReadableError: "Another program holds the microphone. Close that one, and try again.",
  OverconstrainedError: "That microphone is gone. Choose another one.",
};

/** A decoded recording. */
export class Recording {
  /** At 16 kHz: what was recorded so is sent as it is, all else once resampled, not twice. */
  static async decode(file) {
    const context = new OfflineAudioContext(1, 1, FILE_RATE_HZ);
    let buffer;
    try {
      buffer = await context.decodeAudioData(await file.arrayBuffer());
    } catch {
      throw new AudioProblem(
        `“${file.name}” is nothing this browser can decode. ` +
          "WAV, FLAC, MP3, M4A, OGG and WebM work.",
      );
    }
    return new Recording(buffer);
  }

  constructor(buffer) {
    this.sampleRate = buffer.sampleRate;
    this.durationS = buffer.duration;
    const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) =>
      buffer.getChannelData(i),
    );
    this.samples =
      channels.length === 1
        ? channels[0]
        : channels[0].map((_, i) => channels.reduce((sum, c) => sum + c[i], 0) / channels.length);
  }

  /**
   * Give it to `send`, which resolves when there is room for more.
   *
   * `realTime`: at the pace of speech; else at that of `send`. `isOver()` ends it early.
   */
  async stream(send, { realTime, isOver, onBlock }) {
    const size = Math.round(this.sampleRate * PIECE_S);
    const startedMs = performance.now();
    for (let at = 0; at < this.samples.length && !isOver(); at += size) {
      const dueMs = startedMs + (1000 * at) / this.sampleRate;
      while (realTime && performance.now() < dueMs && !isOver()) {
        await new Promise((resolve) =>
          setTimeout(resolve, Math.min(100, dueMs - performance.now())),
        );
      }
      const block = this.samples.subarray(at, at + size);
      onBlock(block);
      await send(block);
    }
  }
}

/** Plays a file to whoever watches; returns what stops it. */
export function play(file) {
  const address = URL.createObjectURL(file);
  const player = new Audio(address);
  player.play().catch(() => {}); // a browser that forbids sound still shows what there is to see
  return () => {
    player.pause();
    URL.revokeObjectURL(address);
  };
}

/** RMS of samples in dB below full scale. */
export function levelDbfs(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-10);
}
