// A text field with suggestions, by the keyboard pattern of ARIA's combobox.

import { element } from "./dom.js";
import { label } from "./items.js";

const PAUSE = 80;  // milliseconds without a key before a request

/**
 * @param input the text field; its aria-controls names the list of suggestions.
 * @param suggest text -> a promise of {items: ids, names: {id: name}}.
 * @param choose takes the selected id, or typed text after Enter.
 */
export function combobox(input, suggest, choose) {
  const list = document.getElementById(input.getAttribute("aria-controls"));
  let latest = 0, timer = 0, active = -1;

  const options = () => [...list.children];

  function mark(index) {
    active = index;
    options().forEach((option, n) => option.setAttribute("aria-selected", String(n === index)));
    if (index < 0) {
      input.removeAttribute("aria-activedescendant");
    } else {
      input.setAttribute("aria-activedescendant", options()[index].id);
      options()[index].scrollIntoView({ block: "nearest" });
    }
  }

  function close() {
    latest += 1;  // pending answers are ignored
    clearTimeout(timer);
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    mark(-1);
  }

  async function open() {
    const number = ++latest;
    const { items, names } = await suggest(input.value.trim());
    if (number !== latest) return;
    list.replaceChildren(...items.map((item, n) =>
      element("li", { role: "option", id: `${list.id}-${n}`, "data-item": item },
        ...label(item, names[item]))));
    list.hidden = !items.length;
    input.setAttribute("aria-expanded", String(items.length > 0));
    mark(-1);
  }

  function take(text) {
    close();
    if (!text) return;
    input.value = "";
    choose(text);
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(open, PAUSE);
  });
  input.addEventListener("click", open);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", async (event) => {
    const count = options().length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const down = event.key === "ArrowDown";
      if (list.hidden) {
        await open();
        if (options().length) mark(down ? 0 : options().length - 1);
      } else {
        mark(down ? (active + 1) % count : (active <= 0 ? count : active) - 1);
      }
    } else if (event.key === "Enter") {
      event.preventDefault();
      take(active < 0 ? input.value.trim() : options()[active].dataset.item);
    } else if (event.key === "Escape") {
      if (list.hidden) input.value = "";
      close();
    }
  });
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();  // the field keeps the focus
    const option = event.target.closest("[role=option]");
    if (option) take(option.dataset.item);
  });
}
