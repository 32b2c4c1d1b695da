// Where a picture's pixels lie in the complex plane.

/** The plane's point under a pixel of a job's picture, measured from the top left corner. */
export function pointAt({ view, height }, [across, down]) {
  return [view.x0 + across * view.dx, view.y0 + (height - down) * view.dy];
}

/** A number with as many digits as one pixel needs. */
export function digits(value, pixel) {
  const places = Math.min(17, Math.max(2, Math.ceil(-Math.log10(Math.abs(pixel))) + 1));
  return value.toFixed(places);
}
