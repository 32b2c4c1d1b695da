// The panel of looks: colours, iteration limit, formula, quality.

import { byId, el } from "../dom.js";
import { palettePicker } from "../palette.js";
import { FORMULAS, METHODS, MOST_ITERATIONS } from "./style.js";

const HUE_STEP = 0.02;

/** Hooks: `styled(changes)` for fields of the style, `quality(setting)`, `julia()`. */
export class Looks {
  #form = byId("looks");
  #hooks;

  constructor(hooks) {
    this.#hooks = hooks;
    const options = (pairs) => pairs.map(([value, text]) => el("option", { value }, text));
    this.#field("method").replaceChildren(...options(METHODS));
    this.#field("formula").replaceChildren(...options(FORMULAS));
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("input", ({ target }) => this.#changed(target));
    byId("julia").addEventListener("click", () => hooks.julia());
  }

  offer(palettes, chosen) {
    palettePicker(byId("palettes"), palettes, chosen);
  }

  /** Show a style that came from elsewhere. */
  show({ palette, method, offset, scale, interior, limit, formula, julia }) {
    const radio = [...this.#form.querySelectorAll("[name=palette]")].find(({ value }) => value === palette);
    if (radio) radio.checked = true;
    const told = { method, offset: offset - Math.floor(offset), scale: Math.log2(Math.abs(scale)), interior, formula };
    for (const [name, value] of Object.entries(told)) this.#field(name).value = value;
    if (document.activeElement !== this.#field("limit")) this.#field("limit").value = limit ?? "";
    byId("julia").setAttribute("aria-pressed", String(julia !== null));
    byId("julia").textContent = julia ? "Back to the set of constants" : "Julia set of the centre";
    byId("julia-constant").hidden = julia === null;
    byId("julia-constant").textContent = julia ? `c = ${julia.map((part) => part.slice(0, 14)).join(", ")}` : "";
  }

  /** The palette so many places after the chosen one. */
  nextPalette(by) {
    const all = [...this.#form.querySelectorAll("[name=palette]")];
    if (all.length === 0) return;
    const at = all.findIndex(({ checked }) => checked);
    const next = all[(at + by + all.length) % all.length];
    next.checked = true;
    next.closest(".palette").scrollIntoView({ block: "nearest" });
    this.#changed(next);
  }

  /** Shift the colours by so many steps. */
  shift(by) {
    const field = this.#field("offset");
    field.value = (Number(field.value) + by * HUE_STEP + 1) % 1;
    this.#changed(field);
  }

  #field(name) {
    return this.#form.elements.namedItem(name);
  }

  #changed(input) {
    const { name, value } = input;
    if (name === "quality") this.#hooks.quality(value);
    else if (name === "limit") this.#limit(input);
    else this.#hooks.styled({ [name]: name === "scale" ? Number((2 ** Number(value)).toPrecision(4)) : name === "offset" ? Number(value) : value });
  }

  #limit(input) {
    const text = input.value.trim();
    const number = Number(text);
    const valid = text === "" || (Number.isInteger(number) && number >= 1 && number <= MOST_ITERATIONS);
    if (valid) input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
    if (valid) this.#hooks.styled({ limit: text === "" ? null : number });
  }
}
