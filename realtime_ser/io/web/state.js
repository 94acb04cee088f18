/** What the page knows: the events of one stream, folded. No clock, no document. */

const TRAIL = 24;
const UTTERANCES = 500;
const LEDGERS = 200;

/** The parts of the critical path as they are shown, and the ledger's names that each sums. */
export const LEDGER_PARTS = {
  hangover: ["hangover"],
  queue: ["queue"],
  transcript: ["asr"],
  encoders: ["audio_encoder", "text_encoder", "fusion"],
  emit: ["emit"],
};

export function newState() {
  return {
    session: null,
    /** Audio told about, in ms. */
    positionMs: 0,
    speaking: false,
    lagMs: null,
    /** Latest ones, oldest first; what each holds stands under "utterance.start". */
    utterances: [],
    trail: [],
    rolling: null,
    /** Of the finals that someone waited for: those that silence ended. */
    ledgers: [],
    closed: null,
  };
}

const TAKE = {
  "session.created": (state, event) => {
    state.session = event;
  },
  "utterance.start": (state, event) => {
    state.speaking = true;
    state.utterances.push({
      id: event.utterance_id,
      startMs: event.audio_start_ms,
      endMs: event.audio_end_ms,
      /** Each {atMs, emotion, confidence, abstained, final}. */
      estimates: [],
      text: null,
      /** The words so far, as long as there is no final. */
      wordsSoFar: null,
      emotion: null,
      affect: null,
      confidence: 0,
      abstained: false,
      speechSeconds: 0,
      modalities: [],
      timings: null,
      final: false,
    });
    if (state.utterances.length > UTTERANCES) state.utterances.shift();
  },
  "emotion.partial": (state, event) => estimated(state, event, { modalities: ["audio"] }),
  "transcript.partial": (state, event) => {
    const utterance = find(state, event);
    if (utterance) utterance.wordsSoFar = event.transcript.text;
  },
  "transcript.final": (state, event) => {
    const utterance = find(state, event);
    if (utterance) utterance.text = event.transcript.text;
  },
  "emotion.final": (state, event) => {
    const { modalities, timings } = event;
    estimated(state, event, { modalities, timings, final: true });
    if (timings && event.closed_by === "silence") {
      state.ledgers.push(timings);
      if (state.ledgers.length > LEDGERS) state.ledgers.shift();
    }
  },
  "rolling.update": (state, event) => {
    state.rolling = event.estimate;
  },
  "utterance.end": (state) => {
    state.speaking = state.utterances.some((utterance) => !utterance.final);
  },
  "session.closed": (state, event) => {
    state.closed = event;
    state.speaking = false;
  },
};

/** Fold an event in. */
export function take(state, event) {
  state.positionMs = Math.max(state.positionMs, event.audio_end_ms);
  if (event.lag_ms !== null) state.lagMs = event.lag_ms;
  TAKE[event.type]?.(state, event);
}

function estimated(state, event, more) {
  const utterance = find(state, event);
  if (!utterance) return;
  const { emotion, affect, confidence, abstained } = event;
  Object.assign(utterance, { emotion, affect, confidence, abstained, ...more });
  utterance.speechSeconds = event.speech_seconds;
  utterance.endMs = event.audio_end_ms;
  if (!emotion) return;
  const final = event.type === "emotion.final";
  utterance.estimates.push({ atMs: event.audio_end_ms, emotion, confidence, abstained, final });
  state.trail.push({ ...affect, label: emotion.top, abstained, final });
  if (state.trail.length > TRAIL) state.trail.shift();
}

function find(state, event) {
  return state.utterances.findLast((utterance) => utterance.id === event.utterance_id);
}

/** The latest utterance of which there is an estimate. */
export function current(state) {
  return state.utterances.findLast((utterance) => utterance.emotion) ?? null;
}

/** Failed: the models gave no answer. */
export function hasFailed(utterance) {
  return utterance.final && utterance.emotion === null;
}

/** What an estimate says, in words: never more certain than it is. */
export function verdict(estimate) {
  if (!estimate.emotion) return "not analysed";
  if (estimate.abstained) return "unsure";
  const { top } = estimate.emotion;
  if (estimate.confidence >= 0.75) return top;
  return estimate.confidence >= 0.5 ? `probably ${top}` : `perhaps ${top}`;
}

/** One of `LEDGER_PARTS`, in ms; `of` is a ledger's `critical` or `compute`. */
export function partMs(of, part) {
  return LEDGER_PARTS[part].reduce((sum, name) => sum + (of[name] ?? 0), 0);
}

/** The nearest-rank percentile of numbers, of which there must be some. */
export function percentile(values, percent) {
  const ordered = [...values].sort((a, b) => a - b);
  return ordered[Math.max(0, Math.ceil((ordered.length * percent) / 100) - 1)];
}

export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

export function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  const rest = String(seconds % 60).padStart(2, "0");
  const minutes = Math.floor(seconds / 60) % 60;
  const hours = Math.floor(seconds / 3600);
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** Evidence in words: what an estimate rests on. */
export function evidence(utterance) {
  const heard = `${utterance.speechSeconds.toFixed(1)} s heard`;
  return utterance.modalities.includes("text")
    ? `${heard}, voice and words`
    : `${heard}, voice only`;
}
