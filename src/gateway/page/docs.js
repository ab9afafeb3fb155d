// Shows /openapi.json: routes by tag, then schemas, then problems. Text only ever becomes text nodes.
"use strict";

function element(name, text, parent, className) {
  const e = document.createElement(name);
  if (text !== undefined && text !== null) e.textContent = text;
  if (className) e.className = className;
  if (parent) parent.append(e);
  return e;
}

function schemaName(schema) {
  return schema && schema.$ref ? schema.$ref.split("/").pop() : schema ? schema.type || "" : "";
}

function route(path, way, operation, parent) {
  const details = element("details", null, parent);
  const summary = element("summary", null, details);
  element("span", way.toUpperCase(), summary, "way");
  element("code", path, summary);
  element("span", " " + operation.summary, summary, "dim");
  const right = operation["x-right"];
  element("p", right === "none" ? "Open to everybody." : "Needs the right " + right + ".", details);
  for (const p of operation.parameters || []) {
    element("p", p.name + " (" + p.in + (p.required ? ", needed" : "") + "): " + (p.description || ""), details);
  }
  if (operation.requestBody) {
    const content = Object.entries(operation.requestBody.content)[0];
    element("p", "Takes " + content[0] + (schemaName(content[1].schema) ? ": " + schemaName(content[1].schema) : ""), details);
  }
  for (const [status, answer] of Object.entries(operation.responses)) {
    const content = answer.content ? Object.entries(answer.content)[0] : null;
    element("p", status + (content ? ": " + (schemaName(content[1].schema) || content[0]) : ""), details, "dim");
  }
}

async function show() {
  const main = document.getElementById("routes");
  const document_ = await (await fetch("/openapi.json")).json();
  main.replaceChildren();
  const tags = {};
  for (const [path, ways] of Object.entries(document_.paths)) {
    for (const [way, operation] of Object.entries(ways)) {
      (tags[operation.tags[0]] ||= []).push([path, way, operation]);
    }
  }
  for (const [tag, routes] of Object.entries(tags)) {
    element("h2", tag, main);
    for (const [path, way, operation] of routes) route(path, way, operation, main);
  }
  element("h2", "Schemas", main);
  for (const [name, schema] of Object.entries(document_.components.schemas)) {
    const details = element("details", null, main);
    element("code", name, element("summary", null, details));
    element("pre", JSON.stringify(schema, null, 2), details);
  }
  element("h2", "Problems", main);
  for (const problem of document_["x-problems"]) {
    const p = element("p", null, main);
    p.id = "problem-" + problem.code;
    element("code", problem.code, p);
    element("span", " (" + problem.status + ") " + problem.title, p);
  }
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

show().catch((e) => { document.getElementById("routes").textContent = "Not to be had: " + e; });
