// From a control of the page Data set to the address: each changes its own part and leaves the others.
(function () {
  "use strict";
  const DEFAULTS = { x: "cls_self_attention", y: "entropy", group: "", layer: "0", head: "0" };

  function put(change) {
    const search = window.dash_component_api.getLayout("url").props.search || "";
    const given = new URLSearchParams(search);
    for (const [name, value] of Object.entries(change)) {
      if ((given.get(name) ?? DEFAULTS[name]) === value) continue;
      if (value === DEFAULTS[name]) given.delete(name);
      else given.set(name, value);
    }
    const wanted = "?" + given.toString().replaceAll("%2C", ",");
    if (wanted !== "?" + new URLSearchParams(search).toString().replaceAll("%2C", ",")) {
      window.dash_clientside.set_props("url", { search: wanted });
    }
  }
  const text = (name) => (value) => { if (typeof value === "string") put({ [name]: value }); };
  const number = (name) => (value) => { if (Number.isInteger(value) && value >= 0) put({ [name]: String(value) }); };

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.clsight = Object.assign(window.dash_clientside.clsight || {}, {
    putX: text("x"),
    putY: text("y"),
    putGroup: (group) => { if (typeof group === "string") put({ group: group === "all" ? "" : group.slice(1) }); },
    putLayer: number("layer"),
    putHead: number("head"),
    // The click is forgotten, so that the same head can be clicked again.
    pickHead: function (click) {
      const place = click && click.points[0].customdata;
      if (place) put({ layer: String(place[0]), head: String(place[1]) });
      return click ? null : window.dash_clientside.no_update;
    },
  });
})();
