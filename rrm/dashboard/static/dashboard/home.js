// The dashboard.

import { getAll } from "./api.js";
import { byId } from "./dom.js";
import { Farm } from "./farm.js";
import { JobForm } from "./form.js";
import { JobPanel } from "./panel.js";
import { FINAL } from "./record.js";
import { showScheduling } from "./scheduling.js";

const query = new URLSearchParams(window.location.search);
let openJob = query.get("job");
let refresh = 0;

const panel = new JobPanel({
  removed: (job) => {
    farm.drop(job.id);
    panel.close();
    openJob = null;
  },
});

function show(id) {
  openJob = id;
  panel.open(id);
}

function watch(id) {
  show(id);
  window.history.replaceState(null, "", `?job=${encodeURIComponent(id)}`);
  if (window.matchMedia("(max-width: 900px)").matches) byId("job-title").scrollIntoView({ block: "start" });
}

const form = new JobForm((job) => {
  farm.add(job);
  watch(job.id);
});

const farm = new Farm({
  ready: start,
  snapshot: (snapshot) => {
    form.offerResources(snapshot.resources);
    form.offerSites(snapshot.sites);
    showScheduling(snapshot);
  },
  watch,
  open: () => openJob,
  acted: (id, action) => {
    if (id === openJob && action === "delete") panel.close();
  },
  // Taken up again, here or elsewhere: its stream had ended.
  job: ({ id, state }) => {
    if (id === openJob && panel.record?.finished && !FINAL.has(state)) panel.live.reopen();
  },
  moved: whyWaiting,
});

// Why a job waits depends on the nodes: when they change, it is asked again.
function whyWaiting() {
  if (panel.record?.job.state !== "QUEUED") return;
  clearTimeout(refresh);
  refresh = setTimeout(() => panel.live?.refresh().catch(() => {}), 500);
}

async function start(snapshot) {
  const newest = snapshot.jobs.find((job) => job.state === "RUNNING") ?? snapshot.jobs[0];
  if (openJob || newest) show(openJob || newest.id);
  const [models, palettes] = await Promise.all([getAll("model/?named=true&page_size=100"), getAll("palette/")]);
  form.offer({ models, palettes, resources: snapshot.resources, sites: snapshot.sites });
  form.prefill(query);
}
