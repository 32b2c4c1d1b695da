// Where a picture's pixels lie in the complex plane.

/** {x0, y0, dx, dy}: pixel (row r from the bottom, column c) samples x0 + c·dx, y0 + r·dy. */
export function planeOf({ width, height, params }) {
  const edges = params.viewport ? fitted(params.viewport.map(Number), params.fit, width / height) : around(params, width, height);
  const [xmin, xmax, ymin, ymax] = edges;
  return { x0: xmin, y0: ymin, dx: (xmax - xmin) / width, dy: (ymax - ymin) / height, height };
}

function around({ center, radius }, width, height) {
  const [x, y] = center.map(Number);
  const unit = (2 * Number(radius)) / Math.min(width, height);
  return [x - (unit * width) / 2, x + (unit * width) / 2, y - (unit * height) / 2, y + (unit * height) / 2];
}

function fitted([xmin, xmax, ymin, ymax], fit, aspect) {
  if (fit !== "expand") return [xmin, xmax, ymin, ymax];
  const [width, height] = [xmax - xmin, ymax - ymin];
  const [wide, high] = width / height < aspect ? [height * aspect, height] : [width, width / aspect];
  const [x, y] = [(xmin + xmax) / 2, (ymin + ymax) / 2];
  return [x - wide / 2, x + wide / 2, y - high / 2, y + high / 2];
}

/** The plane's point under a pixel measured from the top left corner. */
export function pointAt(plane, [across, down]) {
  return [plane.x0 + across * plane.dx, plane.y0 + (plane.height - down) * plane.dy];
}

/** A number with as many digits as one pixel needs. */
export function digits(value, pixel) {
  const places = Math.min(17, Math.max(2, Math.ceil(-Math.log10(Math.abs(pixel))) + 1));
  return value.toFixed(places);
}
