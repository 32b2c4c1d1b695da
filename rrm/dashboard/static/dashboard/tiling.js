// Where tiles lie in the picture. Tile row 0 is at the bottom; picture y grows downward.

/** The tiling of a job, scaled so that its longer side fits in `limit` canvas pixels. */
export function tilingOf(job, limit) {
  const { width, height, tile_size: size } = job;
  const scale = Math.min(1, limit / Math.max(width, height));
  return {
    width,
    height,
    size,
    scale,
    cols: Math.ceil(width / size),
    rows: Math.ceil(height / size),
    canvasWidth: Math.max(1, Math.round(width * scale)),
    canvasHeight: Math.max(1, Math.round(height * scale)),
  };
}

export const tileCount = (tiling) => tiling.cols * tiling.rows;

/** The tile's rectangle [left, top, width, height] in picture pixels times `scale`, on whole pixels so that neighbours meet. */
export function tileBox(tiling, tile, scale = tiling.scale) {
  const row = Math.floor(tile / tiling.cols);
  const col = tile % tiling.cols;
  const left = Math.round(col * tiling.size * scale);
  const right = Math.round(Math.min(tiling.width, (col + 1) * tiling.size) * scale);
  const top = Math.round((tiling.height - Math.min(tiling.height, (row + 1) * tiling.size)) * scale);
  const bottom = Math.round((tiling.height - row * tiling.size) * scale);
  return [left, top, right - left, bottom - top];
}

/** The tile under a point given in fractions of the picture from its top left corner, or -1. */
export function tileAt(tiling, across, down) {
  if (across < 0 || across >= 1 || down < 0 || down >= 1) return -1;
  const col = Math.floor((across * tiling.width) / tiling.size);
  const row = Math.floor(((1 - down) * tiling.height) / tiling.size);
  return Math.min(row, tiling.rows - 1) * tiling.cols + col;
}
