// An image that is too large to draw, or has colours: a file, scaled to what the model takes.
import {element} from "./elements.js";

export class Upload {
    constructor(spec, changed) {
        this.spec = spec;
        [this.rows, this.columns, this.channels = 1] = spec.shape.slice(1);
        this.changed = changed;
        this.values = null;
        this.root = document.querySelector("#upload").content.cloneNode(true).firstElementChild;
        this.seen = this.root.querySelector("canvas");
        this.root.querySelector("figcaption").textContent =
            `as the model gets it: ${this.columns} × ${this.rows} pixels`;
        this.paint(this.seen, new Array(this.rows * this.columns * this.channels).fill(0));
        const field = this.root.querySelector("input");
        field.addEventListener("change", () => this.open(field.files[0]));
        const zone = this.root.querySelector(".drop");
        for (const type of ["dragover", "drop"]) {
            zone.addEventListener(type, (event) => event.preventDefault());
        }
        zone.addEventListener("drop", (event) => this.open(event.dataTransfer.files[0]));
    }

    get hint() {
        return "Choose an image, and the model answers.";
    }

    get missing() {
        return this.problem ?? "No image is chosen yet.";
    }

    tensor() {
        const {name, datatype, shape} = this.spec;
        return this.values && {name, datatype, shape: [1, ...shape.slice(1)], data: this.values};
    }

    set(sample) {
        this.values = sample.flat(2);
        this.paint(this.seen, this.values);
        this.changed();
    }

    preview(sample) {
        const picture = document.createElement("canvas");
        this.paint(picture, sample.flat(2));
        return picture;
    }

    async open(file) {
        if (!file) return;
        this.values = null;
        this.problem = undefined;
        try {
            const bitmap = await createImageBitmap(file);
            this.values = this.scaled(bitmap);
            this.paint(this.seen, this.values);
        } catch {
            this.problem = `${file.name} is not an image that this browser can read.`;
        }
        this.changed();
    }

    // The middle of an image, as large as possible in the model's proportions.
    scaled(bitmap) {
        const {rows, columns, channels} = this;
        const canvas = new OffscreenCanvas(columns, rows);
        const context = canvas.getContext("2d", {willReadFrequently: true});
        const scale = Math.min(bitmap.width / columns, bitmap.height / rows);
        const [width, height] = [columns * scale, rows * scale];
        const [left, top] = [(bitmap.width - width) / 2, (bitmap.height - height) / 2];
        context.imageSmoothingQuality = "high";
        context.fillStyle = "#fff"; // behind what is transparent
        context.fillRect(0, 0, columns, rows);
        context.drawImage(bitmap, left, top, width, height, 0, 0, columns, rows);
        const {data} = context.getImageData(0, 0, columns, rows);
        const values = [];
        for (let at = 0; at < data.length; at += 4) {
            const [red, green, blue] = data.slice(at, at + 3);
            const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
            const pixel = channels === 1 ? [grey] : [red, green, blue, 255].slice(0, channels);
            values.push(...pixel.map((value) => Math.round(value / 255 * this.spec.max_value)));
        }
        return values;
    }

    paint(canvas, values) {
        [canvas.width, canvas.height] = [this.columns, this.rows];
        const context = canvas.getContext("2d");
        const image = context.createImageData(this.columns, this.rows);
        for (let pixel = 0; pixel < this.rows * this.columns; pixel++) {
            for (let part = 0; part < 3; part++) {
                const channel = Math.min(part, this.channels - 1);
                const value = values[pixel * this.channels + channel] / this.spec.max_value;
                image.data[4 * pixel + part] = 255 * value;
            }
            image.data[4 * pixel + 3] = 255;
        }
        context.putImageData(image, 0, 0);
    }
}
