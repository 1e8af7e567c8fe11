// Elements from code. Text becomes text nodes only, so names with markup are shown as they are; styles are set through properties,
// because the content security policy forbids style attributes.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: `h("a", {href: "#/", onclick: f}, "text", child)`. Attributes that are null, undefined or false are left out. */
export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

function build(node, attributes, children) {
  set(node, attributes ?? {});
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Set attributes and listeners (`on...`); null, undefined and false remove an attribute. */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else {
      const text = value === true ? "" : String(value);
      if (node.getAttribute(name) !== text) node.setAttribute(name, text);
    }
  }
  return node;
}

/** Replace the text, unless it is the same: an unchanged text costs no layout and keeps the reader's selection. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Make the children of `parent` follow `items`: an element per key, made once by `create(item)` and changed by `update(element, item)`. */
export function keyed(parent, items, key, create, update) {
  const existing = (parent.keyedChildren ??= new Map());
  const wanted = new Map(items.map((item) => [key(item), item]));
  for (const [name, element] of existing) {
    if (!wanted.has(name)) {
      element.remove();
      existing.delete(name);
    }
  }
  let position = null;
  for (const [name, item] of wanted) {
    let element = existing.get(name);
    if (!element) existing.set(name, (element = create(item)));
    update?.(element, item);
    const next = position ? position.nextSibling : parent.firstChild;
    if (next !== element) parent.insertBefore(element, next);
    position = element;
  }
}

/** The value of a custom property of the page, e.g. `colour("--ink")`: canvases follow the colour scheme through it. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A canvas of this size in CSS pixels, cleared and scaled for the screen; returns its context. */
export function sizedContext(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

export const reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)");
export const darkScheme = window.matchMedia("(prefers-color-scheme: dark)");
