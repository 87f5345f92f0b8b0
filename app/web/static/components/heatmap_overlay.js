// A Grad-CAM heatmap over an image of the service or of the user.
import { html, useEffect, useMemo, useState } from "../lib/preact.js";
import { Problem, send } from "../lib/api.js";
import { formatPercent } from "../lib/format.js";

export function HeatmapOverlay({ image, explainPath }) {
  const [heatmap, setHeatmap] = useState(/** @type {Blob | null} */ (null));
  const [reason, setReason] = useState("");
  const [opacity, setOpacity] = useState(0.5);
  const heatmapAddress = useObjectUrl(heatmap);
  const fileAddress = useObjectUrl(typeof image === "string" ? null : image);
  useEffect(() => {
    const abort = new AbortController();
    setHeatmap(null);
    setReason("");
    explain(image, explainPath, abort.signal).then(setHeatmap, (error) => error instanceof Problem && setReason(error.message));
    return () => abort.abort();
  }, [image, explainPath]);
  return html`
    <div class="overlay">
      <img src=${fileAddress || image} alt="The image" />
      ${heatmapAddress && html`<img class="overlay-top" src=${heatmapAddress} alt="Heatmap of the regions that support the class" style=${{ opacity: String(opacity) }} />`}
    </div>
    ${reason ? html`<p class="dim">${reason}</p>` : html`<label class="slider">Heatmap <input type="range" min="0" max="1" step="0.05" value=${opacity} onInput=${(event) => setOpacity(Number(event.target.value))} /> <output>${formatPercent(opacity, 0)}</output></label><p class="ramp dim">low <span></span> high</p>`}
  `;
}

/** @param {string | Blob} image @param {string} path @param {AbortSignal} signal */
async function explain(image, path, signal) {
  const file = typeof image === "string" ? await (await send(image, { headers: { Accept: "image/png" }, signal })).blob() : image;
  const headers = { "Content-Type": file.type || "application/octet-stream", Accept: "image/png" };
  return (await send(path, { method: "POST", body: file, headers, signal })).blob();
}

/** @param {Blob | null} blob */
export function useObjectUrl(blob) {
  const address = useMemo(() => (blob ? URL.createObjectURL(blob) : null), [blob]);
  useEffect(() => () => {
    if (address) URL.revokeObjectURL(address);
  }, [address]);
  return address;
}
