// A drawing is kept as strokes and as cells, reduced to the images that the models take, and sent
// to the models that are chosen, which answer while it grows.
"use strict";

const ASK_AFTER_MS = 60;
const SPEAK_AFTER_MS = 600;
const RETRY_AFTER_MS = 2000;
const COPIED_MS = 2000; // how long a button says so
const STROKE_CELLS = 1.4; // about as thick as the strokes of the digits that models learn from
const WIDTH_SHARE = 0.75; // those digits fill the height of their images, and of the width this
const LARGEST_SCALE = 4; // of a small drawing; a dot stays one
const DETAIL = 16; // pixels along a cell, of which its ink is the mean
const HASH = /([0-9a-f]{12})[0-9a-f]{20,}/; // and how much of it is shown
const LABELS = { // in this order; what is not here comes behind, under its own name
    run: "W&B run", git: "Code", data: "Data", config: "Config", lock: "Lock (uv.lock)", image: "Image",
};

const pad = document.querySelector("#pad");
const seen = document.querySelector("#seen");
const gallery = document.querySelector("#gallery");
const panels = [];

let shape = [8, 8]; // rows and columns of the images
let strokes = []; // lists of points [x, y], in cells from the upper left corner
let cells = null; // ink of each cell, 0 to 1, that a sample or the keyboard put there
let cursor = [0, 0]; // row, column

// ---- From a drawing to an image

// The ink of each cell, 0 to 1, row by row.
function ink() {
    const drawn = averaged(cells ? strokes : fitted(strokes));
    return cells ? drawn.map((value, index) => Math.max(value, cells[index])) : drawn;
}

// Strokes moved and stretched to where the digits of the data are.
function fitted(lines) {
    const points = lines.flat();
    if (!points.length) return lines;
    const [rows, columns] = shape;
    const [left, right] = extent(points.map((point) => point[0]));
    const [top, bottom] = extent(points.map((point) => point[1]));
    const tall = (rows - STROKE_CELLS) / Math.max(bottom - top, 0.01);
    const wide = (WIDTH_SHARE * columns - STROKE_CELLS) / Math.max(right - left, 0.01);
    const down = Math.min(tall, LARGEST_SCALE);
    const across = Math.min(wide, down);
    return lines.map((line) => line.map(([x, y]) => [
        columns / 2 + across * (x - (left + right) / 2),
        rows / 2 + down * (y - (top + bottom) / 2),
    ]));
}

function extent(values) {
    return [Math.min(...values), Math.max(...values)];
}

// Strokes as the mean ink of each cell.
function averaged(lines) {
    const [rows, columns] = shape;
    const canvas = new OffscreenCanvas(columns * DETAIL, rows * DETAIL);
    const context = canvas.getContext("2d", {willReadFrequently: true});
    trace(context, lines, DETAIL);
    const {data, width} = context.getImageData(0, 0, canvas.width, canvas.height);
    const sums = new Array(rows * columns).fill(0);
    for (let pixel = 0; pixel < data.length / 4; pixel++) {
        const row = Math.floor(pixel / width / DETAIL);
        const column = Math.floor((pixel % width) / DETAIL);
        sums[row * columns + column] += data[4 * pixel + 3];
    }
    return sums.map((sum) => sum / 255 / DETAIL ** 2);
}

function trace(context, lines, scale) {
    context.lineWidth = STROKE_CELLS * scale;
    context.lineCap = context.lineJoin = "round";
    for (const line of lines) {
        context.beginPath();
        context.moveTo(line[0][0] * scale, line[0][1] * scale);
        // A line of no length would not be drawn.
        for (const [x, y] of line) context.lineTo(x * scale + 0.01, y * scale);
        context.stroke();
    }
}

// ---- Showing the drawing

function paint() {
    const context = pad.getContext("2d");
    const [rows, columns] = shape;
    const scale = pad.width / columns;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name);
    context.clearRect(0, 0, pad.width, pad.height);
    const thin = pad.width / (pad.clientWidth || pad.width); // a pixel of the page
    context.fillStyle = colour("--line"); // the grid lies under the ink
    for (let column = 1; column < columns; column++) {
        context.fillRect(column * scale, 0, thin, pad.height);
    }
    for (let row = 1; row < rows; row++) context.fillRect(0, row * scale, pad.width, thin);
    context.fillStyle = context.strokeStyle = colour("--text");
    if (cells) paintCells(context, cells, scale);
    trace(context, strokes, scale);
    if (pad.matches(":focus-visible")) {
        context.lineWidth = 6;
        context.strokeStyle = colour("--accent");
        context.strokeRect(cursor[1] * scale + 4, cursor[0] * scale + 4, scale - 8, scale - 8);
    }
    paintImage(seen, ink());
}

function paintImage(canvas, values) {
    [canvas.height, canvas.width] = shape;
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--text");
    paintCells(context, values, 1);
}

function paintCells(context, values, scale) {
    values.forEach((value, index) => {
        const row = Math.floor(index / shape[1]);
        context.globalAlpha = value;
        context.fillRect((index % shape[1]) * scale, row * scale, scale, scale);
    });
    context.globalAlpha = 1;
}

// ---- Drawing

function replace(newStrokes, newCells) {
    strokes = newStrokes;
    cells = newCells;
    changed();
}

let asking = 0;
function changed() {
    paint();
    for (const button of gallery.querySelectorAll("button")) button.ariaPressed = "false";
    if (asking) return; // a drawing that grows is asked about at intervals, not only at its end
    asking = setTimeout(() => {
        asking = 0;
        for (const panel of panels) panel.ask();
    }, ASK_AFTER_MS);
}

function position(event) {
    const box = pad.getBoundingClientRect();
    return [
        (event.clientX - box.left) / box.width * shape[1],
        (event.clientY - box.top) / box.height * shape[0],
    ];
}

pad.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pad.setPointerCapture(event.pointerId);
    strokes.push([position(event)]);
    changed();
});
pad.addEventListener("pointermove", (event) => {
    if (!pad.hasPointerCapture(event.pointerId)) return;
    const passed = event.getCoalescedEvents();
    strokes.at(-1).push(...(passed.length ? passed : [event]).map(position));
    changed();
});

const MOVES = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
pad.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault(); // the page would scroll
    if (move) {
        cursor = cursor.map((at, axis) => Math.min(Math.max(at + move[axis], 0), shape[axis] - 1));
        paint();
    }
    const index = cursor[0] * shape[1] + cursor[1];
    if (!move) {
        const values = ink();
        values[index] = values[index] > 0 ? 0 : 1;
        replace([], values);
    }
    const inked = ink()[index] > 0 ? "ink" : "empty";
    document.querySelector("#where").textContent =
        `row ${cursor[0] + 1}, column ${cursor[1] + 1}, ${inked}`;
});
pad.addEventListener("focus", paint);
pad.addEventListener("blur", paint);
document.querySelector("#clear").addEventListener("click", () => replace([], null));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    paint();
    panels[0]?.showSamples();
});

// ---- Asking

// What may be over soon: it is worth asking again.
class PassingError extends Error {}

// The JSON of an answer. Raises an error whose message is for the reader.
async function get(url, options) {
    let response;
    try {
        response = await fetch(url, options);
    } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new PassingError("The web application cannot be reached.");
    }
    if (response.ok) return response.json();
    if (response.status === 429) throw new PassingError("The queue is full: too many ask at once.");
    if (response.status === 503) throw new PassingError("The model's service is down.");
    if (response.status === 504) throw new PassingError("The model took too long.");
    throw new Error((await response.json()).error);
}

// Names a request from here to the log of the model's service.
function requestId() {
    const bytes = crypto.getRandomValues(new Uint8Array(8));
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function element(name, className, text = "") {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
}

function percent(share) {
    return `${(100 * share).toFixed(1)} %`;
}

// A model's answer to what is drawn.
class Panel {
    constructor(names, name) {
        const content = document.querySelector("#panel").content.cloneNode(true);
        this.root = content.firstElementChild;
        this.select = this.part("select");
        this.select.append(...names.map((each) => new Option(each, each, false, each === name)));
        this.select.addEventListener("change", () => this.load());
        if (names.length === 1) this.part("h2").textContent = `Model: ${name}`; // nothing to choose
        document.querySelector("#panels").append(this.root);
    }

    part(selector) {
        return this.root.querySelector(selector);
    }

    get url() {
        return `v2/models/${encodeURIComponent(this.select.value)}`;
    }

    // Run a request; a newer one ends it. What goes wrong is said; what may pass is tried again.
    async attempt(request) {
        this.running?.abort();
        clearTimeout(this.retry);
        const running = this.running = new AbortController();
        try {
            await request(running.signal);
        } catch (error) {
            if (error.name === "AbortError") return;
            this.show([]);
            if (error instanceof PassingError) {
                this.say(`${error.message} Trying again…`, "problem");
                const again = () => this.metadata ? this.ask() : this.load();
                this.retry = setTimeout(again, RETRY_AFTER_MS);
            } else {
                this.say(error.message, "problem");
            }
        }
    }

    async load() {
        this.metadata = null;
        await this.attempt(async (signal) => {
            this.seen = new Map();
            this.version = null;
            this.metadata = await this.describe(signal);
            this.showModel();
        });
        if (this.metadata) await this.ask();
    }

    // The metadata of the version that answers; while a canary runs, two of them take turns, and
    // it can be that of the other one.
    async describe(signal) {
        if (!this.seen.has(this.version)) {
            const metadata = await get(this.url, {signal});
            this.seen.set(metadata.versions[0], metadata);
            this.version ??= metadata.versions[0];
            return this.seen.get(this.version) ?? metadata;
        }
        return this.seen.get(this.version);
    }

    async ask() {
        if (!this.metadata) return; // until it is there, load() tries again
        const {inputs: [input], parameters: {max_value: maximum}} = this.metadata;
        const wanted = input.shape.slice(1);
        if (wanted.join() !== shape.join()) {
            this.say(`This model takes images of ${wanted.join(" × ")}, not ${shape.join(" × ")}.`, "problem");
            this.show([]);
            return;
        }
        const data = ink().map((value) => Math.round(value * maximum));
        if (!data.some(Boolean)) {
            this.running?.abort();
            clearTimeout(this.retry);
            this.say("Nothing is drawn yet.", "idle");
            this.show([]);
            return;
        }
        const {name, datatype} = input;
        const tensor = {name, datatype, shape: [1, ...wanted], data};
        await this.attempt(async (signal) => {
            const started = performance.now();
            const id = requestId();
            const body = JSON.stringify({id, inputs: [tensor]});
            const headers = {"content-type": "application/json", "x-request-id": id};
            const answer = await get(`${this.url}/infer`, {method: "POST", body, headers, signal});
            this.milliseconds = performance.now() - started;
            this.version = answer.model_version;
            if (this.version !== this.metadata.versions[0]) {
                this.metadata = await this.describe(signal);
                this.showModel();
            }
            this.show(answer.outputs[0].data);
        });
    }

    // What is the same for each answer of the model.
    showModel() {
        const {parameters} = this.metadata;
        this.part(".bars").replaceChildren(...parameters.classes.map((name) => {
            const row = element("li", "");
            const track = element("span", "track");
            track.append(element("div", "fill"));
            row.append(element("span", "name", name), track, element("span", "share"));
            return row;
        }));
        const known = this.metadata.versions[0] === this.version;
        this.part("dl").replaceChildren(...lineage(known ? parameters.provenance : {}));
        if (this === panels[0]) {
            const wanted = this.metadata.inputs[0].shape.slice(1);
            if (wanted.join() !== shape.join()) {
                shape = wanted;
                cursor = [0, 0];
                replace([], null);
            }
            pad.height = Math.round(pad.width * shape[0] / shape[1]);
            pad.ariaLabel = `Drawing, ${shape[0]} rows and ${shape[1]} columns`;
            this.showSamples();
            paint();
        }
    }

    // Probabilities by class; none where there is no answer.
    show(probabilities) {
        const best = probabilities.indexOf(Math.max(...probabilities));
        this.part(".bars").childNodes.forEach((row, index) => {
            const share = probabilities[index] ?? 0;
            row.classList.toggle("best", index === best);
            row.querySelector(".fill").style.setProperty("--share", share);
            row.querySelector(".share").textContent = probabilities.length ? percent(share) : "";
        });
        const version = this.metadata ? `version ${this.version}` : "";
        const took = probabilities.length ? ` · ${this.milliseconds.toFixed(1)} ms` : "";
        this.part(".facts").textContent = version + took;
        if (!probabilities.length) return;
        this.say(percent(probabilities[best]), "");
        this.part(".verdict").prepend(element("strong", "", this.metadata.parameters.classes[best]));
        speak();
    }

    say(text, kind) {
        this.part(".verdict").className = `verdict ${kind}`;
        this.part(".verdict").textContent = text;
        speak();
    }

    showSamples() {
        const {samples = [], max_value: maximum} = this.metadata?.parameters ?? {};
        gallery.hidden = !samples.length;
        gallery.querySelector("ul").replaceChildren(...samples.map(({image, label}) => {
            const values = image.flat().map((value) => value / maximum);
            const picture = document.createElement("canvas");
            paintImage(picture, values);
            const button = element("button", "");
            button.type = "button";
            button.ariaLabel = `Sample, true label ${label}`;
            button.ariaPressed = "false";
            button.append(picture, element("span", "", label));
            button.addEventListener("click", () => {
                replace([], values.slice());
                button.ariaPressed = "true";
            });
            const item = element("li", "");
            item.append(button);
            return item;
        }));
    }
}

// ---- Lineage

// Terms and their descriptions: what a model was made from.
function lineage(provenance) {
    const named = Object.keys(LABELS).filter((key) => key in provenance);
    const others = Object.keys(provenance).filter((key) => !(key in LABELS));
    return [...named, ...others].flatMap((key) => [
        element("dt", "", LABELS[key] ?? key), ...descriptions(key, provenance[key]),
    ]);
}

function descriptions(key, value) {
    if (key === "run" && value) return [description(value.path, "W&B run", value.url)];
    if (key === "git" && value) {
        if (!value.commit) return [description("not in Git")];
        const state = value.dirty ? "with uncommitted changes" : "nothing uncommitted";
        return [description(value.commit, "commit", value.url), description(state)];
    }
    const isObject = value && typeof value === "object";
    const parts = isObject ? Object.entries(value) : [["", value]];
    return parts.map(([name, item]) => {
        const text = item && typeof item === "object" ? JSON.stringify(item) : String(item ?? "none");
        const found = description(text, HASH.test(text) ? name || LABELS[key] || key : "");
        if (name) found.prepend(`${name} `);
        return found;
    });
}

// A value, its hashes cut. `copied`: what a button copies, whole; `url`: where it can be opened.
function description(value, copied = "", url = "") {
    const found = element("dd", "");
    const opens = /^https?:/.test(url);
    const shown = element(opens ? "a" : "span", "", value.replace(HASH, `$1…`));
    shown.title = value;
    if (opens) shown.href = url;
    found.append(shown);
    if (copied) {
        const button = element("button", "copy", "Copy");
        button.type = "button";
        button.ariaLabel = `Copy ${copied}`;
        button.addEventListener("click", async () => {
            await copy(value);
            button.textContent = "Copied";
            document.querySelector("#copied").textContent = `${copied} copied`;
            setTimeout(() => button.textContent = "Copy", COPIED_MS);
        });
        found.append(" ", button);
    }
    return found;
}

async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
    } catch { // it is not there over HTTP from another machine, or not allowed
        const focused = document.activeElement;
        const field = element("textarea", "spoken", text);
        document.body.append(field);
        field.select();
        document.execCommand("copy");
        field.remove();
        focused.focus();
    }
}

// Once the answers stay: not each while a drawing grows.
let speaking = 0;
function speak() {
    clearTimeout(speaking);
    speaking = setTimeout(() => {
        const said = panels.map((panel) => {
            const verdict = [...panel.part(".verdict").childNodes].map((node) => node.textContent);
            return `${panel.select.value}: ${verdict.join(", ")}`;
        });
        document.querySelector("#answer").textContent = said.join(". ");
    }, SPEAK_AFTER_MS);
}

async function start() {
    paint();
    let names;
    try {
        names = (await get("v2/models")).map((model) => model.name);
    } catch (error) {
        document.querySelector("#panels").textContent = error.message;
        return;
    }
    for (const name of names.slice(0, 2)) panels.push(new Panel(names, name));
    for (const panel of panels) panel.load();
}

start();
