/** Gathers what the microphone gives, a few milliseconds at a time, into blocks of 32 ms. */

const BLOCK_S = 0.032;

class Gatherer extends AudioWorkletProcessor {
  #block = new Float32Array(Math.round(sampleRate * BLOCK_S));
  #filled = 0;

  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.#block[this.#filled++] = sum / channels.length;
      if (this.#filled === this.#block.length) {
        this.port.postMessage(this.#block, [this.#block.buffer]);
        this.#block = new Float32Array(Math.round(sampleRate * BLOCK_S));
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("gatherer", Gatherer);
