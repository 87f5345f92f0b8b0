// Libraries that are loaded as classic scripts.
declare const uPlot: typeof import("uplot").default;
declare const jsyaml: typeof import("js-yaml");
