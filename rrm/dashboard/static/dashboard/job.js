// The page of one job: during its run and long after.

import { config, serverNow } from "./api.js";
import { byId, el, replace } from "./dom.js";
import { clock, moment, plural, whole } from "./format.js";
import { drawGantt } from "./gantt.js";
import { JobPanel } from "./panel.js";
import { RecolorForm } from "./recolor.js";
import { ZoomPanel } from "./zoom.js";

const MOST_ENTRIES = 500;
const TIMELINE_MS = 1000;

const recolor = new RecolorForm();
let zoom = null;
let leases = [];
let drawn = 0;
let known = -1;

const panel = new JobPanel({
  opened: (record) => {
    facts(record.job);
    if (record.job.state === "COMPLETED") zoomable(record.job);
  },
  changed: (record) => {
    facts(record.job);
    timeline(record);
  },
  finished: (record) => {
    if (record.job.state === "COMPLETED") zoomable(record.job);
  },
  entry,
  removed: () => window.location.assign("/"),
});

function zoomable(job) {
  recolor.open(job).catch(() => {}); // the picture is there all the same
  zoom ??= new ZoomPanel();
  zoom.open(job).catch(() => {
    // The live picture stays: it is the same, less deep.
  });
}

function entry({ at, kind, text }) {
  const list = byId("log");
  const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;
  list.append(el("li", { class: kind }, el("time", { datetime: at }, clock(at)), el("span", {}, text)));
  if (list.children.length > MOST_ENTRIES) list.firstChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

/** Ask for the leases when more ranges are done, at most once a second. */
async function timeline(record) {
  const stamp = record.leases.length * 2 + (record.finished ? 1 : 0);
  if (stamp === known || (!record.finished && performance.now() - drawn < TIMELINE_MS)) return;
  known = stamp;
  drawn = performance.now();
  try {
    leases = await panel.live.timeline();
  } catch {
    return; // the next change asks again
  }
  drawGantt(byId("timeline"), leases, serverNow());
}

function facts(job) {
  const rows = [
    ["Model", job.model_name ?? job.model],
    ["Owner", job.owner],
    ["Resource", job.resource],
    ["Size", `${whole(job.width)} × ${whole(job.height)} px`],
    ["Tiles", `${plural(job.progress.tiles, "tile")} of ${job.tile_size} px`],
    ...view(job.params ?? {}),
    ["Palette", [job.coloring?.palette, job.coloring?.method].filter(Boolean).join(", ")],
    ["Samples", job.supersample > 1 && `${job.supersample} × ${job.supersample} a pixel${job.adaptive ? " at edges" : ""}`],
    ["Colours of", job.recolor_of],
    ["Keeps", (job.outputs ?? []).join(", ")],
    ["Priority", job.priority],
    ["Sites", [job.sites?.policy, ...(job.sites?.ids ?? [])].filter(Boolean).join(", ")],
    ["Model loads", `${job.loads ?? 0}, ${job.warm_hits ?? 0} saved`],
    ["Created", moment(job.created_at)],
    ["Started", moment(job.started_at)],
    ["Finished", moment(job.finished_at)],
  ].filter(([, value]) => ![undefined, null, "", false].includes(value));
  const text = JSON.stringify(rows);
  if (byId("facts").dataset.text === text) return;
  byId("facts").dataset.text = text;
  replace(byId("facts"), ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function view({ viewport, center, radius, max_iter: limit, escape_radius: escape, fit }) {
  const place = viewport
    ? [["x", `${viewport[0]} … ${viewport[1]}`], ["y", `${viewport[2]} … ${viewport[3]}`], ["Fit", fit]]
    : [["Centre", center?.join(", ")], ["Radius", radius]];
  return [...place, ["Iterations", limit && whole(limit)], ["Escape radius", escape]];
}

new ResizeObserver(() => drawGantt(byId("timeline"), leases, serverNow())).observe(byId("timeline"));
panel.open(config.job);
