// Renders /openapi.json. Text goes into the page as text, never as markup.
"use strict";

const verbs = ["get", "put", "post", "patch", "delete"];

function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return e;
}

function resolve(doc, schema) {
  if (!schema || !schema.$ref) return { schema: schema || {}, name: "" };
  const name = schema.$ref.split("/").pop();
  return { schema: doc.components.schemas[name] || {}, name };
}

// typeText says in a few words what a value is.
function typeText(doc, ref) {
  const { schema, name } = resolve(doc, ref);
  let types = [].concat(schema.type || []);
  if (types.includes("array")) {
    const rest = types.filter((t) => t !== "array").map((t) => " or " + t).join("");
    return "list of " + typeText(doc, schema.items) + rest;
  }
  let text = name || types.join(" or ") || "anything";
  const notes = [];
  if (schema.format && schema.format !== "int64" && schema.format !== "int32") notes.push(schema.format);
  if (schema.enum) notes.push(schema.enum.map((v) => JSON.stringify(v)).join(" or "));
  if (schema.minimum !== undefined) notes.push("at least " + schema.minimum);
  if (schema.maximum !== undefined) notes.push("at most " + schema.maximum);
  if (schema.maxLength !== undefined) notes.push("at most " + schema.maxLength + " characters");
  if (schema.default !== undefined) notes.push("default " + JSON.stringify(schema.default));
  return notes.length ? text + " (" + notes.join(", ") + ")" : text;
}

// properties renders an object's fields, deeper ones folded.
function properties(doc, ref, depth) {
  let { schema } = resolve(doc, ref);
  while (schema.type === "array" || (Array.isArray(schema.type) && schema.type.includes("array"))) schema = resolve(doc, schema.items).schema;
  if (!schema.properties) return null;
  const table = el("table");
  const required = new Set(schema.required || []);
  for (const [name, property] of Object.entries(schema.properties)) {
    const cell = el("td", null, el("span", { class: "soft" }, typeText(doc, property)));
    const words = property.description || resolve(doc, property).schema.description;
    if (words) cell.append(el("div", null, words));
    const inner = depth < 4 ? properties(doc, property, depth + 1) : null;
    if (inner) cell.append(el("details", null, el("summary", null, "fields"), inner));
    table.append(el("tr", null, el("td", null, el("code", null, name), required.has(name) ? el("div", { class: "soft" }, "required") : ""), cell));
  }
  return table;
}

function content(doc, media) {
  const out = el("div");
  for (const [type, m] of Object.entries(media || {})) {
    out.append(el("div", null, el("code", null, type), " ", m.schema ? typeText(doc, m.schema) : ""));
    const fields = m.schema && properties(doc, m.schema, 0);
    if (fields) out.append(fields);
  }
  return out;
}

function operation(doc, path, verb, op) {
  const section = el("section", { id: op.operationId },
    el("h3", null, op.summary || op.operationId),
    el("p", null, el("span", { class: "verb" }, verb.toUpperCase()), el("code", null, path)));
  if (op.description) section.append(el("p", null, op.description));
  section.append(el("p", { class: "soft" }, op.security ? "Needs an administrator's token: Authorization: Bearer …" : "Needs no bearer token."));
  if (op.parameters) {
    const table = el("table", null, el("tr", null, el("th", null, "Parameter"), el("th", null, "In"), el("th", null, "Meaning")));
    for (const p of op.parameters) {
      table.append(el("tr", null,
        el("td", null, el("code", null, p.name), p.required ? el("div", { class: "soft" }, "required") : ""),
        el("td", null, p.in),
        el("td", null, el("span", { class: "soft" }, typeText(doc, p.schema)), el("div", null, p.description || ""))));
    }
    section.append(table);
  }
  if (op.requestBody) section.append(el("h4", null, "Request"), content(doc, op.requestBody.content));
  for (const [status, r] of Object.entries(op.responses || {})) {
    section.append(el("h4", null, status === "default" ? "Any other status: a problem document" : status + " " + (r.description || "")));
    if (status === "default") section.append(el("div", null, el("code", null, "application/problem+json"), " ", el("a", { href: "#Problem" }, "Problem")));
    else section.append(content(doc, r.content));
  }
  return section;
}

function render(doc) {
  const main = document.getElementById("main");
  const index = document.getElementById("index");
  main.replaceChildren(el("h2", null, doc.info.title + " " + doc.info.version), el("p", null, doc.info.description || ""));
  const groups = new Map((doc.tags || []).map((t) => [t.name, el("ul")]));
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const verb of verbs) {
      const op = item[verb];
      if (!op) continue;
      const tag = (op.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, el("ul"));
      const line = el("li", null, el("span", { class: "verb" }, verb.toUpperCase()), el("a", { href: "#" + op.operationId }, op.summary || op.operationId));
      line.dataset.text = (verb + " " + path + " " + (op.summary || "")).toLowerCase();
      groups.get(tag).append(line);
    }
  }
  for (const [tag, ul] of groups) {
    if (!ul.children.length) continue;
    index.append(el("h2", null, tag), ul);
    for (const [path, item] of Object.entries(doc.paths)) {
      for (const verb of verbs) {
        if (item[verb] && (item[verb].tags || ["other"])[0] === tag) main.append(operation(doc, path, verb, item[verb]));
      }
    }
  }
  const problem = doc.components.schemas.Problem;
  main.append(el("section", { id: "Problem" }, el("h3", null, "Problem"), properties(doc, problem, 0)));
  document.getElementById("filter").addEventListener("input", (e) => {
    const want = e.target.value.toLowerCase();
    for (const li of index.querySelectorAll("li")) li.hidden = !li.dataset.text.includes(want);
  });
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

fetch("/openapi.json").then((r) => r.json()).then(render).catch((e) => {
  document.getElementById("main").replaceChildren(el("p", null, "The API's description cannot be read: " + e));
});
