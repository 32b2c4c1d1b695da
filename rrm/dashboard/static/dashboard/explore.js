// The explorer: a renderer booked for one person, and the view that they move.

import { announce } from "./announce.js";
import { at, config, getAll, serverNow } from "./api.js";
import { byId, el } from "./dom.js";
import { Booking } from "./explore/booking.js";
import { Cover } from "./explore/cover.js";
import { Gestures } from "./explore/gestures.js";
import { Lens } from "./explore/lens.js";
import { Looks } from "./explore/looks.js";
import { OrderForm } from "./explore/order.js";
import { offerPlaces } from "./explore/places.js";
import { SessionPanel, tellFrame, tellRate, tellView } from "./explore/readout.js";
import { fromQuery, paramsOf, queryOf, reachesDeep, styleOf } from "./explore/style.js";
import { Trail } from "./explore/trail.js";
import { chosenLimit, depth, isDeep, texts, view, WHOLE, WHOLE_JULIA } from "./explore/view.js";
import { instant } from "./format.js";

const ADDRESS_MS = 400;
const NOTICE_MS = 8000;
const TICK_MS = 500;
const EXTENSION_SECONDS = 3600;
const SOON_SECONDS = 60;
const STEP = 1.5;
const MOST_DIGITS = 24; // of a Julia set's constant: it is drawn in double precision

const told = fromQuery(new URLSearchParams(window.location.search));
let addressTimer = 0;
let noticeTimer = 0;
let toldIdle = false;
let beforeJulia = null;
let isJoining = false; // a session whose camera is looked at first

const lens = new Lens(byId("scene-canvas"), { view: told.view ?? WHOLE, style: told.style }, {
  moved: showMoved,
  frame: tellFrame,
  rested: showRested,
  refused: (errors) => notice(Object.values(errors).flat().join(" ") || "The renderer refuses this view.", true),
  link: linked,
  used: () => booking.used(),
  followed: () => adopt().catch(() => {}),
});
const trail = new Trail(byId("trail"), ({ view: there, style }) => {
  looks.show(style);
  lens.look(there, style);
});
const looks = new Looks({
  styled: (changes) => {
    lens.restyle(changes);
    if (!reachesDeep(lens.style) && isDeep(lens.view)) lens.zoom(1); // as deep as this formula goes
    looks.show(lens.style);
  },
  quality: (setting) => {
    lens.budget.setting = setting;
    lens.look(lens.view);
  },
  julia: toggleJulia,
});
const booking = new Booking({ changed: phaseChanged, warned: (text) => notice(text, true) });
const session = new SessionPanel();
const cover = new Cover(byId("cover"), { book, cancel: () => booking.end().catch(() => booking.look()) });
new OrderForm(() => ({
  view: lens.view,
  style: lens.style,
  limit: lens.shown?.max_iter ?? chosenLimit(lens.view),
  resource: booking.session?.resource ?? null,
  size: lens.scene.pixels,
}));

const goHome = () => lens.look(lens.style.julia ? WHOLE_JULIA : WHOLE);
const KEYS = {
  Home: goHome,
  b: () => trail.step(-1),
  f: () => trail.step(1),
  "[": () => looks.nextPalette(-1),
  "]": () => looks.nextPalette(1),
  ",": () => looks.shift(-1),
  ".": () => looks.shift(1),
  j: toggleJulia,
  s: savePicture,
  l: copyLink,
  "?": () => byId("help").showModal(),
};
new Gestures(lens.scene.canvas, {
  pan: (right, down) => lens.pan(right, down),
  zoom: (factor, point) => lens.zoom(factor, point),
  box: (from, to) => lens.box(from, to),
  drawn: drawBox,
  key: (name) => {
    const act = KEYS[name] ?? KEYS[name.toLowerCase()];
    act?.();
    return act !== undefined;
  },
});

const PRESSES = {
  back: KEYS.b,
  forward: KEYS.f,
  home: goHome,
  "zoom-in": () => lens.zoom(STEP),
  "zoom-out": () => lens.zoom(1 / STEP),
  "copy-link": copyLink,
  "save-picture": savePicture,
  "help-open": KEYS["?"],
  "session-extend": extend,
  "session-end": () => booking.end().catch((error) => notice(error.message, true)),
};
for (const [id, press] of Object.entries(PRESSES)) byId(id).addEventListener("click", press);

// --- the session

function book({ resource, wait }) {
  return booking.book(paramsOf(lens.view, lens.style, chosenLimit(lens.view)), { resource, wait });
}

function phaseChanged({ phase, session: booked }) {
  const before = byId("explorer").dataset.phase;
  byId("explorer").dataset.phase = phase;
  session.show(booking);
  if (phase !== before || phase === "waiting") cover.show(booking);
  if (phase === "ready" && !lens.isConnected && !isJoining) connect();
  if (phase !== "ready") {
    lens.disconnect();
    delete byId("explorer").dataset.link;
  }
  if (phase === before) return;
  if (phase === "ready") lens.scene.canvas.focus({ preventScroll: true });
  announce({ ready: "A renderer is yours.", waiting: booked?.reason, over: booked?.reason }[phase] ?? "", true);
}

function connect() {
  if (document.hidden) return;
  const address = new URL(at(`session/${booking.session.id}/proxy/ws`), window.location.href);
  address.protocol = address.protocol.replace("http", "ws");
  lens.connect(address.href);
}

function linked(isUp, tries) {
  byId("explorer").dataset.link = isUp ? "up" : "down";
  session.link(isUp);
  if (isUp) return;
  booking.look(); // it may be over: then it says why
  if (tries === 3) notice("The renderer does not answer; it is tried again and again.", true);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) lens.disconnect();
  else if (booking.phase === "ready") connect();
});
for (const name of ["pointermove", "pointerdown", "keydown", "input"]) document.addEventListener(name, () => booking.use(), { passive: true });

async function extend() {
  try {
    await booking.extend(EXTENSION_SECONDS);
    notice("The session was extended.");
  } catch (error) {
    notice(error.message, true);
  }
}

/** Show what the node's camera shows: another window of this user moves it, or did before this one was opened. */
async function adopt() {
  const camera = await booking.camera();
  const style = styleOf(camera);
  lens.adopt(view(...camera.center, camera.radius), style);
  looks.show(style);
}

// --- what is shown

function showMoved() {
  tellView(lens.view);
  tellRate(lens.rate);
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => window.history.replaceState(null, "", `?${queryOf(lens.view, lens.style)}`), ADDRESS_MS);
}

function showRested() {
  trail.rest(lens.view, lens.style, lens.scene);
  byId("back").disabled = !trail.canGoBack;
  byId("forward").disabled = !trail.canGoForward;
  announce(`Magnification ten to the ${Math.max(0, depth(lens.view)).toFixed(1)}`);
}

function toggleJulia() {
  const { style } = lens;
  if (style.julia) {
    lens.look(beforeJulia ?? WHOLE, { ...style, julia: null });
  } else {
    beforeJulia = lens.view;
    const constant = texts(lens.view).center.map((part) => part.slice(0, MOST_DIGITS));
    const isShaded = ["distance", "normal"].includes(style.method); // those are for the set of constants alone
    lens.look(WHOLE_JULIA, { ...style, julia: constant, method: isShaded ? "smooth" : style.method });
  }
  looks.show(lens.style);
}

function drawBox(from, to) {
  const box = byId("zoom-box");
  box.hidden = from === null;
  if (from === null) return;
  const { clientWidth, clientHeight } = lens.scene.canvas;
  const sides = { left: Math.min(from[0], to[0]) + clientWidth / 2, top: Math.min(from[1], to[1]) + clientHeight / 2, width: Math.abs(from[0] - to[0]), height: Math.abs(from[1] - to[1]) };
  for (const [name, pixels] of Object.entries(sides)) box.style.setProperty(name, `${pixels}px`);
}

function notice(text, urgent = false) {
  const line = byId("notice");
  line.textContent = text;
  line.hidden = false;
  line.classList.toggle("bad", urgent);
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => (line.hidden = true), NOTICE_MS);
}

// --- taking it away

const linkHere = () => new URL(`?${queryOf(lens.view, lens.style)}`, window.location.href).href;

async function copyLink() {
  const href = linkHere();
  try {
    await navigator.clipboard.writeText(href);
    notice("The link was copied.");
  } catch {
    byId("link-text").value = href;
    byId("link").showModal();
    byId("link-text").select();
  }
}

async function savePicture() {
  const blob = await lens.scene.blob("image/png");
  const href = URL.createObjectURL(blob);
  el("a", { href, download: `${lens.style.formula}-1e${Math.max(0, depth(lens.view)).toFixed(1)}.png` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

// --- the beginning

setInterval(() => {
  session.tick();
  tellRate(lens.rate);
  const isIdle = booking.phase === "ready" && instant(booking.session.expires_at) - serverNow() < Math.min(SOON_SECONDS, booking.session.idle_timeout / 3);
  if (isIdle && !toldIdle) notice("Nobody uses this renderer: it will be given back soon. Move the view to keep it.", true);
  toldIdle = isIdle;
}, TICK_MS);

async function start() {
  looks.show(lens.style);
  tellView(lens.view);
  let [palettes, models, all] = [[], [], []];
  try {
    [palettes, models, all] = await Promise.all([getAll("palette/"), getAll("model/?named=true&page_size=100"), getAll("resource/")]);
  } finally {
    cover.offer(all.filter(({ renderer, enabled }) => renderer === "mandelbrot" && enabled !== false));
    cover.show(booking); // once only: a button that is made anew while it is pressed has no click
  }
  looks.offer(palettes, lens.style.palette);
  offerPlaces(byId("place"), models, ({ view: there, style }) => {
    lens.look(there, { ...lens.style, ...style });
    looks.show(lens.style);
  });
  await join();
}

/** Go on with a session that is open already, where a link does not say otherwise with what it shows. */
async function join() {
  isJoining = told.view === null;
  await booking.join(config.user);
  if (isJoining && booking.phase === "ready") await adopt().catch(() => {});
  isJoining = false;
  if (booking.phase === "ready" && !lens.isConnected) connect();
}

start().catch((error) => notice(error.message, true));
