// The list as a table: places, moves against another goal, predicted measurements as bars.

import { column as columnOf, element, unseen } from "./dom.js";
import { features, label } from "./items.js";

/** Places that an item moved up against another list; null where that list has it not. */
function moved(place, former) {
  return former === undefined ? null : former - place;
}

function moveCell(place, former, against) {
  const by = moved(place, former);
  const kind = by === null ? "new" : by > 0 ? "up" : by < 0 ? "down" : "same";
  const short = { new: "new", up: `▲ ${by}`, down: `▼ ${-by}`, same: "=" }[kind];
  const long = {
    new: `not in the first ${against.deep} under ${against.label}`,
    up: `${by} up: place ${former + 1} under ${against.label}`,
    down: `${-by} down: place ${former + 1} under ${against.label}`,
    same: `the same place under ${against.label}`,
  }[kind];
  return element(
    "td",
    { role: "cell", className: `move ${kind}`, title: long },
    element("span", { "aria-hidden": "true" }, short),
    unseen(long),
  );
}

/** How each column is drawn: where its bars go, so that all fit, and how it writes numbers. */
function drawn(columns, lists, weights) {
  return columns.map((column) => {
    const { index, mean } = column;
    const values = lists.flatMap((list) => list.map((row) => row.measurements[index]));
    return {
      ...column,
      low: Math.min(0, mean, ...values),
      high: Math.max(0, mean, ...values),
      number: columnOf(values),
      sign: weights[index] > 0 ? "plus" : weights[index] < 0 ? "minus" : "none",
    };
  });
}

function bar(value, { mean, low, high, sign }) {
  const at = (x) => (high > low ? (100 * (x - low)) / (high - low) : 0);
  const filled = element("span", { className: "filled" });
  filled.style.left = `${Math.min(at(0), at(value))}%`;
  filled.style.width = `${Math.abs(at(value) - at(0))}%`;
  const mark = element("span", { className: "mean" });
  mark.style.left = `${at(mean)}%`;
  return element("span", { className: `bar ${sign}`, "aria-hidden": "true" }, filled, mark);
}

function measurementCell(value, column) {
  return element(
    "td",
    { role: "cell", className: "measurement", "data-label": column.label },
    element("span", { className: "value" }, column.number(value)),
    bar(value, column),
  );
}

function head(shown, against) {
  const heading = (text, properties, ...more) =>
    element("th", { role: "columnheader", scope: "col", ...properties }, text, ...more);
  const top = element("tr", { role: "row" }, heading("#", { rowSpan: 2, className: "place" }));
  if (against) {
    top.append(heading("moved", { rowSpan: 2, className: "move", title: `vs ${against.label}` }));
  }
  top.append(
    heading("item", { rowSpan: 2, className: "item" }),
    heading("score", { rowSpan: 2, className: "score" }),
  );
  const bottom = element("tr", { role: "row" });
  for (const group of shown) {
    const span = group.columns.length;
    const unit = element("span", { className: "unit" }, group.unit);
    top.append(heading(group.name, { colSpan: span, scope: "colgroup", className: "group" }, unit));
    for (const { when, inFull } of group.columns) bottom.append(heading(when, { title: inFull }));
  }
  return element("thead", { role: "rowgroup" }, top, bottom);
}

function mean(list, index) {
  return list.reduce((sum, row) => sum + row.measurements[index], 0) / list.length;
}

/**
 * The table.
 *
 * @param list rows of the answer, best first.
 * @param shown groups of columns.
 * @param weights the goal's weight of each column.
 * @param against null, or {label, list, deep}: a longer list under another goal.
 * @param descriptionOf item -> {name, features}, or undefined.
 */
export function table(list, shown, weights, against, descriptionOf) {
  const other = against ? against.list.slice(0, list.length) : [];
  const columns = drawn(shown.flatMap((group) => group.columns), [list, other], weights);
  const score = columnOf(list.map((row) => row.score));
  const former = new Map(against ? against.list.map((row, place) => [row.item, place]) : []);
  const body = element("tbody", { role: "rowgroup" });
  list.forEach((row, place) => {
    const line = element("tr", { role: "row" },
      element("td", { role: "cell", className: "place" }, String(place + 1)));
    if (against) line.append(moveCell(place, former.get(row.item), against));
    line.append(
      element("th", { role: "rowheader", scope: "row", className: "item" },
        ...label(row.item, descriptionOf(row.item)?.name), ...features(descriptionOf(row.item))),
      element("td", { role: "cell", className: "score" }, score(row.score)),
      ...columns.map((column) => measurementCell(row.measurements[column.index], column)),
    );
    body.append(line);
  });
  const foot = element("tfoot", { role: "rowgroup" });
  const lists = [["mean of the list", list]];
  if (other.length) lists.push([`mean, ${against.label}`, other]);
  for (const [label, rows] of lists) {
    foot.append(element("tr", { role: "row" },
      element("th", { role: "rowheader", scope: "row", colSpan: against ? 4 : 3 }, label),
      ...columns.map((column) => measurementCell(mean(rows, column.index), column))));
  }
  return element("table", { role: "table", "aria-label": "Ranked items" },
    head(shown, against), body, foot);
}

/** A sentence on the items in the first places of the other list that this one lacks. */
export function gone(list, against, nameOf) {
  const listed = new Set(list.map((row) => row.item));
  const lost = against.list.slice(0, list.length).map((row) => row.item)
    .filter((item) => !listed.has(item));
  if (!lost.length) return `The first ${list.length} under ${against.label} are the same items.`;
  return `In the first ${list.length} under ${against.label}, not here: ${lost.map(nameOf).join(", ")}.`;
}
