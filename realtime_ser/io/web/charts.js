/** The two pictures: probabilities over time on a canvas, the affect plane as SVG. */

import { colour, variable } from "./colours.js";
import { clock, percent } from "./state.js";

const LIVE_MS_PER_PIXEL = 65;
const LONGEST_LIVE_SPAN_MS = 45_000;
const SHORTEST_SPAN_MS = 15_000;
const TOP = 36;
const BOTTOM = 20;
const LEFT = 44;
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];

/** Draw stacked probabilities; `nowMs` is how much audio there is. */
export function drawTimeline(canvas, state, nowMs) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  const scale = globalThis.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const g = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const paint = (name) => style.getPropertyValue(name).trim();
  g.setTransform(scale, 0, 0, scale, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = `11px ${style.fontFamily}`;

  // live, the window moves on; once it is over, all of it is shown
  const spanMs = state.closed
    ? Math.max(nowMs, SHORTEST_SPAN_MS)
    : Math.min(LONGEST_LIVE_SPAN_MS, LIVE_MS_PER_PIXEL * width);
  const endMs = Math.max(nowMs, spanMs);
  const startMs = endMs - spanMs;
  const x = (ms) => LEFT + ((ms - startMs) / (endMs - startMs)) * (width - LEFT);
  const y = (share) => TOP + (1 - share) * (height - TOP - BOTTOM);

  drawAxes(g, { width, height, startMs, endMs, x, y, paint });
  g.save();
  g.beginPath();
  g.rect(LEFT, 0, width - LEFT, height);
  g.clip();
  let free = LEFT;
  state.utterances.forEach((utterance, i) => {
    if (utterance.endMs < startMs || !utterance.estimates.length) return;
    drawBands(g, utterance, x, y, paint);
    const right = x(state.utterances[i + 1]?.startMs ?? endMs);
    free = drawVerdict(g, utterance, { left: x(utterance.startMs), free, right }, paint);
  });
  if (!state.closed && state.session) {
    g.fillStyle = paint("--quiet");
    g.fillRect(Math.round(x(nowMs)) - 1, TOP, 1, height - TOP - BOTTOM);
  }
  g.restore();
}

function drawAxes(g, { width, height, startMs, endMs, x, y, paint }) {
  g.strokeStyle = paint("--line");
  g.fillStyle = paint("--quiet");
  g.textBaseline = "middle";
  g.textAlign = "right";
  for (const share of [0, 0.5, 1]) {
    g.beginPath();
    g.moveTo(LEFT, Math.round(y(share)) + 0.5);
    g.lineTo(width, Math.round(y(share)) + 0.5);
    g.stroke();
    g.fillText(`${100 * share} %`, LEFT - 6, y(share));
  }
  const most = Math.max(3, (width - LEFT) / 80);
  const stepMs = 1000 * (STEPS_S.find((s) => (endMs - startMs) / (1000 * s) <= most) ?? 7200);
  g.textAlign = "center";
  for (let ms = Math.ceil(startMs / stepMs) * stepMs; ms <= endMs; ms += stepMs) {
    const text = clock(ms);
    const half = g.measureText(text).width / 2;
    g.fillText(text, Math.min(width - half, Math.max(LEFT + half, x(ms))), height - BOTTOM / 2 + 2);
  }
}

function drawBands(g, utterance, x, y, paint) {
  const { estimates } = utterance;
  // the first estimate holds for what led up to it
  const points = [{ ...estimates[0], atMs: utterance.startMs }, ...estimates];
  const labels = Object.keys(estimates[0].emotion.probabilities);
  for (let i = 1; i < points.length; i++) {
    const [from, to] = [points[i - 1], points[i]];
    let below = [0, 0];
    g.globalAlpha = to.abstained ? 0.28 : 1;
    for (const label of labels) {
      const above = [
        below[0] + from.emotion.probabilities[label],
        below[1] + to.emotion.probabilities[label],
      ];
      g.fillStyle = paint(variable(label));
      g.beginPath();
      // half a pixel over its left neighbour, or the background shines through the seam
      const overlap = i > 1 && !to.abstained ? 0.5 : 0;
      g.moveTo(x(from.atMs) - overlap, y(below[0]));
      g.lineTo(x(to.atMs), y(below[1]));
      g.lineTo(x(to.atMs), y(Math.min(1, above[1])));
      g.lineTo(x(from.atMs) - overlap, y(Math.min(1, above[0])));
      g.fill();
      below = above;
    }
  }
  g.globalAlpha = 1;
}

/**
 * Label and confidence above the bands, as far as there is room between the words before, which end
 * at `free`, and the next utterance; returns where these end.
 */
function drawVerdict(g, utterance, { left, free, right }, paint) {
  if (!utterance.emotion) return free;
  const sure = percent(utterance.confidence);
  const widthOf = (text) => Math.max(g.measureText(text).width, g.measureText(sure).width);
  const word = utterance.abstained ? "unsure" : utterance.emotion.top;
  if (widthOf(word) > right - free - 6) return free;
  const at = Math.max(free, Math.min(left, right - 6 - widthOf(word)));
  g.textAlign = "left";
  g.fillStyle = paint(utterance.final ? "--ink" : "--quiet");
  g.fillText(word, at, TOP - 23);
  g.fillStyle = paint("--quiet");
  g.fillText(sure, at, TOP - 9);
  return at + widthOf(word) + 8;
}

const SVG = "http://www.w3.org/2000/svg";
const SIDE = 200;
const CORNERS = [
  ["tense", 6, 14, "start"],
  ["excited", 194, 14, "end"],
  ["gloomy", 6, 192, "start"],
  ["serene", 194, 192, "end"],
];

/** Draw the affect plane: a fading trail of estimates, the latest with its uncertainty. */
export function drawPlane(svg, { trail, rolling }, confidence) {
  svg.replaceChildren(...frame(), ...trailOf(trail, confidence), ...moodOf(rolling));
  const latest = trail.at(-1);
  if (latest) {
    svg.setAttribute(
      "aria-label",
      `Valence ${latest.valence.toFixed(2)}, arousal ${latest.arousal.toFixed(2)}, from 0 to 1; ` +
        `confidence of the emotion ${percent(confidence)}`,
    );
  }
}

function frame() {
  const middle = SIDE / 2;
  return [
    element("rect", { class: "frame", width: SIDE, height: SIDE, rx: 6 }),
    element("line", { class: "axis", x1: middle, y1: 0, x2: middle, y2: SIDE }),
    element("line", { class: "axis", x1: 0, y1: middle, x2: SIDE, y2: middle }),
    ...CORNERS.map(([text, x, y, anchor]) =>
      element("text", { class: "corner", x, y, "text-anchor": anchor }, text),
    ),
    element("text", { x: SIDE - 4, y: middle - 4, "text-anchor": "end" }, "valence →"),
    element("text", { x: middle + 4, y: 12 }, "↑ arousal"),
  ];
}

const at = (affect) => [SIDE * affect.valence, SIDE * (1 - affect.arousal)];

function trailOf(trail, confidence) {
  const parts = [];
  trail.forEach((point, i) => {
    const [x, y] = at(point);
    const age = (i + 1) / trail.length;
    if (i > 0) {
      const [x1, y1] = at(trail[i - 1]);
      const line = element("line", { x1, y1, x2: x, y2: y, "stroke-width": 1.5 });
      line.style.stroke = "var(--quiet)";
      line.style.opacity = 0.5 * age * age;
      parts.push(line);
    }
    const latest = i === trail.length - 1;
    if (latest) {
      const ring = element("circle", { cx: x, cy: y, r: 8 + 24 * (1 - confidence) });
      ring.style.fill = colour(point.label, point.abstained);
      ring.style.opacity = 0.22;
      parts.push(ring);
    }
    const dot = element("circle", { cx: x, cy: y, r: latest ? 6 : point.final ? 4 : 2.5 });
    dot.style.fill = colour(point.label, point.abstained);
    dot.style.opacity = latest ? 1 : 0.1 + 0.7 * age * age;
    parts.push(dot);
  });
  return parts;
}

function moodOf(rolling) {
  if (!rolling) return [];
  const [x, y] = at(rolling.affect);
  const mark = element("path", { d: `M${x} ${y - 7}l7 7l-7 7l-7 -7z`, "stroke-width": 1.5 });
  mark.style.fill = "var(--ink)";
  mark.style.stroke = "var(--card)";
  return [mark];
}

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
