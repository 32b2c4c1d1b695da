// What is known of one job: the body from the API, and who rendered which tiles.

import { instant } from "./format.js";

export const FINAL = new Set(["COMPLETED", "FAILED", "CANCELLED"]);
const NOBODY = -1;

export class JobRecord {
  constructor(job) {
    this.job = job;
    this.leases = [];
    this.owner = new Int32Array(job.progress.tiles).fill(NOBODY);
    this.milliseconds = new Float32Array(job.progress.tiles).fill(NaN);
    this.done = job.kind === "recolor" ? job.progress.tiles : 0; // there is nothing to render
    this.rate = job.progress.tiles_per_second;
    this.eta = job.progress.eta_seconds;
    this.etaAt = performance.now();
    this.seen = new Set();
  }

  get tiles() {
    return this.owner.length;
  }

  get finished() {
    return FINAL.has(this.job.state);
  }

  /** Take in a finished range; false when it was known already. Tiles keep their first renderer. */
  add(range) {
    if (this.seen.has(range.lease)) return false;
    this.seen.add(range.lease);
    const lease = { ...range, kept: 0, from: instant(range.started_at), to: instant(range.finished_at) };
    const index = this.leases.push(lease) - 1;
    for (let tile = range.start; tile < range.stop; tile += 1) {
      if (this.owner[tile] !== NOBODY) continue;
      this.owner[tile] = index;
      lease.kept += 1;
    }
    this.done += lease.kept;
    return true;
  }

  time(tile, milliseconds) {
    this.milliseconds[tile] = milliseconds;
  }

  progress(data) {
    this.rate = data.tiles_per_second;
    this.eta = data.eta_seconds;
    this.etaAt = performance.now();
  }

  leaseOf(tile) {
    return this.owner[tile] >= 0 ? this.leases[this.owner[tile]] : null;
  }

  /** The tile's own time where its range has been fetched, else its range's mean. */
  timeOf(tile) {
    const own = this.milliseconds[tile];
    if (!Number.isNaN(own)) return { ms: own, exact: true };
    const lease = this.leaseOf(tile);
    return { ms: lease ? lease.render_ms / (lease.stop - lease.start) : NaN, exact: false };
  }

  /** [{site, color, tiles, ms, nodes: [{node, name, hostname, tiles, ms}]}], the site with most tiles first. */
  bySite() {
    const sites = new Map();
    for (const lease of this.leases) {
      const site = entry(sites, lease.site, () => ({ site: lease.site, color: lease.color, tiles: 0, ms: 0, nodes: new Map() }));
      const node = entry(site.nodes, lease.node, () => ({ node: lease.node, name: lease.node_name, hostname: lease.hostname, tiles: 0, ms: 0 }));
      const ms = (lease.render_ms * lease.kept) / (lease.stop - lease.start);
      for (const sum of [site, node]) {
        sum.tiles += lease.kept;
        sum.ms += ms;
      }
    }
    return ordered(sites).map((site) => ({ ...site, nodes: ordered(site.nodes) }));
  }

  warm() {
    return this.leases.filter((lease) => lease.warm).length;
  }

  meanMs() {
    const sum = this.leases.reduce((total, lease) => total + (lease.render_ms * lease.kept) / (lease.stop - lease.start), 0);
    return this.done && this.leases.length ? sum / this.done : NaN;
  }

  /** Seconds from the first start to the end, or to `now` while the job runs. */
  elapsed(now) {
    const start = instant(this.job.started_at);
    const end = instant(this.job.finished_at);
    return Math.max(0, (Number.isNaN(end) ? now : end) - start);
  }

  remaining() {
    if (this.job.state !== "RUNNING" || this.eta === null || this.eta === undefined) return NaN;
    return Math.max(0, this.eta - (performance.now() - this.etaAt) / 1000);
  }

  tilesPerSecond(now) {
    if (!this.finished && Number.isFinite(this.rate)) return this.rate;
    return this.done ? this.done / Math.max(0.001, this.elapsed(now)) : NaN;
  }
}

function entry(map, key, make) {
  if (!map.has(key)) map.set(key, make());
  return map.get(key);
}

const ordered = (map) => [...map.values()].sort((a, b) => b.tiles - a.tiles);
