// Draws the tokens of each element that holds them in "data-strip", as text and never as markup; draws anew
// whenever they change. A click on a token that can be chosen chooses it.
(function () {
  "use strict";

  function draw(strip) {
    const { tokens, chosen } = JSON.parse(strip.dataset.strip);
    const spans = tokens.map(function ([text, told, background, color, position]) {
      const span = document.createElement("span");
      span.className = "token";
      span.textContent = text;
      span.title = told;
      if (background) Object.assign(span.style, { backgroundColor: background, color: color });
      if (position !== undefined) span.dataset.token = position;
      if (position !== undefined && position === chosen) span.classList.add("token-chosen");
      return span;
    });
    strip.replaceChildren(...spans);
  }

  function drawAll(changes) {
    for (const change of changes) {
      if (change.type === "attributes") draw(change.target);
      for (const added of change.addedNodes) {
        if (added.nodeType !== Node.ELEMENT_NODE) continue;
        if (added.dataset.strip) draw(added);
        added.querySelectorAll("[data-strip]").forEach(draw);
      }
    }
  }

  new MutationObserver(drawAll).observe(document.documentElement, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["data-strip"],
  });
})();
