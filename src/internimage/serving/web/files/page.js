// Pictures go to the server once; scores, masks and colours are chosen here, from what it answered.

const $ = (id) => document.getElementById(id);
const LEAST = 0.05; // below it answers grow long and nobody looks
const MANY = 8; // objects, of which those that are narrower than their names go without
const FRAMES = 30; // of a video
const MODELS_AGAIN = 1000; // milliseconds until the models are asked for again while they are loaded

const models = new Map(); // name -> parameters
const entries = []; // {name, blob, url, answers: Map(model -> {json, classes, error}), item}
let current = null;

// The server

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    $("token-field").hidden = false;
    $("token").focus();
  }
  if (!response.ok) {
    const said = await response.json().catch(() => null);
    const error = new Error(said?.error?.message ?? said?.error ?? `the server says ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return response;
}

async function loadModels() {
  try {
    const index = await (await ask("v2/repository/index", { method: "POST" })).json();
    for (const { name, state } of index) {
      if (state !== "READY" || models.has(name)) continue;
      models.set(name, (await (await ask(`v2/models/${encodeURIComponent(name)}`)).json()).parameters);
      $("model").add(new Option(name, name));
    }
    if (index.some(({ state }) => state === "LOADING")) {
      say("The models are being loaded.");
      setTimeout(loadModels, MODELS_AGAIN);
    } else {
      say("");
    }
    chooseModel();
  } catch (error) {
    say(error.message);
  }
}

async function predict(entry) {
  const model = $("model").value;
  if (!model || entry.answers.has(model)) return;
  const { task } = models.get(model);
  const query = (more) => `predict?${new URLSearchParams({ model, ...more })}`;
  const body = () => ({ method: "POST", body: entry.blob, headers: { "Content-Type": "application/octet-stream" } });
  const answer = { json: null, classes: null, drawn: null, error: null };
  entry.answers.set(model, answer);
  try {
    const least = task === "detection" ? { score_threshold: LEAST } : {};
    answer.json = (await (await patiently(query(least), body)).json()).results[0];
    answer.json.image = entry.name;
    if (answer.json.regions) answer.classes = await bitmap(await patiently(query({ format: "classes" }), body));
    else if (!answer.json.objects && !answer.json.predictions)
      answer.drawn = await bitmap(await patiently(query({ format: "png" }), body));
  } catch (error) {
    answer.error = error.message;
    if (error.status === 401) entry.answers.delete(model);
  }
}

async function patiently(path, options) {
  for (;;) {
    try {
      return await ask(path, options());
    } catch (error) {
      if (error.status !== 503) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000)); // it is busy with others
    }
  }
}

const bitmap = async (response) => createImageBitmap(await response.blob(), { colorSpaceConversion: "none" });

// What is dropped

async function take(files) {
  for (const file of files) {
    if (file.type.startsWith("video/")) await takeVideo(file);
    else add(file.name || "pasted picture", file);
  }
  await work();
}

function add(name, blob) {
  const entry = { name, blob, url: URL.createObjectURL(blob), answers: new Map() };
  const item = document.createElement("li");
  const button = document.createElement("button");
  const image = document.createElement("img");
  const text = document.createElement("span");
  image.src = entry.url;
  image.alt = "";
  text.textContent = name;
  button.type = "button";
  button.append(image, text);
  button.addEventListener("click", () => show(entry));
  item.append(button);
  $("list").append(item);
  Object.assign(entry, { button, text });
  entries.push(entry);
}

async function takeVideo(file) {
  const video = Object.assign(document.createElement("video"), { muted: true, preload: "auto", src: URL.createObjectURL(file) });
  const event = (name) => new Promise((resolve, reject) => {
    video.addEventListener(name, resolve, { once: true });
    video.addEventListener("error", () => reject(new Error(`${file.name}: this browser cannot play it`)), { once: true });
  });
  try {
    if (video.readyState < 2) await event("loadeddata");
    const step = Math.max(1, video.duration / FRAMES);
    for (let time = 0; time < video.duration; time += step) {
      say(`${file.name}: taking frames, second ${Math.round(time)} of ${Math.round(video.duration)}`);
      if (time) {
        video.currentTime = time;
        await event("seeked");
      }
      const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      add(`${file.name} ${time.toFixed(1)} s`, await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95)));
    }
  } catch (error) {
    say(error.message);
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

let working = null;

function work() {
  working ??= (async () => {
    for (let done = true; done; ) {
      done = false;
      const model = $("model").value;
      const waiting = entries.filter((entry) => model && !entry.answers.has(model));
      if (waiting.length) {
        const entry = waiting.includes(current) ? current : waiting[0];
        say(`${entry.name}: looking, ${waiting.length} to go`);
        await predict(entry);
        if (!current) current = entry;
        if (entry === current) await show(entry);
        mark(entry);
        done = entry.answers.has(model);
        if (!done) return; // it wants a token
        if (waiting.length === 1) say(`${entries.length === 1 ? "1 picture" : `${entries.length} pictures`} looked at.`);
      }
    }
  })().finally(() => { working = null; });
  return working;
}

function mark(entry) {
  const answer = entry.answers.get($("model").value);
  entry.text.className = answer?.error ? "error" : "";
  entry.text.textContent = answer?.error ? `${entry.name}: ${answer.error}` : entry.name;
}

// What is seen

let shown = null; // {picture, masks: [ImageBitmap or null]} of the current entry and model

async function show(entry) {
  current = entry;
  for (const one of entries) one.button.setAttribute("aria-current", String(one === entry));
  const answer = entry.answers.get($("model").value);
  $("result").hidden = !answer?.json;
  if (answer?.error) say(`${entry.name}: ${answer.error}`);
  if (!answer?.json) return work();
  const picture = answer.drawn ?? (await createImageBitmap(entry.blob, { imageOrientation: "from-image" }));
  const masks = (answer.json.objects ?? []).map(maskOf);
  if (current !== entry) return;
  shown = { entry, answer, picture, masks };
  const objects = answer.json.objects;
  $("threshold-field").hidden = !objects;
  $("masks-field").hidden = !masks.some(Boolean);
  $("opacity-field").hidden = !answer.classes && !masks.some(Boolean);
  $("save-coco").hidden = !objects && !answer.json.regions;
  draw();
}

const colour = (index) => `rgb(${channels(index).join(" ")})`;

function channels(index) {
  const { colours } = models.get($("model").value);
  return colours[index] ?? made(index);
}

// A colour for each object where there is one class, as the package makes them; neighbouring numbers differ most.
function made(index) {
  const hue = 360 * ((0.58 + index * 0.618033988749895) % 1), light = [0.48, 0.62, 0.38][Math.floor(index / 12) % 3];
  const part = (n) => {
    const k = (n + hue / 30) % 12, amount = 0.85 * Math.min(light, 1 - light);
    return Math.round(255 * (light - amount * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

function maskOf(object) {
  if (!object.segmentation) return null;
  const { size: [height, width], counts } = object.segmentation;
  const [left, top, right, bottom] = [0, 1, 2, 3].map((i) =>
    Math.min(i % 2 ? height : width, Math.max(0, i < 2 ? Math.floor(object.box[i]) - 1 : Math.ceil(object.box[i]) + 1)));
  if (right <= left || bottom <= top) return null;
  const pixels = new ImageData(right - left, bottom - top);
  const [red, green, blue] = channels(several() ? object.index : shownIndex(object));
  let at = 0;
  counts.forEach((run, number) => {
    if (number % 2)
      for (let place = at; place < at + run; place++) {
        const x = Math.floor(place / height), y = place % height; // column by column
        if (x >= left && x < right && y >= top && y < bottom)
          pixels.data.set([red, green, blue, 255], 4 * ((y - top) * (right - left) + x - left));
      }
    at += run;
  });
  const canvas = Object.assign(document.createElement("canvas"), { width: right - left, height: bottom - top });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return { canvas, left, top };
}

const several = () => models.get($("model").value).labels.length > 1;
const shownIndex = (object) => current.answers.get($("model").value).json.objects.indexOf(object);
const objectColour = (object, place) => colour(several() ? object.index : place);

function kept() {
  const least = Number($("threshold").value);
  return shown.answer.json.objects.map((object, place) => ({ object, place })).filter(({ object }) => object.score >= least);
}

function draw() {
  const { answer, picture, masks, entry } = shown;
  const canvas = $("canvas");
  Object.assign(canvas, { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const opacity = Number($("opacity").value);
  if (answer.classes) {
    context.globalAlpha = opacity;
    context.drawImage(answer.classes, 0, 0);
    context.globalAlpha = 1;
  }
  if (answer.json.objects) {
    const line = Math.max(2, Math.round(Math.max(canvas.width, canvas.height) / 400));
    const found = kept();
    for (const { object, place } of found.reverse()) {
      const [x1, y1, x2, y2] = object.box;
      if (masks[place] && $("masks").checked) {
        context.globalAlpha = opacity;
        context.drawImage(masks[place].canvas, masks[place].left, masks[place].top);
        context.globalAlpha = 1;
      }
      context.lineWidth = line;
      context.strokeStyle = objectColour(object, place);
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
      const text = `${object.label} ${Math.round(100 * object.score)}%`;
      label(context, text, x1, y1, objectColour(object, place), 6 * line, found.length > MANY ? x2 - x1 : Infinity);
    }
  }
  describe(entry, answer);
}

function label(context, text, x, y, background, size, most) {
  context.font = `600 ${Math.max(12, size)}px system-ui, sans-serif`;
  const height = Math.max(12, size) * 1.3, width = context.measureText(text).width + height / 2;
  if (width > most) return; // among many it would hide others
  const top = y < height ? y : y - height;
  context.fillStyle = background;
  context.fillRect(x, top, width, height);
  context.fillStyle = "#fff";
  context.textBaseline = "middle";
  context.fillText(text, x + height / 4, top + height / 2);
}

// The same in words and numbers, for everyone and for those who do not see the picture

function describe(entry, { json, error }) {
  let text, head, rows;
  if (json.objects) {
    const found = kept();
    const counts = new Map();
    for (const { object } of found) counts.set(object.label, (counts.get(object.label) ?? 0) + 1);
    text = `${found.length} ${found.length === 1 ? "object" : "objects"}${found.length ? ": " : ""}${[...counts].map(([name, count]) => `${count} ${name}`).join(", ")}`;
    head = ["Object", "Score", "Left", "Top", "Right", "Bottom"];
    rows = found.map(({ object, place }) => [
      [objectColour(object, place), object.label], percent(object.score), ...object.box.map((value) => value.toFixed(0))]);
  } else if (json.regions) {
    text = json.regions.slice(0, 3).map((one) => `${one.label} ${percent(one.share)}`).join(", ");
    head = ["Class", "Share", "Pixels", "Confidence"];
    rows = json.regions.map((one) => [[colour(one.index), one.label], percent(one.share), one.pixels, percent(one.confidence)]);
  } else if (json.predictions) {
    text = json.predictions.length ? `${json.predictions[0].label}, ${percent(json.predictions[0].score)}` : "";
    head = ["Class", "Probability", ""];
    rows = json.predictions.map((one) => [one.label, percent(one.score), one.score]);
  } else {
    text = json.caption ?? "";
    head = ["", ""];
    rows = Object.entries(json).filter(([, value]) => value === null || typeof value !== "object").map(([name, value]) => [name, value]);
  }
  $("canvas").setAttribute("aria-label", `${entry.name}: ${text}`);
  $("caption").textContent = text;
  $("table-caption").textContent = entry.name;
  $("table").tHead.replaceChildren(row("th", head));
  $("table").tBodies[0].replaceChildren(...rows.map((cells) => row("td", cells)));
}

function row(kind, cells) {
  const line = document.createElement("tr");
  cells.forEach((cell, place) => {
    const element = document.createElement(kind);
    if (kind === "th") element.scope = "col";
    if (Array.isArray(cell)) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = cell[0];
      element.append(swatch, cell[1]);
    } else if (kind === "td" && place === 2 && cells.length === 3) {
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.style.width = percent(cell);
      element.append(bar);
    } else {
      element.textContent = cell;
    }
    line.append(element);
  });
  return line;
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;
const say = (text) => { $("status").textContent = text; };

// Controls

function chooseModel() {
  const about = models.get($("model").value);
  $("about").textContent = about ? `${about.noun}, ${about.labels.length === 1 ? "1 class" : `${about.labels.length} classes`}, ${about.runtime}` : "";
  if (current) show(current);
  entries.forEach(mark);
  work();
}

function save(name, blob) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const stem = () => shown.entry.name.replace(/\.[^.]*$/, "");

$("model").addEventListener("change", chooseModel);
$("token").addEventListener("change", loadModels);
$("files").addEventListener("change", (event) => { take([...event.target.files]); event.target.value = ""; });
$("threshold").addEventListener("input", () => {
  $("threshold-value").textContent = Number($("threshold").value).toFixed(2);
  draw();
});
$("masks").addEventListener("change", draw);
$("opacity").addEventListener("input", draw);
$("save-json").addEventListener("click", () => {
  const json = { ...shown.answer.json };
  if (json.objects) json.objects = kept().map(({ object }) => object);
  save(`${stem()}.json`, new Blob([JSON.stringify(json, null, 2)], { type: "application/json" }));
});
$("save-coco").addEventListener("click", async () => {
  const form = new FormData();
  form.append("file", shown.entry.blob, shown.entry.name);
  const detector = Boolean(shown.answer.json.objects);
  const query = new URLSearchParams({ model: $("model").value, format: "coco", ...(detector ? { score_threshold: $("threshold").value } : {}) });
  try {
    save(`${stem()}.coco.json`, await (await ask(`predict?${query}`, { method: "POST", body: form })).blob());
  } catch (error) {
    say(error.message);
  }
});
$("save-picture").addEventListener("click", () => $("canvas").toBlob((blob) => save(`${stem()}.png`, blob)));
document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const name of ["dragleave", "drop"])
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => take([...event.dataTransfer.files]));

loadModels();
