// Live updates and small conveniences. Every page works without this script.
"use strict";
(() => {
  const INTERVAL = 3000;

  // A page that watches something is fetched again when that has changed, and its live part replaced in place.
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
    live().replaceWith(document.adoptNode(fresh));
    for (const part of document.querySelectorAll("[data-own-smtp-follows]")) {
      const follower = page.getElementById(part.id);
      if (follower && !inUse(part)) part.replaceWith(document.adoptNode(follower));
    }
  }

  // What somebody is about to press, has ticked or has opened stays as it is.
  const inUse = (part) => part.contains(document.activeElement) || part.querySelector("input:checked, details[open]");

  // A lost connection is nothing to report: the next look tries again.
  const interval = () => Number(live()?.dataset.interval) || INTERVAL;
  const watch = () => look().catch(() => {}).finally(() => setTimeout(watch, interval()));
  if (live()) setTimeout(watch, interval());

  // Choosing the encryption fills in its usual port, unless another one was typed.
  const ports = { starttls: "587", implicit: "465", none: "25" };
  const port = document.getElementById("port");
  for (const option of document.querySelectorAll('.own-smtp input[name="security"]')) {
    option.addEventListener("change", () => {
      if (port && (port.value === "" || Object.values(ports).includes(port.value))) port.value = ports[option.value];
    });
  }
})();
