// Server-sent events. A browser opens at most six connections to a host, so the tabs of this page share one stream.
import { useEffect, useRef } from "./preact.js";
import { buildPath } from "./api.js";

const TYPES = ["state", "epoch", "progress", "metrics", "checkpoint", "log", "end", "sweep.updated"];
const ALL_JOBS = "*";
const ALL_SWEEPS = "sweeps";
const LOCK = "candela.events";
const RETRY_MS = 3000;

/**
 * @typedef {{type: string, job?: string, sweep?: string, at: string, payload: any}} ServerEvent
 * @typedef {(event: ServerEvent) => void} Listener
 */

/** @type {Map<string, Set<Listener>>} job ids and their listeners; `*` listens to the states of all jobs, `sweeps` to all sweeps */
const listeners = new Map();
const channel = new BroadcastChannel(LOCK);
/** @type {Map<string, string[]>} the jobs that other tabs follow, keyed by tab */
const followed = new Map();
const tab = crypto.randomUUID();
let isLeader = false;

channel.onmessage = (message) => {
  const { kind, from, jobs, event } = message.data;
  if (kind === "event") deliver(event);
  else if (kind === "follow") {
    if (jobs.length) followed.set(from, jobs);
    else followed.delete(from);
    if (isLeader) connect();
  } else if (kind === "hello") announce();
};

/** Become the tab that holds the stream as soon as no other tab does. The browser releases the lock when the tab closes. */
function lead() {
  navigator.locks.request(LOCK, async () => {
    isLeader = true;
    followed.clear();
    channel.postMessage({ kind: "hello", from: tab });
    connect();
    await new Promise(() => {});
  });
}

function announce() {
  channel.postMessage({ kind: "follow", from: tab, jobs: document.hidden ? [] : [...listeners.keys()] });
}

/** Open the streams for all jobs that some tab shows. A hidden page follows nothing. */
function connect() {
  const own = document.hidden ? [] : [...listeners.keys()];
  const names = [...new Set([...own, ...[...followed.values()].flat()])].sort();
  const jobs = names.filter((name) => name !== ALL_JOBS && name !== ALL_SWEEPS);
  streams.jobs.open(jobs.length ? { job: jobs } : null);
  streams.allJobs.open(names.includes(ALL_JOBS) ? { topic: "jobs" } : null);
  streams.allSweeps.open(names.includes(ALL_SWEEPS) ? { topic: "sweeps" } : null);
}

/** One connection to `/v1/events`, which continues after the last event that it has received. */
class Stream {
  constructor() {
    /** @type {EventSource | null} */
    this.source = null;
    /** @type {Record<string, unknown> | null} */
    this.query = null;
    this.lastId = "";
    this.timer = 0;
  }

  /** @param {Record<string, unknown> | null} query null closes the connection */
  open(query) {
    if (JSON.stringify(query) === JSON.stringify(this.query)) return;
    this.query = query;
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    if (!this.query) return;
    const source = new EventSource(buildPath("v1/events", { ...this.query, after: this.lastId }));
    this.source = source;
    for (const type of TYPES) source.addEventListener(type, (event) => this.receive(event));
    // The browser reconnects by itself, except after a response that is not a stream, such as a 503 or a 204.
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED && source === this.source) this.timer = setTimeout(() => this.connect(), RETRY_MS);
    };
  }

  /** @param {MessageEvent} message */
  receive(message) {
    this.lastId = message.lastEventId || this.lastId;
    const { job, sweep, at, payload } = JSON.parse(message.data);
    const event = { type: message.type, job, sweep, at, payload };
    channel.postMessage({ kind: "event", event });
    deliver(event);
  }
}

/** The last event of each job or sweep and type since the page was hidden: what it changes is loaded when the page is seen. @type {Map<string, ServerEvent>} */
const missed = new Map();

/** @param {ServerEvent} event */
function deliver(event) {
  const names = event.sweep ? [ALL_SWEEPS] : [event.job || "", ALL_JOBS];
  if (document.hidden) {
    const key = `${event.sweep || event.job} ${event.type}`;
    missed.delete(key); // so that the events stay in their order
    if (names.some((name) => listeners.has(name))) missed.set(key, event);
    return;
  }
  for (const name of names) listeners.get(name)?.forEach((listener) => listener(event));
}

function deliverMissed() {
  if (document.hidden) return;
  const events = [...missed.values()];
  missed.clear();
  events.forEach(deliver);
}

function update() {
  if (isLeader) connect();
  else announce();
}

/**
 * Follow the events of jobs or sweeps while a component is shown.
 * @param {string[]} jobs ids; `*` stands for the states of all jobs, `sweeps` for all sweeps
 * @param {Listener} listener
 */
export function useEvents(jobs, listener) {
  const current = useRef(listener);
  current.current = listener;
  const key = jobs.join();
  useEffect(() => {
    if (!jobs.length) return undefined;
    const own = (event) => current.current(event);
    for (const job of jobs) listeners.set(job, (listeners.get(job) || new Set()).add(own));
    update();
    return () => {
      for (const job of jobs) {
        listeners.get(job)?.delete(own);
        if (!listeners.get(job)?.size) listeners.delete(job);
      }
      update();
    };
  }, [key]);
}

const streams = { jobs: new Stream(), allJobs: new Stream(), allSweeps: new Stream() };
document.addEventListener("visibilitychange", () => {
  update();
  deliverMissed();
});
addEventListener("pagehide", () => channel.postMessage({ kind: "follow", from: tab, jobs: [] }));
lead();
