// Requests to the public API. A response that is not 2xx becomes a Problem.

/**
 * @typedef {{pointer: string, detail: string}} FieldError
 * @typedef {{type?: string, title?: string, status?: number, detail?: string, errors?: FieldError[], [key: string]: any}} ProblemBody
 * @typedef {{method?: string, json?: unknown, body?: BodyInit, headers?: Record<string, string>, signal?: AbortSignal}} Options
 */

const MAX_RETRIES = 5;
const MAX_WAIT_S = 5;

/** A problem document of the API (RFC 9457), or a failed connection, which has the status 0. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {ProblemBody} body
   */
  constructor(status, body) {
    super(body.detail || body.title || `The server responded with status ${status}.`);
    this.status = status;
    this.title = body.title || "Request failed";
    this.errors = body.errors || [];
    this.body = body;
  }

  /** The errors of fields, keyed by JSON pointer. */
  get fields() {
    return new Map(this.errors.map((error) => [error.pointer, error.detail]));
  }
}

/**
 * Build a path with a query. Values that are null, undefined, false or empty are left out; arrays are repeated.
 * @param {string} path
 * @param {Record<string, unknown>} query
 */
export function buildPath(path, query) {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== null && item !== undefined && item !== "" && item !== false) params.append(name, String(item));
    }
  }
  const text = params.toString();
  return text ? `${path}?${text}` : path;
}

/** Called with the problem of each response 401, so that the page can ask for a key. */
export const unauthorized = new EventTarget();

/**
 * Send a request and return its response. Paths are relative to the page, so that a proxy can add a prefix.
 * @param {string} path such as `v1/jobs`
 * @param {Options} [options]
 * @returns {Promise<Response>}
 */
export async function send(path, options = {}) {
  const { json, headers = {}, ...rest } = options;
  const init = /** @type {RequestInit} */ ({ ...rest, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" });
  if (json !== undefined) {
    init.body = JSON.stringify(json);
    init.headers = { ...init.headers, "Content-Type": "application/json" };
  }
  let response = await fetchOnce(path, init);
  for (let number = 0; number < MAX_RETRIES && isTemporary(response); number += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(Number(response.headers.get("Retry-After")) || 1, MAX_WAIT_S)));
    response = await fetchOnce(path, init);
  }
  if (response.ok) return response;
  const problem = new Problem(response.status, await readProblem(response));
  if (response.status === 401) unauthorized.dispatchEvent(new Event("problem"));
  throw problem;
}

/** @param {string} path @param {RequestInit} init */
async function fetchOnce(path, init) {
  try {
    return await fetch(path.replace(/^\//, ""), init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, { title: "No connection", detail: "The server does not respond. Is it running?" });
  }
}

/** The server did nothing and says when to try again, for example while it starts. @param {Response} response */
function isTemporary(response) {
  return response.status === 503 && response.headers.has("Retry-After");
}

/**
 * Send a request and return the JSON of its response, or its text if it is Markdown.
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
export async function request(path, options = {}) {
  const response = await send(path, options);
  if (response.status === 204) return null;
  try {
    return await (response.headers.get("Content-Type")?.startsWith("text/markdown") ? response.text() : response.json());
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, { title: "No connection", detail: "The response is incomplete." });
  }
}

/** @param {Response} response @returns {Promise<ProblemBody>} */
async function readProblem(response) {
  try {
    return await response.json();
  } catch {
    return { title: response.statusText };
  }
}

/**
 * Upload a file and report its progress. `fetch` cannot report the progress of a request.
 * @param {string} path
 * @param {Blob} file
 * @param {string} mediaType
 * @param {(sent: number) => void} onProgress called with the share that was sent, from 0 to 1
 * @returns {Promise<any>}
 */
export function upload(path, file, mediaType, onProgress) {
  return new Promise((resolve, reject) => {
    const transfer = new XMLHttpRequest();
    transfer.open("POST", path.replace(/^\//, ""));
    transfer.setRequestHeader("Content-Type", mediaType);
    transfer.responseType = "json";
    transfer.upload.onprogress = (event) => onProgress(event.total ? event.loaded / event.total : 0);
    transfer.onerror = () => reject(new Problem(0, { title: "No connection", detail: "The upload was interrupted." }));
    transfer.onload = () => {
      if (transfer.status >= 200 && transfer.status < 300) resolve(transfer.response);
      else reject(new Problem(transfer.status, transfer.response || {}));
    };
    transfer.send(file);
  });
}
