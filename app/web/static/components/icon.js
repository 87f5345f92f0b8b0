// Icons as inline SVG, 16 x 16, drawn with the color of the text.
import { html } from "../lib/preact.js";

const PATHS = {
  jobs: "M2 3.5h12M2 8h12M2 12.5h8",
  compare: "M2 13V7m4 6V3m4 10V9m4 4V5",
  plus: "M8 3v10M3 8h10",
  sweeps: "M2 13.5h12M2 13.500V2m2.500 9.200h.01m1.8-3.500h.01m2 2.300h.01m1.6-4.500h.01m2.100-2h.01",
  datasets: "M2.5 4c0-1.1 2.5-2 5.5-2s5.5.9 5.5 2-2.5 2-5.5 2-5.5-.9-5.5-2zm0 0v8c0 1.1 2.5 2 5.5 2s5.5-.9 5.5-2V4m-11 4c0 1.1 2.5 2 5.5 2s5.5-.9 5.5-2",
  models: "M8 1.5 14 5v6l-6 3.500L2 11V5zM2 5l6 3.500L14 5M8 8.500v6",
  predict: "M2 2.500h12v11H2zM2 11l3.5-4 3 3 2-2 3.5 3.500M10.5 5.500h.01",
  system: "M2 3h12v4H2zm0 6h12v4H2zm2.5-4h.01m-.01 6h.01",
  docs: "M3 2h7l3 3v9H3zM10 2v3h3M5.5 8h5m-5 3h5",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10zm3.5-1.500L14 14",
  close: "m4 4 8 8m0-8-8 8",
  check: "m3 8.5 3.5 3.500L13 4.5",
  warning: "M8 2 15 14H1zm0 4.500v3.500m0 2h.01",
  pause: "M5 3v10m6-10v10",
  play: "M4.5 2.500v11l9-5.500z",
  stop: "M3.5 3.500h9v9h-9z",
  flag: "M3.5 14V2.500h9l-2 3 2 3h-9",
  copy: "M5.5 5.500h8v8h-8zM10.5 5.500v-3h-8v8h3",
  download: "M8 2v8m-3.5-3L8 10.5 11.5 7M2.5 13.500h11",
  upload: "M8 11V3M4.5 6.5 8 3l3.5 3.500M2.5 13.500h11",
  trash: "M3 4.500h10M6 4.500v-2h4v2m-5.5 0 .5 9h6l.5-9",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM8 1v2m0 10v2M1 8h2m10 0h2M3 3l1.5 1.500M11.5 11.5 13 13M13 3l-1.5 1.500M4.5 11.5 3 13",
  moon: "M13.5 9.500A6 6 0 0 1 6.5 2.500a6 6 0 1 0 7 7z",
  key: "M9.5 6.500a3 3 0 1 0-2.8 3l1.3 1.300h1.500v1.500H11v1.500h2.500v-2.500L9.3 7.3",
  camera: "M2 5h3l1-2h4l1 2h3v8H2zm6 6a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5z",
  tag: "M2 2h5.500L14 8.5 8.5 14 2 7.500zM5 5h.01",
  columns: "M2 3h12v10H2zm4 0v10m4-10v10",
  down: "m4 6 4 4 4-4",
  repeat: "M3 7.500a5 5 0 0 1 9-2.500M12.5 2v3.500H9M13 8.500a5 5 0 0 1-9 2.500M3.5 14v-3.500H7",
  table: "M2 3h12v10H2zm0 3.500h12M2 10h12M6.5 3v10",
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}
