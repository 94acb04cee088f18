/** The colour of an emotion, as a CSS variable of style.css. */

const KNOWN = ["angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised", "calm"];
const OTHER_NAMES = {
  anger: "angry",
  fear: "fearful",
  joy: "happy",
  happiness: "happy",
  sadness: "sad",
  disgusted: "disgust",
  surprise: "surprised",
};
const OTHERS = 4;

/** A label that nobody has foreseen always gets the same one. */
export function variable(label) {
  const name = label.toLowerCase();
  const known = OTHER_NAMES[name] ?? name;
  if (KNOWN.includes(known)) return `--${known}`;
  let sum = 0;
  for (const character of name) sum = (31 * sum + character.codePointAt(0)) % 65521;
  return `--other-${sum % OTHERS}`;
}

/** For styles: follows light and dark by itself. */
export function colour(label, abstained = false) {
  return `var(${abstained ? "--unsure" : variable(label)})`;
}
