/**
 * The files of one folder that may be shown: found and read so that nothing outside of the folder is.
 *
 *  A. No part of a path is a symbolic link, neither when it is walked nor when a client names it.
 *  B. A file is opened without following a link and without waiting for a pipe, and is read only if what was opened is
 *     the regular file that the path leads to.
 *  C. Only kinds of files that hold text for people to read; nothing hidden, nothing whose name speaks of secrets.
 */
import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import { basename, extname, join, sep } from 'node:path';

/** Longest file that is searched, bytes. */
export const MAX_SEARCHED_FILE_BYTES = 256 * 1024;
/** Longest part of a file that is read to show its beginning, bytes: more than any preview can hold. */
export const MAX_PREVIEW_BYTES = 64 * 1024;
/** Most files of a walk. */
export const MAX_WALKED_FILES = 5_000;
/** Most folders of a walk, and how deep it goes. */
export const MAX_WALKED_FOLDERS = 2_000;
const MAX_DEPTH = 24;
const MAX_PATH_LENGTH = 1_024;

const sourceExtensions: ReadonlySet<string> = new Set(
  (
    '.py .ts .tsx .mts .cts .js .jsx .mjs .cjs .java .kt .go .rs .rb .php .cs .c .h .cc .cpp .hpp .swift .scala .sh ' +
    '.ps1 .sql .vue .svelte .html .css .scss .graphql .proto .tf .md .rst .adoc'
  ).split(' '),
);
/** Kinds of files in which people also keep secrets. */
const dataExtensions: ReadonlySet<string> = new Set(
  '.json .jsonl .yaml .yml .toml .ini .cfg .conf .txt .log .xml .csv'.split(' '),
);
const secretName = /secret|credential|passw|token|private|api[-_]?key/i;
/** Of other people, or made by a machine. */
const skippedFolders: ReadonlySet<string> = new Set(
  'node_modules bower_components vendor dist build out target coverage __pycache__ venv env site-packages'.split(
    ' ',
  ),
);

/** May a file of this name be shown? */
export function isShownName(name: string): boolean {
  if (name.startsWith('.')) return false;
  const extension = extname(name).toLowerCase();
  if (sourceExtensions.has(extension)) return true;
  return dataExtensions.has(extension) && !secretName.test(name);
}

const isShownFolder = (name: string): boolean => !name.startsWith('.') && !skippedFolders.has(name);

/** The parts of a path that a client names, or undefined where it is none that may be read. */
export function partsOfPath(path: string): string[] | undefined {
  if (path.length > MAX_PATH_LENGTH || /[\0\\]/.test(path) || path.startsWith('/')) return undefined;
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  const name = parts.at(-1);
  if (name === undefined || !isShownName(name)) return undefined;
  // Hidden folders, and `..`, begin with a dot.
  return parts.some((part) => part.startsWith('.') || part.includes(':')) ? undefined : parts;
}

export interface FoundFile {
  /** From the root, with slashes. */
  path: string;
  bytes: number;
  mtimeMs: number;
}

export interface Walk {
  files: FoundFile[];
  /** Some were left out: too large, or beyond the bounds of a walk. */
  isPartial: boolean;
}

/**
 * The files below a folder in the order of their paths, folders that cannot be read left out.
 * @param root real path
 * @param signal the time is over: what was found until then is the walk
 * @throws when the root cannot be read
 */
export async function walkFiles(root: string, signal: AbortSignal): Promise<Walk> {
  const files: FoundFile[] = [];
  let folders = 0;
  let isPartial = false;

  const walk = async (folder: string, depth: number): Promise<void> => {
    folders += 1;
    const entries = await readdir(join(root, folder), { withFileTypes: true }).catch((error: unknown) => {
      if (depth === 0) throw error;
      return [];
    });
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      if (files.length >= MAX_WALKED_FILES || signal.aborted) {
        isPartial = true;
        return;
      }
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      // A: links are neither files nor folders here.
      if (entry.isFile() && isShownName(entry.name)) {
        const facts = await lstat(join(root, path)).catch(() => undefined);
        if (facts === undefined || !facts.isFile()) continue;
        if (facts.size > MAX_SEARCHED_FILE_BYTES) isPartial = true;
        else files.push({ path, bytes: facts.size, mtimeMs: facts.mtimeMs });
      } else if (entry.isDirectory() && isShownFolder(entry.name)) {
        if (depth >= MAX_DEPTH || folders >= MAX_WALKED_FOLDERS) isPartial = true;
        else await walk(path, depth + 1);
      }
    }
  };
  await walk('', 0);
  return { files, isPartial };
}

export interface ReadFile {
  /** Invalid bytes are U+FFFD; a character that the cut would halve is left out. */
  text: string;
  /** The file is longer. */
  isCut: boolean;
}

/**
 * The beginning of a file, or undefined where there is none that may be read.
 * @param root real path
 * @param parts of `partsOfPath`
 */
export async function readInside(
  root: string,
  parts: readonly string[],
  maxBytes: number,
): Promise<ReadFile | undefined> {
  const path = join(root, ...parts);
  if (!path.startsWith(root.endsWith(sep) ? root : root + sep) || !isShownName(basename(path)))
    return undefined;
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  );
  if (handle === undefined) return undefined;
  try {
    const opened = await handle.stat();
    // A and B: no folder on the way is a link, and it is this file that was opened.
    const [real, named] = await Promise.all([realpath(path), lstat(path)]);
    if (!opened.isFile() || real !== path || named.ino !== opened.ino || named.dev !== opened.dev)
      return undefined;
    const buffer = Buffer.alloc(Math.min(maxBytes, opened.size));
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    const isCut = opened.size > filled;
    const text = new TextDecoder('utf-8').decode(buffer.subarray(0, filled), { stream: isCut });
    return { text, isCut };
  } catch {
    return undefined;
  } finally {
    await handle.close();
  }
}
