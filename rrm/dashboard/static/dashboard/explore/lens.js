// The view that one moves: it asks the node for frames of it, and puts them on the canvas.

import { Cameras, Newest, viewOf } from "./frames.js";
import { Budget, cameraSize } from "./quality.js";
import { Scene } from "./scene.js";
import { FrameSocket } from "./socket.js";
import { cameraOf, reachesDeep } from "./style.js";
import { panned, sameView, texts, zoomed } from "./view.js";

const REST_MS = 250;
const REMEMBERED = 200; // cameras whose frames may still come
const ANSWER_MS = 3000; // so long a camera of this page goes before those of others
const RATE_MS = 1000;

/**
 * Hooks: `moved()` after each change of the view or style; `frame(header)` for each that is shown; `rested()` when all of
 * a view that rests is drawn; `refused(errors)`; `link(isUp, tries)`; `used()` when a camera was sent;
 * `followed(id)` when somebody else moves the same camera, and is done.
 */
export class Lens {
  view;
  style;
  budget = new Budget();
  shown = null; // the header of the newest frame
  #hooks;
  #scene;
  #socket = null;
  #cameras = new Cameras();
  #newest = new Newest();
  #sent = new Map(); // style and size by number of the camera
  #answered = 0;
  #sentAt = 0;
  #sentSize = "";
  #wanted = false;
  #request = 0;
  #restTimer = 0;
  #moving = false;
  #frames = [];
  #learned = 0;

  constructor(canvas, { view, style }, hooks) {
    this.view = view;
    this.style = style;
    this.#hooks = hooks;
    this.#scene = new Scene(canvas, () => this.#ask());
    this.#scene.look(view);
  }

  get scene() {
    return this.#scene;
  }

  /** Frames a second while the view moves; NaN at rest. */
  get rate() {
    if (!this.#moving) return NaN;
    const now = performance.now();
    this.#frames = this.#frames.filter((at) => now - at < RATE_MS);
    return (this.#frames.length * 1000) / RATE_MS;
  }

  connect(address) {
    this.disconnect();
    this.#socket = new FrameSocket(address, {
      frame: (header, bitmap) => this.#frame(header, bitmap),
      refused: ({ camera, errors }) => this.#refused(camera, errors ?? {}),
      up: () => {
        this.#hooks.link(true, 0);
        this.#ask();
      },
      down: (tries) => this.#hooks.link(false, tries),
    });
  }

  get isConnected() {
    return this.#socket !== null;
  }

  disconnect() {
    this.#socket?.close();
    this.#socket = null;
  }

  /** Move by CSS pixels to the right and down. */
  pan(right, down) {
    const { unit } = this.#scene;
    this.#move(panned(this.view, [right / unit, -down / unit]));
  }

  /** Magnify about a point in CSS pixels from the middle. */
  zoom(factor, [right, down] = [0, 0]) {
    const { unit } = this.#scene;
    this.#move(zoomed(this.view, factor, [right / unit, -down / unit], { deep: reachesDeep(this.style) }));
  }

  /** Look at a box, given by two corners. */
  box(from, to) {
    const { canvas } = this.#scene;
    const [across, down] = [0, 1].map((axis) => Math.abs(from[axis] - to[axis]));
    const middle = [0, 1].map((axis) => (from[axis] + to[axis]) / 2);
    const factor = Math.min(canvas.clientWidth / across, canvas.clientHeight / down);
    const { unit } = this.#scene;
    const there = panned(this.view, [middle[0] / unit, -middle[1] / unit]);
    this.#move(zoomed(there, factor, [0, 0], { deep: reachesDeep(this.style) }));
  }

  /** Look elsewhere, or in another style. */
  look(view, style = this.style) {
    const anew = style.formula !== this.style.formula || String(style.julia) !== String(this.style.julia);
    this.style = style;
    if (anew) this.#scene.clear();
    this.#move(view);
  }

  restyle(changes) {
    this.look(this.view, { ...this.style, ...changes });
  }

  /** Show what somebody else's camera shows, and ask for nothing. */
  adopt(view, style) {
    this.view = view;
    this.style = style;
    this.#scene.look(view);
    this.#hooks.moved();
  }

  #move(view) {
    this.view = view;
    this.#moving = true;
    this.#scene.look(view);
    clearTimeout(this.#restTimer);
    this.#restTimer = setTimeout(() => this.#rest(), REST_MS);
    this.#ask();
    this.#hooks.moved();
  }

  #rest() {
    this.#moving = false;
    this.#frames = [];
    if (this.#sentSize !== String(this.#size())) this.#ask();
    this.#settled();
  }

  #size() {
    return cameraSize(...this.#scene.pixels, this.#moving ? this.budget.inMotion : this.budget.atRest);
  }

  /** Have the view asked for with the next painting of the page: however often it moves, once for each. */
  #ask() {
    this.#wanted = true;
    this.#request ||= requestAnimationFrame(() => {
      this.#request = 0;
      if (!this.#wanted || !this.#socket?.isUp) return; // `up` asks again
      if (this.#send()) this.#wanted = false;
      else this.#ask();
    });
  }

  #send() {
    const [width, height] = this.#size();
    const format = this.budget.setting === "sharp" ? "png" : "jpeg";
    const id = this.#cameras.next();
    if (!this.#socket.send({ id, ...texts(this.view), width, height, format, ...cameraOf(this.style) })) return false;
    const { limit: _limit, ...looks } = this.style;
    this.#sent.set(this.#cameras.last, JSON.stringify(looks));
    this.#sent.delete(this.#cameras.last - REMEMBERED);
    this.#sentAt = performance.now();
    this.#sentSize = String([width, height]);
    this.#scene.canvas.dataset.asked = id;
    this.#hooks.used();
    return true;
  }

  #frame(header, bitmap) {
    const number = this.#cameras.numberOf(header.camera);
    if (number === null) {
      this.#follow(header, bitmap);
      return;
    }
    if (!this.#newest.accepts(number, header.step)) {
      bitmap.close();
      return;
    }
    this.#answered = Math.max(this.#answered, number);
    this.#show(header, bitmap, this.#sent.get(number) ?? "");
    this.#learn();
    this.#settled();
  }

  #show(header, bitmap, style) {
    const { width, height, step, final, max_iter: limit } = header;
    this.#scene.show({ bitmap, view: viewOf(header), width, height, step, final, style, limit });
    this.shown = header;
    Object.assign(this.#scene.canvas.dataset, { camera: header.camera, step: String(step), frame: String(header.frame) });
    this.#hooks.frame(header);
  }

  /** Somebody else, in another window, moves the camera of the same session. */
  #follow(header, bitmap) {
    const isAnswered = this.#cameras.last > 0 && (this.#answered === this.#cameras.last || performance.now() - this.#sentAt > ANSWER_MS);
    if (!isAnswered || this.#wanted || this.#moving || header.camera === null) {
      bitmap.close();
      return;
    }
    this.view = viewOf(header);
    this.#scene.look(this.view);
    this.#show(header, bitmap, `of ${String(header.camera).split("-")[0]}`);
    this.#hooks.moved();
    if (header.final) this.#hooks.followed(header.camera);
  }

  #learn() {
    const now = performance.now();
    if (!this.#moving) {
      this.#learned = now;
      return;
    }
    this.#frames.push(now);
    if (now - this.#learned < RATE_MS) return;
    this.#learned = now;
    this.budget.learn(this.rate);
  }

  #settled() {
    const isDrawn = this.shown?.final && this.#cameras.numberOf(this.shown.camera) === this.#cameras.last;
    // One painting later it is on the canvas.
    if (isDrawn && !this.#moving) requestAnimationFrame(() => requestAnimationFrame(() => !this.#moving && this.#hooks.rested()));
  }

  #refused(camera, errors) {
    const number = this.#cameras.numberOf(camera);
    if (number === null || number < this.#cameras.last) return; // what was asked for since may well be fine
    this.#answered = number;
    if (errors.method && this.style.method !== "smooth") this.restyle({ method: "smooth" });
    else if (this.#scene.newest && !sameView(this.#scene.newest.view, this.view)) this.#move(this.#scene.newest.view);
    this.#hooks.refused(errors);
  }
}
