// From a control to the address, in the browser: each action changes the newest selection, so that none is
// lost however fast they come. The views follow the address, one at a time: while one is asked for, only the
// newest of the addresses that come meanwhile waits for its turn.
(function () {
  "use strict";
  const KEEP = () => window.dash_clientside.no_update;
  const STEPS = { ArrowUp: ["layer", -1], ArrowDown: ["layer", 1], ArrowLeft: ["head", -1], ArrowRight: ["head", 1] };
  const DIRECTIONS = ["attends_to", "attended_by"];
  const known = {}; // model -> how many layers and heads it has, as the server told
  let chosen = null; // a model that was chosen, until the server has told its layers and heads
  let typed = false; // whether a value of the example field is the user's, and not the address's

  const property = (id, name) => window.dash_component_api.getLayout(id).props[name];
  const clamped = (index, count) => Math.max(0, count ? Math.min(index, count - 1) : index);

  // The selection of an address; the first view where the address tells none.
  function selectionOf(search, catalog) {
    const first = { model: catalog.first, sample: 0, direction: DIRECTIONS[0], layer: 0, head: 0 };
    const given = new URLSearchParams(search || "");
    const told = { ...first };
    for (const name of Object.keys(first)) if (given.get(name)) told[name] = given.get(name);
    const whole = ["sample", "layer", "head"].every((name) => /^\d{1,9}$/.test(String(told[name])));
    const there = Object.hasOwn(catalog.samples, told.model) && DIRECTIONS.includes(told.direction);
    if (!whole || !there) return first;
    return { ...told, sample: Number(told.sample), layer: Number(told.layer), head: Number(told.head) };
  }

  function go(change) {
    const catalog = property("catalog", "data");
    const now = selectionOf(property("url", "search"), catalog);
    const wanted = { ...now, ...change(now) };
    if (Object.keys(now).every((name) => wanted[name] === now[name])) return;
    const sizes = known[wanted.model] || {};
    wanted.sample = clamped(wanted.sample, catalog.samples[wanted.model]);
    wanted.layer = clamped(wanted.layer, sizes.layers);
    wanted.head = clamped(wanted.head, sizes.heads);
    const search = "?" + new URLSearchParams(wanted);
    if (search !== property("url", "search")) window.dash_clientside.set_props("url", { search: search });
  }

  const follow = {
    // What the controls show for an address, and no message of the view before.
    controls: function (search, catalog) {
      if (typeof search !== "string") return Array(6).fill(KEEP()); // the address is not read yet
      const now = selectionOf(search, catalog);
      const samples = catalog.samples[now.model];
      typed = false;
      return [chosen || now.model, clamped(now.sample, samples), samples - 1, catalog.labels[now.model], now.direction, null];
    },
    links: (pathname, search, ...links) => links.flatMap(function (link) {
      const path = link.split("?")[0];
      return [path + (search || ""), path === pathname ? "nav-here" : "nav-link"];
    }),
    view: (search, busy, shown) => (busy || typeof search !== "string" || search === shown ? KEEP() : search),
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
      if (typed && Number.isInteger(sample) && sample >= 0) go(() => ({ sample: sample }));
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
      go(() => ({ layer: Math.round(click.points[0].y), head: Math.round(click.points[0].x) }));
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
    if (by) go((now) => ({ sample: now.sample + by }));
  });
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.clsight = Object.assign(window.dash_clientside.clsight || {}, follow);
})();
