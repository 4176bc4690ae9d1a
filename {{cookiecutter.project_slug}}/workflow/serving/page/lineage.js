// What a model was made from, as terms and their descriptions.
import {element} from "./elements.js";

const COPIED_MS = 2000; // how long a button says so
const HASH = /([0-9a-f]{12})[0-9a-f]{20,}/; // and how much of it is shown
const LABELS = { // in this order; what is not here comes behind, under its own name
    run: "W&B run", git: "Code", data: "Data", config: "Config", lock: "Lock (uv.lock)", image: "Image",
};

export function lineage(provenance) {
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
