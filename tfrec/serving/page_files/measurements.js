// What the columns of a model are called, and which belong together.

const LATER = /^(.+)@(\d+)(?:\.\.(\d*))?$/;  // click@0, click@1..3, click@4..
const PART = /^(.+)\[(\d+)\]$/;              // embedding(click)[3]

/** [group, when in few words, when in full] */
function named(column) {
  const later = LATER.exec(column);
  if (later) {
    const [, group, first, last] = later;
    if (last === undefined && first === "0") return [group, "now", "now"];
    const steps = last === undefined ? first : last ? `${first}–${last}` : `${first}+`;
    return [group, `${steps} later`, `${steps} step${steps === "1" ? "" : "s"} later`];
  }
  const part = PART.exec(column);
  return part ? [part[1], `[${part[2]}]`, `[${part[2]}]`] : [column, "", ""];
}

/**
 * Groups of columns:
 * [{name, unit, parts, columns: [{index, column, when, label, inFull, unit, mean, std}]}].
 * `parts` is true for a vector, whose columns have no separate meaning.
 */
export function groups(measurements) {
  const result = [];
  measurements.forEach(({ column, unit, mean, std }, index) => {
    const [name, when, inFull] = named(column);
    let group = result.find((other) => other.name === name);
    if (!group) {
      group = { name, unit, parts: PART.test(column), columns: [] };
      result.push(group);
    }
    const after = (text) => (text ? `${name}, ${text}` : name);
    group.columns.push({
      index, column, when, label: after(when), inFull: after(inFull), unit, mean, std,
    });
  });
  return result;
}
