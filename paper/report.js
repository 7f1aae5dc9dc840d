"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const specs = read("data-charts");
  let figures = {};
  /** A part of the page that is there as gzip in base64. */
  const unpack = (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  /** Vega, once and when it is first needed; the page's policy knows it by its hash. */
  let vega;
  const loadVega = () => vega ??= unpack("library").then((text) => {
    document.head.append(Object.assign(document.createElement("script"), { textContent: text }));
  });
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // ---- The filter of the claims ----
  const form = document.querySelector(".filters");
  const matches = document.querySelector(".matches");
  const claims = all(".claim").map((node) => ({ node, text: node.textContent.toLowerCase() }));
  const counts = all("button.count");
  const keys = ["paper", "table", "verdict", "kind"];

  function filter() {
    const chosen = Object.fromEntries(new FormData(form));
    const words = chosen.text.toLowerCase().split(/\s+/).filter(Boolean);
    const active = words.length > 0 || keys.some((key) => chosen[key]);
    let num = 0;
    for (const { node, text } of claims) {
      const fits = keys.every((key) => !chosen[key] || node.dataset[key] === chosen[key]);
      node.hidden = !(fits && words.every((word) => text.includes(word)));
      num += !node.hidden;
    }
    for (const box of all("#claims .folded")) {
      box.hidden = !box.querySelector(".claim:not([hidden])");
      box.open = active && !box.hidden;
    }
    for (const part of all("#claims section")) part.hidden = !part.querySelector(".claim:not([hidden])");
    matches.textContent = active ? `${num} of ${claims.length} claims` : `${claims.length} claims`;
    for (const button of counts) button.setAttribute("aria-pressed", active && !words.length && !chosen.kind && asks(button, chosen));
  }

  const asks = (button, chosen) =>
    button.dataset.verdict === chosen.verdict && button.dataset.table === chosen.table && button.dataset.paper === chosen.paper;

  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  for (const button of counts) {
    button.addEventListener("click", () => {
      const again = button.getAttribute("aria-pressed") === "true";
      form.reset();
      if (!again) for (const key of ["paper", "table", "verdict"]) form.elements[key].value = button.dataset[key];
      filter();
      if (!again) form.scrollIntoView();
    });
  }
  filter();

  /** Open the claim that the address names. */
  function openNamed() {
    const node = location.hash.startsWith("#claim-") && document.getElementById(location.hash.slice(1));
    if (!node) return;
    for (let box = node.parentElement.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    const card = node.querySelector("details.card");
    if (card) card.open = true;
    node.scrollIntoView();
    node.querySelector("summary")?.focus({ preventScroll: true });
  }
  for (const image of all("img.packed")) {
    const box = image.closest("details");
    box.addEventListener("toggle", async () => {
      if (image.src) return;
      image.src = `data:image/svg+xml;utf8,${encodeURIComponent(await unpack(image.nextElementSibling.id))}`;
      image.hidden = false;
    });
  }
  addEventListener("hashchange", openNamed);
  openNamed();
  for (const code of all("code.command")) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "copy", textContent: "copy" });
    button.addEventListener("click", () => navigator.clipboard.writeText(code.textContent).then(() => { button.textContent = "copied"; }));
    code.after(" ", button);
  }

  // ---- The figures ----
  const element = (name, attributes = {}, ...children) => {
    const made = Object.assign(document.createElement(name), attributes);
    made.append(...children);
    return made;
  };

  function swatch({ colour, dash }) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    const line = document.createElementNS(space, "path");
    svg.setAttribute("viewBox", "0 0 26 10");
    svg.setAttribute("aria-hidden", "true");
    line.setAttribute("d", "M0 5H26");
    line.style.stroke = colour;
    line.style.strokeWidth = "3";
    line.style.strokeDasharray = dash.join(" ");
    svg.append(line);
    return svg;
  }

  /** The data sets of a figure, as rows. */
  function rowsOf(data) {
    if (data.columns) {
      const { seed, lr } = data.columns;
      const sweep = ["accuracy", "train_loss"].flatMap((quantity) =>
        seed.map((s, i) => ({ quantity, seed: s, lr: lr[i], value: data.columns[quantity][i] })));
      const bounds = data.rules.flatMap(({ rule, colour, dash, base_lr, max_lr }) =>
        [["base rate", base_lr], ["highest rate", max_lr]].map(([bound, rate]) => ({ rule, colour, dash, bound, lr: rate })));
      return { sweep, bounds };
    }
    const looks = Object.fromEntries(data.experiments.map(({ name, title, colour, dash }) => [name, { experiment: name, title, colour, dash }]));
    if (data.rows) {
      return { ensembles: data.rows.map(([name, num_runs, num_snapshots, group, accuracy_pct]) => ({ ...looks[name], num_runs, num_snapshots, group, accuracy_pct })) };
    }
    const curves = [];
    const rates = [];
    const marks = (data.marks ?? []).map(([name, update, value]) => ({ ...looks[name], update, value }));
    for (const { name, runs, rates: set } of data.experiments) {
      for (const { seed, finished, series } of runs) {
        for (const [quantity, [updates, values]] of Object.entries(series)) {
          updates.forEach((update, i) => curves.push({
            ...looks[name], seed, finished, quantity, update, value: values[i],
            diverged_here: !finished && i === updates.length - 1,
          }));
        }
      }
      for (const [quantity, [updates, values]] of Object.entries(set)) {
        updates.forEach((update, i) => rates.push({ ...looks[name], quantity, update, value: values[i] }));
      }
    }
    return { curves, rates, marks };
  }

  /** The data of a figure; one of a paper has its curves from the campaigns. */
  function dataOf(key) {
    const data = figures[key];
    if (!data.marks) return data;
    const curvesOf = ({ of, name }) => figures[of].experiments.find((one) => one.name === name);
    return { ...data, experiments: data.experiments.map((one) => ({ ...curvesOf(one), ...one })) };
  }

  class Figure {
    constructor(node) {
      this.node = node;
      this.data = dataOf(node.dataset.figure);
      this.views = [];
      this.started = false;
      const marks = this.data.rules
        ? this.data.rules.map((one) => ({ ...one, name: one.rule, title: one.rule, on: one.rule === this.data.rule }))
        : this.data.experiments.map((one) => ({ ...one, on: true }));
      this.parameters = {
        shown: marks.filter((one) => one.on).map((one) => one.name), seeds: this.data.seeds ?? [], each: false,
      };
      this.controls(marks);
    }

    controls(marks) {
      const box = this.node.querySelector(".controls");
      const choice = (group, value, on, ...label) => {
        const input = element("input", { type: "checkbox", name: group, value, checked: on });
        return element("label", {}, input, ...label);
      };
      const what = this.data.rules ? "Rules" : "Schedules";
      const names = element("fieldset", {}, element("legend", { textContent: what }),
        ...marks.map((one) => choice("shown", one.name, one.on, swatch(one), one.title)));
      const set = (on) => { for (const input of all("input", names)) input.checked = on; this.choose(); };
      names.append(
        element("button", { type: "button", textContent: "all", onclick: () => set(true) }),
        element("button", { type: "button", textContent: "none", onclick: () => set(false) }));
      box.append(names);
      if (this.data.seeds) {
        box.append(element("fieldset", {}, element("legend", { textContent: "Seeds" }),
          ...this.data.seeds.map((seed) => choice("seeds", seed, true, String(seed))), choice("each", "", false, "each run as a thin line")));
        const from = element("input", { type: "number", name: "from", min: 0, max: this.data.end, value: 0 });
        const to = element("input", { type: "number", name: "to", min: 0, max: this.data.end, value: this.data.end });
        this.range = { from, to };
        box.append(element("fieldset", {}, element("legend", { textContent: "Updates" }),
          element("label", {}, "from", from), element("label", {}, "to", to),
          element("button", { type: "button", textContent: "whole run", onclick: () => this.zoom([0, this.data.end]) })));
      }
      box.addEventListener("change", (event) => {
        if (event.target.type === "number") this.zoom([this.range.from.valueAsNumber, this.range.to.valueAsNumber]);
        else this.choose();
      });
      box.hidden = false;
    }

    /** Show the schedules and seeds that are ticked, in every chart. */
    choose() {
      const ticked = (name) => all(`input[name="${name}"]:checked`, this.node).map((input) => input.value);
      this.parameters = { shown: ticked("shown"), seeds: ticked("seeds").map(Number), each: ticked("each").length > 0 };
      for (const view of this.views) this.set(view, this.parameters);
    }

    set(view, parameters) {
      const known = view.getState().signals;
      for (const [name, value] of Object.entries(parameters)) if (name in known) view.signal(name, value);
      view.runAsync();
    }

    /** Show the same updates in every chart; `source` is the one that was dragged to them. */
    zoom([from, to], source) {
      if (!(from < to)) return;
      this.range.from.value = Math.max(0, Math.round(from));
      this.range.to.value = Math.min(this.data.end, Math.round(to));
      for (const view of this.views) {
        view.signal("start", from).signal("end", to);
        if (view !== source) view.signal("zoom_update", null); // what it was dragged to itself
        view.runAsync();
      }
    }

    async draw() {
      if (this.started) return;
      this.started = true;
      await loadVega();
      const datasets = rowsOf(this.data);
      for (const node of all(".chart", this.node)) {
        const name = node.dataset.chart;
        const spec = structuredClone(specs[name]);
        spec.datasets = datasets;
        spec.description = node.getAttribute("aria-label");
        const values = { ...this.parameters, frame: this.data.frames[name], end: this.data.end };
        for (const param of spec.params ?? []) if (values[param.name] !== undefined) param.value = values[param.name];
        // ast: expressions are interpreted, so that the page needs no eval
        vegaEmbed(node, spec, { mode: "vega-lite", renderer: "svg", ast: true, actions: false })
          .then(({ view }) => {
            this.views.push(view);
            node.dataset.drawn = "";
            if (!this.range) return;
            view.addSignalListener("zoom_update", (_, updates) => { if (updates) this.zoom(updates, view); });
            view.addEventListener("dblclick", () => this.zoom([0, this.data.end]));
          })
          .catch((error) => { node.textContent = `This figure could not be drawn: ${error.message}`; console.error(error); });
      }
    }
  }

  const drawn = new Map();
  unpack("data-figures").then((text) => {
    figures = JSON.parse(text);
    for (const node of all("figure.interactive")) drawn.set(node, new Figure(node));
    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) drawn.get(target).draw();
    }, { rootMargin: "300px" });
    for (const node of drawn.keys()) seen.observe(node);
  });
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const box of closed) box.open = true;
    for (const figure of drawn.values()) figure.draw();
  });
  addEventListener("afterprint", () => { for (const box of closed) box.open = false; });
})();
