// What is shown, in numbers: where, how deep, how fast, on which node, and for how long.

import { getJson, serverNow } from "../api.js";
import { byId, mark, replace, setText } from "../dom.js";
import { instant, left, milliseconds, whole } from "../format.js";
import { depth, isDeep, texts } from "./view.js";

const LONGEST = 26;
const ENDS = 10;

/** The position, radius and magnification. */
export function tellView(view) {
  const { center, radius } = texts(view);
  const [mantissa, exponent = ""] = radius.split("e");
  setText("d-radius", `${Number(mantissa).toPrecision(4)}${exponent && `e${exponent}`}`);
  setText("d-depth", `10^${Math.max(0, depth(view)).toFixed(1)}`);
  setText("position", `x ${shortened(center[0])}   y ${shortened(center[1])}`);
  byId("position").title = `x ${center[0]}\ny ${center[1]}`;
  setText("d-precision", isDeep(view) ? "deep" : "double");
}

/** Both ends of a number that is too long to be read. */
function shortened(text) {
  return text.length <= LONGEST ? text : `${text.slice(0, ENDS + 4)}…${text.slice(-ENDS)} (${text.replace(/^-?\d+\.?/, "").length} digits)`;
}

export function tellFrame({ max_iter: limit, render_ms: time, step }) {
  setText("d-limit", whole(limit));
  setText("d-time", `${milliseconds(time)}${step > 1 ? `, 1:${step}` : ""}`);
}

export const tellRate = (rate) => setText("d-rate", Number.isFinite(rate) && rate > 0 ? `${rate.toFixed(0)} /s` : "at rest");

/** The panel of the session; `tick` keeps its times. */
export class SessionPanel {
  #session = null;
  #node = "";
  #link = null;

  show({ phase, session }) {
    this.#session = phase === "ready" ? session : null;
    if (!this.#session) this.#link = null;
    byId("session").hidden = this.#session === null;
    if (!this.#session) return;
    this.link(this.#link);
    this.#tellNode(session);
    this.tick();
  }

  /** Whether the link to the node stands; null while it was never tried. */
  link(isUp) {
    this.#link = isUp;
    if (!this.#session) return;
    const [name, words] = isUp === null ? ["idle", "ready"] : isUp ? ["idle", "connected"] : ["paused", "connecting again"];
    byId("session-state").className = `chip ${name}`;
    setText("session-state", words);
  }

  tick() {
    const session = this.#session;
    if (!session) return;
    const until = (time) => left(instant(time) - serverNow());
    setText("session-hard", until(session.hard_expires_at));
    setText("session-idle", until(session.expires_at));
  }

  async #tellNode({ node: id, site: place }) {
    if (!id || id === this.#node) return;
    this.#node = id;
    try {
      const [node, site] = await Promise.all([getJson(`node/${id}/`), getJson(`site/${place}/`)]);
      setText("session-node", node.name);
      replace(byId("session-site"), mark(site.color), document.createTextNode(site.name || site.id));
    } catch {
      setText("session-node", id);
      setText("session-site", place ?? "–");
    }
  }
}
