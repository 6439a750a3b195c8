"use strict";
const form = document.forms.filter;
const cards = [...document.querySelectorAll(".sheet > li")];
const words = new Map(cards.map(card => [card, card.textContent.toLowerCase()]));
let scroll = 0, opened = null;

const wanted = () => new URLSearchParams([...new FormData(form)].filter(([, value]) => value.trim()));
const address = () => "#" + (wanted().toString() || "all");

function suits(card, by) {
  const { language, shard, low, high } = card.dataset;
  return (!by.get("language") || language === by.get("language"))
    && (!by.get("shard") || shard === by.get("shard"))
    && (!by.get("from") || Number(high) >= Number(by.get("from")))
    && (!by.get("to") || Number(low) <= Number(by.get("to")))
    && (by.get("q") || "").toLowerCase().split(/\s+/).every(word => words.get(card).includes(word));
}

function show() {
  const by = wanted();
  for (const card of cards) card.hidden = !suits(card, by);
  const left = cards.filter(card => !card.hidden).length;
  form.elements.count.value = left === cards.length ? `${left} shown` : `${left} of ${cards.length} shown`;
}

function fill(by) {
  form.reset();
  for (const [name, value] of by) if (form.elements[name]?.matches("input, select")) form.elements[name].value = value;
  show();
}

// The address is the state: #language=zh&q=word filters, #s12 opens a sample, #all shows every one.
function follow(event) {
  const place = location.hash.slice(1);
  const card = cards.find(one => one.firstElementChild.id === place) || null;
  if (card) {
    if (!opened) scroll = scrollY;
  } else if (!event || place.includes("=") || place === "all") {
    fill(new URLSearchParams(place.includes("=") ? place : ""));
    if (opened) scrollTo(0, scroll);
    else if (event && place.includes("=")) document.getElementById("samples").scrollIntoView();
  }
  const last = opened;
  opened = card;
  for (const one of document.querySelectorAll("header, main > :not(#samples), #samples > :not(.sheet), .sheet > li"))
    one.inert = Boolean(card) && one !== card;
  if (card) card.querySelector(".close").focus({ preventScroll: true });
  else if (last) last.querySelector(".picture").focus({ preventScroll: true });
}

function step(by) {
  // Asked of the page: a key may come before the event that tells of the last one.
  const now = cards.find(card => card.firstElementChild.matches(":target"));
  const all = cards.filter(card => !card.hidden || card === now);
  location.hash = all[(all.indexOf(now) + by + all.length) % all.length].firstElementChild.id;
}

if (form) {
  form.hidden = false;
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("input", () => { show(); history.replaceState(null, "", address()); });
  form.elements.clear.addEventListener("click", () => { fill([]); history.replaceState(null, "", "#all"); });
  document.addEventListener("click", event => {
    const link = opened && event.target.closest(".bar a");
    if (!link) return;
    event.preventDefault();
    if (link.rel) step(link.rel === "next" ? 1 : -1);
    else location.hash = address();
  });
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (opened && event.key === "Escape") location.hash = address();
    else if (opened && event.key === "ArrowRight") step(1);
    else if (opened && event.key === "ArrowLeft") step(-1);
    else if (!opened && event.key === "/" && !event.target.closest("input")) {
      event.preventDefault();
      form.elements.q.focus();
    }
  });
  addEventListener("hashchange", follow);
  follow();
}
