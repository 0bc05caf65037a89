// The editor's two sides follow each other: what was typed is sent as the form would send it, and the answer's other side and preview are shown.
// Everything works without this file.
"use strict";

// A suggestion that is chosen becomes a line of the list that it is for.
document.addEventListener("change", (event) => {
  const adder = event.target.closest(".adder");
  if (!adder || !event.target.value) return;
  const list = document.getElementsByName(adder.dataset.for)[0];
  list.value = [...list.value.split("\n").filter((line) => line.trim()), event.target.value].join("\n");
  event.target.value = "";
  list.dispatchEvent(new Event("input", { bubbles: true }));
});

const editor = document.getElementById("editor");
if (editor) {
  const said = document.getElementById("said");
  const formSide = document.getElementById("form-side");
  const yaml = document.getElementById("yaml");
  let side = null;
  let timer = 0;
  let isSending = false;
  let edits = 0;

  const outcome = () => document.getElementById("outcome");

  // What is shown below is of before the last edit.
  const wait = () => {
    outcome().setAttribute("aria-busy", "true");
    for (const button of outcome().querySelectorAll("button")) button.disabled = true;
  };

  const isOpen = () => [...formSide.querySelectorAll("details")].map((details) => details.open);

  // Whoever fills in the last alternative gets another empty one.
  const addAlternatives = (page) => {
    [...page.querySelectorAll("#form-side > .group-of")].forEach((group, index) => {
      const field = group.querySelector("[name^='f.']");
      if (!field || editor.elements.namedItem(field.name)) return;
      const place = formSide.querySelectorAll(":scope > .group-of")[index];
      if (place) place.before(group);
      else formSide.append(group);
    });
  };

  const show = (page) => {
    const message = document.getElementById("message")?.value;
    if (side === "form") {
      yaml.value = page.getElementById("yaml").value;
      addAlternatives(page);
    } else {
      const open = isOpen();
      formSide.replaceChildren(...page.getElementById("form-side").childNodes);
      formSide.querySelectorAll("details").forEach((details, index) => (details.open ||= open[index] ?? false));
    }
    outcome().replaceWith(page.getElementById("outcome"));
    const field = document.getElementById("message");
    if (field && message) field.value = message;
    const isFaulty = outcome().querySelector(".alert");
    said.textContent = isFaulty ? "This cannot be written; see below." : "The preview is up to date.";
  };

  const send = async () => {
    if (isSending) return;
    isSending = true;
    const of = edits;
    const body = new URLSearchParams(new FormData(editor));
    body.set("side", side);
    const message = document.getElementById("message")?.value;
    if (message) body.set("message", message);
    try {
      const answer = await fetch(editor.action, { method: "POST", body });
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // What was typed meanwhile is not taken back.
      if (of === edits) show(page);
    } catch {
      said.textContent = "The preview cannot be had now; use the preview buttons.";
      document.documentElement.classList.remove("scripted");
    }
    isSending = false;
    if (of !== edits) send();
  };

  // Enter in a field asks for the preview at once, and in a suggestion takes it over.
  editor.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.closest(".adder")) return;
    event.preventDefault();
    event.target.dispatchEvent(new Event("change", { bubbles: true }));
  });
  editor.addEventListener("submit", (event) => {
    if (!document.documentElement.classList.contains("scripted")) return;
    event.preventDefault();
    side ??= "form";
    edits += 1;
    wait();
    send();
  });

  editor.addEventListener("input", (event) => {
    if (event.target.closest(".adder")) return;
    side = event.target === yaml ? "yaml" : "form";
    edits += 1;
    wait();
    clearTimeout(timer);
    timer = setTimeout(send, 400);
  });
}
