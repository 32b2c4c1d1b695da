// One open job: its body, its stream from the beginning, and the ranges to draw.

import { getJson } from "./api.js";
import { tilesEvent } from "./lease.js";
import { Pyramid } from "./pyramid.js";
import { RangeLoader } from "./ranges.js";
import { JobRecord } from "./record.js";
import { Stream } from "./stream.js";

/** Its colours follow all values, or those of another job: what ranges show, if any do, is not the picture. */
const isPaintedLast = (job) => job.kind === "recolor" || job.coloring?.method === "histogram";

/**
 * Tells its view: `opened(record)`, `range(lease)`, `image(bundle, lease)`, `pyramid(pyramid)`, `entry({at, kind, text})`, `changed()`, `failed(error)`.
 * The stream begins with everything that has happened, so a page opened late needs no other way; what the stream no longer
 * has comes from the timeline. Both may tell of the same range: the record takes it once.
 */
export class LiveJob {
  #view;
  #loader = null;
  #stream = null;
  #stopped = false;
  #useRanges = true;
  #told = new Set();

  constructor(id, view) {
    this.id = id;
    this.record = null;
    this.#view = view;
  }

  get current() {
    return !this.#stopped;
  }

  async open() {
    try {
      const job = await getJson(`job/${this.id}/`);
      if (this.#stopped) return;
      this.record = new JobRecord(job);
      this.#view.opened(this.record);
      await this.#drawFinished();
      if (this.#stopped) return;
      this.#loader = new RangeLoader(this.id, (bundle, lease) => this.#drawn(bundle, lease), () => {});
      this.#follow();
    } catch (error) {
      if (!this.#stopped) this.#view.failed(error);
    }
  }

  close() {
    this.#stopped = true;
    this.#stream?.close();
    this.#loader?.stop();
  }

  /** Fetch the job's body again: states, reasons and links. */
  async refresh() {
    const job = await getJson(`job/${this.id}/`);
    if (this.#stopped) return;
    const was = this.record.job.state;
    this.record.job = job;
    if (this.record.finished && was !== job.state) {
      await this.#history();
      if (isPaintedLast(job)) await this.#drawFinished();
    }
    this.#view.changed();
  }

  // A finished job's picture comes from its pyramid: a dozen requests, whatever the number of ranges.
  async #drawFinished() {
    if (this.record.job.state !== "COMPLETED") return;
    try {
      const pyramid = await Pyramid.open(this.id);
      if (this.#stopped) return;
      this.#useRanges = false;
      await this.#view.pyramid(pyramid);
    } catch {
      this.#useRanges = !isPaintedLast(this.record.job); // the ranges are kept as well
    }
  }

  #follow() {
    this.#stream?.close();
    this.#stream = new Stream(`job/${this.id}/events`, {
      state: (data, id) => this.#state(data, id),
      tiles: (data) => this.#tiles(data),
      progress: (data) => this.#progress(data),
      log: (data, id) => this.#entry(id, { at: data.at, kind: data.level ?? "info", text: data.message }),
      end: () => this.#end(),
    });
    this.#history().catch(() => {}); // the stream tells the same, later
  }

  async #history() {
    const leases = await this.timeline();
    if (this.#stopped) return;
    for (const lease of leases) if (lease.state === "DONE") this.#tiles(lease);
    this.#view.changed();
  }

  /** All leases of the job in the shape of the stream's `tiles`, with `state` and `reason`. */
  async timeline() {
    return (await getJson(`job/${this.id}/timeline`)).leases.map(tilesEvent);
  }

  #tiles(range) {
    if (!this.record.add(range)) return;
    this.#view.range(range);
    if (this.#useRanges) this.#loader.add(range);
    this.#view.changed();
  }

  async #drawn(bundle, lease) {
    for (const { tile, renderMs } of bundle.tiles) this.record.time(tile, renderMs);
    await this.#view.image(bundle, lease);
    this.#view.changed();
  }

  #progress(data) {
    this.record.progress(data);
    this.#view.changed();
  }

  #state(data, id) {
    this.#entry(id, { at: data.at, kind: "state", text: data.reason ? `${data.state}: ${data.reason}` : data.state });
    // While old events are replayed the body is newer than they are.
    this.#refreshSoon();
  }

  #refreshSoon() {
    this.pending ??= setTimeout(() => {
      this.pending = null;
      if (!this.#stopped) this.refresh().catch((error) => this.#view.failed(error));
    }, 60);
  }

  // A stream that is opened anew tells everything again.
  #entry(id, entry) {
    if (this.#told.has(id)) return;
    this.#told.add(id);
    this.#view.entry(entry);
  }

  #end() {
    this.#stream.close();
    this.#refreshSoon();
  }

  /** Follow again after a retry: the stream had ended. */
  reopen() {
    this.#follow();
    this.#refreshSoon();
  }
}
