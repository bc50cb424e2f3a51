// Arrow keys move the selected head; keys typed into a control stay with that control.
(function () {
  "use strict";
  const ARROWS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"];
  const OWN_KEYS = "input, textarea, select, [contenteditable], [role=radiogroup], [role=listbox], [role=option]";

  document.addEventListener("keydown", function (event) {
    const modified = event.ctrlKey || event.metaKey || event.altKey || event.shiftKey;
    if (modified || !ARROWS.includes(event.key) || event.target.closest(OWN_KEYS)) return;
    if (!document.getElementById("layer-head-grid")) return;
    event.preventDefault();
    window.clsight.press(event.key);
  });
})();
