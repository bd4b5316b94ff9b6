/**
 * The searchable files of the folder, kept in memory and brought up to date before each search: what has not changed by
 * size and time is not read again.
 */
import { realpath } from 'node:fs/promises';
import { MAX_SEARCHED_FILE_BYTES, partsOfPath, readInside, walkFiles } from './files.ts';
import { redact } from './redact.ts';
import { findSymbols, type SourceSymbol } from './symbols.ts';
import { wordsOf } from './terms.ts';

/** Text that is kept, UTF-16 units of all files together. What comes after it is left out, and that is told. */
export const MAX_INDEXED_LENGTH = 16 * 1024 * 1024;
/** For finding the files, and for all of bringing it up to date, milliseconds; then the search goes over what there is. */
const WALK_DEADLINE_MS = 5_000;
const UPDATE_DEADLINE_MS = 10_000;
/** Younger than this it is not looked after again, milliseconds. */
const FRESH_MS = 2_000;

export interface IndexedFile {
  path: string;
  /** Secrets blanked. */
  lines: readonly string[];
  symbols: readonly SourceSymbol[];
  /** How often each word stands in it, those of its path included. */
  words: ReadonlyMap<string, number>;
  /** Words of the names it defines, and of its path. */
  symbolWords: ReadonlySet<string>;
  pathWords: ReadonlySet<string>;
}

export interface RepoSnapshot {
  files: readonly IndexedFile[];
  /** Some files are not in it: too large, too many, or there was no time to read them. */
  isPartial: boolean;
}

export interface RepoIndex {
  /** Up to date; callers at the same time share one update. @throws when the root cannot be read */
  read(): Promise<RepoSnapshot>;
}

interface Kept extends IndexedFile {
  bytes: number;
  mtimeMs: number;
  length: number;
}

/**
 * @param root any path of the folder; links in it are resolved, links below it are not followed
 * @param freshMs see `FRESH_MS`
 */
export function createRepoIndex(root: string, { freshMs = FRESH_MS }: { freshMs?: number } = {}): RepoIndex {
  let kept = new Map<string, Kept>();
  let snapshot: { at: number; value: RepoSnapshot } | undefined;
  let updating: Promise<RepoSnapshot> | undefined;

  const update = async (): Promise<RepoSnapshot> => {
    const realRoot = await realpath(root);
    const deadline = performance.now() + UPDATE_DEADLINE_MS;
    const walk = await walkFiles(realRoot, AbortSignal.timeout(WALK_DEADLINE_MS));
    const next = new Map<string, Kept>();
    let { isPartial } = walk;
    let length = 0;
    for (const { path, bytes, mtimeMs } of walk.files) {
      if (length >= MAX_INDEXED_LENGTH || performance.now() > deadline) {
        isPartial = true;
        break;
      }
      const before = kept.get(path);
      const isSame = before?.bytes === bytes && before.mtimeMs === mtimeMs;
      const file = isSame ? before : await indexFile(realRoot, { path, bytes, mtimeMs });
      if (file === undefined) continue;
      length += file.length;
      next.set(path, file);
    }
    kept = next;
    const value = { files: [...next.values()], isPartial };
    snapshot = { at: performance.now(), value };
    return value;
  };

  return {
    async read() {
      if (snapshot !== undefined && performance.now() - snapshot.at < freshMs) return snapshot.value;
      updating ??= update().finally(() => {
        updating = undefined;
      });
      return updating;
    },
  };
}

async function indexFile(
  root: string,
  facts: { path: string; bytes: number; mtimeMs: number },
): Promise<Kept | undefined> {
  const parts = partsOfPath(facts.path);
  const read = parts && (await readInside(root, parts, MAX_SEARCHED_FILE_BYTES));
  // A character that no text holds: it is none, whatever its name says.
  if (read === undefined || read.text.includes('\0')) return undefined;
  const text = redact(read.text);
  const lines = text.split(/\r\n|\r|\n/);
  const symbols = findSymbols(lines);
  const pathWords = new Set(wordsOf(facts.path));
  const symbolWords = new Set(symbols.flatMap(({ name }) => wordsOf(name)));
  const words = new Map<string, number>();
  for (const word of [...wordsOf(text), ...pathWords]) words.set(word, (words.get(word) ?? 0) + 1);
  return { ...facts, lines, symbols, words, symbolWords, pathWords, length: text.length };
}
