// The job form: what is in it, what it sends, and what the API says about it.

import { post, Problem } from "./api.js";
import { byId, el, mark, replace } from "./dom.js";
import { plural, whole } from "./format.js";
import { clearErrors, showProblem } from "./formerrors.js";
import { palettePicker } from "./palette.js";

const GRIDS = [4, 8, 16, 32, 64];
const CUSTOM = "custom";
const CIRCLE = ":circle";
const VIEWPORT = ":viewport";

export class JobForm {
  #form = byId("job-form");
  #models = [];
  #submitted;
  #key = "";
  #sent = "";

  /** `submitted(job)` is called with the accepted job. */
  constructor(submitted) {
    this.#submitted = submitted;
    this.#form.addEventListener("submit", (event) => this.#submit(event));
    this.#field("model").addEventListener("change", () => this.#modelChosen());
    this.#field("grid").addEventListener("change", () => this.#gridChosen());
    this.#field("policy").addEventListener("change", () => this.#policyChosen());
    for (const name of ["width", "height"]) this.#field(name).addEventListener("input", () => this.#sizeTyped());
    for (const radio of this.#form.querySelectorAll("[name=tile_size]")) radio.addEventListener("change", () => this.#tileChosen());
    for (const name of ["xmin", "xmax", "ymin", "ymax", "fit"]) this.#field(name).addEventListener("change", () => this.#gridLabels());
  }

  /** Offer what the API offers. */
  offer({ models, palettes, resources, sites }) {
    this.#models = models.filter((model) => model.name).sort((a, b) => a.name.localeCompare(b.name));
    const options = this.#models.map((model) => el("option", { value: model.id }, model.name));
    const own = [el("option", { value: CIRCLE }, "Custom: centre and radius"), el("option", { value: VIEWPORT }, "Custom: viewport")];
    replace(this.#field("model"), ...options, ...own);
    palettePicker(byId("palettes"), palettes, "electric");
    this.offerResources(resources);
    this.offerSites(sites);
    this.#field("grid").replaceChildren(...[...GRIDS, CUSTOM].map((value) => el("option", { value, selected: value === 8 })));
    this.#modelChosen();
  }

  offerResources(resources) {
    const chosen = this.#field("resource").value;
    const drawing = resources.filter((resource) => resource.renderer === "mandelbrot");
    replace(this.#field("resource"), ...drawing.map(({ id, name }) => el("option", { value: id, selected: id === chosen }, name || id)));
  }

  offerSites(sites) {
    const known = new Map([...this.#form.querySelectorAll("[name=site]")].map((box) => [box.value, box.checked]));
    const box = ({ id, name, color }) => el("label", {}, el("input", { type: "checkbox", name: "site", value: id, checked: known.get(id) ?? true }), mark(color), name || id);
    replace(byId("site-boxes"), ...sites.filter((site) => site.enabled).map(box));
  }

  /** Begin with a view chosen elsewhere: centre, radius and iterations from the address. */
  prefill(query) {
    if (!query.has("radius")) return;
    this.#field("model").value = CIRCLE;
    for (const [field, name] of [["center_x", "x"], ["center_y", "y"], ["radius", "radius"], ["max_iter", "max_iter"]]) {
      if (query.get(name)) this.#field(field).value = query.get(name);
    }
    this.#modelChosen();
  }

  #field(name) {
    return this.#form.elements.namedItem(name);
  }

  #text(name) {
    return this.#field(name).value.trim();
  }

  get #model() {
    return this.#models.find((model) => model.id === this.#field("model").value);
  }

  #modelChosen() {
    const choice = this.#field("model").value;
    byId("custom-circle").hidden = choice !== CIRCLE;
    byId("custom-viewport").hidden = choice !== VIEWPORT;
    byId("custom-limits").hidden = choice !== CIRCLE && choice !== VIEWPORT;
    const model = this.#model;
    byId("model-hint").textContent = model ? described(model.params) : "Decimal numbers of any length.";
    if (model) this.#copyView(model.params);
    this.#gridLabels();
    if (this.#text("grid") !== CUSTOM) this.#gridChosen();
  }

  // So that a custom view starts from the last named one.
  #copyView(params) {
    if (params.viewport) ["xmin", "xmax", "ymin", "ymax"].forEach((name, index) => (this.#field(name).value = params.viewport[index]));
    const [x, y, radius] = params.center ? [...params.center, params.radius] : circleOf(params.viewport);
    Object.entries({ center_x: x, center_y: y, radius, max_iter: params.max_iter }).forEach(([name, value]) => (this.#field(name).value = value));
  }

  /** Width by height of the view; square where the view does not say. */
  get #aspect() {
    const params = this.#model?.params;
    const edges = params ? params.viewport : this.#field("model").value === VIEWPORT && ["xmin", "xmax", "ymin", "ymax"].map((name) => this.#text(name));
    const fit = params ? params.fit : this.#text("fit");
    if (!edges || fit === "stretch") return 1;
    const [xmin, xmax, ymin, ymax] = edges.map(Number);
    const aspect = (xmax - xmin) / (ymax - ymin);
    return Number.isFinite(aspect) && aspect > 0.01 && aspect < 100 ? aspect : 1;
  }

  #rowsFor(columns) {
    return Math.max(1, columns / this.#aspect);
  }

  #gridLabels() {
    for (const option of this.#field("grid").options) {
      const rows = this.#rowsFor(Number(option.value));
      option.textContent = option.value === CUSTOM ? "Own size" : `${option.value} × ${Math.ceil(rows - 1e-6)}`;
    }
    if (this.#text("grid") !== CUSTOM) this.#gridChosen();
  }

  get #tileSize() {
    return Number(this.#form.querySelector("[name=tile_size]:checked").value);
  }

  #gridChosen() {
    if (this.#text("grid") !== CUSTOM) {
      const columns = Number(this.#text("grid"));
      this.#field("width").value = columns * this.#tileSize;
      this.#field("height").value = Math.round(this.#rowsFor(columns) * this.#tileSize);
    }
    this.#sum();
  }

  #tileChosen() {
    this.#gridChosen();
  }

  #sizeTyped() {
    this.#field("grid").value = CUSTOM;
    this.#sum();
  }

  #sum() {
    const [width, height] = ["width", "height"].map((name) => Number(this.#text(name)));
    const [cols, rows] = [width, height].map((size) => Math.ceil(size / this.#tileSize));
    const valid = cols > 0 && rows > 0;
    byId("size-sum").textContent = valid ? `${whole(cols)} × ${whole(rows)} = ${plural(cols * rows, "tile")}, ${((width * height) / 1e6).toFixed(1)} megapixels` : "";
  }

  #policyChosen() {
    byId("site-choice").hidden = this.#text("policy") === "any";
  }

  #params() {
    const limits = { formula: "mandelbrot", max_iter: number(this.#text("max_iter")), escape_radius: number(this.#text("escape_radius")) };
    if (this.#field("model").value === CIRCLE) return { ...limits, center: [this.#text("center_x"), this.#text("center_y")], radius: this.#text("radius") };
    const viewport = ["xmin", "xmax", "ymin", "ymax"].map((name) => this.#text(name));
    return { ...limits, viewport, ...(this.#text("fit") && { fit: this.#text("fit") }) };
  }

  #body() {
    const checked = (name) => [...this.#form.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value);
    const policy = this.#text("policy");
    return {
      ...(this.#text("name") && { name: this.#text("name") }),
      ...(this.#text("resource") && { resource: this.#text("resource") }),
      ...(this.#model ? { model: this.#model.id } : { params: this.#params() }),
      kind: "image",
      width: number(this.#text("width")),
      height: number(this.#text("height")),
      tile_size: this.#tileSize,
      outputs: checked("outputs"),
      coloring: {
        palette: checked("palette")[0],
        ...(this.#text("interpolation") && { interpolation: this.#text("interpolation") }),
        method: this.#text("method"),
        offset: number(this.#text("offset")),
        scale: number(this.#text("scale")),
        interior: this.#text("interior"),
      },
      supersample: Number.parseInt(this.#text("samples"), 10),
      adaptive: this.#text("samples").endsWith("a"),
      priority: this.#text("priority"),
      sites: { policy, ids: policy === "any" ? [] : checked("site") },
    };
  }

  // A repeated press, or a press after a lost answer, names the same key: the server makes one job of them.
  #keyFor(body) {
    const text = JSON.stringify(body);
    if (text !== this.#sent) {
      this.#sent = text;
      this.#key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    }
    return this.#key;
  }

  async #submit(event) {
    event.preventDefault();
    const button = byId("render");
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    clearErrors(this.#form);
    const body = this.#body();
    try {
      const job = await post("job/", body, { "Idempotency-Key": this.#keyFor(body) });
      this.#sent = "";
      this.#submitted(job);
    } catch (error) {
      showProblem(this.#form, error instanceof Problem ? error : new Problem(0, { detail: "The server cannot be reached. The job was not accepted; try again." }));
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}

/** The number if the text is one, else the text: the API then says what is wrong with it. */
const number = (text) => (text !== "" && Number.isFinite(Number(text)) ? Number(text) : text);

function circleOf([xmin, xmax, ymin, ymax]) {
  const edges = [xmin, xmax, ymin, ymax].map(Number);
  const half = Math.min(edges[1] - edges[0], edges[3] - edges[2]) / 2;
  return [(edges[0] + edges[1]) / 2, (edges[2] + edges[3]) / 2, half].map((value) => String(Number(value.toPrecision(15))));
}

function described({ viewport, center, radius, max_iter: limit }) {
  const place = viewport ? `x ${viewport[0]} … ${viewport[1]}, y ${viewport[2]} … ${viewport[3]}` : `around ${center[0]}, ${center[1]}, radius ${radius}`;
  return `${place}; ${plural(limit, "iteration")}`;
}
