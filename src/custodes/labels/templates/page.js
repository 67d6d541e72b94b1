"use strict";

const KEYS = {
  a: "left", ArrowLeft: "left", 1: "left",
  b: "right", ArrowRight: "right", 2: "right",
  t: "tie", 0: "tie",
  s: "skip",
  u: "undo", Backspace: "undo",
};

const byId = (id) => document.getElementById(id);
let state = null;
let shown = 0;
let busy = true;

// Model text is put in as text, never as markup.
function text(element, content) {
  element.textContent = content;
}

function prompt(turns) {
  byId("prompt").replaceChildren(...turns.flatMap((turn) => {
    const content = document.createElement("div");
    content.className = "text";
    text(content, turn.content);
    if (turns.length === 1) return [content];
    const role = document.createElement("p");
    role.className = "role";
    text(role, turn.role);
    return [role, content];
  }));
}

function show(next) {
  const before = state && state.item && state.item.key;
  state = next;
  text(byId("annotator"), `· ${state.annotator}`);
  text(byId("progress"), `${state.done} of ${state.total} done`);
  byId("bar").value = state.total ? state.done / state.total : 1;
  byId("item").hidden = !state.item;
  byId("end").hidden = Boolean(state.item);
  if (state.item) {
    prompt(state.item.prompt);
    text(byId("left"), state.item.left);
    text(byId("right"), state.item.right);
    if (state.item.key !== before) {
      shown = performance.now();
      window.scrollTo(0, 0);
      byId("prompt").scrollTop = 0;
    }
  }
}

function notice(message) {
  text(byId("notice"), message);
  byId("notice").hidden = !message;
}

function settle() {
  document.body.setAttribute("aria-busy", String(busy));
  for (const button of document.querySelectorAll("button")) {
    button.disabled = busy || !state || (button.id === "undo" ? !state.undo : !state.item);
  }
}

async function ask(name, body) {
  busy = true;
  settle();
  try {
    const options = body && {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    };
    const response = await fetch(name, options);
    const content = await response.json();
    if (response.ok || response.status === 409) {
      notice(response.ok ? "" : "This was answered on another page; here is the next item.");
      show(content);
    } else {
      notice(`Not saved: ${content.error}`);
    }
  } catch {
    notice("Not saved: the server does not answer. Run the same command again, and open the "
      + "address that it prints. Everything before this answer is saved.");
  }
  busy = false;
  settle();
}

function press(what) {
  if (busy || !state) return;
  if (what === "undo") {
    if (state.undo) ask("undo", { key: state.undo });
  } else if (state.item) {
    ask("answer", {
      key: state.item.key, press: what, seconds: (performance.now() - shown) / 1000,
    });
  }
}

document.addEventListener("keydown", (event) => {
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // A key that is held down repeats, and would answer items that nobody has read.
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || !(name in KEYS)) return;
  event.preventDefault();
  press(KEYS[name]);
});
for (const button of document.querySelectorAll("button")) {
  button.addEventListener("click", () => press(button.dataset.press || "undo"));
}
ask("state");
