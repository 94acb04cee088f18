/**
 * The client against a real server: `pytest tests/clients/test_javascript.py` starts one and says
 * in the environment where it is, what to send, and what comes of it.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { connect as connectTcp, createServer } from "node:net";
import { test } from "node:test";

import { RealtimeSERError, connect } from "../realtime-ser.js";

const { REALTIME_SER_TEST_URL: url, REALTIME_SER_TEST_TOKEN: token } = process.env;
const against = (name, run) =>
  test(name, { skip: url ? false : "no server; run it by pytest" }, run);

/** 16 kHz, and what `realtime-ser file` says of it. */
const samples = url
  ? new Int16Array(new Uint8Array(readFileSync(process.env.REALTIME_SER_TEST_AUDIO)).buffer)
  : null;
const expected = url ? JSON.parse(readFileSync(process.env.REALTIME_SER_TEST_FINALS)) : null;

const floats = () => Float32Array.from(samples, (sample) => sample / 32768);

function* pieces(audio, size = 1600) {
  for (let at = 0; at < audio.length; at += size) yield audio.subarray(at, at + size);
}

/** Send audio and read all events, as a program does. */
async function hear(address, audio, options = {}) {
  const session = await connect(address, { token, ...options });
  const sending = (async () => {
    for (const piece of pieces(audio)) await session.send(piece);
    return session.close();
  })();
  const events = [];
  for await (const event of session) events.push(event);
  return { events, totals: await sending, session };
}

const CLOCKS = ["seq", "lag_ms", "timings"];

/** Finals equal up to the rounding of what was computed in one batch with others. */
function assertSameFinals(events) {
  const finals = events.filter((event) => event.type === "emotion.final");
  assert.ok(expected.length > 0);
  assert.equal(finals.length, expected.length);
  finals.forEach((final, i) => assertClose(without(final), without(expected[i])));
}

const without = (event) =>
  Object.fromEntries(Object.entries(event).filter(([name]) => !CLOCKS.includes(name)));

function assertClose(one, other, at = "final") {
  if (typeof one === "number") {
    assert.ok(Math.abs(one - other) <= 2e-5, `${at}: ${one} is not ${other}`);
  } else if (one !== null && typeof one === "object") {
    assert.deepEqual(Object.keys(one), Object.keys(other), at);
    for (const key of Object.keys(one)) assertClose(one[key], other[key], `${at}.${key}`);
  } else assert.equal(one, other, at);
}

/** Run against a proxy that cuts the first connection after so many bytes to or from the server. */
async function cutting(upTo, downTo, run) {
  const cuts = [{ up: upTo, down: downTo }];
  let connections = 0;
  const proxy = createServer((client) => {
    connections++;
    const cut = cuts.shift() ?? { up: Infinity, down: Infinity };
    const { hostname, port } = new URL(url);
    const server = connectTcp(Number(port), hostname);
    const end = () => {
      client.destroy();
      server.destroy();
    };
    const passOn = (from, to, limit) => {
      let passed = 0;
      from.on("data", (data) => {
        const rest = data.subarray(0, Math.max(0, limit - passed));
        passed += data.length;
        if (rest.length) to.write(rest);
        if (passed >= limit) end();
      });
      from.on("close", end);
      from.on("error", end);
    };
    passOn(client, server, cut.up);
    passOn(server, client, cut.down);
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  try {
    return await run(`ws://127.0.0.1:${proxy.address().port}`, () => connections);
  } finally {
    proxy.close();
  }
}

for (const [name, audio, settings] of [
  ["Int16Array as s16le", () => samples, {}],
  ["Float32Array as s16le", floats, {}],
  ["Float32Array as f32le", floats, { encoding: "f32le" }],
  ["Int16Array as f32le", () => samples, { encoding: "f32le" }],
  ["bytes, cut inside of samples", () => new Uint8Array(samples.buffer).subarray(0), {}],
]) {
  against(`the same finals as of the file: ${name}`, async () => {
    const { events, totals } = await hear(url, audio(), { settings });
    assertSameFinals(events);
    assert.equal(totals.type, "session.closed");
    assert.equal(totals.reason, "eof");
    assert.equal(totals.utterances, expected.length);
    assert.ok(Math.abs(totals.audio_seconds - samples.length / 16000) < 0.1);
    assert.equal(events[0].type, "session.created");
    assert.equal(events.at(-1).type, "session.closed");
    assert.ok(events.every((event) => event.type !== "pong"));
    const numbers = events.map((event) => event.seq);
    assert.deepEqual(
      numbers,
      [...new Set(numbers)].sort((a, b) => a - b),
    );
  });
}

against("a recording is sent no further ahead than the server takes", async () => {
  // 2.9 s to a server that takes 1 s ahead; a longer one is an error, and ends the session
  const { events } = await hear(process.env.REALTIME_SER_TEST_STRICT_URL, samples);
  assert.equal(events[0].max_ahead_s, 1);
  assertSameFinals(events);
});

against("settings arrive, and an ArrayBuffer is bytes", async () => {
  const session = await connect(url, { token, settings: { encoding: "mulaw", partials: false } });
  assert.equal(session.created.config.encoding, "mulaw");
  assert.equal(session.created.config.partials, false);
  await session.send(new Uint8Array(8000).fill(255).buffer);
  const totals = await session.close();
  assert.ok(Math.abs(totals.audio_seconds - 0.5) < 0.05);
});

against("what cannot be sent is said at once", async () => {
  const session = await connect(url, { token, settings: { encoding: "mulaw" } });
  assert.throws(() => session.send(new Float32Array(8)), /takes bytes/);
  assert.throws(() => session.send("audio"), /must be a Float32Array/);
  await session.close();
});

against("callbacks, until they are taken back, and listeners", async () => {
  const session = await connect(url, { token });
  const heard = { all: 0, finals: [], partials: 0, ends: 0 };
  session.on("*", () => heard.all++);
  session.on("emotion.final", (event) => heard.finals.push(event));
  session.addEventListener("end", ({ detail }) => {
    assert.equal(detail.error, null);
    heard.ends++;
  });
  const forget = session.on("emotion.partial", () => heard.partials++);
  forget();
  for (const piece of pieces(samples)) await session.send(piece);
  await session.close();
  assertSameFinals(heard.finals);
  assert.ok(heard.all > heard.finals.length);
  assert.equal(heard.partials, 0);
  assert.equal(heard.ends, 1);
  assert.equal(await session.close(), await session.closed);
});

against(
  "a connection that is cut in the middle of an utterance is resumed without loss",
  async () => {
    // an odd number, so that a sample is cut in two as well
    await cutting(samples.byteLength / 2 + 1, Infinity, async (address, connections) => {
      const session = await connect(address, { token });
      const attempts = [];
      const resumed = [];
      session.on("reconnecting", ({ attempt }) => attempts.push(attempt));
      session.on("session.resumed", (event) => resumed.push(event));
      const events = [];
      session.on("*", (event) => events.push(event));
      for (const piece of pieces(samples)) await session.send(piece);
      const totals = await session.close();
      assert.equal(connections(), 2);
      assert.deepEqual(attempts, [1]);
      assert.equal(resumed.length, 1);
      assertSameFinals(events);
      assert.equal(totals.utterances, expected.length);
      assert.equal(totals.lost_samples, 0);
      assert.ok(Math.abs(totals.audio_seconds - samples.length / 16000) < 0.1);
    });
  },
);

against("what a connection lost on its way down is told again, and nothing twice", async () => {
  // after session.created and before the final, also where a busy server tells no partials
  await cutting(Infinity, 2600, async (address, connections) => {
    const { events } = await hear(address, samples);
    assert.equal(connections(), 2);
    assertSameFinals(events);
    const numbered = events.filter((event) => event.type !== "session.resumed");
    const numbers = numbered.map((event) => event.seq);
    assert.equal(new Set(numbers).size, numbers.length);
  });
});

against("a session that the server has not kept ends with the reason", async () => {
  await cutting(samples.byteLength / 2, Infinity, async (address) => {
    const session = await connect(address, { token });
    session.created.resume_token = "of-another-session";
    session.send(samples);
    await assert.rejects(session.closed, { code: "resume_unknown" });
    await assert.rejects(session.close(), { code: "resume_unknown" });
    await assert.rejects(async () => {
      for await (const event of session) assert.ok(event);
    }, RealtimeSERError);
  });
});

against("a wrong token, a wrong setting and a wrong address are told apart", async () => {
  await assert.rejects(connect(url, { token: "ffffffffffffffff" }), { code: "unauthorized" });
  await assert.rejects(connect(url, { token: "with a space" }), { code: "unauthorized" });
  await assert.rejects(connect(url, { token, settings: { encoding: "mp3" } }), {
    code: "invalid_setting",
  });
  await assert.rejects(connect("ws://127.0.0.1:1", { token }), { code: "unreachable" });
});

against("a fatal error ends the session with its code", async () => {
  const session = await connect(url, { token, settings: { encoding: "f32le" } });
  session.send(new Float32Array(1600).fill(NaN));
  await assert.rejects(session.closed, { code: "audio_unsupported" });
  await session.send(new Float32Array(1600)); // says nothing, and waits for nothing
});

against("a session can be left at once", async () => {
  const session = await connect(url, { token });
  session.send(samples.slice());
  session.abort();
  await assert.rejects(session.closed, { code: "aborted" });
});

against("the samples may be changed as soon as they were sent", async () => {
  const session = await connect(url, { token });
  const events = [];
  session.on("*", (event) => events.push(event));
  const buffer = new Int16Array(1600);
  for (const piece of pieces(samples)) {
    buffer.set(piece);
    const room = session.send(buffer.subarray(0, piece.length));
    buffer.fill(32767);
    await room;
  }
  await session.close();
  assertSameFinals(events);
});

test("a platform without WebSocket is told what to do", async () => {
  await assert.rejects(connect("ws://127.0.0.1:1", { WebSocket: null }), { code: "no_websocket" });
});
