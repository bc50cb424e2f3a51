// Arrow keys move the selected head. The page learns of a key through the "key-press" store; keys typed
// into a control stay with that control.
(function () {
  "use strict";
  const ARROWS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"];
  const OWN_KEYS = "input, textarea, select, [contenteditable], [role=radiogroup], [role=listbox], [role=option]";

  document.addEventListener("keydown", function (event) {
    const modified = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
    if (modified || !ARROWS.includes(event.key) || event.target.closest(OWN_KEYS)) return;
    if (!document.getElementById("layer-head-grid")) return;
    event.preventDefault();
    window.dash_clientside.set_props("key-press", { data: { key: event.key, at: event.timeStamp } });
  });
})();
