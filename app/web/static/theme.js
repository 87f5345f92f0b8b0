// Applies the stored theme, or that of the system, before the first paint. A classic script, because modules run after it.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const stored = localStorage.getItem("candela.theme");
    document.documentElement.dataset.theme = stored === "light" || stored === "dark" ? stored : system.matches ? "dark" : "light";
    dispatchEvent(new Event("themechange"));
  };
  system.addEventListener("change", apply);
  apply();
})();
