// Draws every element with data-chart: the specification is dicom_node/web/charts.py's, the drawing Chart.js's.
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Map();

  function dataset(series, number, bars) {
    const own = ["--accent", "--blue", "--amber", "--red", "--green"].map(colour)[number % 5];
    const shade = series.quiet ? colour("--quiet") : own;
    return {
      label: series.label,
      data: bars ? series.points : series.points.map(([x, y]) => ({ x, y })),
      borderColor: shade,
      backgroundColor: shade,
      borderWidth: series.quiet ? 1 : 2,
      borderDash: series.quiet ? [4, 4] : [],
      pointRadius: series.dots ? 5 : series.points.length > 30 || series.quiet ? 0 : 3,
      showLine: !series.dots,
    };
  }

  function axis(title, spec) {
    const few = spec.labels?.length <= 6;
    return {
      title: { display: Boolean(title), text: title, color: colour("--quiet") },
      grid: { color: colour("--line") },
      // A few classes are all named, aslant if need be; of days, as many as fit.
      ticks: { color: colour("--quiet"), autoSkip: !few, maxRotation: few ? 40 : 0, autoSkipPadding: 16 },
      ...(spec.unit ? { min: 0, max: 1 } : {}),
    };
  }

  function draw(place) {
    const spec = JSON.parse(place.dataset.chart);
    const bars = Boolean(spec.labels);
    drawn.get(place)?.destroy();
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${spec.title}; its figures are in the table below.`);
    place.replaceChildren(canvas);
    const y = { ...axis(spec.y, spec), beginAtZero: true, ...(spec.share ? { min: 0, max: 1 } : {}) };
    drawn.set(place, new Chart(canvas, {
      type: bars && !spec.share ? "bar" : "line",
      data: { labels: spec.labels, datasets: spec.series.map((series, number) => dataset(series, number, bars)) },
      options: {
        animation: false,
        maintainAspectRatio: false,
        color: colour("--text"),
        spanGaps: true,
        scales: { x: bars ? axis(spec.x, { labels: spec.labels }) : { ...axis(spec.x, spec), type: "linear" }, y },
        plugins: { legend: { labels: { boxWidth: 10, boxHeight: 10, color: colour("--text") } } },
      },
    }));
  }

  function drawAll() {
    for (const [place, chart] of drawn) {
      if (!place.isConnected) { chart.destroy(); drawn.delete(place); }
    }
    for (const place of document.querySelectorAll("[data-chart]")) {
      if (!drawn.has(place)) draw(place);
    }
  }

  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:after:swap", drawAll);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [...drawn.keys()].forEach(draw));
})();
