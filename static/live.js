// A page that says what it shows (data-live) is brought up to date when that changes: it is asked for once more, and what differs is exchanged.
// Nobody's focus, place or half-written words are lost. Everything works without this file.
"use strict";

const main = document.querySelector("main[data-live]");

// Whether somebody has changed a field, or is about to.
const isInUse = (field) => {
  if (field === document.activeElement) return true;
  if (field.type === "hidden") return false;
  if (field.options) return field.selectedOptions[0] !== ([...field.options].find((option) => option.defaultSelected) ?? field.options[0]);
  if (["checkbox", "radio"].includes(field.type)) return field.checked !== field.defaultChecked;
  return field.value !== field.defaultValue;
};
const isBusy = (form) => [...form.elements].some((field) => field.matches("input, select, textarea") && isInUse(field));

const keyOf = (node) => node.dataset?.key ?? node.id;
const isSame = (one, other) => one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

const bring = (here, there) => {
  if (here.isEqualNode(there)) return;
  if (here.nodeType !== Node.ELEMENT_NODE) {
    here.nodeValue = there.nodeValue;
    return;
  }
  if (here.matches("form") && isBusy(here)) return;
  for (const { name, value } of there.attributes) if (here.getAttribute(name) !== value) here.setAttribute(name, value);
  for (const { name } of [...here.attributes]) if (name !== "open" && !there.hasAttribute(name)) here.removeAttribute(name);
  bringChildren(here, there);
};

// What is no more goes, unless somebody is writing in it: then it says so, and cannot be sent.
const part = (node) => {
  const forms = node.querySelectorAll?.("form") ?? [];
  if (![...forms].some(isBusy)) {
    node.remove();
    return false;
  }
  if (!node.classList.contains("gone")) {
    node.classList.add("gone");
    for (const button of node.querySelectorAll("button")) button.disabled = true;
    const note = document.createElement("p");
    note.className = "notice warn";
    note.textContent = "This was decided or has ended meanwhile.";
    node.prepend(note);
  }
  return true;
};

const bringChildren = (here, there) => {
  const left = [...here.childNodes];
  const pairs = [...there.childNodes].map((wanted) => {
    const at = left.findIndex((node) => isSame(node, wanted));
    return [wanted, at < 0 ? null : left.splice(at, 1)[0]];
  });
  const kept = new Set(left.filter(part));
  let place = here.firstChild;
  for (const [wanted, found] of pairs) {
    while (kept.has(place)) place = place.nextSibling;
    if (found === null) here.insertBefore(document.importNode(wanted, true), place);
    else {
      if (found === place) place = place.nextSibling;
      else here.insertBefore(found, place);
      bring(found, wanted);
    }
  }
};

if (main) {
  const said = document.getElementById("live-said");
  const url = `/console/live?on=${encodeURIComponent(main.dataset.live)}`;
  const again = 30_000;
  let source = null;
  let isAsking = false;
  let isDue = false;
  let isOver = false;

  const stop = () => {
    isOver = true;
    source?.close();
    document.getElementById("live-over").hidden = false;
  };

  // The page as it is now. What it asks for by itself keeps nobody signed in.
  const bringUpToDate = async (isTold) => {
    isDue = isAsking;
    if (isAsking || isOver) return;
    isAsking = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html", "wayleave-by-itself": "1" } });
      if (answer.status === 503) return;
      if (!answer.ok || answer.redirected) return stop();
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.querySelector("main[data-live]");
      bringChildren(main, now);
      main.dataset.mark = now.dataset.mark;
      const links = "nav[aria-label=Console]";
      bring(document.querySelector(links), page.querySelector(links));
      document.dispatchEvent(new Event("brought"));
      said.textContent = isTold ? "The page was brought up to date." : "";
    } catch {
      // The edge does not answer; the stream says when it does.
    } finally {
      isAsking = false;
    }
    if (isDue) bringUpToDate(true);
  };

  const listen = () => {
    if (isOver || document.hidden) return;
    source = new EventSource(`${url}&since=${encodeURIComponent(main.dataset.mark)}`);
    source.addEventListener("changed", () => bringUpToDate(true));
    source.addEventListener("error", async () => {
      if (source.readyState !== EventSource.CLOSED) return;
      // Refused, which the page will be as well if it is no more for whoever looks.
      await bringUpToDate(false);
      setTimeout(listen, again);
    });
  };

  document.addEventListener("visibilitychange", () => {
    source?.close();
    listen();
  });
  listen();
  if (main.dataset.every) setInterval(() => document.hidden || bringUpToDate(false), Number(main.dataset.every) * 1000);
}
