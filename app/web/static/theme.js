// Applies the stored theme before the first paint. A classic script, because modules run after it.
(() => {
  const theme = localStorage.getItem("candela.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
