// The "scheme" store holds the color scheme that the page really has, so that figures are drawn for it: asked
// once when a page opens, then told at each change.
(function () {
  "use strict";
  const root = document.documentElement;
  const present = () => root.getAttribute("data-mantine-color-scheme") || "light";

  window.dash_clientside = window.dash_clientside || {};
  const told = { colorScheme: present };
  window.dash_clientside.clsight = Object.assign(window.dash_clientside.clsight || {}, told);

  new MutationObserver(function () {
    if (document.getElementById("page")) window.dash_clientside.set_props("scheme", { data: present() });
  }).observe(root, { attributes: true, attributeFilter: ["data-mantine-color-scheme"] });
})();
