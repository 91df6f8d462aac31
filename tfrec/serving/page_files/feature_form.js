// The fields of features of a user or a context, one or more for each column that the model reads.

import { element } from "./dom.js";

const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MOST_CHOICES = 50;  // a column with more categories is a text field with suggestions

/** A text field, with suggestions where categories are known. */
function textField({ kind, categories, separator }, id) {
  const several = kind === "categories", known = !several && categories.length > 0;
  const field = element("input", {
    type: "text", id, spellcheck: false, autocomplete: "off",
    placeholder: several ? `several, with ${separator} between them` : "missing",
    inputMode: kind === "number" ? "decimal" : "text",
  });
  const parts = [field];
  if (known) {
    field.setAttribute("list", `${id}-known`);
    parts.push(element("datalist", { id: `${id}-known` },
      ...categories.map((value) => element("option", { value }))));
  }
  const typed = () => field.value.trim();
  const read = {
    number: () => (Number.isFinite(Number(typed())) ? Number(typed()) : typed()),
    categories: () => typed().split(separator).map((x) => x.trim()).filter(Boolean),
  }[kind] ?? typed;
  return {
    parts,
    fields: [field],
    read: () => (typed() ? read() : null),
    fill: (value) => {
      field.value = value === null ? "" : several ? value.join(separator) : String(value);
    },
  };
}

/** The known categories, hours or weekdays as the options of a list. */
function selection({ kind, categories }, id) {
  const read = kind === "category" ? String : Number;
  const text = {
    hour: (value) => `${value}:00`, weekday: (value) => DAYS[value],
  }[kind] ?? String;
  const option = (value) => element("option", { value }, text(value));
  const field = element("select", { id },
    element("option", { value: "" }, "missing"), ...categories.map(option));
  return {
    parts: [field],
    fields: [field],
    read: () => (field.value ? read(field.value) : null),
    fill: (given) => {
      const value = given === null ? null : String(given);
      if (value !== null && ![...field.options].some((one) => one.value === value)) {
        field.append(option(value));  // a rare category
      }
      field.value = value ?? "";
    },
  };
}

/** The known categories as boxes, of which several may be checked. */
function boxes({ name, categories }, id) {
  const group = element("span", { className: "choices", role: "group", "aria-label": name, id });
  const box = (value) => {
    const input = element("input", { type: "checkbox", value });
    group.append(element("label", {}, input, element("span", {}, value)));
    return input;
  };
  const inputs = categories.map(box);
  return {
    parts: [group],
    fields: inputs,
    read: () => {
      const values = inputs.filter((input) => input.checked).map((input) => input.value);
      return values.length ? values : null;
    },
    fill: (values) => {
      for (const value of values ?? []) {
        if (!inputs.some((input) => input.value === value)) inputs.push(box(value));  // rare
      }
      for (const input of inputs) input.checked = Boolean(values?.includes(input.value));
    },
  };
}

function control(column, id) {
  const few = column.are_all && column.categories.length <= MOST_CHOICES;
  if (few && ["category", "hour", "weekday"].includes(column.kind)) return selection(column, id);
  if (few && column.kind === "categories") return boxes(column, id);
  return textField(column, id);
}

/**
 * Draws the fields.
 *
 * @param parent the element that gets them.
 * @param columns [{name, kind, categories, are_all, separator}].
 * @param changed called after a change.
 * @return values(): {column: value} without missing ones; fill(features); show(problems), which
 *   shows {column: message} beside the fields.
 */
export function featureForm(parent, columns, changed) {
  const controls = columns.map((column, place) => {
    const id = `${parent.id}-${place}`, made = control(column, id);
    const problem = element("p", { className: "problem", id: `${id}-problem`, hidden: true });
    for (const field of made.fields) field.setAttribute("aria-describedby", problem.id);
    const line = element("div", { className: "line" },
      made.fields[0]?.id === id
        ? element("label", { htmlFor: id }, column.name)
        : element("span", { "aria-hidden": "true" }, column.name),
      ...made.parts);
    line.addEventListener("input", changed);
    return { ...made, name: column.name, problem, line };
  });
  parent.replaceChildren(...controls.flatMap(({ line, problem }) => [line, problem]));
  parent.hidden = !columns.length;
  return {
    values: () => Object.fromEntries(
      controls.map(({ name, read }) => [name, read()]).filter(([, value]) => value !== null)),
    fill: (features) => {
      for (const { name, fill } of controls) {
        fill(Object.hasOwn(features, name) ? features[name] : null);
      }
    },
    show: (problems) => {
      for (const { name, problem, fields } of controls) {
        const message = Object.hasOwn(problems, name) ? problems[name] : "";
        problem.hidden = !message;
        problem.textContent = message;
        for (const field of fields) field.setAttribute("aria-invalid", String(Boolean(message)));
      }
    },
  };
}
