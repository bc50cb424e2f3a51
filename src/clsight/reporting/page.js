// Draws a figure when it is first seen, and all drawn ones again when the page turns light or dark.
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = JSON.parse(document.getElementById("config").textContent);
const drawn = new Set();
function draw(place) {
  const pair = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  const figure = dark.matches ? pair.dark : pair.light;
  drawn.add(place);
  Plotly.react(place, figure.data, figure.layout, config);
}
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }
}, { rootMargin: "400px" });
document.querySelectorAll("[data-figure]").forEach((place) => seen.observe(place));
dark.addEventListener("change", () => drawn.forEach(draw));
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  document.querySelectorAll("[data-figure]").forEach((place) => { if (!drawn.has(place)) { draw(place); } });
});
