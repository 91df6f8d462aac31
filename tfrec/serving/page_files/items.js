// How an item is shown: its name, or its id where it has none, and its features.

import { element } from "./dom.js";

const LONGEST = 120;  // characters of a shown value
const DIGITS = 7;     // of a number that is not whole

/** The nodes of an item in one line: its name and its id, or its id alone. */
export function label(item, name) {
  if (!name) return [item];
  return [element("span", { className: "name" }, name), " ",
    element("span", { className: "id" }, item)];
}

function text(value) {
  if (typeof value === "number") {
    return String(Number.isInteger(value) ? value : Number(value.toPrecision(DIGITS)));
  }
  const whole = Array.isArray(value) ? value.join(", ") : value;
  const points = [...whole];
  return points.length > LONGEST ? `${points.slice(0, LONGEST).join("")}…` : whole;
}

/** The features of an item as a list of column and value; nothing where it has none. */
export function features(description) {
  const shown = Object.entries(description?.features ?? {});
  if (!shown.length) return [];
  return [element("span", { className: "features" },
    ...shown.flatMap(([column, value], place) => [
      place ? " · " : "",
      element("span", { className: "feature" },
        element("span", { className: "column" }, `${column} `), text(value)),
    ]))];
}
