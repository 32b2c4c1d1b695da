// The bundle: many tiles in one answer.  "RRMB" | uint32 header length | header JSON | blob   (little endian)

const MAGIC = 0x424d5252; // "RRMB" read as a little-endian number
const PREFIX = 8;

/**
 * The display part of a bundle as {lease, start, stop, previewScale, tiles: [{tile, renderMs, image: Blob}]}.
 * Raises `RangeError` when the bytes are not what the header says.
 */
export function parseBundle(buffer) {
  const header = readHeader(buffer);
  const blob = PREFIX + new DataView(buffer).getUint32(4, true);
  const part = header.preview_scale > 1 ? "preview" : "png";
  const tiles = header.tiles.map((entry) => ({
    tile: entry.tile,
    renderMs: entry.render_ms,
    image: imageAt(buffer, blob, entry[part]),
  }));
  return { lease: header.lease, start: header.start, stop: header.stop, previewScale: header.preview_scale, tiles };
}

function readHeader(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < PREFIX || view.getUint32(0, true) !== MAGIC) throw new RangeError("not a bundle");
  const length = view.getUint32(4, true);
  if (PREFIX + length > buffer.byteLength) throw new RangeError("the bundle's header is cut");
  return JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, PREFIX, length)));
}

function imageAt(buffer, blob, span) {
  const [offset, length] = span ?? [0, 0];
  if (length === 0 || blob + offset + length > buffer.byteLength) throw new RangeError("a tile of the bundle is cut");
  return new Blob([new Uint8Array(buffer, blob + offset, length)], { type: "image/png" });
}
