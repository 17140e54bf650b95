// Says so when the page can no longer be brought up to date, instead of silently showing old figures.
(() => {
  const indicator = document.getElementById("live-indicator");
  if (!indicator) return;
  let since = null;

  function show(works) {
    if (works === (since === null)) return;
    since = works ? null : new Date();
    indicator.dataset.works = String(works);
    indicator.textContent = works ? "Live" : `Not updating since ${since.toLocaleTimeString()}`;
  }

  document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail.ctx.response.status;
    // The session has ended: patient data must not stay on the screen.
    if (status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    show(status < 400);
  });
  document.addEventListener("htmx:error", () => show(false));
})();
