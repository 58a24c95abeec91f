// Keeps the dashboard fresh, finds sessions and revokes them. The page is whole without this.
//
// Markup comes from the gateway alone, which escapes every text in it; what stands on the page is
// changed where it differs and not replaced, so that focus, selection and what is unfolded stay.
"use strict";

(() => {
  const at = (path) => new URL(path, location.origin);
  const by = (id) => document.getElementById(id);
  const line = by("line");

  // ---- putting what is new in the place of what was ----

  function morph(old, fresh) {
    const wanted = [...fresh.childNodes];
    wanted.forEach((next, place) => {
      let have = old.childNodes[place] ?? null;
      if (next.id && have?.id !== next.id) {
        const known = [...old.children].find((child) => child.id === next.id);
        if (known) {
          old.insertBefore(known, have);
          have = known;
        } else {
          old.insertBefore(next, have);
          return;
        }
      }
      if (!have) old.append(next);
      else if (have.nodeName !== next.nodeName || (have.id && !next.id)) old.insertBefore(next, have);
      else if (have.nodeType === Node.ELEMENT_NODE) become(have, next);
      else if (have.nodeValue !== next.nodeValue) have.nodeValue = next.nodeValue;
    });
    while (old.childNodes.length > wanted.length) old.lastChild.remove();
  }

  function become(old, fresh) {
    for (const { name } of [...old.attributes]) {
      // What the reader has unfolded stays so.
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    morph(old, fresh);
  }

  function put(place, html) {
    const held = document.activeElement;
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    morph(place, fresh.content);
    // What is moved loses the focus.
    if (held !== document.activeElement && held?.isConnected) held.focus({ preventScroll: true });
  }

  // ---- live ----

  let source = null;
  let again = 0;
  let heard = performance.now();

  function say(words, tone) {
    if (line.textContent !== words) line.textContent = words;
    line.className = tone;
  }

  function listen() {
    clearTimeout(again);
    if (source || document.hidden) return;
    heard = performance.now();
    source = new EventSource(at("/api/events"));
    source.addEventListener("sections", (event) => {
      heard = performance.now();
      say("Live", "good");
      for (const [name, html] of Object.entries(JSON.parse(event.data))) {
        const place = document.querySelector(`[data-part="${name}"]`);
        if (place) put(place, html);
      }
    });
    source.onerror = () => {
      // A connection that was cut is opened again by the browser; one that was refused is not.
      if (source?.readyState === EventSource.CLOSED) {
        source = null;
        again = setTimeout(listen, 10_000);
      }
    };
  }

  function rest() {
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
  addEventListener("pagehide", rest);
  addEventListener("pageshow", listen);
  setInterval(() => {
    if (!document.hidden && performance.now() - heard > 5_000) say("Not live: what is shown is old. Trying again.", "bad");
  }, 1_000);
  listen();

  // ---- sessions ----

  const found = by("found");
  const said = by("said");
  const sure = by("sure");

  /** Buttons that want this script. */
  const offer = () => found.querySelectorAll("[data-revoke]").forEach((button) => (button.hidden = false));

  async function look(address) {
    const answer = await fetch(address, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(`the gateway answers ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("found");
    found.replaceChildren(...fresh.childNodes);
    offer();
  }

  function lookFor(user) {
    const address = at("/");
    if (user) address.searchParams.set("user", user);
    return look(address);
  }

  function confirm(words) {
    by("sure-words").textContent = words;
    sure.returnValue = "no";
    sure.showModal();
    return new Promise((answer) => {
      sure.addEventListener("close", () => answer(sure.returnValue === "yes"), { once: true });
    });
  }

  async function revoke(button) {
    const { revoke: kind, name, user } = button.dataset;
    const what = kind === "user" ? `every session of the user ${name}` : `this session of the user ${user}`;
    if (!(await confirm(`Revoke ${what}? Whoever uses it is signed out at once.`))) return;
    const answer = await fetch(at("/api/revocations"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ [kind]: name }),
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.detail);
    await lookFor(by("user")?.value);
    said.textContent = told.ended === 1 ? "1 session was revoked." : `${told.ended} sessions were revoked.`;
    // The button that was pressed may be gone.
    said.focus();
  }

  async function trying(what) {
    said.textContent = "";
    try {
      await what();
    } catch (error) {
      said.textContent = `That did not work: ${error.message}`;
    }
  }

  found.addEventListener("submit", (event) => {
    event.preventDefault();
    trying(async () => {
      await lookFor(by("user").value);
      by("user").focus();
    });
  });
  found.addEventListener("click", (event) => {
    const button = event.target.closest("[data-revoke]");
    const more = event.target.closest("a.more");
    if (button) trying(() => revoke(button));
    if (more) {
      event.preventDefault();
      trying(async () => {
        await look(more.href.split("#")[0]);
        found.querySelector("table")?.scrollIntoView();
      });
    }
  });
  offer();
})();
