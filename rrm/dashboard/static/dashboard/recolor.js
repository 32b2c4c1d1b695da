// Other colours for the finished job on the page: a job of its own, from the values that this one kept.

import { getAll, getJson, post, Problem } from "./api.js";
import { byId, el } from "./dom.js";
import { clearErrors, showProblem } from "./formerrors.js";
import { paletteList } from "./palette.js";

const METHODS = [["smooth", "Smooth", "smooth"], ["histogram", "Histogram", "smooth"], ["bands", "Bands", "counts"]];
const number = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

export class RecolorForm {
  #form = byId("recolor-form");
  #job = null;

  constructor() {
    this.#form.addEventListener("submit", (event) => this.#submit(event));
  }

  /** Offer what the values kept for `job` allow; nothing where there are none. */
  async open(job) {
    if (this.#job?.id === job.id) return;
    this.#job = job;
    const kept = job.kind === "recolor" ? await this.#keptBySource(job) : job.outputs;
    const methods = METHODS.filter(([, , needed]) => kept.includes(needed));
    byId("recolor").hidden = methods.length === 0;
    if (methods.length === 0) return;
    byId("r-method").replaceChildren(...methods.map(([value, text]) => el("option", { value, selected: value === job.coloring?.method }, text)));
    for (const name of ["interior", "scale", "offset"]) if (job.coloring?.[name] !== undefined) byId(`r-${name}`).value = job.coloring[name];
    paletteList(byId("r-palette"), byId("r-sample"), await getAll("palette/"), job.coloring?.palette ?? "electric");
  }

  async #keptBySource(job) {
    const source = job.recolor_of && (await getJson(`job/${job.recolor_of}/`).catch(() => null));
    return source?.outputs ?? [];
  }

  async #submit(event) {
    event.preventDefault();
    const button = byId("recolor-button");
    if (button.disabled) return;
    button.disabled = true;
    clearErrors(this.#form);
    const value = (name) => byId(`r-${name}`).value;
    const coloring = { palette: value("palette"), method: value("method"), interior: value("interior"), scale: number(value("scale")), offset: number(value("offset")) };
    try {
      const made = await post(`job/${this.#job.id}/recolor`, { coloring });
      window.location.assign(`/job/${made.id}`);
    } catch (error) {
      button.disabled = false;
      showProblem(this.#form, error instanceof Problem ? error : new Problem(0, { detail: "The server cannot be reached; try again." }));
    }
  }
}
