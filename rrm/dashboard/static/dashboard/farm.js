// The farm on the page: its status, nodes, sites and recent jobs; a snapshot first, then what the stream says.

import { actionButtons } from "./actions.js";
import { config, getJson, post } from "./api.js";
import { byId, chip, el, mark, replace, setText } from "./dom.js";
import { jobName, plural, recent, whole } from "./format.js";
import { FINAL } from "./record.js";
import { Stream } from "./stream.js";

const GONE = new Set(["STOPPED", "FAILED"]);
const KEEP_GONE_MS = 30000;
const KEEP_JOBS = 20;
const WORKING = new Set(["IDLE", "BUSY"]);
const PROMPT_MS = 400;
const CALM_MS = 3000; // nodes take up and finish work all the time
const IDLE_MS = 15000; // plans change without an event

export class Farm {
  #hooks;
  #snapshot = null;
  #nodes = new Map();
  #jobs = new Map();
  #ranges = new Set();
  #timer = 0;
  #due = Infinity;
  #frame = 0;

  /** `hooks`: ready(snapshot), snapshot(snapshot), watch(id), open() → id of the open job, job(event), acted(id, action), moved(): something about the farm changed. */
  constructor(hooks) {
    this.#hooks = hooks;
    this.stream = new Stream(
      "farm/events",
      {
        node: (data) => this.#node(data),
        job: (data) => this.#job(data),
        tiles: (data) => this.#tiles(data),
        resource: () => this.#soon(),
        site: () => this.#soon(),
        log: () => this.#soon(CALM_MS),
      },
      { onopen: () => this.#soon(0), ondown: () => this.#down() },
    );
  }

  /** Put a job just accepted on top of the list. */
  add(job) {
    this.#jobs.set(job.id, job);
    this.#request();
  }

  drop(id) {
    this.#jobs.delete(id);
    this.#request();
  }

  async load() {
    const snapshot = await getJson("farm/");
    const first = this.#snapshot === null;
    this.#snapshot = snapshot;
    this.#nodes = new Map(snapshot.nodes.map((node) => [node.id, node]));
    this.#jobs = new Map([...snapshot.jobs].reverse().map((job) => [job.id, job]));
    if (first) this.#hooks.ready(snapshot);
    this.#hooks.snapshot(snapshot);
    this.#request();
    this.#soon(IDLE_MS);
  }

  // Several events come together; the snapshot is read once for all of them.
  #soon(delay = PROMPT_MS) {
    const due = performance.now() + delay;
    if (this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#due = Infinity;
      this.load().catch(() => this.#down());
    }, delay);
  }

  #down() {
    byId("farm-status").className = "farm-status down";
    setText("farm-text", "No connection to the manager; trying again…");
  }

  #node(data) {
    const known = this.#nodes.get(data.id);
    this.#nodes.set(data.id, { tiles_done: 0, ...known, ...data });
    if (GONE.has(data.state)) setTimeout(() => this.#forget(data.id), KEEP_GONE_MS);
    if (known?.state !== data.state) this.#soon(WORKING.has(data.state) ? CALM_MS : PROMPT_MS);
    this.#hooks.moved();
    this.#request();
  }

  #forget(id) {
    if (!GONE.has(this.#nodes.get(id)?.state)) return;
    this.#nodes.delete(id);
    this.#request();
  }

  async #job(data) {
    const known = this.#jobs.get(data.id);
    this.#hooks.job(data);
    this.#soon(CALM_MS);
    if (known) this.#jobs.set(data.id, { ...known, ...data });
    this.#request();
    if (known && !FINAL.has(data.state)) return;
    try {
      this.#jobs.set(data.id, await getJson(`job/${data.id}/`));
    } catch {
      this.#jobs.delete(data.id); // deleted, or somebody else's
    }
    this.#request();
  }

  #tiles(data) {
    if (this.#ranges.has(data.lease)) return;
    this.#ranges.add(data.lease);
    const count = data.stop - data.start;
    const node = this.#nodes.get(data.node);
    if (node) node.tiles_done += count;
    const job = this.#jobs.get(data.job);
    if (job && !FINAL.has(job.state)) job.progress.done = Math.min(job.progress.tiles, job.progress.done + count);
    this.#request();
  }

  #request() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#snapshot === null) return;
      this.#showStatus();
      this.#showNodes();
      this.#showSites();
      this.#showJobs();
    });
  }

  #showStatus() {
    const living = [...this.#nodes.values()].filter((node) => !GONE.has(node.state));
    const { status, reason } = this.#snapshot;
    byId("farm-status").className = `farm-status ${status}`;
    setText("farm-text", [plural(living.length, "node"), reason].filter(Boolean).join(" · "));
  }

  #showNodes() {
    const nodes = [...this.#nodes.values()].sort((a, b) => GONE.has(a.state) - GONE.has(b.state));
    byId("no-nodes").hidden = nodes.length > 0;
    byId("nodes").hidden = nodes.length === 0;
    syncRows(byId("nodes").tBodies[0], nodes, (node) => [node.state, node.reason, node.hostname, node.tiles_done].join("|"), nodeRow);
  }

  #showSites() {
    replace(byId("sites"), ...this.#snapshot.sites.map((site) => this.#siteItem(site)));
  }

  #siteItem(site) {
    const here = [...this.#nodes.values()].filter((node) => node.site === site.id && !GONE.has(node.state)).length;
    const note = site.enabled ? `${site.kind}, ${here} of at most ${plural(site.max_nodes, "node")}` : "switched off";
    const problem = site.problem ? el("span", { class: "problem" }, ` ${site.problem}`) : null;
    return el("li", {}, mark(site.color), el("strong", {}, site.name || site.id), ` ${note}`, problem);
  }

  #showJobs() {
    const jobs = [...this.#jobs.values()].reverse().slice(0, KEEP_JOBS);
    const open = this.#hooks.open();
    byId("no-jobs").hidden = jobs.length > 0;
    byId("jobs").hidden = jobs.length === 0;
    const sign = (job) => [job.state, job.reason, job.pending_reason, job.progress.done, job.id === open].join("|");
    syncRows(byId("jobs").tBodies[0], jobs, sign, (job) => this.#jobRow(job, job.id === open));
  }

  #jobRow(job, open) {
    const name = jobName(job);
    const reason = job.pending_reason || job.reason;
    const buttons = actionButtons(job, (action) => this.#acted(job, action), (error) => setText("farm-text", error.message));
    const watch = el("button", { type: "button", class: "link", "aria-pressed": String(open), onclick: () => this.#hooks.watch(job.id) }, name);
    return el(
      "tr",
      { class: open ? "open" : null },
      el("th", { scope: "row" }, watch, el("small", {}, `${whole(job.width)} × ${whole(job.height)}, `, el("time", { datetime: job.created_at }, recent(job.created_at)))),
      el("td", {}, chip(job.state), reason ? el("small", {}, reason) : null),
      el("td", { class: "n" }, `${whole(job.progress.done)} / ${whole(job.progress.tiles)}`),
      el("td", { class: "acts" }, ...buttons, el("a", { class: "button small", href: `/job/${job.id}`, "aria-label": `Open the page of ${name}` }, "Page")),
    );
  }

  #acted(job, action) {
    if (action === "delete") this.drop(job.id);
    else this.#job({ id: job.id }).catch(() => {});
    this.#hooks.acted(job.id, action);
  }
}

function nodeRow(node) {
  const cells = [
    el("th", { scope: "row" }, node.name),
    el("td", {}, chip(node.state), node.reason ? el("small", {}, node.reason) : null),
    el("td", {}, mark(node.color), node.site),
    el("td", {}, node.hostname || "–"),
    el("td", { class: "n" }, whole(node.tiles_done)),
  ];
  if (config.operator) cells.push(el("td", { class: "acts" }, ...nodeButtons(node)));
  return el("tr", { class: GONE.has(node.state) ? "gone" : null }, ...cells);
}

function nodeButtons(node) {
  const possible = { IDLE: ["drain", "stop"], BUSY: ["drain", "stop"], DRAINING: ["stop"], SUBMITTED: ["stop"] }[node.state] ?? [];
  return possible.map((action) => {
    const press = async (event) => {
      event.target.disabled = true;
      await post(`node/${node.id}/${action}`).catch((error) => setText("farm-text", error.message));
    };
    return el("button", { type: "button", class: "small", onclick: press, "aria-label": `${action} ${node.name}` }, action[0].toUpperCase() + action.slice(1));
  });
}

/** Make the rows of a table those of `items`, touching only what has changed: focus and half-pressed buttons stay. */
function syncRows(body, items, sign, make) {
  const old = new Map([...body.rows].map((row) => [row.dataset.id, row]));
  const rows = items.map((item) => {
    const mark = sign(item);
    const known = old.get(item.id);
    if (known?.dataset.sign === mark) return known;
    const row = make(item);
    row.dataset.id = item.id;
    row.dataset.sign = mark;
    return row;
  });
  const same = rows.length === body.rows.length && rows.every((row, index) => row === body.rows[index]);
  if (!same) body.replaceChildren(...rows);
}
