// Gathers dropped or chosen files, folders too, sends them, and shows the answer.
(() => {
  const form = document.getElementById("try");
  if (!form) return;
  const said = form.querySelector("[data-chosen]");
  const drop = form.querySelector("[data-drop]");
  const answerPlace = document.getElementById("tried");
  let chosen = [];

  function choose(files) {
    chosen = files;
    const megabytes = files.reduce((sum, { file }) => sum + file.size, 0) / 1048576;
    said.textContent = files.length === 1 ? `${files[0].path}, ${megabytes.toFixed(1)} MB` : `${files.length} files, ${megabytes.toFixed(1)} MB`;
  }

  const readAll = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));

  async function walk(entry) {
    if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path: entry.fullPath.slice(1) }];
    const reader = entry.createReader();
    const found = [];
    for (let part = await readAll(reader); part.length; part = await readAll(reader)) found.push(...part);
    return (await Promise.all(found.map(walk))).flat();
  }

  for (const input of form.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => choose([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }))));
  }
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.dataset.over = "true"; });
  }
  drop.addEventListener("dragleave", () => { drop.dataset.over = "false"; });
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    drop.dataset.over = "false";
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    choose((await Promise.all(entries.map(walk))).flat());
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!chosen.length) { said.textContent = "Choose a file or a folder first."; return; }
    const body = new FormData();
    body.append("model", form.elements.model.value);
    if (form.elements.keep.checked) body.append("keep", "yes");
    for (const { file, path } of chosen) body.append("files", file, path);
    const button = form.querySelector("button");
    button.disabled = true;
    button.textContent = "Reading…";
    try {
      const answer = await fetch("/try", { method: "POST", body, headers: { "X-CSRF-Token": form.dataset.token, "HX-Request": "true" } });
      if (answer.status === 401) { location.assign("/login?next=/try"); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const shown = answer.ok ? [...page.body.childNodes] : [page.querySelector("main") ?? page.body];
      answerPlace.replaceChildren(...shown);
    } catch {
      answerPlace.textContent = "The node did not answer, or refused so large a request. Try again with less.";
    } finally {
      button.disabled = false;
      button.textContent = "Read";
    }
  });
})();
