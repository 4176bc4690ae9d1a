// A small image of one channel, drawn: kept as strokes and as cells, reduced to what the models take.
const STROKE_CELLS = 1.4; // about as thick as the strokes of the digits that models learn from
const WIDTH_FRACTION = 0.75; // those digits fill the height of their images, and of the width this
const LARGEST_SCALE = 4; // of a small drawing; a dot stays one
const DETAIL = 16; // pixels along a cell, of which its ink is the mean
const MOVES = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};

export class Pad {
    constructor(spec, changed) {
        this.spec = spec;
        this.shape = spec.shape.slice(1, 3); // rows and columns
        this.changed = changed;
        this.strokes = []; // lists of points [x, y], in cells from the upper left corner
        this.cells = null; // ink of each cell, 0 to 1, that a sample or the keyboard put there
        this.cursor = [0, 0]; // row, column
        this.root = document.querySelector("#drawing").content.cloneNode(true).firstElementChild;
        this.pad = this.root.querySelector(".pad");
        this.seen = this.root.querySelector(".seen");
        this.pad.height = Math.round(this.pad.width * this.shape[0] / this.shape[1]);
        this.pad.style.aspectRatio = `${this.shape[1]} / ${this.shape[0]}`;
        this.pad.ariaLabel = `Drawing, ${this.shape[0]} rows and ${this.shape[1]} columns`;
        this.listen();
        this.paint();
    }

    get hint() {
        return "Draw, and the model answers.";
    }

    // The tensor that is sent; null where nothing is drawn.
    tensor() {
        const data = this.ink().map((value) => Math.round(value * this.spec.max_value));
        const {name, datatype} = this.spec;
        return data.some(Boolean) ? {name, datatype, shape: [1, ...this.shape], data} : null;
    }

    // What is said where there is nothing to send.
    get missing() {
        return "Nothing is drawn yet.";
    }

    set(sample) {
        this.replace([], sample.flat(2).map((value) => value / this.spec.max_value));
    }

    // What stands for a sample in the gallery.
    preview(sample) {
        const picture = document.createElement("canvas");
        this.paintImage(picture, sample.flat(2).map((value) => value / this.spec.max_value));
        return picture;
    }

    replace(strokes, cells) {
        this.strokes = strokes;
        this.cells = cells;
        this.paint();
        this.changed();
    }

    // The ink of each cell, 0 to 1, row by row.
    ink() {
        const {cells, strokes} = this;
        const drawn = this.averaged(cells ? strokes : this.fitted(strokes));
        return cells ? drawn.map((value, index) => Math.max(value, cells[index])) : drawn;
    }

    // Strokes moved and stretched to where the digits of the data are.
    fitted(lines) {
        const points = lines.flat();
        if (!points.length) return lines;
        const [rows, columns] = this.shape;
        const [left, right] = extent(points.map((point) => point[0]));
        const [top, bottom] = extent(points.map((point) => point[1]));
        const tall = (rows - STROKE_CELLS) / Math.max(bottom - top, 0.01);
        const wide = (WIDTH_FRACTION * columns - STROKE_CELLS) / Math.max(right - left, 0.01);
        const down = Math.min(tall, LARGEST_SCALE);
        const across = Math.min(wide, down);
        return lines.map((line) => line.map(([x, y]) => [
            columns / 2 + across * (x - (left + right) / 2),
            rows / 2 + down * (y - (top + bottom) / 2),
        ]));
    }

    // Strokes as the mean ink of each cell.
    averaged(lines) {
        const [rows, columns] = this.shape;
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

    paint() {
        const {pad, cells, cursor, strokes} = this;
        const context = pad.getContext("2d");
        const [rows, columns] = this.shape;
        const scale = pad.width / columns;
        context.clearRect(0, 0, pad.width, pad.height);
        const thin = pad.width / (pad.clientWidth || pad.width); // a pixel of the page
        context.fillStyle = colour("--line"); // the grid lies under the ink
        for (let column = 1; column < columns; column++) {
            context.fillRect(column * scale, 0, thin, pad.height);
        }
        for (let row = 1; row < rows; row++) context.fillRect(0, row * scale, pad.width, thin);
        context.fillStyle = context.strokeStyle = colour("--text");
        if (cells) this.paintCells(context, cells, scale);
        trace(context, strokes, scale);
        if (pad.matches(":focus-visible")) {
            context.lineWidth = 6;
            context.strokeStyle = colour("--accent");
            context.strokeRect(cursor[1] * scale + 4, cursor[0] * scale + 4, scale - 8, scale - 8);
        }
        this.paintImage(this.seen, this.ink());
    }

    paintImage(canvas, values) {
        [canvas.height, canvas.width] = this.shape;
        const context = canvas.getContext("2d");
        context.fillStyle = colour("--text");
        this.paintCells(context, values, 1);
    }

    paintCells(context, values, scale) {
        const columns = this.shape[1];
        values.forEach((value, index) => {
            const row = Math.floor(index / columns);
            context.globalAlpha = value;
            context.fillRect((index % columns) * scale, row * scale, scale, scale);
        });
        context.globalAlpha = 1;
    }

    position(event) {
        const box = this.pad.getBoundingClientRect();
        return [
            (event.clientX - box.left) / box.width * this.shape[1],
            (event.clientY - box.top) / box.height * this.shape[0],
        ];
    }

    listen() {
        const {pad} = this;
        pad.addEventListener("pointerdown", (event) => {
            if (event.button !== 0) return;
            pad.setPointerCapture(event.pointerId);
            this.replace([...this.strokes, [this.position(event)]], this.cells);
        });
        pad.addEventListener("pointermove", (event) => {
            if (!pad.hasPointerCapture(event.pointerId)) return;
            const passed = event.getCoalescedEvents();
            const points = (passed.length ? passed : [event]).map((each) => this.position(each));
            this.strokes.at(-1).push(...points);
            this.replace(this.strokes, this.cells);
        });
        pad.addEventListener("keydown", (event) => this.key(event));
        pad.addEventListener("focus", () => this.paint());
        pad.addEventListener("blur", () => this.paint());
        this.root.querySelector(".clear").addEventListener("click", () => this.replace([], null));
    }

    key(event) {
        const move = MOVES[event.key];
        if (!move && event.key !== " ") return;
        event.preventDefault(); // the page would scroll
        if (move) {
            const last = this.shape.map((size) => size - 1);
            this.cursor = this.cursor.map(
                (at, axis) => Math.min(Math.max(at + move[axis], 0), last[axis]),
            );
            this.paint();
        }
        const index = this.cursor[0] * this.shape[1] + this.cursor[1];
        if (!move) {
            const values = this.ink();
            values[index] = values[index] > 0 ? 0 : 1;
            this.replace([], values);
        }
        const inked = this.ink()[index] > 0 ? "ink" : "empty";
        document.querySelector("#where").textContent =
            `row ${this.cursor[0] + 1}, column ${this.cursor[1] + 1}, ${inked}`;
    }
}

function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name);
}

function extent(values) {
    return [Math.min(...values), Math.max(...values)];
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
