/**
 * Client of a realtime-ser server, for browsers and Node 20 or later. No dependencies.
 *
 *     const settings = { sample_rate_hz: 48000 };
 *     const session = await connect("ws://127.0.0.1:8765", { settings });
 *     session.on("emotion.final", (event) => console.log(event.emotion?.top, event.confidence));
 *     await session.send(float32Samples);
 *     const totals = await session.close();
 *
 * A dropped connection is resumed: audio that the server has not confirmed is kept and sent again
 * from where the server says it is, and events that were missed are told, none twice.
 */

const STREAM_PATH = "/v1/stream";
const SUBPROTOCOL = "realtime-ser.v1";
const TOKEN_SUBPROTOCOL = "realtime-ser.token.";
const BYTES = { s16le: 2, f32le: 4, mulaw: 1, alaw: 1 };

/** Audio between two confirmations asked of the server, and what may go without one. */
const CONFIRM_EVERY_S = 1;
const ROOM_S = 10;
const KEPT_AT_MOST_S = 120;

const ANSWER_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 15_000;
/** Text that is no UTF-8, a session resumed elsewhere, too large a message: not by coming back. */
const FINAL_CLOSES = [1007, 1008, 1009];
const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 5_000;
/** Bytes of audio in one message: servers take 256 KiB, unless their operator lowered that. */
const LARGEST_MESSAGE = 16_384;
/**
 * Of how far ahead of real time the server lets us get: its clock starts when our first audio
 * reaches it, not when we send it.
 */
const AHEAD_SHARE = 0.9;

/** Something that ended a session; `code` is stable, the message says what to do. */
export class RealtimeSERError extends Error {
  constructor(code, message, retryAfterS = null) {
    super(message);
    this.name = "RealtimeSERError";
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/** Open a session; resolves once the server has said `session.created`. */
export async function connect(url, options = {}) {
  const session = new Session(url, options);
  await session._open();
  return session;
}

/** One stream of audio and what is said about it. Made by `connect`. */
export class Session extends EventTarget {
  /** The `session.created` event. */
  created = null;
  /** Resolves with `session.closed`; rejects when the session failed. */
  closed;

  #url;
  #token;
  #WebSocket;
  #settings;
  #socket = null;
  #lastSeq = -1;
  #closing = false;
  #closeTold = false;
  #ended = false;
  #failure = null;
  #resolveClosed;
  #rejectClosed;
  #iterators = new Set();
  #heardMs = 0;
  #keepalive = null;

  // the audio, as one stream of bytes in the session's encoding: first what was sent and is kept
  // until it is confirmed, then what is still to be sent
  #kept = [];
  #unsent = [];
  #keptFrom = 0;
  #total = 0;
  #sent = 0;
  #confirmAsked = 0;
  #waiting = [];
  #firstSentMs = null;
  #pacing = null;

  constructor(url, { settings = {}, token = "", WebSocket = globalThis.WebSocket } = {}) {
    super();
    if (!WebSocket) {
      throw new RealtimeSERError(
        "no_websocket",
        "this Node has no WebSocket: take Node 22, run `node --experimental-websocket`, or pass " +
          "{ WebSocket } from the package ws",
      );
    }
    this.#url = streamAddress(url);
    this.#token = token;
    this.#WebSocket = WebSocket;
    this.#settings = { ...settings };
    this.closed = new Promise((resolve, reject) => {
      this.#resolveClosed = resolve;
      this.#rejectClosed = reject;
    });
    this.closed.catch(() => {}); // whoever wants to know awaits it; others are told by events
  }

  /** Audio that the server has not confirmed yet, in seconds. */
  get unconfirmedSeconds() {
    return (this.#total - this.#keptFrom) / this.#bytesPerSecond;
  }

  /**
   * Send audio: Float32Array (-1..1), Int16Array, or bytes in the session's encoding.
   *
   * What comes back resolves when there is room for more: await it to send a recording, ignore it
   * to send what a microphone gives. It never rejects. A recording goes out no further ahead of
   * real time than the server takes.
   */
  send(audio) {
    if (this.#closing || this.#ended) return Promise.resolve();
    const bytes = encode(audio, this.created.config.encoding);
    if (this.unconfirmedSeconds > KEPT_AT_MOST_S) {
      this.#fail(
        new RealtimeSERError(
          "not_confirmed",
          `the server has not confirmed the last ${KEPT_AT_MOST_S} s of audio; await send(), or ` +
            "look at the server's load",
        ),
      );
      return Promise.resolve();
    }
    this.#unsent.push(bytes);
    this.#total += bytes.length;
    this.#transmit();
    if (this.unconfirmedSeconds <= ROOM_S) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Say that no more audio comes; resolves with `session.closed` once all was told. */
  close() {
    if (!this.#closing && !this.#ended) {
      this.#closing = true;
      this.#transmit();
    }
    return this.closed;
  }

  /** Leave at once, without waiting for what is still being worked on. */
  abort() {
    const socket = this.#socket;
    this.#fail(new RealtimeSERError("aborted", "the session was left by its client"));
    socket?.close(1000);
  }

  /** Call back for every event of a type, or all ("*"); what comes back ends it. */
  on(type, callback) {
    const listener = (event) => callback(event.detail);
    this.addEventListener(type, listener);
    return () => this.removeEventListener(type, listener);
  }

  /** All events from here on, `session.created` first; throws at the end of a failed session. */
  async *[Symbol.asyncIterator]() {
    const queue = { events: [this.created], wake: null };
    this.#iterators.add(queue);
    try {
      for (;;) {
        while (queue.events.length) yield queue.events.shift();
        if (this.#ended) break;
        await new Promise((resolve) => (queue.wake = resolve));
      }
    } finally {
      this.#iterators.delete(queue);
    }
    if (this.#failure) throw this.#failure;
  }

  get #bytesPerSecond() {
    const { encoding, channels, sample_rate_hz } = this.created.config;
    return BYTES[encoding] * channels * sample_rate_hz;
  }

  // connections

  /** Called by `connect`, once. */
  async _open() {
    await this.#dial(this.#settings);
    this.#keepalive = setInterval(() => this.#keepAlive(), PING_EVERY_MS);
    this.#keepalive.unref?.();
  }

  /** Connect, and resolve once the server has taken us. */
  #dial(query) {
    const address = new URL(this.#url);
    for (const [name, value] of Object.entries(query)) {
      address.searchParams.set(name, String(value));
    }
    const protocols = [SUBPROTOCOL];
    if (this.#token) protocols.push(TOKEN_SUBPROTOCOL + this.#token);
    return new Promise((resolve, reject) => {
      let socket;
      try {
        socket = new this.#WebSocket(address.href, protocols);
      } catch {
        reject(new RealtimeSERError("unauthorized", "the address or the token is malformed"));
        return;
      }
      socket.binaryType = "arraybuffer";
      const unreachable = () =>
        new RealtimeSERError(
          "unreachable",
          `no answer from ${address.host}; see that realtime-ser serve runs there, and that its ` +
            "--origins allow this page",
        );
      const timer = setTimeout(() => {
        reject(unreachable());
        socket.close();
      }, ANSWER_TIMEOUT_MS);
      let refusal = null;
      let taken = false;
      socket.addEventListener("message", ({ data }) => {
        const event = JSON.parse(data);
        if (taken) {
          if (socket === this.#socket) this.#receive(event);
        } else if (event.type === "error") {
          refusal = new RealtimeSERError(event.code, event.message, event.retry_after_s);
        } else if (!this.#ended) {
          taken = true;
          clearTimeout(timer);
          this.#socket = socket;
          this.#receive(event);
          resolve();
        }
      });
      const gone = ({ code, reason }) => {
        clearTimeout(timer);
        reject(refusal ?? unreachable());
        if (socket === this.#socket) this.#dropped(code, reason);
      };
      socket.addEventListener("close", gone);
      socket.addEventListener("error", gone); // Node 20 says no more when there is no connecting
    });
  }

  /** The connection is gone without a farewell: come back while the session waits for us. */
  async #dropped(code, reason) {
    this.#socket = null;
    if (this.#ended) return;
    if (this.#failure) {
      this.#end();
      return;
    }
    if (FINAL_CLOSES.includes(code)) {
      this.#fail(
        new RealtimeSERError("closed", `the server closed the connection: ${reason || code}`),
      );
      return;
    }
    const graceMs = (this.created.resume_grace_s ?? 0) * 1000;
    const givingUpMs = Date.now() + graceMs;
    let delayMs = FIRST_RETRY_MS;
    let error = new RealtimeSERError("disconnected", "the connection was lost");
    for (let attempt = 1; !this.#ended && Date.now() < givingUpMs; attempt++) {
      this.#dispatch("reconnecting", { attempt, error });
      // jitter: clients of a server that comes back should not all come at once
      await new Promise((resolve) => setTimeout(resolve, delayMs * (0.5 + Math.random())));
      if (this.#ended) return;
      try {
        await this.#dial({ resume: this.created.resume_token, last_seq: this.#lastSeq });
        return;
      } catch (cause) {
        error = cause;
        if (cause.code !== "unreachable" && cause.retryAfterS === null) break;
        delayMs = Math.min(LONGEST_RETRY_MS, Math.max(2 * delayMs, 1000 * cause.retryAfterS));
      }
    }
    this.#fail(error);
  }

  #keepAlive() {
    if (!this.#socket) return;
    if (this.#heardMs && Date.now() - this.#heardMs > 2 * PING_EVERY_MS) {
      // nothing came, not even a pong: a network that changed under us does not say so
      const socket = this.#socket;
      this.#dropped();
      socket.close();
    } else if (!this.created.config.end_after_s) {
      this.#confirm();
    }
  }

  // messages

  #receive(event) {
    this.#heardMs = Date.now();
    if (event.type === "session.resumed") {
      this.#resumed(event);
    } else if (event.type === "pong") {
      this.#confirmed(Number(event.id));
      return; // ours: it answers a ping that nobody else knows of
    } else if (event.seq <= this.#lastSeq) {
      return;
    } else {
      this.#lastSeq = event.seq;
    }
    if (event.type === "session.created") this.created = event;
    if (event.type === "error" && event.fatal) {
      this.#failure = new RealtimeSERError(event.code, event.message, event.retry_after_s);
    }
    for (const queue of this.#iterators) {
      queue.events.push(event);
      queue.wake?.();
    }
    this.#dispatch(event.type, event);
    this.#dispatch("*", event);
    if (event.type === "session.closed") this.#end(event);
  }

  #resumed({ received_samples }) {
    const { encoding, channels } = this.created.config;
    this.#confirmed(received_samples * BYTES[encoding] * channels);
    this.#sent = this.#confirmAsked = this.#keptFrom;
    this.#unsent = [...this.#kept.splice(0), ...this.#unsent];
    this.#closeTold = false;
    this.#transmit();
  }

  /** Send what there is, as far ahead of real time as the server lets us get; then the close. */
  #transmit() {
    clearTimeout(this.#pacing);
    while (this.#socket && this.#unsent.length) {
      const bytes = this.#unsent[0].subarray(0, this.#largestMessage);
      const aheadMs = this.#aheadMs(this.#sent + bytes.length);
      if (aheadMs > 0) {
        this.#pacing = setTimeout(() => this.#transmit(), aheadMs);
        return;
      }
      this.#firstSentMs ??= performance.now();
      this.#socket.send(bytes);
      this.#sent += bytes.length;
      this.#kept.push(bytes);
      this.#unsent[0] = this.#unsent[0].subarray(bytes.length);
      if (!this.#unsent[0].length) this.#unsent.shift();
      if (this.#sent - this.#confirmAsked >= CONFIRM_EVERY_S * this.#bytesPerSecond) {
        this.#confirm();
      }
    }
    if (this.#socket && this.#closing && !this.#closeTold) {
      this.#closeTold = true;
      this.#tell({ type: "session.close" });
    }
  }

  get #largestMessage() {
    const allowed = Math.floor((this.#mostAheadS / 2) * this.#bytesPerSecond);
    return Math.max(1, Math.min(LARGEST_MESSAGE, allowed));
  }

  /** How long until audio up to `end` may go out. */
  #aheadMs(end) {
    if (this.#firstSentMs === null) return 0;
    const dueMs = 1000 * (end / this.#bytesPerSecond - AHEAD_SHARE * this.#mostAheadS);
    return this.#firstSentMs + dueMs - performance.now();
  }

  get #mostAheadS() {
    return this.created.max_ahead_s ?? Infinity;
  }

  /** Ask for a pong: when it comes, what was sent before is there. */
  #confirm() {
    this.#confirmAsked = this.#sent;
    this.#tell({ type: "ping", id: String(this.#sent) });
  }

  #confirmed(total) {
    while (this.#kept.length && this.#keptFrom + this.#kept[0].length <= total) {
      this.#keptFrom += this.#kept.shift().length;
    }
    if (this.#kept.length && this.#keptFrom < total) {
      this.#kept[0] = this.#kept[0].subarray(total - this.#keptFrom);
      this.#keptFrom = total;
    }
    if (this.unconfirmedSeconds <= ROOM_S) this.#letGo();
  }

  #tell(message) {
    this.#socket?.send(JSON.stringify(message));
  }

  // the end

  #fail(error) {
    if (this.#ended) return;
    this.#failure ??= error;
    this.#end();
  }

  #end(totals) {
    this.#ended = true;
    clearInterval(this.#keepalive);
    clearTimeout(this.#pacing);
    this.#kept = [];
    this.#unsent = [];
    this.#letGo();
    if (this.#failure) this.#rejectClosed(this.#failure);
    else this.#resolveClosed(totals);
    for (const queue of this.#iterators) queue.wake?.();
    this.#dispatch("end", { error: this.#failure });
    this.#socket = null;
  }

  #letGo() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function streamAddress(url) {
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace(/^http/, "ws");
  if (address.pathname === "/") address.pathname = STREAM_PATH;
  return address;
}

/** Audio as bytes in an encoding. Little-endian machines only, as all that run JavaScript are. */
function encode(audio, encoding) {
  if (audio instanceof Float32Array && encoding === "s16le") {
    const samples = new Int16Array(audio.length);
    for (let i = 0; i < audio.length; i++) {
      // rounded and clamped as the server does it: what came from 16 bits comes back the same
      samples[i] = Math.max(-32768, Math.min(32767, Math.round(audio[i] * 32768)));
    }
    audio = samples;
  } else if (audio instanceof Int16Array && encoding === "f32le") {
    audio = Float32Array.from(audio, (sample) => sample / 32768);
  } else if (
    (audio instanceof Float32Array && encoding !== "f32le") ||
    (audio instanceof Int16Array && encoding !== "s16le")
  ) {
    throw new TypeError(`a session with encoding ${encoding} takes bytes: give it a Uint8Array`);
  }
  if (audio instanceof ArrayBuffer) return new Uint8Array(audio.slice(0));
  if (!ArrayBuffer.isView(audio)) {
    throw new TypeError("audio must be a Float32Array, an Int16Array, an ArrayBuffer or bytes");
  }
  // a copy: the caller may fill the same buffer again while we still keep what was in it
  return new Uint8Array(audio.buffer, audio.byteOffset, audio.byteLength).slice();
}
