// The session: booked, waited for, kept by use, extended, ended; and what became of it.

import { getJson, Problem, post, remove, request, serverNow } from "../api.js";
import { instant } from "../format.js";
import { Stream } from "../stream.js";

export const LABEL = "Explorer";
const PENDING_MS = 1000;
const READY_MS = 20000;
const LEAST_KEEPALIVE_MS = 15000;

/**
 * `phase` is none, asking, waiting, ready, refused (by `problem`, to be asked again at `retryAt`) or over.
 * Hooks: `changed(booking)`, `warned(text)`.
 */
export class Booking {
  phase = "none";
  session = null;
  problem = null;
  retryAt = NaN;
  #hooks;
  #stream = null;
  #timer = 0;
  #kept = 0;

  constructor(hooks) {
    this.#hooks = hooks;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.look();
    });
  }

  get isOpen() {
    return this.phase === "ready" || this.phase === "waiting";
  }

  /** Join an open session of this user that an explorer booked, if there is one. */
  async join(user) {
    const query = (state) => `session/?${new URLSearchParams({ state, owner: user, page_size: 50 })}`;
    for (const state of ["READY", "PENDING"]) {
      const { results } = await getJson(query(state));
      const mine = results.find(({ label }) => label === LABEL);
      if (mine) {
        this.#take(mine);
        return;
      }
    }
  }

  /** Ask for a renderer that begins with these parameters. */
  async book(params, { resource, wait }) {
    if (this.isOpen || this.phase === "asking") return;
    this.#become("asking", { session: null, problem: null });
    try {
      this.#take(await post("session/", { ...(resource && { resource }), params, max_wait: wait, label: LABEL }));
    } catch (error) {
      const problem = error instanceof Problem ? error : new Problem(0, { title: "Not booked", detail: "The server cannot be reached." });
      this.#become("refused", { problem, retryAt: problem.retryAfter ? serverNow() + problem.retryAfter : NaN });
    }
  }

  /** Ask the server how the session is. */
  async look() {
    if (!this.isOpen) return;
    const { id } = this.session;
    try {
      const session = await getJson(`session/${id}/`);
      if (this.session?.id === id && this.isOpen) this.#take(session);
    } catch (error) {
      if (error.status === 404) this.#over({ ...this.session, state: "ENDED", reason: "The session is gone." });
    } finally {
      this.#later();
    }
  }

  /** The user does something that does not reach the node: the session is renewed by that too, now and then. */
  use() {
    if (this.phase !== "ready" || document.hidden) return;
    const pause = Math.max(LEAST_KEEPALIVE_MS, 250 * this.session.idle_timeout);
    if (performance.now() - this.#kept < Math.min(pause, 500 * this.session.idle_timeout)) return;
    this.keep().catch(() => this.look());
  }

  /** Renew the session now. Raises Problem. */
  async keep() {
    this.#kept = performance.now();
    this.#take(await post(`session/${this.session.id}/keepalive`));
  }

  /** The node was used: the gateway has renewed the session. */
  used() {
    if (this.phase !== "ready") return;
    const until = serverNow() + this.session.idle_timeout;
    this.session.expires_at = new Date(1000 * Math.min(until, instant(this.session.hard_expires_at) || until)).toISOString();
    this.#kept = performance.now();
  }

  /** Raises Problem when it cannot last longer. */
  async extend(seconds) {
    this.#take(await post(`session/${this.session.id}/extend`, { seconds }));
  }

  async end() {
    const { id } = this.session;
    await remove(`session/${id}/`);
    this.#over(await getJson(`session/${id}/`).catch(() => ({ ...this.session, state: "ENDED", reason: "Ended by you." })));
  }

  /** The camera that the node has at present, whoever set it. */
  async camera() {
    return (await request("GET", `session/${this.session.id}/proxy/camera`)).json();
  }

  #take(session) {
    if (["ENDED", "FAILED"].includes(session.state)) {
      this.#over(session);
      return;
    }
    const phase = session.state === "READY" ? "ready" : "waiting";
    if (this.session?.id !== session.id) this.#follow(session.id);
    this.#become(phase, { session });
    this.#later();
  }

  #follow(id) {
    this.#stream?.close();
    this.#stream = new Stream(`session/${id}/events`, {
      session: ({ id: subject }) => subject === this.session?.id && this.look(),
      warning: ({ message, seconds }) => this.#warn(message, seconds),
    });
  }

  // The stream begins with what has been: a warning that an extension has outdated is not given again.
  #warn(message, seconds) {
    if (this.phase === "ready" && instant(this.session.hard_expires_at) - serverNow() <= seconds + 5) this.#hooks.warned(message);
  }

  #later() {
    clearTimeout(this.#timer);
    if (this.isOpen && !document.hidden) this.#timer = setTimeout(() => this.look(), this.phase === "waiting" ? PENDING_MS : READY_MS);
  }

  #over(session) {
    clearTimeout(this.#timer);
    this.#stream?.close();
    this.#stream = null;
    this.#become("over", { session });
  }

  #become(phase, facts) {
    Object.assign(this, { phase, ...facts });
    this.#hooks.changed(this);
  }
}
