// Says so when the page can no longer be brought up to date, instead of silently showing old figures.
(() => {
  const indicator = document.getElementById("live-indicator");
  if (!indicator) return;
  let since = null;
  let streams = false;

  function show(works) {
    since = works ? null : since ?? new Date();
    indicator.dataset.works = String(works);
    const text = since ? `Not updating since ${since.toLocaleTimeString()}` : streams ? "Live" : "Updated every 30 s";
    if (indicator.textContent !== text) indicator.textContent = text;
  }

  // The session has ended: patient data must not stay on the screen.
  function leave() {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }

  document.addEventListener("htmx:after:request", (event) => {
    const { status } = event.detail.ctx.response;
    if (status === 401) leave();
    show(status < 400);
  });
  document.addEventListener("htmx:error", () => show(false));
  document.addEventListener("htmx:sse:after:connection", () => { streams = true; show(true); });
  document.addEventListener("htmx:sse:error", (event) => {
    if (event.detail.status === 401) leave();
    streams = false;
    // Where something between here and the node lets no stream through, pages still ask by themselves.
    show(event.detail.status !== undefined);
  });
})();
