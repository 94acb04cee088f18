/** The panels made of elements: each a function from state to document. */

import { colour } from "./colours.js";
import {
  LEDGER_PARTS,
  clock,
  current,
  evidence,
  hasFailed,
  partMs,
  percent,
  percentile,
  verdict,
} from "./state.js";

const HISTORY = 28;

const $ = (id) => document.getElementById(id);

/** An element with text, classes and the like; what is false or null is left out. */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null && child !== false));
  return made;
}

export function drawNow(state) {
  const utterance = current(state);
  const box = $("verdict");
  box.toggleAttribute("data-unsure", utterance?.abstained ?? false);
  box.toggleAttribute("data-idle", !utterance);
  if (!utterance) {
    box.textContent = state.closed
      ? "No speech heard"
      : state.session
        ? "Waiting for speech"
        : "Ready";
    $("confidence").style.width = "0";
    $("evidence").textContent = state.session
      ? "An estimate appears about a second after speech begins."
      : "Press Listen, or drop a recording anywhere on this page.";
    $("bars").replaceChildren();
    return;
  }
  const { top, probabilities } = utterance.emotion;
  box.textContent = verdict(utterance);
  $("confidence").style.width = percent(utterance.confidence).replace(" ", "");
  $("confidence").style.background = colour(top, utterance.abstained);
  const stage = utterance.final ? "" : ", still listening";
  $("evidence").textContent =
    `${percent(utterance.confidence)} confident · ${evidence(utterance)}${stage}`;
  drawBars(probabilities, top, state.rolling?.emotion.probabilities ?? {}, utterance.abstained);
}

function drawBars(probabilities, top, mood, abstained) {
  const list = $("bars");
  const labels = Object.keys(probabilities);
  if (list.children.length !== labels.length) {
    list.replaceChildren(
      ...labels.map(() => {
        const fill = make("div", { className: "fill" });
        const mark = make("span", { className: "mark", textContent: "◆", ariaHidden: "true" });
        const track = make("div", { className: "track" }, fill, mark);
        return make("li", {}, make("span"), track, make("span", { className: "share" }));
      }),
    );
  }
  labels.forEach((label, i) => {
    const [name, track, share] = list.children[i].children;
    const [fill, mark] = track.children;
    list.children[i].className = label === top && !abstained ? "top" : "";
    name.textContent = label;
    fill.style.width = `${100 * probabilities[label]}%`;
    fill.style.background = colour(label);
    fill.style.opacity = abstained ? 0.4 : 1;
    mark.hidden = mood[label] === undefined;
    mark.style.left = `${100 * (mood[label] ?? 0)}%`;
    share.textContent = percent(probabilities[label]);
  });
}

/** Bring the list up to date: only the rows that may have changed are made anew. */
export function drawTranscript(state) {
  const list = $("transcript");
  $("transcript-empty").hidden = state.utterances.length > 0;
  if (!state.utterances.length) list.replaceChildren();
  const stays = list.scrollTop + list.clientHeight < list.scrollHeight - 40;
  const rows = new Map([...list.children].map((row) => [row.dataset.utterance, row]));
  for (const utterance of state.utterances) {
    const key = String(utterance.id);
    const before = rows.get(key);
    rows.delete(key);
    if (before?.dataset.final === "true") continue;
    const row = transcriptRow(utterance);
    if (before) before.replaceWith(row);
    else list.append(row);
  }
  for (const gone of rows.values()) gone.remove();
  if (!stays) list.scrollTop = list.scrollHeight;
}

function transcriptRow(utterance) {
  const row = make("li");
  Object.assign(row.dataset, {
    utterance: utterance.id,
    final: utterance.final,
    label: utterance.emotion?.top ?? "",
    confidence: utterance.confidence,
    abstained: utterance.abstained,
    startMs: utterance.startMs,
  });
  const known = utterance.emotion && !utterance.abstained;
  row.style.borderColor = known ? colour(utterance.emotion.top) : "var(--unsure)";
  const time = make("time", { textContent: clock(utterance.startMs) });
  const running = !utterance.text && !utterance.final && utterance.wordsSoFar;
  const text = running
    ? make("p", { className: "text running", textContent: `${utterance.wordsSoFar} …` })
    : utterance.text && make("p", { className: "text", textContent: utterance.text });
  const said = make("p", { className: "said" });
  if (hasFailed(utterance)) {
    said.append("The models gave no answer for this one.");
  } else if (!utterance.emotion) {
    said.append("listening …");
  } else {
    said.append(
      make("b", { textContent: verdict(utterance) }),
      ` · ${percent(utterance.confidence)} confident · ${evidence(utterance)}` +
        (utterance.final ? "" : " …"),
    );
  }
  row.append(...[time, text, said].filter(Boolean));
  return row;
}

export function drawMood({ rolling }) {
  const bar = $("mood-bar");
  if (!rolling) {
    $("mood").textContent = "–";
    bar.replaceChildren();
    bar.setAttribute("aria-label", "No mood yet");
    $("mood-evidence").textContent = "Builds up over utterances; recent speech counts most.";
    return;
  }
  const ranked = Object.entries(rolling.emotion.probabilities).sort((a, b) => b[1] - a[1]);
  const words = ranked.slice(0, 3).map(([label, share]) => `${label} ${percent(share)}`);
  $("mood").replaceChildren(words[0], make("span", { textContent: words.slice(1).join(", ") }));
  bar.replaceChildren(
    ...Object.entries(rolling.emotion.probabilities).map(([label, share]) => {
      const part = make("div", { title: `${label} ${percent(share)}` });
      part.style.flex = `${share} 1 0`;
      part.style.background = colour(label);
      return part;
    }),
  );
  bar.setAttribute(
    "aria-label",
    ranked.map(([label, share]) => `${label} ${percent(share)}`).join(", "),
  );
  $("mood-evidence").textContent =
    `Rests on ${rolling.effective_seconds.toFixed(1)} s of speech; recent speech counts most.`;
}

/** Valence, arousal and dominance in figures, under the plane. */
export function drawAffect(state) {
  const rows = [
    ["Now", current(state)?.affect],
    ["Mood", state.rolling?.affect],
  ].filter(([, affect]) => affect);
  $("affect").hidden = !rows.length;
  $("affect").tBodies[0].replaceChildren(
    ...rows.map(([name, { valence, arousal, dominance }]) =>
      make(
        "tr",
        {},
        make("th", { scope: "row", textContent: name }),
        ...[valence, arousal, dominance].map((value) =>
          make("td", { textContent: value.toFixed(2) }),
        ),
      ),
    ),
  );
}

const PART_COLOURS = {
  hangover: "var(--hangover)",
  queue: "var(--queue)",
  transcript: "var(--asr)",
  encoders: "var(--encoders)",
  emit: "var(--emit)",
};

/** `realTime`: whether the audio came at the pace of speech, so that somebody could have waited. */
export function drawLatency({ ledgers }, realTime) {
  const latest = ledgers.at(-1);
  $("ledger").hidden = !latest;
  $("history").hidden = !latest;
  if (!latest) {
    $("wait").textContent = "–";
    $("wait-note").textContent = "From the end of speech to the result; fills with the first one.";
    return;
  }
  const totals = ledgers.map((ledger) => ledger.end_of_speech_to_emit);
  const [median, high] = [50, 95].map((share) => ms(percentile(totals, share)));
  $("wait").replaceChildren(
    ms(latest.end_of_speech_to_emit),
    make("span", { textContent: ` end of speech to result` }),
  );
  const beyond = latest.end_of_speech_to_emit - latest.critical.hangover;
  $("wait-note").textContent =
    (realTime ? "" : "Sent faster than speech: nobody waits like this. ") +
    `${ms(beyond)} of it beyond the pause that ends an utterance; ` +
    `median of ${ledgers.length}: ${median}, 95\u00a0%: ${high}.`;
  drawHistory(ledgers.slice(-HISTORY), Math.max(...totals.slice(-HISTORY)));
  $("ledger").tBodies[0].replaceChildren(
    ...Object.keys(LEDGER_PARTS).map((part) => {
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = PART_COLOURS[part];
      const worked = partMs(latest.compute, part);
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, swatch, part),
        make("td", { textContent: ms(partMs(latest.critical, part)) }),
        make("td", { className: "hidden-work", textContent: worked ? ms(worked) : "–" }),
      );
    }),
  );
}

function drawHistory(ledgers, highest) {
  $("history").replaceChildren(
    ...ledgers.map((ledger) => {
      const column = make("div", { title: ms(ledger.end_of_speech_to_emit) });
      column.style.height = `${(100 * ledger.end_of_speech_to_emit) / highest}%`;
      for (const part of Object.keys(LEDGER_PARTS)) {
        const piece = make("div");
        piece.style.flex = `${partMs(ledger.critical, part)} 1 0`;
        piece.style.background = PART_COLOURS[part];
        column.append(piece);
      }
      return column;
    }),
  );
  $("history").setAttribute(
    "aria-label",
    `Latest waits in ms: ${ledgers.map((l) => Math.round(l.end_of_speech_to_emit)).join(", ")}`,
  );
}

const ms = (value) => `${Math.round(value)} ms`;

/** A final in a sentence, for those who listen to the page. */
export function announcement(utterance) {
  if (hasFailed(utterance)) return "An utterance could not be analysed.";
  const text = utterance.text ? `“${utterance.text}”: ` : "";
  const sure = `${percent(utterance.confidence)} confident`;
  return `${text}${verdict(utterance)}, ${sure}, ${evidence(utterance)}.`;
}
