// How well holding models works, what the autoscaler plans, and what needs an operator.

import { byId, chip, el, replace, setText } from "./dom.js";
import { clock, duration, plural, whole } from "./format.js";

const REASONS = {
  warm: "held the model",
  "no-holder": "nobody held it",
  "break-even": "waiting cost as much as loading",
  aged: "had waited long enough",
  copy: "a second node for what is slow",
};

/** Show what a snapshot of the farm tells of it. */
export function showScheduling({ resources, decisions, seconds_saved }) {
  const rate = decisions.hit_rate;
  setText("gauge-hits", rate === null ? "–" : `${(100 * rate).toFixed(1)} %`);
  setText("gauge-saved", duration(decisions.seconds_saved));
  setText("gauge-loads", whole(decisions.loads_per_hour));
  setText("gauge-saved-all", duration(seconds_saved));
  showReasons(decisions.reasons);
  replace(byId("plans").tBodies[0], ...resources.map(planRow));
  replace(byId("alarms"), ...resources.filter(({ status }) => status === "inoperable").map(alarm));
}

function showReasons(reasons) {
  const told = Object.entries(reasons).sort((a, b) => b[1] - a[1]);
  byId("reasons").hidden = told.length === 0;
  setText("reasons", `Why nodes got ranges: ${told.map(([reason, count]) => `${whole(count)} ${REASONS[reason] ?? reason}`).join(" · ")}`);
}

function planRow({ id, status, plan }) {
  const moves = plan ? steps(plan) : [];
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, id),
    el("td", {}, chip(status)),
    el("td", { class: "n" }, plan ? whole(plan.want) : "–"),
    el("td", { class: "n" }, plan ? whole(plan.have) : "–"),
    el("td", {}, plan?.reason ?? "Not planned yet.", ...moves.map((step) => el("small", {}, step))),
  );
}

function steps({ launch, drain, beyond = [], pinned = [], retire, make_place, blocked_until, work_seconds, load_seconds }) {
  const found = Object.entries(launch).map(([site, count]) => `launches ${plural(count, "node")} at ${site}`);
  if (work_seconds) found.push(`work of ${duration(work_seconds)}, and ${duration(load_seconds)} of loading`);
  if (drain.length) found.push(`lets go ${drain.join(", ")}`);
  for (const { node, limit } of beyond) found.push(`lets go ${node}, ${limit}`);
  if (pinned.length) found.push(`keeps ${pinned.join(", ")}, pinned, in the way of work bound elsewhere`);
  if (retire.length) found.push(`retires ${retire.join(", ")}`);
  for (const { node, resource } of make_place) found.push(`gives the place of ${node} to ${resource}`);
  if (blocked_until) found.push(`next try at ${clock(blocked_until)}`);
  return found;
}

function alarm({ id, reason }) {
  return el("p", { class: "notice bad" }, el("strong", {}, `${id} is inoperable. `), reason);
}
