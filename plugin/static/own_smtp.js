// Live updates and small conveniences. Every page works without this script.
"use strict";
(() => {
  const INTERVAL = 3000;

  // The host's layout may write its language as `de_DE`, or omit it. Without a valid one the browser's language is used.
  function language() {
    try {
      return Intl.getCanonicalLocales(document.documentElement.lang.replaceAll("_", "-"));
    } catch {
      return undefined;
    }
  }

  // A live page polls its status, and is fetched again after a change: then its live part is replaced in place.
  const live = () => document.getElementById("own-smtp-live");

  async function look() {
    const region = live();
    if (!region?.dataset.ownSmtpWatch || document.hidden) return;
    const answer = await fetch(region.dataset.ownSmtpWatch, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const { version } = await answer.json();
    if (version !== region.dataset.version) await replace();
  }

  async function replace() {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("own-smtp-live");
    if (!fresh) return;
    const held = live().contains(document.activeElement) && document.activeElement.getAttribute("href");
    live().replaceWith(document.adoptNode(fresh));
    // Keyboard focus stays on the same link in the new part.
    if (held) live().querySelector(`a[href="${CSS.escape(held)}"]`)?.focus();
    for (const part of document.querySelectorAll("[data-own-smtp-follows]")) {
      const follower = page.getElementById(part.id);
      if (follower && !inUse(part)) part.replaceWith(document.adoptNode(follower));
    }
  }

  // A part with the focus, a ticked box or open details is not replaced.
  const inUse = (part) => part.contains(document.activeElement) || part.querySelector("input:checked, details[open]");

  // A lost connection is not reported: the next poll retries.
  const interval = () => Number(live()?.dataset.interval) || INTERVAL;
  const watch = () => look().catch(() => {}).finally(() => setTimeout(watch, interval()));
  if (live()) setTimeout(watch, interval());

  // Selecting an encryption fills in its usual port, unless another one was typed.
  const ports = { starttls: "587", implicit: "465", none: "25" };
  const port = document.getElementById("port");
  for (const option of document.querySelectorAll('.own-smtp input[name="security"]')) {
    option.addEventListener("change", () => {
      if (port && (port.value === "" || Object.values(ports).includes(port.value))) port.value = ports[option.value];
      warn();
    });
  }

  // Warns of unusual combinations of encryption and port before they are saved.
  const warning = document.querySelector("[data-own-smtp-unusual]");
  function warn() {
    if (!warning) return;
    const security = document.querySelector('.own-smtp input[name="security"]:checked')?.value;
    warning.hidden = !warning.dataset.ownSmtpUnusual.split(" ").includes(`${security}:${port?.value}`);
  }
  port?.addEventListener("input", warn);
  warn();

  // A pasted address such as smtp://mail.example.com:587/ becomes a name and a port.
  document.querySelector(".own-smtp-form input#host")?.addEventListener("change", (event) => {
    const found = /^\s*(?:[a-z]+:\/\/)?([^\s:/?#\[\]@]+)(?::(\d{1,5}))?(?:[/?#].*)?\s*$/i.exec(event.target.value);
    if (!found) return;
    event.target.value = found[1];
    if (found[2] && port && (port.value === "" || Object.values(ports).includes(port.value))) port.value = found[2];
    warn();
  });

  // Shows a limit converted to other units while it is typed.
  const seconds = { min_interval: (n) => n, per_second: (n) => 1 / n, per_minute: (n) => 60 / n, per_hour: (n) => 3600 / n, per_day: (n) => 86400 / n };
  const written = new Intl.NumberFormat(language(), { maximumSignificantDigits: 3 });
  for (const meaning of document.querySelectorAll("[data-own-smtp-means]")) {
    const field = document.getElementById(meaning.dataset.ownSmtpOf);
    const explain = () => {
      const every = seconds[field.id](Number(field.value));
      const values = { s: every, m: 60 / every, h: 3600 / every, d: 86400 / every };
      const known = Number(field.value) > 0 && Number.isFinite(every);
      meaning.textContent = known
        ? meaning.dataset.ownSmtpMeans.replace(/\{(\w)\}/g, (_, name) => written.format(values[name]))
        : "";
    };
    field.addEventListener("input", explain);
    explain();
  }
})();
