// The page: converts the form to a request, and its answer to the list.

import * as api from "./api.js";
import { combobox } from "./combobox.js";
import { element, find, number, unseen } from "./dom.js";
import { features, label as itemLabel } from "./items.js";
import { groups } from "./measurements.js";
import { gone, table } from "./ranking.js";
import { featureForm } from "./feature_form.js";

const PAUSE = 60;    // milliseconds without a change before a request for a list
const DEEP = 200;    // length of the other goal's list, in which moves are looked up
const OWN = "";      // name of a goal without a name
const MANY = 500;    // items of one request for descriptions
const KEPT = "\n";   // and of the kept goal for comparison; no name has a line end

const state = {
  model: null,
  groups: [],
  history: [],                        // {item, known, feedback: [F numbers]}
  forms: null,                        // fields of the features of user and context
  descriptions: new Map(),            // item -> {name, features}
  exclude: [],                        // {item, known}
  goal: { name: OWN, weights: [] },
  kept: null,                         // another goal
};

// ---- Requests ------------------------------------------------------------------------

/** Shows or hides the problem of a part of the form; returns the message. */
function showProblem(id, message, field) {
  const problem = find(`${id}-problem`);
  if (problem) {
    problem.hidden = !message;
    problem.textContent = message;
  }
  field?.setAttribute("aria-invalid", String(Boolean(message)));
  return message;
}

/** A field's number, or NaN. */
function value(field) {
  return field.value.trim() === "" ? NaN : Number(field.value);
}

const wholeNumber = (x, least, most) => Number.isInteger(x) && x >= least && x <= most;
const float32 = (x) => Number.isFinite(Math.fround(x));

/**
 * Reads the request of the form.
 *
 * @throws Rejected, with status 400, if the form has a problem.
 */
function request() {
  const { model, history, exclude, goal } = state;
  const k = value(find("k")), step = value(find("step"));
  const fields = [...find("history").querySelectorAll("input[type=number]")];
  const wrong = fields.filter((field) => !(value(field) >= 0 && float32(value(field))));
  const problems = [
    showProblem("history", wrong.length ? `${wrong[0].ariaLabel}: it must be a number, 0 or more` : ""),
    showProblem("step", wholeNumber(step, 0, 2 ** 31 - 1) ? "" :
      "steps in the running session must be a whole number, 0 or more", find("step")),
    showProblem("goal", goal.weights.some((weight) => weight !== 0) ? "" :
      "every weight is 0, so no item is better than another: move a slider"),
    showProblem("k", wholeNumber(k, 1, model.max_k) ? "" :
      `k must be a whole number from 1 to ${model.max_k}`, find("k")),
  ].filter(Boolean);
  fields.forEach((field) => field.setAttribute("aria-invalid", String(wrong.includes(field))));
  if (problems.length) throw new api.Rejected(400, problems.join("; "));
  const shown = find("leave-out").checked ? history : [];
  return {
    history: history.map((event) => event.item),
    feedback: history.map((event) => event.feedback),
    step,
    exclude: [...new Set([...exclude, ...shown].map((one) => one.item))],
    k,
  };
}

let encoded = { key: "", context_values: [], problems: {} };

/**
 * The numbers of the features of user and context; null if the model reads none.
 *
 * @throws Rejected, with status 400, if a field has a problem.
 */
async function contextValues(signal) {
  const { model, forms } = state;
  if (!model.user_features.length && !model.context_features.length) return null;
  const values = { user: forms.user.values(), context: forms.context.values() };
  const key = JSON.stringify([model.version, values]);
  if (key !== encoded.key) encoded = { key, ...await api.contextValues(values, signal) };
  for (const [owner, form] of Object.entries(forms)) form.show(encoded.problems[owner]);
  const problems = Object.values(encoded.problems).flatMap(Object.values);
  if (problems.length) throw new api.Rejected(400, problems.join("; "));
  return encoded.context_values;
}

/** A request with a goal, by its name for a named goal, else by its weights. */
function under(query, goal) {
  return { ...query, goal: goal.name ? [] : goal.weights, goalName: goal.name };
}

const label = (goal) => goal.name || "your own goal";

/** The goal to compare with, or null. */
function other() {
  const selected = find("against").value;
  if (selected === KEPT) return { ...state.kept, label: "the kept goal" };
  const named = state.model.named_goals;
  return Object.hasOwn(named, selected) ? { name: selected, weights: [], label: selected } : null;
}

// ---- Answers -------------------------------------------------------------------------

let timer = 0, running = new AbortController(), remembered = { body: "", list: [] };

const busy = (yes) => find("list").setAttribute("aria-busy", String(yes));

function later() {
  busy(true);
  clearTimeout(timer);
  timer = setTimeout(update, PAUSE);
}

/** The longer list under the other goal; requested again only after a change. */
async function compared(query, goal, signal) {
  const { model } = state;
  const deep = Math.max(query.k, Math.min(DEEP, model.max_k, model.num_items));
  const longer = under({ ...query, k: deep }, goal);
  const body = model.version + api.written(model, longer);
  if (body !== remembered.body) {
    remembered = { body, list: await api.rank(model, longer, signal) };
  }
  return { label: goal.label, list: remembered.list, deep };
}

function report(problem) {
  busy(false);
  const shown = find("problem");
  shown.hidden = !problem;
  shown.textContent = problem;
  find("ranking").classList.toggle("stale", Boolean(problem));
}

/** Requests the descriptions of items that have not been requested yet. */
async function describe(items) {
  const { descriptions, model } = state;
  if (!model.has_descriptions) return;
  const asked = [...new Set(items)].filter((item) => !descriptions.has(item));
  for (let start = 0; start < asked.length; start += MANY) {
    const answer = await api.descriptions(asked.slice(start, start + MANY));
    for (const [item, description] of Object.entries(answer)) {
      descriptions.set(item, description);
    }
  }
}

const descriptionOf = (item) => state.descriptions.get(item);
const nameOf = (item) => descriptionOf(item)?.name ?? item;

async function update(again = true) {
  running.abort();
  const { signal } = (running = new AbortController());
  const goal = { ...state.goal }, against = other(), start = performance.now();
  try {
    const query = { ...request(), contextValues: await contextValues(signal) };
    const [list, comparison] = await Promise.all([
      api.rank(state.model, under(query, goal), signal),
      against && compared(query, against, signal),
    ]);
    const first = comparison ? comparison.list.slice(0, list.length) : [];
    await describe([...list, ...first].map((row) => row.item));
    if (signal.aborted) return;
    report("");
    show(list, goal, comparison, query.k, performance.now() - start);
  } catch (error) {
    if (signal.aborted) return;
    if (error.status === 404 && again) {  // the version has gone: another serves
      try {
        await load();
        return;
      } catch (problem) {
        error = problem;
      }
    }
    report(`No new list: ${error.message}`);
  }
}

function show(list, goal, against, k, milliseconds) {
  const shown = state.groups.filter((group) => !group.parts);
  const scroll = find("ranking").scrollLeft;
  find("ranking").replaceChildren(
    list.length ? table(list, shown, goalWeights(goal), against, descriptionOf) : "");
  find("ranking").scrollLeft = scroll;
  const count = list.length === 1 ? "1 item" : `${list.length} items`;
  const fewer = list.length < k ? ", all that may be recommended" : "";
  find("status").replaceChildren(
    element("span", {},
      element("strong", {}, count), `${fewer} under `, element("strong", {}, label(goal)),
      ...(against ? [", moves against ", element("strong", {}, against.label)] : [])),
    element("span", { className: "time", "aria-hidden": "true" }, `${milliseconds.toFixed(0)} ms`),
  );
  find("gone").textContent = against && list.length ? gone(list, against, nameOf) : "";
  find("legend").hidden = !list.length;
}

const goalWeights = (goal) => (goal.name ? state.model.named_goals[goal.name] : goal.weights);

// ---- The form ------------------------------------------------------------------------

function drawGoals() {
  const names = [...Object.keys(state.model.named_goals), OWN];
  find("goals").replaceChildren(...names.map((name) => {
    const choice = element("input", { type: "radio", name: "goal", value: name });
    choice.checked = name === state.goal.name;
    choice.addEventListener("change", () => {
      const weights = name ? state.model.named_goals[name] : state.goal.weights;
      state.goal = { name, weights: [...weights] };
      drawWeights();
      later();
    });
    return element("label", {}, choice, element("span", {}, name || "your own"));
  }));
}

function slider({ index, label: text, inFull, std, unit }) {
  const range = element("input", {
    type: "range", min: "-1", max: "1", step: "0.05", id: `weight-${index}`,
  });
  range.addEventListener("input", () => {
    const weights = state.goal.weights.with(index, Number(range.value));
    state.goal = { name: OWN, weights };
    drawWeights();
    later();
  });
  return element("div", { className: "slider" },
    element("label", { htmlFor: range.id, title: inFull }, text,
      element("span", { className: "unit" }, `per ${number(std)} ${unit}`)),
    range,
    element("span", { className: "weight", id: `${range.id}-value`, "aria-hidden": "true" }));
}

function drawSliders() {
  const parts = state.groups.filter((group) => group.parts).flatMap((group) => group.columns);
  const whole = state.groups.filter((group) => !group.parts).flatMap((group) => group.columns);
  find("sliders").replaceChildren(...whole.map(slider));
  if (parts.length) {
    find("sliders").append(element("details", {},
      element("summary", {}, `${parts.length} directions of an embedding`),
      ...parts.map(slider)));
  }
}

/** Sliders, their values and the selected name of the goal. */
function drawWeights() {
  const { name, weights } = state.goal;
  weights.forEach((weight, index) => {
    const range = find(`weight-${index}`), text = number(Number(weight.toFixed(2)));
    range.value = weight;
    range.setAttribute("aria-valuetext", text);
    range.style.setProperty("--from", `${50 * (1 + Math.min(weight, 0))}%`);
    range.style.setProperty("--to", `${50 * (1 + Math.max(weight, 0))}%`);
    range.classList.toggle("minus", weight < 0);
    find(`weight-${index}-value`).textContent = text;
  });
  for (const choice of find("goals").querySelectorAll("input")) {
    choice.checked = choice.value === name;
  }
}

function drawAgainst(current) {
  const options = [["", "nothing"], ...Object.keys(state.model.named_goals).map((n) => [n, n])];
  if (state.kept) options.push([KEPT, "the kept goal"]);
  find("against").replaceChildren(...options.map(([name, text]) =>
    element("option", { value: name, selected: name === current }, text)));
}

const unknown = () => element("span", { className: "unknown" }, "unknown to the model, left out");

function eventRow(event, place) {
  const inputs = state.model.feedback.map(({ name, kind, unit }, column) => {
    const yes = kind === "binary";
    const field = element("input", yes
      ? { type: "checkbox", checked: event.feedback[column] > 0 }
      : { type: "number", min: "0", step: "any", value: String(event.feedback[column]) });
    field.ariaLabel = `${name} of event ${place + 1}, ${nameOf(event.item)}, in ${unit}`;
    field.addEventListener("input", () => {
      event.feedback[column] = yes ? Number(field.checked) : value(field);
      later();
    });
    return element("label", { title: `${name}, ${unit}` }, field, yes ? name : unit);
  });
  const remove = element("button", { type: "button", className: "remove" },
    element("span", { "aria-hidden": "true" }, "×"), unseen(`Remove ${nameOf(event.item)}`));
  remove.addEventListener("click", () => {
    state.history.splice(place, 1);
    drawHistory();
    const rest = find("history").querySelectorAll(".remove");
    (rest[Math.min(place, rest.length - 1)] ?? find("add-event")).focus();
    later();
  });
  const shown = descriptionOf(event.item);
  return element("li", {},
    element("span", { className: "item" }, ...itemLabel(event.item, shown?.name), ...features(shown)),
    ...(event.known ? inputs : [unknown()]), remove);
}

function drawHistory() {
  const { history, model } = state;
  find("history").replaceChildren(...history.map(eventRow));
  find("history").scrollTop = find("history").scrollHeight;
  const counted = `the last ${model.history_length} count`;
  find("history-hint").textContent = history.length
    ? `${history.length} event${history.length === 1 ? "" : "s"}, oldest first; ${counted}.`
    : `No events: somebody new. Of what you add, ${counted}.`;
}

function drawExclusions() {
  find("exclusions").replaceChildren(...state.exclude.map((one, place) => {
    const remove = element("button", { type: "button", className: "remove" },
      element("span", { "aria-hidden": "true" }, "×"), unseen(`No longer exclude ${nameOf(one.item)}`));
    remove.addEventListener("click", () => {
      state.exclude.splice(place, 1);
      drawExclusions();
      find("add-exclusion").focus();
      later();
    });
    const name = element("span", { className: "item" },
      ...itemLabel(one.item, descriptionOf(one.item)?.name));
    return element("li", {}, name, ...(one.known ? [] : [unknown()]), remove);
  }));
}

/** The item of a text: one with this id, or the only suggestion with this name. */
function itemOf(text, { known, names }) {
  const named = Object.keys(names).filter((item) => names[item] === text);
  return known || named.length !== 1 ? { item: text, known } : { item: named[0], known: true };
}

/** What was typed, as items: one, or several with commas between them. */
async function readItems(text) {
  const whole = itemOf(text, await api.items(text));
  let items = [whole];
  if (!whole.known && text.includes(",")) {
    const parts = text.split(",").map((part) => part.trim()).filter(Boolean);
    const answers = await Promise.all(parts.map(api.items));
    items = parts.map((part, n) => itemOf(part, answers[n]));
  }
  await describe(items.map((one) => one.item));
  return items;
}

async function addEvents(text) {
  const { history, model } = state;
  const usual = model.feedback.map((_, column) => (column === 0 ? 1 : 0));
  const feedback = history.at(-1)?.feedback ?? usual;
  for (const one of await readItems(text)) history.push({ ...one, feedback: [...feedback] });
  drawHistory();
  later();
}

async function addExclusions(text) {
  state.exclude.push(...await readItems(text));
  drawExclusions();
  later();
}

const rounded = (x) => Number(x.toPrecision(4));  // requests have the displayed value

async function pick(name) {
  const user = await api.user(name);
  const answers = await Promise.all([...new Set(user.history)].map(async (item) =>
    [item, (await api.items(item)).known]));
  await describe(user.history);
  if (find("user").value !== name) return;  // another one was picked meanwhile
  const isKnown = new Map(answers);
  state.forms.user.fill(user.features);
  state.history = user.history.map((item, n) => ({
    item,
    known: isKnown.get(item),
    feedback: state.model.feedback.map((column) => rounded(user.feedback[column.name]?.[n] ?? 0)),
  }));
  find("step").value = "0";
  drawHistory();
  later();
}

// ---- Start ---------------------------------------------------------------------------

/** Wraps an action of a field, and reports its failure on the page. */
const guarded = (act) => async (...values) => {
  busy(true);
  try {
    await act(...values);
  } catch (error) {
    report(`No answer: ${error.message}`);
  }
};

/** Requests the served model and draws all parts that depend on it. */
async function load() {
  const model = await api.describe();
  const names = Object.keys(model.named_goals);
  const columns = (some) => JSON.stringify(some?.measurements.map((row) => row.column));
  const same = columns(model) === columns(state.model);
  const current = same ? find("against").value : names[1] ?? "";
  if (model.version !== state.model?.version) state.descriptions = new Map();
  const { user = null, context = null } = state.forms ?? {};
  const chosen = [user?.values() ?? {}, context?.values() ?? {}];
  state.model = model;
  state.forms = {
    user: featureForm(find("features"), model.user_features, later),
    context: featureForm(find("context"), model.context_features, later),
  };
  state.forms.user.fill(chosen[0]);
  state.forms.context.fill(chosen[1]);
  state.groups = groups(model.measurements);
  if (!same) {
    const weights = names.length ? model.named_goals[names[0]]
      : model.measurements.map((_, index) => Number(index === 0));
    state.goal = { name: names[0] ?? OWN, weights: [...weights] };
    state.kept = null;
  } else if (!Object.hasOwn(model.named_goals, state.goal.name)) {
    state.goal.name = OWN;
  }
  find("name").textContent = model.name;
  document.title = `${model.name}: ranked list`;
  find("about").textContent =
    `Version ${model.version}, ${model.num_items.toLocaleString("en")} items. ` +
    "A development server: the list and the numbers are those of the model.";
  find("k").max = model.max_k;
  find("user-line").hidden = !model.users.length;
  if (!same) {
    find("k").value = Math.min(10, model.max_k);
    find("user").replaceChildren(element("option", { value: "" }, "nobody"),
      ...model.users.map((name) => element("option", { value: name }, name)));
  }
  await describe([...state.history, ...state.exclude].map((one) => one.item));
  drawGoals();
  drawSliders();
  drawWeights();
  drawAgainst(current);
  drawHistory();
  drawExclusions();
  for (const id of ["request", "options"]) find(id).hidden = false;
  await update(false);
}

function listen() {
  const quiet = (text) => api.items(text).catch(() => ({ items: [], names: {} }));
  combobox(find("add-event"), quiet, guarded(addEvents));
  combobox(find("add-exclusion"), quiet, guarded(addExclusions));
  find("request").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["k", "step", "leave-out", "against"]) {
    find(id).addEventListener("input", later);
  }
  find("user").addEventListener("input", guarded(async () => {
    if (find("user").value) {
      await pick(find("user").value);
    } else {
      find("clear-history").click();
    }
  }));
  find("clear-history").addEventListener("click", () => {
    state.history = [];
    for (const form of Object.values(state.forms)) form.fill({});
    find("user").value = "";
    find("step").value = "0";
    drawHistory();
    later();
  });
  find("keep").addEventListener("click", () => {
    state.kept = { name: OWN, weights: [...state.goal.weights] };
    drawAgainst(KEPT);
    later();
  });
}

listen();
guarded(load)();
