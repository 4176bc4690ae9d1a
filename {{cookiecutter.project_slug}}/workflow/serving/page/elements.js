// Elements of the page, and the words for a number.

export function element(name, className, text = "") {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
}

export function percent(fraction) {
    return `${(100 * fraction).toFixed(1)} %`;
}

// A number as a person reads it, with its unit.
export function quantity(value, unit = "") {
    const digits = new Intl.NumberFormat("en", {maximumSignificantDigits: 5}).format(value);
    return unit ? `${digits} ${unit}` : digits;
}
