// Starts Redoc with the document of this service. The search would start a worker from a blob, which the policy forbids.
"use strict";

const VENDOR_IMAGES = "https://cdn.redoc.ly/";

// Redoc shows a logo that its vendor's server has. The page requests nothing from other servers.
const images = HTMLImageElement.prototype;
const source = Object.getOwnPropertyDescriptor(images, "src");
const setAttribute = images.setAttribute;
const isOwn = (value) => !String(value).startsWith(VENDOR_IMAGES);
Object.defineProperty(images, "src", {
  ...source,
  set(value) {
    if (isOwn(value)) source.set.call(this, value);
  },
});
images.setAttribute = function setOwnAttribute(name, value) {
  if (name !== "src" || isOwn(value)) setAttribute.call(this, name, value);
};

Redoc.init(
  "openapi.json",
  { disableSearch: true, expandResponses: "200,201,202" },
  document.getElementById("redoc"),
);
