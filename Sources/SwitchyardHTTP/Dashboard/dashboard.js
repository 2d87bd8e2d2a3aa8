// The dashboard requests the public API every two seconds while its page is visible, and shows the replies.
// All text is set through textContent, so nothing from a task is ever interpreted as HTML.
"use strict";

const REFRESH_MS = 2000;
// The end of a task's output that is shown; all of it is at /scheduler/task/<id>/log.
const MAX_LOG_CHARACTERS = 200000;
const MAX_TASKS = 50;
// The tasks of each queue take a request of their own.
const MAX_QUEUES = 8;

const byID = (id) => document.getElementById(id);
const view = { queue: "", state: "", open: null, timer: 0 };

const stateClass = {
  pending: "", assigned: "busy", running: "busy", completed: "good", failed: "bad", timeout: "bad", cancelled: "warn",
  lost: "bad", returned: "warn", healthy: "good", degraded: "warn", unhealthy: "bad",
};

// MARK: Elements

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

function cell(row, text, className, title) {
  const made = element("td", className, text);
  if (title) made.title = title;
  row.append(made);
  return made;
}

function pill(text) {
  return element("span", `pill ${stateClass[text] || ""}`, text);
}

// MARK: Words

function duration(seconds) {
  if (seconds < 0) return "0 s";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

const between = (from, to) => (from ? duration((to ? new Date(to) : new Date()) / 1000 - new Date(from) / 1000) : "");
const ago = (time) => (time ? `${between(time)} ago` : "");
const clock = (time) => (time ? new Date(time).toLocaleString() : "");

function summary(task) {
  if (task.target) return [task.repo, task.target].filter(Boolean).join(" ");
  if (task.command) return task.command.join(" ");
  return task.repo || (task.payload === undefined ? "" : JSON.stringify(task.payload));
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

// MARK: Asking

async function ask(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" }, cache: "no-store" });
  const reply = await response.json();
  if (!response.ok && reply.code) throw new Error(reply.message);
  return reply;
}

function address(path, parameters) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== ""));
  return query.size ? `${path}?${query}` : path;
}

// MARK: Showing

function showHealth(health) {
  const badge = byID("health");
  badge.textContent = health.status;
  badge.className = `pill ${stateClass[health.status] || ""}`;
  byID("reasons").replaceChildren(...health.reasons.map((reason) => element("li", "", reason.message)));
}

function showQueues(stats) {
  const select = byID("queue");
  const names = Object.keys(stats.queues);
  const known = Array.from(select.options).slice(1).map((option) => option.value);
  if (names.join("\n") === known.join("\n")) return;
  const options = names.map((name) => {
    const option = element("option", "", stats.queues[name].paused ? `${name} (paused)` : name);
    option.value = name;
    return option;
  });
  select.replaceChildren(select.options[0], ...options);
  select.value = view.queue;
}

function showNumbers(stats) {
  const ended = (count, kind) => (count > 0 ? kind : "");
  const numbers = [
    ["pending", stats.pending_tasks, ""],
    ["assigned", stats.assigned_tasks, ""],
    ["running", stats.running_tasks, stats.running_tasks > 0 ? "busy" : ""],
    ["completed", stats.completed_tasks, ended(stats.completed_tasks, "good")],
    ["failed", stats.failed_tasks, ended(stats.failed_tasks, "bad")],
    ["timed out", stats.timeout_tasks, ended(stats.timeout_tasks, "bad")],
    ["cancelled", stats.cancelled_tasks, ended(stats.cancelled_tasks, "warn")],
    ["oldest waits", duration(stats.oldest_pending_seconds), ""],
    ["workers idle", `${stats.idle_workers}/${stats.total_workers}`, stats.total_workers === 0 ? "warn" : ""],
    ...(stats.draining_workers > 0 ? [["workers draining", stats.draining_workers, "warn"]] : []),
    ["refused: full", stats.queue_full_errors, ended(stats.queue_full_errors, "warn")],
  ];
  byID("numbers").replaceChildren(...numbers.map(([name, value, kind]) => {
    const card = element("div", `number-card ${kind}`);
    card.append(element("strong", "", typeof value === "number" ? value.toLocaleString() : value));
    card.append(element("span", "", name));
    return card;
  }));
}

function showPriorities(stats) {
  const most = Math.max(1, ...Object.values(stats.by_priority));
  byID("priorities").replaceChildren(...Object.entries(stats.by_priority).flatMap(([name, count]) => {
    const bar = element("progress", name);
    bar.max = most;
    bar.value = count;
    bar.setAttribute("aria-label", `${name}: ${count}`);
    return [element("span", "", name), bar, element("span", "number", count.toLocaleString())];
  }));
}

function showWorkers(workers) {
  const cards = workers.map((worker) => {
    const card = element("div", "worker");
    const head = element("div", "worker-head");
    const name = element("span", "worker-name", worker.worker_id);
    name.title = worker.worker_id;
    const word = worker.draining ? "draining" : worker.busy_slots > 0 ? `${worker.busy_slots}/${worker.slots}` : "idle";
    head.append(name, element("span", `pill ${worker.draining ? "warn" : worker.busy_slots > 0 ? "busy" : "good"}`, word));
    const slots = element("div", "slots");
    for (let slot = 0; slot < Math.min(worker.slots, 64); slot += 1) {
      slots.append(element("span", slot < worker.busy_slots ? "slot taken" : "slot"));
    }
    const facts = [worker.queue, worker.host, ...worker.labels].filter(Boolean).join(" · ");
    card.append(head, slots, element("small", "", facts));
    return card;
  });
  byID("workers").replaceChildren(...(cards.length ? cards : [element("p", "empty", "No worker is registered.")]));
}

function showTasks(tasks) {
  byID("no-tasks").hidden = tasks.length > 0;
  byID("tasks").replaceChildren(...tasks.map((task) => {
    const row = element("tr");
    const link = element("button", "link", task.task_id);
    link.type = "button";
    cell(row, null, "", task.task_id).append(link);
    cell(row, null).append(pill(task.state));
    if (task.held_by) row.lastChild.append(` ${task.held_by}`);
    cell(row, task.priority, "", task.priority_reason);
    cell(row, summary(task), "", summary(task));
    cell(row, task.attempt || "", "number");
    cell(row, between(task.started_at, task.finished_at), "number");
    cell(row, task.worker || "", "", task.worker || "");
    cell(row, ago(task.submitted_at), "", clock(task.submitted_at));
    const error = task.error ? `${task.error.code}: ${task.error.message}` : "";
    cell(row, error, "error", error);
    row.addEventListener("click", () => openTask(task.task_id, task.queue));
    return row;
  }));
}

// MARK: One task

function showDetails(task) {
  byID("details-title").textContent = task.task_id;
  const state = byID("details-state");
  state.textContent = task.held_by ? `${task.state} (${task.held_by})` : task.state;
  state.className = `pill ${stateClass[task.state] || ""}`;
  const facts = [
    ["Queue", task.queue], ["Repository", task.repo], ["Target", task.target], ["Arguments", task.args && task.args.join(" ")],
    ["Command", task.command && task.command.join(" ")], ["Directory", task.cwd], ["Change", task.mr],
    ["Labels", task.labels && task.labels.join(", ")], ["Priority", `${task.priority} — ${task.priority_reason}`],
    ["Batch", task.batch_id], ["Position in line", task.queue_position === undefined ? undefined : task.queue_position + 1],
    ["Retries", `${task.retry_count} of ${task.max_retries}`], ["Time limit", duration(task.timeout_seconds)],
    ["Submitted", clock(task.submitted_at)], ["Due", clock(task.due_at)], ["Started", clock(task.started_at)],
    ["Finished", clock(task.finished_at)], ["Worker", task.worker], ["Progress", task.progress && shown(task.progress)],
    ["Payload", task.payload === undefined ? undefined : shown(task.payload)],
    ["Result", task.result === null ? undefined : shown(task.result)],
    ["Error", task.error && `${task.error.code}: ${task.error.message}`],
  ];
  byID("details-facts").replaceChildren(...facts.filter(([, value]) => value !== undefined && value !== null && value !== "")
    .flatMap(([name, value]) => [element("dt", "", name), element("dd", "", value)]));
  byID("details-attempts").replaceChildren(...task.attempts.slice().reverse().map((attempt) => {
    const row = element("tr");
    cell(row, attempt.attempt, "number");
    cell(row, attempt.worker);
    cell(row, clock(attempt.started_at || attempt.assigned_at));
    cell(row, between(attempt.started_at, attempt.finished_at), "number");
    cell(row, null).append(pill(attempt.outcome || task.state));
    cell(row, attempt.exit_code, "number");
    const error = attempt.error ? `${attempt.error.code}: ${attempt.error.message}` : "";
    cell(row, error, "error", error);
    return row;
  }));
}

// Returns an entry's output, after a mark if output before it is missing.
function logText(entry) {
  const mark = entry.missing_bytes ? `\n[switchyard: ${entry.missing_bytes} bytes of output are missing here]\n` : "";
  return mark + entry.data;
}

async function loadLog(open) {
  const path = address(`/scheduler/task/${encodeURIComponent(open.id)}/log`,
    { queue: open.queue, format: "json", limit: 1000, after: open.cursor });
  const page = await ask(path);
  if (view.open !== open || page.entries.length === 0) return;
  open.cursor = page.entries[page.entries.length - 1].id;
  const pre = byID("details-log");
  const isAtEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
  open.log = (open.log + page.entries.map(logText).join("")).slice(-MAX_LOG_CHARACTERS);
  pre.textContent = open.log;
  if (isAtEnd) pre.scrollTop = pre.scrollHeight;
}

async function refreshDetails() {
  const open = view.open;
  // Only one refresh at a time, so that no part of the log is read twice.
  if (!open || open.isLoading) return;
  open.isLoading = true;
  try {
    const task = await ask(address(`/scheduler/task/${encodeURIComponent(open.id)}`, { queue: open.queue }));
    if (view.open !== open) return;
    showDetails(task);
    await loadLog(open);
    if (view.open === open && !open.log) byID("details-log").textContent = "nothing yet";
  } catch (error) {
    if (view.open === open) byID("details-log").textContent = error.message;
  } finally {
    open.isLoading = false;
  }
}

// An open task has an address (#queue/id), so that people can share it.
function openTask(id, queue) {
  window.history.replaceState(null, "", `#${queue}/${id}`);
  view.open = { id, queue, cursor: "0", log: "" };
  byID("details-title").textContent = id;
  byID("details-log").textContent = "";
  byID("details").showModal();
  refreshDetails();
}

// MARK: Refreshing

// The tasks of some queues: assigned and running tasks first, then pending ones, then ended ones, latest first.
async function latestTasks(queues) {
  const pages = await Promise.all(queues.map((queue) =>
    ask(address("/scheduler/tasks", { queue, state: view.state, limit: MAX_TASKS }))));
  const rank = (task) => (task.finished_at ? 2 : task.started_at || task.assigned_at ? 0 : 1);
  const order = (task) => (task.finished_at ? -new Date(task.finished_at) : new Date(task.submitted_at) / 1);
  const tasks = pages.flatMap((page) => page.tasks);
  // Within one queue the server's order is kept: only the server knows which task is next.
  if (queues.length > 1) tasks.sort((one, other) => rank(one) - rank(other) || order(one) - order(other));
  return tasks.slice(0, MAX_TASKS);
}

async function refreshOverview() {
  try {
    const queue = view.queue;
    const [health, all, workers] = await Promise.all([
      ask("/v2/health"), ask("/scheduler/stats"), ask(address("/scheduler/workers", { queue })),
    ]);
    const stats = queue ? await ask(address("/scheduler/stats", { queue })) : all;
    const tasks = await latestTasks(queue ? [queue] : Object.keys(all.queues).slice(0, MAX_QUEUES));
    if (queue !== view.queue) return;
    showHealth(health);
    showQueues(all);
    showNumbers(stats);
    showPriorities(stats);
    showWorkers(workers.workers);
    showTasks(tasks);
  } catch (error) {
    showHealth({ status: "unhealthy", reasons: [{ message: error.message }] });
  }
}

// Only one refresh at a time, and none while the page is hidden.
async function tick() {
  window.clearTimeout(view.timer);
  if (document.hidden) return;
  await Promise.all([refreshOverview(), refreshDetails()]);
  window.clearTimeout(view.timer);
  view.timer = window.setTimeout(tick, REFRESH_MS);
}

function showFilters() {
  const states = ["", "pending", "assigned", "running", "completed", "failed", "timeout", "cancelled"];
  byID("filters").replaceChildren(...states.map((state) => {
    const button = element("button", "", state || "all");
    button.type = "button";
    button.setAttribute("aria-pressed", String(view.state === state));
    button.addEventListener("click", () => {
      view.state = state;
      showFilters();
      tick();
    });
    return button;
  }));
}

byID("origin").textContent = window.location.origin;
byID("queue").addEventListener("change", (event) => {
  view.queue = event.target.value;
  tick();
});
byID("details-close").addEventListener("click", () => byID("details").close());
byID("details").addEventListener("close", () => {
  view.open = null;
  window.history.replaceState(null, "", window.location.pathname);
});
document.addEventListener("visibilitychange", tick);
showFilters();
const addressed = /^#([\w.:-]+)\/([\w.:-]+)$/.exec(window.location.hash);
if (addressed) openTask(addressed[2], addressed[1]);
tick();
