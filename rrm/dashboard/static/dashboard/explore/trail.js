// Where one has been: back, forward, and small pictures to return by.

import { el } from "../dom.js";
import { depth, sameView } from "./view.js";

const MOST = 60;
const SHOWN = 6;
const THUMB = [80, 54];

/** An entry is {view, style, picture}. `go(entry)` is called for the one that was chosen. */
export class Trail {
  #host;
  #go;
  #entries = [];
  #index = -1;

  constructor(host, go) {
    this.#host = host;
    this.#go = go;
  }

  get canGoBack() {
    return this.#index > 0;
  }

  get canGoForward() {
    return this.#index < this.#entries.length - 1;
  }

  /** One has come to rest here, with this on the screen. */
  rest(view, style, scene) {
    const here = this.#entries[this.#index];
    const picture = scene.thumbnail(...THUMB);
    if (here && sameView(here.view, view)) {
      Object.assign(here, { style, picture });
    } else {
      this.#entries.splice(this.#index + 1, Infinity, { view, style, picture });
      this.#entries.splice(0, this.#entries.length - MOST);
      this.#index = this.#entries.length - 1;
    }
    this.#draw();
  }

  step(by) {
    this.#choose(this.#index + by);
  }

  #choose(index) {
    if (index < 0 || index >= this.#entries.length) return;
    this.#index = index;
    this.#draw();
    this.#go(this.#entries[index]);
  }

  #draw() {
    const first = Math.max(0, Math.min(this.#index - SHOWN + 2, this.#entries.length - SHOWN));
    const shown = this.#entries.slice(first, first + SHOWN);
    this.#host.replaceChildren(
      ...shown.map(({ view, picture }, offset) => {
        const power = depth(view).toFixed(1);
        const button = el("button", { type: "button", class: "stop", "aria-current": first + offset === this.#index ? "true" : null, "aria-label": `Back to magnification ten to the ${power}` }, picture, el("span", {}, `10^${power}`));
        button.addEventListener("click", () => this.#choose(first + offset));
        return el("li", {}, button);
      }),
    );
  }
}
