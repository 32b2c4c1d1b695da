// "Render in full": a job of exactly this view, in any size.

import { Problem, post } from "../api.js";
import { byId, el, replace } from "../dom.js";
import { jobName } from "../format.js";
import { clearErrors, showProblem } from "../formerrors.js";
import { coloringOf, paramsOf } from "./style.js";

const SIZES = [1, 2, 4, 8];
const OWN = "own";
const TILE = 256;

export class OrderForm {
  #dialog = byId("order");
  #form = byId("order-form");
  #shown = null;
  #size = [1, 1];

  /** `current()` tells {view, style, limit, resource, size} of what is on the screen. */
  constructor(current) {
    this.#form.addEventListener("submit", (event) => this.#submit(event));
    this.#field("size").addEventListener("change", () => this.#resized());
    for (const name of ["width", "height"]) this.#field(name).addEventListener("input", () => (this.#field("size").value = OWN));
    byId("order-close").addEventListener("click", () => this.#dialog.close());
    byId("order-open").addEventListener("click", () => this.#open(current()));
  }

  #field(name) {
    return this.#form.elements.namedItem(name);
  }

  #open(shown) {
    this.#shown = shown;
    this.#size = shown.size;
    clearErrors(this.#form);
    byId("order-done").hidden = true;
    const named = ([width, height], times) => `${width * times} × ${height * times}${times === 1 ? ", as on the screen" : ""}`;
    replace(this.#field("size"), ...SIZES.map((times) => el("option", { value: times, selected: times === 2 }, named(shown.size, times))), el("option", { value: OWN }, "Own size"));
    this.#resized();
    this.#dialog.showModal();
  }

  #resized() {
    const times = Number(this.#field("size").value);
    if (!Number.isFinite(times)) return;
    ["width", "height"].forEach((name, side) => (this.#field(name).value = this.#size[side] * times));
  }

  #body() {
    const { view, style, limit, resource } = this.#shown;
    const name = this.#field("name").value.trim();
    const samples = this.#field("samples").value;
    return {
      ...(name && { name }),
      ...(resource && { resource }),
      params: paramsOf(view, style, limit),
      kind: "image",
      width: number(this.#field("width").value),
      height: number(this.#field("height").value),
      tile_size: TILE,
      outputs: [...this.#form.querySelectorAll("[name=outputs]:checked")].map((box) => box.value),
      coloring: coloringOf(style),
      supersample: Number.parseInt(samples, 10),
      adaptive: samples.endsWith("a"),
    };
  }

  async #submit(event) {
    event.preventDefault();
    const button = byId("order-submit");
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    clearErrors(this.#form);
    try {
      const job = await post("job/", this.#body());
      const done = byId("order-done");
      done.replaceChildren("Submitted: ", el("a", { href: `/job/${job.id}`, id: "order-link" }, jobName(job)));
      done.hidden = false;
    } catch (error) {
      showProblem(this.#form, error instanceof Problem ? error : new Problem(0, { detail: "The server cannot be reached. The job was not accepted; try again." }));
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}

const number = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
