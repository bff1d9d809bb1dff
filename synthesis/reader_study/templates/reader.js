"use strict";
const booklet = JSON.parse(document.getElementById("booklet").textContent);
const place = `fedcxr-reader-study:${booklet.study}:${booklet.reader}`;
const turns = booklet.presentations.flatMap((marks, index) =>
  marks.map((picture) => ({ presentation: index + 1, picture })));
const numPictures = booklet.presentations[0].length;
const numParts = booklet.presentations.length;
const form = document.getElementById("question");
let state = kept();

// What is kept in the browser: confirmed answers, the answer being given, and the part that was begun.
function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(place));
    if (found && Array.isArray(found.answers) && found.answers.length <= turns.length) return found;
  } catch { /* No storage, or not what this page wrote: begin at the beginning; save() will say if it cannot. */ }
  return { begun: 0, answers: [], draft: {} };
}

function keep() {
  save(place, JSON.stringify(state));
}

function save(key, text) {
  let saved = false;
  try {
    localStorage.setItem(key, text);
    saved = localStorage.getItem(key) === text;
  } catch { /* Said below. */ }
  document.getElementById("not-saved").hidden = saved;
}

function show() {
  const number = state.answers.length;
  const turn = turns[number];
  const part = turn ? turn.presentation : numParts;
  const screen = !turn ? "end" : part <= state.begun ? "reading" : state.begun ? "break" : "start";
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== screen;
  document.getElementById("download").hidden = number === 0 || screen === "end";
  if (screen === "reading") showPicture(turn, number % numPictures + 1);
}

function showPicture(turn, number) {
  const part = numParts > 1 ? `, part ${turn.presentation} of ${numParts}` : "";
  const where = `Radiograph ${number} of ${numPictures}${part}`;
  document.getElementById("where").textContent = where;
  document.getElementById("progress").value = state.answers.length;
  const picture = document.getElementById("picture");
  picture.alt = where;
  picture.src = `data:image/png;base64,${booklet.pictures[turn.picture]}`;
  form.reset();
  for (const name of ["choice", "confidence"]) {
    if (state.draft[name]) form.elements[name].value = state.draft[name];
  }
  form.elements.comment.value = state.draft.comment || "";
}

function begin() {
  state.begun += 1;
  keep();
  show();
  document.getElementById("where").focus();
}

function remember() {
  const given = new FormData(form);
  state.draft = { choice: given.get("choice"), confidence: given.get("confidence"), comment: given.get("comment") };
  keep();
}

function confirm(event) {
  event.preventDefault();
  const { choice, confidence, comment } = Object.fromEntries(new FormData(form));
  state.answers.push({ ...turns[state.answers.length], choice, confidence: Number(confidence), comment });
  state.draft = {};
  keep();
  show();
  const heading = document.querySelector("main > section:not([hidden]) h2");
  heading.focus();
  window.scrollTo(0, 0);
}

function download() {
  const { format, study, reader } = booklet;
  const content = { format, study, reader, answers: state.answers };
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
  link.download = `answers-${study}-reader-${reader}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function press(event) {
  const { target, key } = event;
  const elsewhere = event.ctrlKey || event.altKey || event.metaKey || target.tagName === "TEXTAREA";
  if (elsewhere || document.getElementById("reading").hidden) return;
  const choice = { r: "real", s: "synthetic" }[key.toLowerCase()];
  if (choice) form.elements.choice.value = choice;
  if (/^[1-5]$/.test(key)) form.elements.confidence.value = key;
  if (choice || /^[1-5]$/.test(key)) remember();
  if (key === "Enter" && !["BUTTON", "INPUT"].includes(target.tagName)) form.requestSubmit();
}

form.addEventListener("submit", confirm);
form.addEventListener("input", remember);
for (const button of document.querySelectorAll("button.begin")) button.addEventListener("click", begin);
for (const button of document.querySelectorAll("button.download")) button.addEventListener("click", download);
document.addEventListener("keydown", press);
// The same page in a second window, or loaded again before the browser has told it all: it follows what was kept last.
window.addEventListener("storage", (event) => {
  if (event.key !== place) return;
  state = kept();
  show();
});
// Only whether saving works: what the last page kept may still be on its way, and must not be written over by a page that has not heard of it.
save(`${place}:saves`, "yes");
show();
