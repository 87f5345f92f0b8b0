// Starts Swagger UI, and lets a click on the status of an error show its example and schema.
"use strict";

const ERROR_ROWS = 'tr.response[data-code^="4"], tr.response[data-code^="5"]';

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: false,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});

document.addEventListener("click", (event) => {
  const cell = event.target.closest(".response-col_status");
  const row = cell && cell.closest(ERROR_ROWS);
  if (row) row.classList.toggle("is-open");
});
