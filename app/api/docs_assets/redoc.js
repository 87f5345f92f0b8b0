// Starts Redoc with the document of this service. The search would start a worker from a blob, which the policy forbids.
"use strict";

Redoc.init("openapi.json", { disableSearch: true, hideDownloadButton: false, expandResponses: "200,201,202" }, document.getElementById("redoc"));
