// The server's paths and its JSON.

// Tokens of JSON and the two that it does not have but TensorFlow Serving writes.
const TOKEN = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** JSON in which infinite is null and a whole number that would be rounded is a string. */
export function parse(text) {
  return JSON.parse(text.replace(TOKEN, (token) => {
    if (/^-?\d{16,}$/.test(token)) return `"${token}"`;
    return /^(-?Infinity|NaN)$/.test(token) ? "null" : token;
  }));
}

export class Rejected extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function reply(path, options) {
  let response, text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Rejected(0, "the server does not answer; is it still running?");
  }
  const answer = parse(text);
  if (!response.ok) throw new Rejected(response.status, answer.error);
  return answer;
}

export const describe = () => reply("/page/model");
export const user = (name) => reply(`/page/user?name=${encodeURIComponent(name)}`);
export const items = (like) => reply(`/page/items?like=${encodeURIComponent(like)}`);

const post = (path, document, signal) =>
  reply(path, { method: "POST", body: JSON.stringify(document), signal });

/** Names and features of items: {id: {name, features}}. */
export async function descriptions(items) {
  return (await post("/page/descriptions", { items })).descriptions;
}

/**
 * The numbers of features, or what is wrong with them.
 *
 * @param given {user: {column: value}, context: {column: value}}.
 * @return {context_values, problems: {user: {column: message}, context: {column: message}}}.
 */
export const contextValues = (given, signal) => post("/page/context_values", given, signal);

/** Ranked items: [{item, score, measurements}], best first. */
export async function rank(model, request, signal) {
  const name = encodeURIComponent(model.name);
  const answer = await reply(
    `/v1/models/${name}/versions/${model.version}:predict`,
    { method: "POST", body: written(model, request), signal },
  );
  const { item, score, measurements, valid } = answer.outputs;
  return item[0]
    .map((id, row) => ({
      item: String(id), score: score[0][row], measurements: measurements[0][row],
    }))
    .filter((_, row) => valid[0][row]);
}

/** The body of a request for `rank`; an empty history is one event of padding. */
export function written(
  model, { history, feedback, step, goal, goalName, exclude, k, contextValues = null },
) {
  const text = model.item_dtype === "string";
  const id = (item) => {
    if (text) return JSON.stringify(item);
    return /^-?\d{1,19}$/.test(item) ? BigInt(item).toString() : "-1";  // nothing: not an id
  };
  const ids = (items) => `[[${items.map(id).join(",")}]]`;
  const events = history.length ? history : [text ? "" : "-1"];
  const values = history.length ? feedback : [model.feedback.map(() => 0)];
  const inputs = {
    history_item: ids(events),
    history_feedback: JSON.stringify([values]),
    step: JSON.stringify([step]),
    goal: JSON.stringify([goal]),
    goal_name: JSON.stringify([goalName]),
    candidates: "[[]]",
    exclude: ids(exclude),
    k: JSON.stringify([k]),
    ...(contextValues && { context_values: JSON.stringify([contextValues]) }),
  };
  const named = Object.entries(inputs).map(([name, value]) => `"${name}":${value}`);
  return `{"signature_name":"rank","inputs":{${named.join(",")}}}`;
}
