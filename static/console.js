// Comfort only: everything works without this file.
"use strict";
document.documentElement.classList.add("scripted");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  const said = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = said), 1500);
});

// "/" goes to the page's search field.
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.querySelector("input[type=search]");
  if (!field) return;
  event.preventDefault();
  field.focus();
});

// Exact times in the reader's own zone, beside the one of the server.
const zoned = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const tellZoned = () => {
  for (const time of document.querySelectorAll("time[datetime][title]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.valueOf()) && !time.title.includes("\n")) time.title = `${zoned.format(moment)}\n${time.title}`;
  }
};
tellZoned();

// On a narrow screen the navigation is one line: the page's own link is in sight. The page itself stays where it is.
for (const here of document.querySelectorAll("nav a[aria-current]")) {
  const line = here.closest(".top ul, nav");
  const [link, around] = [here.getBoundingClientRect(), line.getBoundingClientRect()];
  line.scrollLeft += link.left - around.left - (around.width - link.width) / 2;
}

// What is about to end counts down to it.
const clock = (seconds) => [seconds / 3600, (seconds / 60) % 60, seconds % 60].map((part) => String(Math.floor(part)).padStart(2, "0")).join(":");
const countDown = () => {
  for (const time of document.querySelectorAll("time[data-countdown]")) {
    const left = (new Date(time.dateTime) - Date.now()) / 1000;
    if (left <= 0) time.textContent = "over";
    else if (left < 24 * 60 * 60) time.textContent = `in ${clock(left)}`;
  }
};
countDown();
setInterval(countDown, 1000);

// The page was brought up to date (live.js).
document.addEventListener("brought", () => {
  tellZoned();
  countDown();
});
