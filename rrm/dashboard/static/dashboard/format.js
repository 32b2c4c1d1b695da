// Numbers as people read them.

const WHOLE = new Intl.NumberFormat("en");
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const whole = (value) => WHOLE.format(value);

/** Three significant digits, without exponents. */
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  if (value >= 100) return whole(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function milliseconds(value) {
  if (!Number.isFinite(value)) return "–";
  return value >= 10000 ? `${short(value / 1000)} s` : `${value >= 100 ? whole(Math.round(value)) : short(value)} ms`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const total = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} m` : `${minutes} m ${String(rest).padStart(2, "0")} s`;
}

/** A time that is left, in whole seconds. */
export const left = (seconds) => (seconds < 60 ? `${Math.max(0, Math.floor(seconds))} s` : duration(seconds));

export const clock = (time) => (time ? CLOCK.format(new Date(time)) : "–");
export const moment = (time) => (time ? DAY.format(new Date(time)) : "–");

/** What a job is called when nobody named it. */
export const jobName = (job) => job.name || job.model_name || `Job ${job.id.slice(0, 8)}`;

/** The time of day, with the date when it is not today's. */
export function recent(time) {
  return new Date(time).toDateString() === new Date().toDateString() ? clock(time) : moment(time);
}

/** Seconds since the epoch, or NaN. */
export const instant = (time) => (time ? Date.parse(time) / 1000 : NaN);

export const plural = (count, noun) => `${whole(count)} ${noun}${count === 1 ? "" : "s"}`;
