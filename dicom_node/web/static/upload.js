// Sends the labelled images of a form, with their paths, and says what the checks made of them.
(() => {
  async function send(form) {
    const said = form.querySelector(".said");
    const button = form.querySelector("button");
    const body = new FormData();
    for (const input of form.querySelectorAll("input[type=file]")) {
      for (const file of input.files) body.append("files", file, file.webkitRelativePath || file.name);
    }
    if (!body.has("files")) { said.textContent = "Choose a zip, images or a folder first."; return; }
    body.append("name", form.elements.name.value);
    said.textContent = "Uploading and checking; this can take minutes.";
    button.disabled = true;
    try {
      const answer = await fetch(form.dataset.upload, { method: "POST", body, headers: { "X-CSRF-Token": form.dataset.token } });
      const content = await answer.json();
      said.dataset.refused = String(!answer.ok);
      if (!answer.ok) { said.textContent = `Refused. ${content.detail}`; return; }
      const count = Object.values(content.images).flatMap(Object.values).reduce((sum, number) => sum + number, 0);
      said.textContent = [`Taken: ${count} images.`, ...content.notes].join(" ");
      form.reset();
    } catch {
      said.dataset.refused = "true";
      said.textContent = "The node did not answer. Try again.";
    } finally {
      button.disabled = false;
    }
  }

  document.addEventListener("submit", (event) => {
    if (!event.target.dataset.upload) return;
    event.preventDefault();
    send(event.target);
  });
})();
