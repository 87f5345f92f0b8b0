// The description and the tags of a model, a dataset or a version, and buttons that delete them.
import { html, useEffect, useState } from "../lib/preact.js";
import { request } from "../lib/api.js";
import { readRoute } from "../lib/router.js";
import { Dialog } from "./controls.js";
import { attempt, showToast } from "./feedback.js";
import { Icon } from "./icon.js";

const UNDO_MS = 10000; // as long as the toast with its button is shown
const TAG = "[A-Za-z0-9][A-Za-z0-9._:\\/=+\\-]{0,62}";

/**
 * The description and the tags, and a form that changes them.
 * @param {{path: string, value: any, onChange: () => void, what?: string}} properties path: of the resource in the API
 */
export function Description({ path, value, onChange, what = "" }) {
  const [isOpen, setOpen] = useState(false);
  const [text, setText] = useState("");
  const [tags, setTags] = useState("");
  const open = () => {
    setText(value.description || "");
    setTags(value.tags.join(" "));
    setOpen(true);
  };
  const save = (event) => {
    event.preventDefault();
    return attempt(async () => {
      const list = [...new Set(tags.split(/[\s,]+/).filter(Boolean))];
      await request(path, { method: "PATCH", json: { description: text.trim() || null, tags: list } });
      setOpen(false);
      onChange();
    });
  };
  return html`
    <div class="description">
      ${value.description && html`<p class="description-text">${value.description}</p>`}
      ${value.tags.map((tag) => html`<span class="tag" key=${tag}>${tag}</span>`)}
      <button type="button" class="bare" onClick=${open}><${Icon} name="docs" /> ${value.description || value.tags.length ? "Edit description" : "Add description"}${what && ` of ${what}`}</button>
    </div>
    ${isOpen &&
    html`<${Dialog} title="Description and tags" onClose=${() => setOpen(false)}>
      <form onSubmit=${save}>
        <label class="field">Description <textarea rows="6" maxlength="10000" value=${text} onInput=${(event) => setText(event.target.value)}></textarea></label>
        <label class="field">Tags, separated by spaces <input pattern=${`\\s*(${TAG}([\\s,]+|$))*`} title="Letters, digits and . _ : / = + -" value=${tags} onInput=${(event) => setTags(event.target.value)} /></label>
        <footer><button type="button" onClick=${() => setOpen(false)}>Cancel</button><button type="submit" class="primary">Save</button></footer>
      </form>
    <//>`}
  `;
}

/** The paths of resources that will be deleted in a few seconds. @type {Set<string>} */
const deleted = new Set();

/**
 * A button that deletes a resource after a confirmation and a few seconds, in which it can be undone.
 * @param {{label: string, name: string, note: string, path: string, listDependents?: () => Promise<{text: string, href?: string}[]>, onDeleted: () => void}} properties
 *   onDeleted: called if the same page is open
 */
export function DeleteButton({ label, name, note, path, listDependents, onDeleted }) {
  const [isOpen, setOpen] = useState(false);
  const remove = () => {
    const page = readRoute().path;
    deleted.add(path);
    setOpen(false);
    const timer = setTimeout(async () => {
      await attempt(async () => {
        await request(path, { method: "DELETE" });
        if (readRoute().path === page) onDeleted();
      });
      deleted.delete(path);
    }, UNDO_MS);
    const undo = () => {
      clearTimeout(timer);
      deleted.delete(path);
    };
    showToast(`${name} is deleted in ${UNDO_MS / 1000} s, while this page is open`, { undo });
  };
  return html`
    <button type="button" class="delete" disabled=${deleted.has(path)} onClick=${() => setOpen(true)}><${Icon} name="trash" /> ${label}</button>
    ${isOpen &&
    html`<${Dialog} title=${`Delete ${name}?`} onClose=${() => setOpen(false)}>
      <${Confirmation} note=${note} listDependents=${listDependents} onKeep=${() => setOpen(false)} onDelete=${remove} />
    <//>`}
  `;
}

/**
 * What is deleted, and what prevents it.
 * @param {{note: string, listDependents?: () => Promise<{text: string, href?: string}[]>, onKeep: () => void, onDelete: () => void}} properties
 */
function Confirmation({ note, listDependents, onKeep, onDelete }) {
  const [dependents, setDependents] = useState(/** @type {{text: string, href?: string}[] | null} */ (listDependents ? null : []));
  useEffect(() => {
    if (listDependents) attempt(async () => setDependents(await listDependents()));
  }, []);
  const isUsed = dependents !== null && dependents.length > 0;
  return html`
    ${isUsed
      ? html`<div class="dialog-body">
          <p>It cannot be deleted while it is used by:</p>
          <ul class="plain">${dependents.map((one) => html`<li key=${one.text}>${one.href ? html`<a href=${one.href}>${one.text}</a>` : one.text}</li>`)}</ul>
        </div>`
      : html`<p>${note}</p>`}
    <footer><button type="button" onClick=${onKeep}>Keep it</button><button type="button" class="danger" disabled=${dependents === null || isUsed} onClick=${onDelete}>Delete</button></footer>
  `;
}
