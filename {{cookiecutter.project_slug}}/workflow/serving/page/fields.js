// Inputs that are typed: the columns of a table, a text, and plain numbers as JSON.
import {element, quantity} from "./elements.js";

// A field for each column, with its unit and range; a list where there are choices.
export class Fields {
    constructor(spec, changed) {
        this.spec = spec;
        this.root = element("div", "fields");
        this.fields = spec.columns.map((column) => {
            const label = element("label", "", "");
            const name = column.unit ? `${column.name} (${column.unit})` : column.name;
            label.append(element("span", "", name));
            const field = column.choices ? choices(column) : number(column);
            field.addEventListener("input", changed);
            label.append(field);
            this.root.append(label);
            return field;
        });
    }

    get hint() {
        return "Fill in the fields, and the model answers.";
    }

    get missing() {
        const wrong = this.fields.findIndex((field) => field.value === "" || !field.validity.valid);
        const {name} = this.spec.columns[wrong];
        const {value, validationMessage} = this.fields[wrong];
        return value === "" && !this.fields[wrong].validity.badInput
            ? `${name} is not filled in.` : `${name}: ${validationMessage}`;
    }

    tensor() {
        if (this.fields.some((field) => field.value === "" || !field.validity.valid)) return null;
        const {name, datatype} = this.spec;
        return {name, datatype, shape: [1, this.fields.length], data: this.fields.map((f) => Number(f.value))};
    }

    set(sample) {
        this.spec.columns.forEach(({name, choices: known}, index) => {
            const value = sample[name];
            this.fields[index].value = known ? known.indexOf(value) : value;
        });
        this.fields[0].dispatchEvent(new Event("input"));
    }

    preview(sample) {
        const shown = this.spec.columns.slice(0, 3).map(({name}) => {
            const value = sample[name];
            return `${name}: ${typeof value === "number" ? quantity(value) : value}`;
        });
        return element("span", "words", shown.join(", ") + (this.fields.length > 3 ? ", …" : ""));
    }
}

function choices(column) {
    const field = document.createElement("select");
    field.append(new Option("", ""), ...column.choices.map((name, at) => new Option(name, at)));
    return field;
}

function number(column) {
    const field = document.createElement("input");
    field.type = "number";
    field.step = "any";
    field.inputMode = "decimal";
    if (column.range) {
        [field.min, field.max] = column.range;
        field.placeholder = `${column.range[0]} to ${column.range[1]}`;
    }
    return field;
}

// A box for a text.
export class TextBox {
    constructor(spec, changed) {
        this.spec = spec;
        this.root = element("label", "text");
        this.root.append(element("span", "", spec.name));
        this.field = document.createElement("textarea");
        this.field.rows = 5;
        this.field.addEventListener("input", changed);
        this.root.append(this.field);
    }

    get hint() {
        return "Write, and the model answers.";
    }

    get missing() {
        return "Nothing is written yet.";
    }

    tensor() {
        const text = this.field.value;
        return text.trim() ? {name: this.spec.name, datatype: "BYTES", shape: [1], data: [text]} : null;
    }

    set(sample) {
        this.field.value = sample;
        this.field.dispatchEvent(new Event("input"));
    }

    preview(sample) {
        return element("span", "words", sample.length > 60 ? `${sample.slice(0, 60)}…` : sample);
    }
}

// Numbers as JSON, for an input whose kind this page does not know.
export class Json {
    constructor(spec, changed) {
        this.spec = spec;
        this.shape = spec.shape.slice(1).map((size) => Math.max(size, 1));
        this.root = element("label", "text");
        const shape = this.shape.join(" × ") || "1";
        this.root.append(element("span", "", `${spec.name}: ${shape} numbers (${spec.datatype}), as JSON`));
        this.field = document.createElement("textarea");
        this.field.rows = 5;
        this.field.placeholder = "[0, 0, …]";
        this.field.addEventListener("input", changed);
        this.root.append(this.field);
    }

    get hint() {
        return "Give the numbers, and the model answers.";
    }

    get missing() {
        return this.field.value.trim() ? `${this.spec.name}: this is not JSON of that shape.` : "Nothing is written yet.";
    }

    tensor() {
        const {name, datatype} = this.spec;
        try {
            const data = [JSON.parse(this.field.value)].flat(Infinity);
            const size = this.shape.reduce((product, each) => product * each, 1);
            const right = data.length === size && data.every((value) => typeof value === "number");
            return right ? {name, datatype, shape: [1, ...this.shape], data} : null;
        } catch {
            return null;
        }
    }

    set(sample) {
        this.field.value = JSON.stringify(sample);
        this.field.dispatchEvent(new Event("input"));
    }

    preview(sample) {
        return element("span", "words", JSON.stringify(sample).slice(0, 60));
    }
}
