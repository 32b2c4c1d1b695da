// The open job on the page: picture, gauges, chart and shares, kept in step with its record.

import { actionButtons } from "./actions.js";
import { announce } from "./announce.js";
import { at, serverNow } from "./api.js";
import { Borders } from "./borders.js";
import { byId, el, replace, safeColor, setText } from "./dom.js";
import { duration, jobName, milliseconds, plural, short, whole } from "./format.js";
import { Inspector } from "./inspector.js";
import { LiveJob } from "./live.js";
import { CANVAS_LIMIT, Picture } from "./picture.js";
import { drawShares } from "./shares.js";
import { drawThroughput } from "./throughput.js";
import { tilingOf } from "./tiling.js";

const TICK_MS = 250;
const DOWNLOADS = [["image", "Picture (PNG)", "image.png"], ["counts", "Counts (.npy)", "counts.npy"], ["smooth", "Smooth (.npy)", "smooth.npy"]];

export class JobPanel {
  #picture = new Picture(byId("tiles"));
  #borders = new Borders(byId("borders"));
  #inspector = new Inspector(byId("borders"), byId("tile-tip"), this.#borders);
  #hooks;
  #live = null;
  #state = "";
  #painted = 0;
  #frame = 0;

  /** `hooks` may have: opened(record), changed(record), entry(entry), finished(record), removed(). */
  constructor(hooks = {}) {
    this.#hooks = hooks;
    for (const radio of document.querySelectorAll("#border-modes input")) radio.addEventListener("change", () => this.#borderMode());
    for (const radio of document.querySelectorAll("#throughput-by input")) radio.addEventListener("change", () => this.#chart());
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) document.querySelector("#border-modes [value=keep]").checked = true;
    this.#borderMode();
    this.#chart();
    setInterval(() => this.#tick(), TICK_MS);
  }

  get live() {
    return this.#live;
  }

  get record() {
    return this.#live?.record ?? null;
  }

  open(id) {
    this.#live?.close();
    this.#state = "";
    this.#painted = 0;
    // Until the job is here, what stands on the page belongs to another: its buttons must not be pressed.
    replace(byId("job-actions"));
    replace(byId("job-downloads"));
    byId("job-waiting").hidden = true;
    const live = new LiveJob(id, this.#viewOf());
    this.#live = live;
    return live.open();
  }

  close() {
    this.#live?.close();
    this.#live = null;
    byId("stage").hidden = true;
    byId("no-job").hidden = false;
    byId("job-state").hidden = true;
    setText("job-title", "No job open");
    replace(byId("job-actions"));
    replace(byId("job-downloads"));
  }

  #viewOf() {
    const mine = () => this.#live.current;
    return {
      opened: (record) => this.#opened(record),
      range: (lease) => this.#borders.show(lease),
      image: (bundle) => this.#picture.draw(bundle, mine),
      pyramid: (pyramid) => this.#picture.drawPyramid(pyramid, mine),
      entry: (entry) => this.#hooks.entry?.(entry),
      changed: () => this.#request(),
      failed: (error) => this.#failed(error),
    };
  }

  #opened(record) {
    const tiling = tilingOf(record.job, CANVAS_LIMIT);
    const stage = byId("stage");
    byId("no-job").hidden = true;
    stage.hidden = false;
    stage.style.setProperty("--aspect", String(tiling.width / tiling.height));
    this.#picture.open(tiling);
    this.#borders.open(tiling, record);
    this.#inspector.open(tiling, record);
    this.#hooks.opened?.(record);
    this.#request();
  }

  #failed(error) {
    const notice = byId("job-waiting");
    notice.hidden = false;
    notice.className = "notice bad";
    notice.textContent = error.status === 404 ? "There is no such job, or it belongs to somebody else." : error.message;
    if (!this.record) setText("job-title", "Job not shown");
    announce(notice.textContent, true);
  }

  #request() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.record) this.#show();
    });
  }

  #show() {
    const { record } = this;
    if (record.job.state !== this.#state) this.#showState(record);
    this.#showProgress(record);
    this.#showWaiting(record.job);
    this.#inspector.refresh();
    this.#gauges(record);
    if (performance.now() - this.#painted > TICK_MS || record.finished) this.#tables(record);
    this.#hooks.changed?.(record);
  }

  #showState(record) {
    const { job } = record;
    const ended = this.#state !== "" && record.finished;
    this.#state = job.state;
    setText("job-title", jobName(job));
    const chip = byId("job-state");
    chip.hidden = false;
    chip.className = `chip ${job.state.toLowerCase()}`;
    chip.textContent = job.state.toLowerCase();
    replace(byId("job-actions"), ...this.#buttons(job), this.#pageLink(job));
    replace(byId("job-downloads"), ...downloads(job));
    announce(`${jobName(job)} is ${job.state.toLowerCase()}.`, true);
    if (ended) this.#hooks.finished?.(record);
  }

  #pageLink(job) {
    if (byId("timeline")) return null;
    return el("a", { class: "button small", href: `/job/${job.id}` }, "Job page");
  }

  #buttons(job) {
    const done = (action) => {
      if (action === "delete") return this.#hooks.removed?.(job);
      return action === "retry" ? this.#live.reopen() : this.#live.refresh().catch(() => {});
    };
    return actionButtons(job, done, (error) => this.#failed(error));
  }

  #showProgress(record) {
    const bar = byId("job-progress");
    const percent = (100 * record.done) / record.tiles;
    bar.setAttribute("aria-valuenow", percent.toFixed(0));
    bar.setAttribute("aria-valuetext", `${whole(record.done)} of ${plural(record.tiles, "tile")}`);
    const sites = record.bySite();
    while (bar.children.length > sites.length) bar.lastChild.remove();
    sites.forEach((site, index) => {
      const part = bar.children[index] ?? bar.appendChild(el("span"));
      part.style.setProperty("width", `${(100 * site.tiles) / record.tiles}%`);
      part.style.setProperty("--mark", safeColor(site.color));
    });
    document.title = `${record.finished ? "" : `${Math.floor(percent)} % · `}${jobName(record.job)} · RRM`;
    if (!record.finished && record.done > 0) announce(`${Math.floor(percent)} percent of the tiles are done.`);
  }

  #showWaiting(job) {
    const notice = byId("job-waiting");
    const text = job.state === "FAILED" ? job.reason || "The job failed." : job.pending_reason || "";
    notice.hidden = text === "";
    notice.className = job.state === "FAILED" ? "notice bad" : "notice";
    if (notice.textContent !== text) notice.textContent = text;
  }

  #gauges(record) {
    const now = serverNow();
    setText("gauge-elapsed", record.job.started_at ? duration(record.elapsed(now)) : "–");
    setText("gauge-eta", duration(record.remaining()));
    setText("gauge-tiles", `${whole(record.done)} / ${whole(record.tiles)}`);
    setText("gauge-rate", short(record.tilesPerSecond(now)));
    setText("gauge-mean", milliseconds(record.meanMs()));
    setText("gauge-warm", record.leases.length ? `${whole(record.warm())} / ${whole(record.leases.length)}` : "–");
  }

  #tables(record) {
    this.#painted = performance.now();
    drawShares(byId("shares").tBodies[0], record);
    this.#chart();
  }

  #chart() {
    const by = document.querySelector("#throughput-by input:checked").value;
    drawThroughput(byId("throughput"), this.record, by, serverNow());
  }

  #borderMode() {
    this.#borders.mode = document.querySelector("#border-modes input:checked").value;
  }

  #tick() {
    if (!this.record || this.record.finished || document.hidden) return;
    this.#gauges(this.record);
    if (performance.now() - this.#painted > TICK_MS) this.#tables(this.record);
  }
}

function downloads(job) {
  return DOWNLOADS.filter(([link]) => job.state === "COMPLETED" && job.links?.[link]).map(([, text, file]) =>
    el("a", { class: "button", href: at(`job/${job.id}/${file}`), download: `${jobName(job)}-${file}` }, text),
  );
}
