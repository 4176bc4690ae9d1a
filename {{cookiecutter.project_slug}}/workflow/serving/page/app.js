// What a person gives is sent to the models that are chosen, which answer while it changes.
import {element, percent, quantity} from "./elements.js";
import {Fields, Json, TextBox} from "./fields.js";
import {lineage} from "./lineage.js";
import {Pad} from "./pad.js";
import {Upload} from "./upload.js";

const ASK_AFTER_MS = 60;
const SPEAK_AFTER_MS = 600;
const RETRY_AFTER_MS = 2000;
const EXPECTED_CLASSES = 10; // that the page keeps room for, before they are known
const DRAWN = 32; // rows and columns of the largest image that is drawn

const form = document.querySelector("#inputs");
const gallery = document.querySelector("#gallery");
const panels = [];
let inputs = []; // what the first model takes
let specs = []; // of these, as its signature has them

// How a person gives an input: by its kind.
function inputOf(spec) {
    switch (spec.kind) {
    case "image": {
        const [rows, columns, channels = 1] = spec.shape.slice(1);
        const drawn = channels === 1 && spec.shape.length === 3 && Math.max(rows, columns) <= DRAWN;
        return new (drawn ? Pad : Upload)(spec, changed);
    }
    case "features": return new Fields(spec, changed);
    case "text": return new TextBox(spec, changed);
    default: return new Json(spec, changed);
    }
}

function showInputs(declared) {
    specs = declared;
    inputs = declared.map(inputOf);
    form.replaceChildren(...inputs.map((input) => input.root));
    for (const input of inputs) if (input instanceof Pad) input.paint(); // it has a size now
    document.querySelector("#how").textContent =
        inputs.length === 1 ? inputs[0].hint : "Give all inputs, and the model answers.";
}

let asking = 0;
function changed() {
    for (const button of gallery.querySelectorAll("button")) button.ariaPressed = "false";
    if (asking) return; // what grows is asked about at intervals, not only at its end
    asking = setTimeout(() => {
        asking = 0;
        for (const panel of panels) panel.ask();
    }, ASK_AFTER_MS);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const input of inputs) if (input instanceof Pad) input.paint();
    panels[0]?.showSamples();
});

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

// A model's answer to what is given.
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
        const {inputs: declared} = this.metadata.parameters.signature;
        if (JSON.stringify(declared) !== JSON.stringify(specs)) {
            this.stop("This model takes other inputs than the first one.", "problem");
            return;
        }
        const tensors = inputs.map((input) => input.tensor());
        const without = tensors.indexOf(null);
        if (without >= 0) {
            this.stop(inputs[without].missing, "idle");
            return;
        }
        await this.attempt(async (signal) => {
            const started = performance.now();
            const id = requestId();
            const body = JSON.stringify({id, inputs: tensors});
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

    // Say why nothing is asked.
    stop(text, kind) {
        this.running?.abort();
        clearTimeout(this.retry);
        this.say(text, kind);
        this.show([]);
    }

    get output() {
        return this.metadata.parameters.signature.outputs[0];
    }

    // What is the same for each answer of the model.
    showModel() {
        const {parameters} = this.metadata;
        const names = this.output.kind === "classes" ? this.output.names : [];
        this.part(".bars").hidden = !names.length;
        this.root.parentElement.classList.toggle("low", names.length < EXPECTED_CLASSES);
        this.part(".bars").replaceChildren(...names.map((name) => {
            const row = element("li", "");
            const track = element("span", "track");
            track.append(element("div", "fill"));
            row.append(element("span", "name", name), track, element("span", "share"));
            return row;
        }));
        const known = this.metadata.versions[0] === this.version;
        this.part("dl").replaceChildren(...lineage(known ? parameters.provenance : {}));
        if (this === panels[0]) {
            const declared = parameters.signature.inputs;
            if (JSON.stringify(declared) !== JSON.stringify(specs)) showInputs(declared);
            this.showSamples();
        }
    }

    // The data of the output; none where there is no answer.
    show(data) {
        const best = data.indexOf(Math.max(...data));
        this.part(".bars").childNodes.forEach((row, index) => {
            const fraction = data[index] ?? 0;
            row.classList.toggle("best", index === best);
            row.querySelector(".fill").style.setProperty("--share", fraction);
            row.querySelector(".share").textContent = data.length ? percent(fraction) : "";
        });
        const version = this.metadata ? `version ${this.version}` : "";
        const took = data.length ? ` · ${this.milliseconds.toFixed(1)} ms` : "";
        this.part(".facts").textContent = version + took;
        if (!data.length) return;
        const {kind, names, label, unit} = this.output;
        if (kind === "classes") this.answer(names[best], percent(data[best]));
        else if (kind === "value") this.answer(quantity(data[0], unit), label);
        else this.answer("", JSON.stringify(data));
        speak();
    }

    answer(main, beside) {
        this.say(beside, "");
        if (main) this.part(".verdict").prepend(element("strong", "", main));
    }

    say(text, kind) {
        this.part(".verdict").className = `verdict ${kind}`;
        this.part(".verdict").textContent = text;
        speak();
    }

    showSamples() {
        const {samples} = this.metadata.parameters;
        const list = gallery.querySelector("ul");
        gallery.hidden = !samples.length;
        const truth = this.output.kind === "value" ? "true value" : "true label";
        gallery.querySelector("p").textContent = `With each is its ${truth}.`;
        list.className = inputs.length === 1 && specs[0].kind === "image" ? "pictures" : "rows";
        list.replaceChildren(...samples.map((sample) => {
            const actual = typeof sample.actual === "number"
                ? quantity(sample.actual, this.output.unit) : sample.actual;
            const button = element("button", "");
            button.type = "button";
            button.ariaLabel = `Sample, ${truth} ${actual}`;
            button.ariaPressed = "false";
            const previews = inputs.map((input, at) => input.preview(sample.inputs[specs[at].name]));
            button.append(...previews, element("span", "actual", actual));
            button.addEventListener("click", () => {
                inputs.forEach((input, at) => input.set(sample.inputs[specs[at].name]));
                button.ariaPressed = "true";
            });
            const item = element("li", "");
            item.append(button);
            return item;
        }));
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
    let names;
    try {
        const {name: title} = await get("v2");
        document.querySelector("h1").textContent = title;
        document.title = `${title}: try it`;
        names = (await get("v2/models")).map((model) => model.name);
    } catch (error) {
        document.querySelector("#panels").textContent = error.message;
        return;
    }
    for (const name of names.slice(0, 2)) panels.push(new Panel(names, name));
    for (const panel of panels) panel.load();
}

start();
