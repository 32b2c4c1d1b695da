// What stands over the picture while there is no renderer: how to book one, what it waits for, why there is none.

import { serverNow } from "../api.js";
import { el } from "../dom.js";
import { instant, left } from "../format.js";

const WAITS = [[0, "not at all"], [30, "half a minute"], [120, "two minutes"], [600, "ten minutes"]];

/** Hooks: `book({resource, wait})`, `cancel()`. */
export class Cover {
  #host;
  #hooks;
  #resources = [];
  #choice = { resource: "", wait: 120 };
  #count = null;
  #told = "";
  #cards = {
    none: () => this.#form("Explore", [el("p", {}, "A renderer is booked for you alone: it draws what you look at, down to a radius of 1e-1000.")], "Book a renderer"),
    asking: () => card("Explore", el("p", { role: "status" }, "Asking for a renderer…")),
    waiting: (booking) => this.#waiting(booking),
    refused: (booking) => this.#refused(booking),
    over: (booking) => this.#over(booking),
  };

  constructor(host, hooks) {
    this.#host = host;
    this.#hooks = hooks;
    setInterval(() => this.#tick(), 500);
  }

  offer(resources) {
    this.#resources = resources;
    this.#choice.resource = resources[0]?.id ?? "";
  }

  show(booking) {
    const { session, problem } = booking;
    const told = JSON.stringify([booking.phase, session?.id, session?.reason, session?.position, booking.retryAt, problem?.message, this.#resources.length]);
    if (told === this.#told) return; // what is read aloud is not said twice
    this.#told = told;
    this.#count = null;
    const card = this.#cards[booking.phase]?.(booking);
    const hadFocus = this.#host.contains(document.activeElement);
    this.#host.replaceChildren(...(card ? [card] : []));
    if (card && (hadFocus || booking.phase === "over" || booking.phase === "refused")) card.querySelector("button")?.focus({ preventScroll: true });
    this.#tick();
  }

  #waiting({ session }) {
    const place = session.position > 1 ? el("p", {}, `${session.position - 1} before you.`) : null;
    this.#count = (now) => `Gives up in ${left(instant(session.wait_until) - now)}.`;
    const cancel = el("button", { type: "button", id: "cancel" }, "Cancel");
    cancel.addEventListener("click", () => this.#hooks.cancel());
    return card("Waiting for a renderer", el("p", { role: "status" }, session.reason || "One can be expected."), place, el("p", { class: "hint", "data-count": "" }), el("div", { class: "actions" }, cancel));
  }

  #refused({ problem, retryAt }) {
    const { position, eta_seconds: eta } = problem.facts;
    const told = [el("p", { class: "notice bad", role: "alert" }, problem.message)];
    if (position > 1) told.push(el("p", {}, `${position - 1} wait before you.`));
    if (Number.isFinite(eta)) told.push(el("p", {}, `A renderer can be expected in about ${left(eta)}.`));
    if (Number.isFinite(retryAt)) {
      told.push(el("p", { class: "hint", "data-count": "" }));
      this.#count = (now) => (now < retryAt ? `It is worth asking again in ${left(Math.ceil(retryAt - now))}.` : "It is worth asking again now.");
    }
    return this.#form("No renderer", told, "Ask again");
  }

  #over({ session }) {
    const lost = session.state === "FAILED";
    const told = el("p", lost ? { class: "notice bad", role: "alert" } : { role: "status" }, session.reason || "It has ended.");
    return this.#form(lost ? "The session was lost" : "The session is over", [told], "Book again with this view");
  }

  #form(title, told, label) {
    const resource = this.#select("book-resource", "Renderer", this.#resources.map(({ id, name }) => [id, name || id]), "resource");
    const wait = this.#select("book-wait", "If none is free, wait", WAITS, "wait");
    const form = el("form", { id: "book" }, this.#resources.length > 1 ? resource : null, wait, el("button", { type: "submit", class: "primary wide" }, label));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#hooks.book({ ...this.#choice, wait: Number(this.#choice.wait) });
    });
    return card(title, ...told, form);
  }

  #select(id, label, options, name) {
    const select = el("select", { id }, ...options.map(([value, text]) => el("option", { value, selected: String(value) === String(this.#choice[name]) }, text)));
    select.addEventListener("change", () => (this.#choice[name] = select.value));
    return el("div", { class: "field" }, el("label", { for: id }, label), select);
  }

  #tick() {
    const line = this.#host.querySelector("[data-count]");
    if (line && this.#count) line.textContent = this.#count(serverNow());
  }
}

const card = (title, ...content) => el("section", { class: "card", "aria-label": title }, el("h2", {}, title), ...content);
