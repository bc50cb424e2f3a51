// Saves the grid as a picture: plotly draws it anew at the size it has on the page, twice as fine for PNG.
(function () {
  "use strict";
  document.addEventListener("click", function (event) {
    const button = event.target.closest("[data-picture]");
    const plot = button && document.querySelector("#layer-head-grid .js-plotly-plot");
    if (!plot) return;
    const { width, height } = plot.getBoundingClientRect();
    const format = button.dataset.picture;
    const wanted = { format: format, width: width, height: height, scale: format === "png" ? 2 : 1 };
    window.Plotly.downloadImage(plot, { ...wanted, filename: "clsight-grid" });
  });
})();
