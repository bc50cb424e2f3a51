// From a control to the address, in the browser: each action changes the newest selection, so that none is
// lost however fast they come. The views follow the address, one at a time: while one is asked for, only the
// newest of the addresses that come meanwhile waits for its turn.
(function () {
  "use strict";
  const KEEP = () => window.dash_clientside.no_update;
  const STEPS = { ArrowUp: ["layer", -1], ArrowDown: ["layer", 1], ArrowLeft: ["head", -1], ArrowRight: ["head", 1] };
  const DIRECTIONS = ["attends_to", "attended_by"];
  // What a link tells only where it is not empty.
  const FURTHER = ["measure", "text", "second", "given", "edited", "token", "inside", "words"];
  const EXAMPLE = { text: "", second: "", given: "", edited: "", token: "" };
  const HEAD = ["layer", "head", "edited", "token", "inside", "words"]; // what the grid does not depend on
  const REACH = 0.48; // half the side of the outline, as figures draw it
  const known = {}; // model -> how many layers and heads it has, as the server told
  let chosen = null; // a model that was chosen, until the server has told its layers and heads
  let typed = false; // whether a value of the example field is the user's, and not the address's

  const property = (id, name) => window.dash_component_api.getLayout(id).props[name];
  const clamped = (index, count) => Math.max(0, count ? Math.min(index, count - 1) : index);

  // The selection of an address; the first view where the address tells none.
  function selectionOf(search, catalog) {
    const first = { model: catalog.first, sample: 0, direction: DIRECTIONS[0], layer: 0, head: 0 };
    for (const name of FURTHER) first[name] = "";
    const given = new URLSearchParams(search || "");
    const told = { ...first };
    for (const name of Object.keys(first)) if (given.get(name)) told[name] = given.get(name);
    const whole = ["sample", "layer", "head"].every((name) => /^\d{1,9}$/.test(String(told[name])));
    const there = Object.hasOwn(catalog.samples, told.model) && DIRECTIONS.includes(told.direction);
    if (!whole || !there) return first;
    return { ...told, sample: Number(told.sample), layer: Number(told.layer), head: Number(told.head) };
  }

  function queryOf(selection) {
    const told = Object.entries(selection).filter(([name, value]) => !FURTHER.includes(name) || value !== "");
    return "?" + new URLSearchParams(told);
  }

  // Move the outline of the grid to the selected head, without asking the server.
  function outline() {
    const plot = document.querySelector("#layer-head-grid .js-plotly-plot");
    const shape = plot && plot.layout && (plot.layout.shapes || [])[0];
    if (!shape) return;
    const now = selectionOf(property("url", "search"), property("catalog", "data"));
    const x = (plot.layout.meta || {}).column === "" ? 0 : now.head, y = now.layer;
    const wanted = { x0: x - REACH, x1: x + REACH, y0: y - REACH, y1: y + REACH };
    if (Object.keys(wanted).every((side) => Math.abs(shape[side] - wanted[side]) < 1e-6)) return;
    move(plot, wanted);
  }

  // Not by Plotly.relayout: it draws all tiles again, and Dash answers its event by drawing them once more.
  function move(plot, wanted) {
    const { shapes, xaxis, yaxis } = plot._fullLayout;
    for (const shape of [plot.layout.shapes[0], shapes[0]]) Object.assign(shape, wanted);
    const [left, right] = [wanted.x0, wanted.x1].map((x) => xaxis._offset + xaxis.l2p(x));
    const [top, bottom] = [wanted.y0, wanted.y1].map((y) => yaxis._offset + yaxis.l2p(y));
    const path = plot.querySelector('.shapelayer path[data-index="0"]');
    if (path) path.setAttribute("d", `M${left},${top}H${right}V${bottom}H${left}Z`);
  }

  // What the page of the grid shows without asking the server: the outline, and the name of the measure.
  function showGrid() {
    if (!document.getElementById("measure")) return;
    const now = selectionOf(property("url", "search"), property("catalog", "data"));
    const measure = now.measure || "weights";
    if (property("measure", "value") !== measure) window.dash_clientside.set_props("measure", { value: measure });
    outline();
  }

  function go(change) {
    const catalog = property("catalog", "data");
    const now = selectionOf(property("url", "search"), catalog);
    const wanted = { ...now, ...change(now) };
    if (Object.keys(now).every((name) => wanted[name] === now[name])) return;
    const sizes = known[wanted.model] || {};
    if (catalog.takes[wanted.model] !== catalog.takes[now.model]) Object.assign(wanted, EXAMPLE);
    wanted.sample = clamped(wanted.sample, catalog.samples[wanted.model]);
    wanted.layer = clamped(wanted.layer, sizes.layers);
    wanted.head = clamped(wanted.head, sizes.heads);
    const search = queryOf(wanted);
    if (search !== property("url", "search")) window.dash_clientside.set_props("url", { search: search });
  }

  const follow = {
    // What the controls show for an address, and no message of the view before.
    controls: function (search, catalog) {
      if (typeof search !== "string") return Array(9).fill(KEEP()); // the address is not read yet
      const now = selectionOf(search, catalog);
      const samples = catalog.samples[now.model];
      typed = false;
      showGrid();
      const own = "own-input takes-" + catalog.takes[now.model];
      const model = chosen || now.model;
      const shown = [model === property("model", "value") ? KEEP() : model, clamped(now.sample, samples), samples - 1, catalog.labels[now.model]];
      return [...shown, now.direction, null, now.text, now.second, own];
    },
    links: (pathname, search, ...links) => links.flatMap(function (link) {
      const path = link.split("?")[0];
      return [path + (search || ""), path === pathname ? "nav-here" : "nav-link"];
    }),
    view: (search, busy, shown) => (busy || typeof search !== "string" || search === shown ? KEEP() : search),
    gridView: function (search, shown) {
      if (typeof search !== "string") return KEEP();
      const given = new URLSearchParams(search);
      for (const name of HEAD) given.delete(name);
      const wanted = "?" + given;
      return wanted === shown ? KEEP() : wanted;
    },
    gridDrawn: function () {
      const plot = document.querySelector("#layer-head-grid .js-plotly-plot");
      if (plot && plot.on && !plot.dataset.outlined) {
        plot.dataset.outlined = "yes";
        plot.on("plotly_afterplot", outline); // a figure that was asked for before the last key comes after it
      }
      showGrid();
      return KEEP();
    },
    text: function (text, second) {
      go((now) => {
        if (text === now.text && (!text || second === now.second)) return {};
        return { ...EXAMPLE, text: text || "", second: text ? second || "" : "" };
      });
    },
    given: function (given) {
      if (given) go(() => ({ ...EXAMPLE, given: given }));
    },
    edited: function (edited) {
      if (typeof edited === "string") go(() => ({ edited: edited }));
    },
    words: function (merge) {
      if (typeof merge === "boolean") go(() => ({ words: merge ? "1" : "" }));
    },
    inside: function (shown) {
      if (typeof shown === "boolean") go(() => (shown ? { inside: "1" } : { inside: "", token: "" }));
    },
    token: function (token) {
      if (Number.isInteger(token) && token >= 0) go(() => ({ token: String(token) }));
    },
    acknowledge: function (read, models) {
      const model = selectionOf(property("url", "search"), property("catalog", "data")).model;
      const others = (models || []).filter((name) => name !== model);
      return read ? [...others, model] : others;
    },
    measure: function (measure) {
      if (measure) go(() => ({ measure: measure === "weights" ? "" : measure }));
    },
    model: function (model) {
      const now = selectionOf(property("url", "search"), property("catalog", "data")).model;
      chosen = model !== now && !known[model] ? model : null;
      if (chosen === null) go(() => ({ model: model }));
    },
    limits: function (limits) {
      if (limits) known[limits.model] = limits;
      if (!limits || limits.model !== chosen) return;
      chosen = null;
      go(() => ({ model: limits.model }));
    },
    sample: function (sample) {
      if (typed && Number.isInteger(sample) && sample >= 0) go((now) => (sample === now.sample ? {} : { ...EXAMPLE, sample: sample }));
    },
    direction: function (direction) {
      go(() => ({ direction: direction }));
    },
    layer: function (layer) {
      go(() => ({ layer: Number(layer) }));
    },
    // Tiles stand around whole numbers. The click is forgotten, so that the same tile can be clicked again.
    tile: function (click) {
      if (!click) return KEEP();
      const { x, y } = click.points[0];
      const { row, column } = property("layer-head-grid", "figure").layout.meta || { row: "layer", column: "head" };
      go(() => ({ ...(row === "layer" && { layer: Math.round(y) }), ...(column === "head" && { head: Math.round(x) }) }));
      return null;
    },
  };

  window.clsight = {
    // Move the selected head by an arrow key, within the grid.
    press: function (key) {
      const [name, by] = STEPS[key];
      go((now) => (known[now.model] ? { [name]: now[name] + by } : {}));
    },
  };
  const mark = (event) => { if (event.target.id === "example") typed = true; };
  document.addEventListener("input", mark, true);
  document.addEventListener("keydown", mark, true);
  document.addEventListener("click", function (event) {
    const by = event.target.closest("#next-example") ? 1 : event.target.closest("#previous-example") ? -1 : 0;
    if (by) go((now) => ({ ...EXAMPLE, sample: now.sample + by }));
    const token = event.target.closest("[data-token]");
    if (token) go(() => ({ token: token.dataset.token, inside: "1" }));
  });
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.clsight = Object.assign(window.dash_clientside.clsight || {}, follow);
})();
