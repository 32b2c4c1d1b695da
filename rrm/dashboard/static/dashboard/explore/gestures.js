// Mouse, touch and keys on the canvas, as moves of the view. Points are in CSS pixels from its middle, y downwards.

const WHEEL = 0.0015;
const KEY_STEP = 1.5;
const KEY_SHARE = 0.15; // of the shorter side
const SMALL_BOX = 6;

/** Hooks: `pan(right, down)`, `zoom(factor, point)`, `box(from, to)` with both corners, `drawn(from, to)` while one is drawn (null at its end), `key(name)` for others. */
export class Gestures {
  #canvas;
  #hooks;
  #pointers = new Map();
  #box = null;

  constructor(canvas, hooks) {
    this.#canvas = canvas;
    this.#hooks = hooks;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => hooks.zoom(event.shiftKey || event.altKey ? 1 / 2 : 2, this.#point(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  }

  #down(event) {
    if (event.button !== 0) return;
    this.#canvas.setPointerCapture(event.pointerId);
    const point = this.#point(event);
    if (event.shiftKey && event.pointerType === "mouse") this.#box = { pointer: event.pointerId, from: point, to: point };
    else this.#pointers.set(event.pointerId, point);
  }

  #move(event) {
    const after = this.#point(event);
    if (this.#box?.pointer === event.pointerId) {
      this.#box.to = after;
      this.#hooks.drawn(this.#box.from, after);
      return;
    }
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, after);
    if (other) this.#pinch(before, after, other);
    else this.#hooks.pan(before[0] - after[0], before[1] - after[1]);
  }

  /** What lay under each finger stays under it. */
  #pinch(before, after, other) {
    const span = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
    this.#hooks.pan((before[0] - after[0]) / 2, (before[1] - after[1]) / 2);
    this.#hooks.zoom(span(after) / span(before), [(after[0] + other[0]) / 2, (after[1] + other[1]) / 2]);
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    if (this.#box?.pointer !== event.pointerId) return;
    const { from, to } = this.#box;
    const cancelled = event.type !== "pointerup" || Math.min(Math.abs(from[0] - to[0]), Math.abs(from[1] - to[1])) < SMALL_BOX;
    this.#endBox();
    if (!cancelled) this.#hooks.box(from, to);
  }

  #endBox() {
    this.#box = null;
    this.#hooks.drawn(null);
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    const pixels = (event.deltaY || event.deltaX) * (event.deltaMode === WheelEvent.DOM_DELTA_PAGE ? 400 : lines);
    // A trackpad's pinch comes as a wheel with the control key, in small steps.
    this.#hooks.zoom(Math.exp(-Math.max(-600, Math.min(600, pixels)) * WHEEL * (event.ctrlKey ? 4 : 1)), this.#point(event));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const share = KEY_SHARE * (event.shiftKey ? 0.2 : 1) * Math.min(this.#canvas.clientWidth, this.#canvas.clientHeight);
    const actions = {
      ArrowLeft: () => this.#hooks.pan(-share, 0),
      ArrowRight: () => this.#hooks.pan(share, 0),
      ArrowUp: () => this.#hooks.pan(0, -share),
      ArrowDown: () => this.#hooks.pan(0, share),
      "+": () => this.#hooks.zoom(KEY_STEP),
      "=": () => this.#hooks.zoom(KEY_STEP),
      "-": () => this.#hooks.zoom(1 / KEY_STEP),
      _: () => this.#hooks.zoom(1 / KEY_STEP),
      PageUp: () => this.#hooks.zoom(10),
      PageDown: () => this.#hooks.zoom(1 / 10),
    };
    if (event.key === "Escape" && this.#box) this.#endBox();
    else if (actions[event.key]) actions[event.key]();
    else if (!this.#hooks.key(event.key)) return;
    event.preventDefault();
  }
}
