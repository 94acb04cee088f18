/** Joins the page's controls, its sources of audio, a session and the panels. */

import { AudioProblem, Microphone, Recording, levelDbfs, microphones, play } from "./audio.js";
import { drawPlane, drawTimeline } from "./charts.js";
import {
  announcement,
  drawAffect,
  drawLatency,
  drawMood,
  drawNow,
  drawTranscript,
} from "./panels.js";
import { RealtimeSERError, connect } from "./realtime-ser.js";
import { clock, current, newState, take } from "./state.js";

const $ = (id) => document.getElementById(id);

const TAKE_S = 3;
/** One answer for the whole take: no pause in it ends an utterance. */
const TAKE_SETTINGS = { hangover_ms: 3000 };
const FRAME_MS = 50;
const LEVEL_FLOOR_DBFS = -60;

const LOST =
  "The connection was lost, and the server no longer has the session. What it said until then is " +
  "here; start a new one to go on.";
const LOST_CODES = ["resume_unknown", "resume_impossible"];

const still = matchMedia("(prefers-reduced-motion: reduce)");

let state = newState();
let events = [];
/** What runs now: {session, stop, isOver}; null when nothing does. */
let running = null;
let sentS = 0;
let realTime = true;
let changed = true;
let token = "";
let again = null;

// running a stream

/** Open a session for a source; `settings` as the protocol has them. */
async function begin(settings) {
  setStatus("waiting", "connecting");
  const session = await connect(new URL("v1/stream", location.href).href, { settings, token });
  state = newState();
  events = [];
  sentS = 0;
  realTime = true;
  session.on("*", (event) => receive(event));
  receive(session.created);
  session.on("reconnecting", () => setStatus("waiting", "connection lost, coming back"));
  session.on("session.resumed", () => showPhase());
  return session;
}

/** Run `source` with the controls set to stop it; `retry` does the same thing once more. */
async function run(retry, source) {
  if (running) return;
  again = retry;
  const job = newJob();
  running = job;
  hideProblem();
  $("notes").replaceChildren();
  showControls();
  try {
    await source(job);
    if (job.session) setStatus("waiting", "finishing");
    await job.session?.close();
    showTotals(job.session !== null);
  } catch (error) {
    if (error.code !== "aborted") showProblem(error);
    setStatus("idle", "stopped");
  } finally {
    for (const release of job.release) release();
    running = null;
    if (state.session) state.closed ??= {};
    showLevel(LEVEL_FLOOR_DBFS);
    showControls();
    // now: whoever reads "done" finds all of it, in a hidden tab too, which is given no frames
    changed = true;
    draw();
  }
}

function newJob() {
  const job = { session: null, over: false, countdown: false, release: [] };
  job.stopped = new Promise((resolve) => {
    job.stop = () => {
      job.over = true;
      resolve();
    };
  });
  return job;
}

const listen = () => run(listen, (job) => fromMicrophone(job, {}));

const record = () =>
  run(record, (job) => {
    job.countdown = true;
    return fromMicrophone(job, TAKE_SETTINGS);
  });

async function fromMicrophone(job, settings) {
  setStatus("waiting", "asking for the microphone");
  const opening = Microphone.open($("device").value);
  job.release.push(() =>
    opening.then(
      (microphone) => microphone.close(),
      () => {},
    ),
  );
  // whoever has to allow it may rather press Stop
  const microphone = await Promise.race([opening, job.stopped]);
  if (job.over) return;
  showDevices();
  const early = []; // what is said while we connect
  let hear = (block) => early.push(block);
  microphone.start((block) => hear(block));
  microphone.onEnded(() => {
    showProblem(
      new AudioProblem("The microphone was taken away. What it gave until then is kept."),
    );
    job.stop();
  });
  const session = await begin({ ...settings, sample_rate_hz: microphone.sampleRate });
  job.session = session;
  session.on("end", job.stop);
  showPhase();
  hear = (block) => {
    if (job.over) return;
    session.send(block);
    sent(block, microphone.sampleRate);
    if (job.countdown) countDown(job);
  };
  early.forEach(hear);
  await job.stopped;
}

function countDown(job) {
  const leftS = Math.ceil(TAKE_S - sentS);
  if (leftS > 0) setStatus("speech", `speak: ${leftS}`);
  else job.stop();
}

const fromFile = (file) =>
  run(
    () => fromFile(file),
    async (job) => {
      setStatus("waiting", `decoding ${file.name}`);
      const recording = await Recording.decode(file);
      const session = await begin({ sample_rate_hz: recording.sampleRate });
      job.session = session;
      session.on("end", job.stop);
      showPhase();
      const pace = $("pace").value;
      realTime = pace !== "fast";
      if (pace === "real") job.release.push(play(file));
      await recording.stream((block) => session.send(block), {
        realTime,
        isOver: () => job.over,
        onBlock: (block) => sent(block, recording.sampleRate),
      });
    },
  );

function sent(block, sampleRate) {
  sentS += block.length / sampleRate;
  showLevel(levelDbfs(block));
}

function receive(event) {
  take(state, event);
  events.push(event);
  changed = true;
  if (event.type === "session.created") showModel(event);
  else if (event.type === "emotion.final") {
    $("announcer").textContent = announcement(current(state) ?? state.utterances.at(-1));
  } else if (event.type === "warning" || (event.type === "error" && !event.fatal)) {
    $("notes").textContent = sentence(event.message);
  } else if (event.type === "utterance.start" || event.type === "utterance.end") showPhase();
}

// what the page says

function showPhase() {
  if (!running || running.over || running.countdown) return;
  setStatus(state.speaking ? "speech" : "live", state.speaking ? "hearing speech" : "listening");
}

function setStatus(phase, text) {
  $("status").dataset.state = phase;
  $("status-text").textContent = text;
}

function showTotals(began) {
  if (!began) {
    setStatus("idle", "ready");
    return;
  }
  const { utterances, speech_seconds: speechS } = state.closed;
  const count = utterances === 1 ? "1 utterance" : `${utterances} utterances`;
  setStatus("idle", `done: ${count}, ${speechS.toFixed(1)} s of speech`);
  if (state.closed.reason === "server_shutdown") {
    $("notes").textContent = "The server is being stopped. What it heard until then is here.";
  }
}

function showModel({ bundle, providers, asr }) {
  const where = providers.map((name) => name.replace("ExecutionProvider", "")).join(", ");
  $("model").textContent = `${bundle.name} ${bundle.version} on ${where}, transcripts: ${asr}`;
}

function showControls() {
  const busy = running !== null;
  const buttons = ["listen", "take", "choose"];
  const focused = document.activeElement?.id;
  for (const id of buttons) $(id).hidden = busy;
  for (const id of ["device", "pace"]) $(id).disabled = busy;
  document.querySelector(".controls").toggleAttribute("data-busy", busy);
  $("stop").hidden = !busy;
  $("save").hidden = busy || !events.length;
  // whoever got here by keyboard stays where the button was
  if (busy && buttons.includes(focused)) $("stop").focus();
  if (!busy && focused === "stop") $("listen").focus();
}

function showProblem(error) {
  const asksToken = error.code === "unauthorized";
  $("problem-text").textContent = explain(error);
  $("token-form").hidden = !asksToken;
  $("problem").hidden = false;
  if (asksToken) $("token").focus();
}

/** What went wrong, and what to do, to a person. */
function explain(error) {
  if (error.code === "unauthorized") {
    return token
      ? "The server does not know that token. Check it, and try again."
      : "This server asks for a token. Its operator has it.";
  }
  if (LOST_CODES.includes(error.code)) return LOST;
  if (error instanceof AudioProblem) return error.message;
  if (!(error instanceof RealtimeSERError)) return `Something went wrong: ${error.message}`;
  const later = error.retryAfterS ? ` Worth trying again in ${error.retryAfterS} s.` : "";
  return `${sentence(error.message)}${later}`;
}

/** What the server says in a line, as a sentence. */
function sentence(message) {
  return `${message[0].toUpperCase()}${message.slice(1)}.`;
}

function hideProblem() {
  $("problem").hidden = true;
}

function showLevel(dbfs) {
  $("level").style.width = `${Math.max(0, 100 * (1 - dbfs / LEVEL_FLOOR_DBFS))}%`;
}

async function showDevices() {
  const chosen = $("device").value;
  const found = await microphones();
  $("device").replaceChildren(
    new Option("Default", ""),
    ...found
      .filter((device) => device.deviceId !== "default")
      .map((device, i) => new Option(device.label || `Microphone ${i + 1}`, device.deviceId)),
  );
  $("device").value = chosen;
  if (!$("device").value) $("device").value = "";
}

function draw() {
  const nowMs = Math.max(state.positionMs, 1000 * sentS);
  if (changed) {
    changed = false;
    drawNow(state);
    drawTranscript(state);
    drawMood(state);
    drawAffect(state);
    drawLatency(state, realTime);
    drawPlane($("plane"), state, current(state)?.confidence ?? 0);
    describeTimeline();
  }
  drawTimeline($("timeline"), state, nowMs);
  $("clock").textContent = sentS ? clock(1000 * sentS) : "";
}

function describeTimeline() {
  const finals = state.utterances.filter((utterance) => utterance.final);
  $("timeline").setAttribute(
    "aria-label",
    `Probabilities of the emotions over time; ${finals.length} utterances, listed under Utterances`,
  );
}

let drawnMs = 0;
function frame(nowMs) {
  const dueMs = still.matches ? 1000 : FRAME_MS;
  if (changed || (running && nowMs - drawnMs >= dueMs)) {
    drawnMs = nowMs;
    draw();
  }
  requestAnimationFrame(frame);
}

// controls

$("listen").addEventListener("click", listen);
$("take").addEventListener("click", record);
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) fromFile(file);
  $("file").value = "";
});
$("stop").addEventListener("click", () => {
  if (running.over) running.session?.abort(); // the second time: do not wait for what is left
  running.stop();
});
$("dismiss").addEventListener("click", hideProblem);
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  hideProblem();
  again();
});
$("save").addEventListener("click", () => {
  const lines = events.map((event) => `${JSON.stringify(event)}\n`);
  const address = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
  const link = Object.assign(document.createElement("a"), {
    href: address,
    download: "events.jsonl",
  });
  link.click();
  URL.revokeObjectURL(address);
});

const holdsFile = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!holdsFile(event)) return;
  event.preventDefault();
  $("drop").hidden = running !== null;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").hidden = true;
});
addEventListener("drop", (event) => {
  if (!holdsFile(event)) return;
  event.preventDefault();
  $("drop").hidden = true;
  const [file] = event.dataTransfer.files;
  if (file && !running) fromFile(file);
});

new ResizeObserver(() => (changed = true)).observe($("timeline"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (changed = true));
navigator.mediaDevices?.addEventListener?.("devicechange", showDevices);
showDevices();
requestAnimationFrame(frame);
