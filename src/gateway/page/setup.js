// The one-time link: its token stands behind the '#', which browsers send to nobody. It leaves the address bar at once.
"use strict";

const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);

function say(text, bad) {
  const said = document.getElementById("said");
  said.textContent = text;
  said.className = bad ? "bad" : "";
}

if (!token) say("The link's token is missing: open the whole link that the pool printed at its start.", true);

document.getElementById("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = document.getElementById("name").value;
  const password = document.getElementById("password").value;
  if (password !== document.getElementById("again").value) {
    say("The two passwords differ.", true);
    return;
  }
  try {
    const answer = await fetch("/api/v1/setup", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name, password, token }),
    });
    const body = await answer.json();
    if (!answer.ok) {
      const violations = (body.violations || []).map((v) => v.path + ": " + v.text).join("; ");
      say((body.detail || body.title) + (violations ? " " + violations : ""), true);
      return;
    }
    document.getElementById("form").remove();
    say("Done: " + name + " is the administrator. On a terminal: berth login " + location.origin + " --name " + name);
  } catch (e) {
    say("The pool does not answer: " + e, true);
  }
});
