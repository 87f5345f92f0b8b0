// Packs a dropped folder into a zip file without compression: images are compressed already.
// Source: PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value >>> 0;
});
const MAX_FILES = 65535;
const UTF8_FLAG = 0x0800;
const DATE_1980 = 0x0021;

/** @param {Uint8Array} bytes */
function computeCrc32(bytes) {
  let crc = 0xffffffff;
  for (let index = 0; index < bytes.length; index += 1) crc = CRC_TABLE[(crc ^ bytes[index]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** @param {FileSystemDirectoryEntry} folder @returns {Promise<Blob>} */
export async function zipFiles(folder) {
  return zipList(await listFiles(folder, ""));
}

/** @param {{path: string, file: File}[]} files @returns {Promise<Blob>} */
export async function zipList(files) {
  if (files.length > MAX_FILES) throw new RangeError(`The folder has more than ${MAX_FILES} files; upload it with the command line instead.`);
  const parts = /** @type {BlobPart[]} */ ([]);
  const directory = /** @type {BlobPart[]} */ ([]);
  let offset = 0;
  let directorySize = 0;
  for (const { path, file } of files) {
    const name = new TextEncoder().encode(path);
    const crc = computeCrc32(new Uint8Array(await file.arrayBuffer()));
    const fields = (view, at) => {
      view.setUint16(at, 20, true);
      view.setUint16(at + 2, UTF8_FLAG, true);
      view.setUint16(at + 8, DATE_1980, true);
      view.setUint32(at + 10, crc, true);
      view.setUint32(at + 14, file.size, true);
      view.setUint32(at + 18, file.size, true);
      view.setUint16(at + 22, name.length, true);
    };
    const local = new DataView(new ArrayBuffer(30));
    local.setUint32(0, 0x04034b50, true);
    fields(local, 4);
    const central = new DataView(new ArrayBuffer(46));
    central.setUint32(0, 0x02014b50, true);
    central.setUint16(4, 20, true);
    fields(central, 6);
    central.setUint32(42, offset, true);
    parts.push(local.buffer, name, file);
    directory.push(central.buffer, name);
    offset += 30 + name.length + file.size;
    directorySize += 46 + name.length;
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, directorySize, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

/** @param {FileSystemDirectoryEntry} folder @param {string} prefix @returns {Promise<{path: string, file: File}[]>} */
async function listFiles(folder, prefix) {
  const reader = folder.createReader();
  const entries = /** @type {FileSystemEntry[]} */ ([]);
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) break;
    entries.push(...batch);
  }
  const files = [];
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.isDirectory) files.push(...(await listFiles(/** @type {FileSystemDirectoryEntry} */ (entry), `${prefix}${entry.name}/`)));
    else files.push({ path: `${prefix}${entry.name}`, file: await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject)) });
  }
  return files;
}
