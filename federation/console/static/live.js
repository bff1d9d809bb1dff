// Keeps the facts of a page current: the page is fetched again and its facts replaced, unless somebody is using them.
"use strict";

const SECONDS = 10;

function isInUse(facts) {
  return document.hidden || facts.contains(document.activeElement) || facts.querySelector("details[open], :target");
}

function say(text) {
  document.getElementById("connection").textContent = text;
}

async function refresh() {
  const facts = document.querySelector("main[data-live]");
  if (!facts || isInUse(facts)) return;
  try {
    const answer = await fetch(location.href, { headers: { "x-live": "1" } });
    if (answer.redirected) return location.reload();
    if (!answer.ok) throw new Error("no page");
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (isInUse(facts)) return;
    facts.replaceChildren(...page.querySelector("main").childNodes);
    document.getElementById("as-of").replaceWith(page.getElementById("as-of"));
    say("");
  } catch {
    say("The console does not answer: what this page shows is out of date.");
  }
}

setInterval(refresh, SECONDS * 1000);
