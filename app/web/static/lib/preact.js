// Preact, its hooks and htm, with types. The library is one file that the installation copies from npm.
import * as module from "../../vendor/preact-htm.js";

const library = /** @type {any} */ (module);

/** @typedef {import("preact").ComponentChild} Child */
/** @typedef {import("preact").ComponentChildren} Children */

/** @type {(strings: TemplateStringsArray, ...values: unknown[]) => import("preact").VNode<any>} */
export const html = library.html;
/** @type {typeof import("preact").render} */
export const render = library.render;
/** @type {typeof import("preact/hooks").useCallback} */
export const useCallback = library.useCallback;
/** @type {typeof import("preact/hooks").useEffect} */
export const useEffect = library.useEffect;
/** @type {typeof import("preact/hooks").useMemo} */
export const useMemo = library.useMemo;
/** @type {typeof import("preact/hooks").useRef} */
export const useRef = library.useRef;
/** @type {typeof import("preact/hooks").useState} */
export const useState = library.useState;
