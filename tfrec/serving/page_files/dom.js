// Elements. Whatever is shown is set as text, never as markup.

/** An element with properties (or attributes, where the name has a dash or is `role`). */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "role" || name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export const find = (id) => document.getElementById(id);

/** Text for screen readers alone. */
export const unseen = (text) => element("span", { className: "unseen" }, text);

const people = (text) => text.replace(/^-(?=[0.]+$)/, "").replaceAll("-", "−");

/** Up to three significant digits, as people write them. */
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
export const number = (value) => people(short.format(value));

/**
 * The same for a column of values: as many decimals for all as the largest needs, or powers
 * of ten where amounts in tiny units would be rounded to 0.
 */
export function column(values) {
  const largest = Math.max(...values.map(Math.abs));
  if (largest > 0 && largest < 1e-4) return (value) => people(value.toExponential(2));
  const decimals = largest > 0 ? Math.max(0, 2 - Math.floor(Math.log10(largest))) : 0;
  const format = new Intl.NumberFormat("en", {
    minimumFractionDigits: decimals, maximumFractionDigits: decimals,
  });
  return (value) => people(format.format(value));
}
