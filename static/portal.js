// Comfort only: the search works as a form without this file.
"use strict";

const field = document.querySelector("input[data-filter]");
if (field) {
  const found = document.getElementById("found");
  const all = [...document.querySelectorAll(".app[data-words]")];

  const filter = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const app of all) {
      const fits = words.every((word) => app.dataset.words.toLowerCase().includes(word));
      app.hidden = !fits;
      if (fits) count += 1;
    }
    found.hidden = words.length === 0;
    found.textContent = count === 0 ? `Nothing fits “${field.value.trim()}”.` : `${count} ${count === 1 ? "fits" : "fit"} “${field.value.trim()}”.`;
    const query = words.length ? `?q=${encodeURIComponent(field.value.trim())}` : location.pathname;
    history.replaceState(null, "", query);
  };

  field.addEventListener("input", filter);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !field.value) return;
    event.preventDefault();
    field.value = "";
    filter();
  });

  // Enter opens what fits first.
  field.form.addEventListener("submit", (event) => {
    event.preventDefault();
    const first = all.find((app) => !app.hidden)?.querySelector("a");
    if (first && field.value.trim()) first.click();
  });
}
