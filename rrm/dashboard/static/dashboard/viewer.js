// Looking around in a large picture: drag, wheel, pinch and keys move a camera over its pyramid.

const MOST = 32; // screen pixels for one picture pixel
const WHEEL = 0.0015;
const STEP = 1.5;
const PAN = 80;

export class Viewer {
  #canvas;
  #context;
  #pyramid = null;
  #moved;
  #x = 0; // picture pixel in the middle of the screen
  #y = 0;
  #scale = 1; // CSS pixels for one picture pixel
  #pointers = new Map();
  #frame = 0;

  /** `moved()` is called after each change of the view. */
  constructor(canvas, moved = () => {}) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: true });
    this.#moved = moved;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#pointers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoom(event.shiftKey ? 1 / 2 : 2, this.#point(event)));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  open(pyramid) {
    this.#pyramid = pyramid;
    this.#resize();
    this.fit();
  }

  redraw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#pyramid) this.#draw();
    });
  }

  /** The view as the picture's pixels: its middle, its half shorter side, and the zoom. */
  get view() {
    const shorter = Math.min(this.#canvas.clientWidth, this.#canvas.clientHeight);
    return { x: this.#x, y: this.#y, half: shorter / 2 / this.#scale, scale: this.#scale };
  }

  /** The picture's pixel (fractions kept) under an event, measured from the top left corner. */
  pixelUnder(event) {
    const [across, down] = this.#point(event);
    return [this.#x + across / this.#scale, this.#y + down / this.#scale];
  }

  fit() {
    this.#x = this.#pyramid.width / 2;
    this.#y = this.#pyramid.height / 2;
    this.#scale = this.#fitting();
    this.#changed();
  }

  one() {
    this.zoom(1 / (window.devicePixelRatio || 1) / this.#scale);
  }

  /** Zoom by a factor about a point given from the middle of the screen. */
  zoom(factor, [across, down] = [0, 0]) {
    const scale = Math.min(MOST, Math.max(this.#fitting() / 2, this.#scale * factor));
    this.#x += across / this.#scale - across / scale;
    this.#y += down / this.#scale - down / scale;
    this.#scale = scale;
    this.#changed();
  }

  pan(across, down) {
    this.#x += across / this.#scale;
    this.#y += down / this.#scale;
    this.#changed();
  }

  #fitting() {
    return Math.min(this.#canvas.clientWidth / this.#pyramid.width, this.#canvas.clientHeight / this.#pyramid.height) || 1;
  }

  #changed() {
    this.#x = Math.min(this.#pyramid.width, Math.max(0, this.#x));
    this.#y = Math.min(this.#pyramid.height, Math.max(0, this.#y));
    this.#moved();
    this.redraw();
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  }

  #down(event) {
    if (event.button !== 0) return;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#point(event));
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before || !this.#pyramid) return;
    const after = this.#point(event);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, after);
    if (!other) return this.pan(before[0] - after[0], before[1] - after[1]);
    const span = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
    this.pan((before[0] - after[0]) / 2, (before[1] - after[1]) / 2);
    return this.zoom(span(after) / span(before), [(after[0] + other[0]) / 2, (after[1] + other[1]) / 2]);
  }

  #wheel(event) {
    if (!this.#pyramid) return;
    event.preventDefault();
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 20 : event.deltaY;
    this.zoom(Math.exp(-pixels * WHEEL), this.#point(event));
  }

  #key(event) {
    if (!this.#pyramid || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      ArrowLeft: () => this.pan(-PAN, 0),
      ArrowRight: () => this.pan(PAN, 0),
      ArrowUp: () => this.pan(0, -PAN),
      ArrowDown: () => this.pan(0, PAN),
      "+": () => this.zoom(STEP),
      "=": () => this.zoom(STEP),
      "-": () => this.zoom(1 / STEP),
      0: () => this.fit(),
      1: () => this.one(),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  #resize() {
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = Math.max(1, Math.round(this.#canvas.clientWidth * ratio));
    this.#canvas.height = Math.max(1, Math.round(this.#canvas.clientHeight * ratio));
    this.redraw();
  }

  #draw() {
    const ratio = window.devicePixelRatio || 1;
    const scale = this.#scale * ratio;
    const level = this.#pyramid.levelFor(scale);
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#context.imageSmoothingEnabled = scale < 3; // past that, pixels are what one wants to see
    this.#context.imageSmoothingQuality = "high";
    this.#pyramid.restart();
    const left = this.#canvas.width / 2 - this.#x * scale;
    const top = this.#canvas.height / 2 - this.#y * scale;
    this.#drawTile(0, 0, 0, level, { left, top, scale });
    this.#pyramid.pump();
    this.#canvas.dataset.level = String(level);
    this.#canvas.dataset.loading = String(this.#pyramid.loading);
  }

  /** Draw a tile and then, over it, its four children: what is missing shows its coarser self. */
  #drawTile(level, col, row, finest, camera) {
    const pyramid = this.#pyramid;
    const factor = 2 ** (pyramid.top - level) * camera.scale;
    const [x0, y0, x1, y1] = pyramid.tileRect(level, col, row);
    const left = Math.round(camera.left + x0 * factor);
    const top = Math.round(camera.top + y0 * factor);
    const right = Math.round(camera.left + Math.min(x1 * factor, pyramid.width * camera.scale));
    const bottom = Math.round(camera.top + Math.min(y1 * factor, pyramid.height * camera.scale));
    if (right <= 0 || bottom <= 0 || left >= this.#canvas.width || top >= this.#canvas.height) return;
    const bitmap = pyramid.peek(level, col, row, level === finest);
    if (bitmap) this.#context.drawImage(bitmap, left, top, right - left, bottom - top);
    if (level < finest) this.#drawChildren(level, col, row, finest, camera);
  }

  #drawChildren(level, col, row, finest, camera) {
    const size = this.#pyramid.levelSize(level + 1);
    const tile = this.#pyramid.tileSize;
    // Below one tile a level has one child only.
    for (const r of [2 * row, 2 * row + 1]) {
      for (const c of [2 * col, 2 * col + 1]) {
        if (c * tile < size[0] && r * tile < size[1]) this.#drawTile(level + 1, c, r, finest, camera);
      }
    }
  }
}
