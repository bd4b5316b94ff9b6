/**
 * Which places of the files a question is about: by the words they share, rare words count more, names of definitions and
 * of files more still. No embeddings and no parser: the answer says so (`strategy`).
 */
import type { IndexedFile } from './repo-index.ts';
import { termsOf, wordsOf } from './terms.ts';

/** Places of one answer. */
export const MAX_CHUNKS = 8;
/** Lines of a place. */
const CHUNK_LINES = 30;
/** Lines above a definition or hit that are shown with it. */
const LEAD_LINES = 3;
/** Longest line that is shown, UTF-16 units. */
const MAX_SHOWN_LINE_LENGTH = 300;
/** Symbols that the map names for a file. */
const MAP_SYMBOLS = 12;
/** How much more a word counts in the name of a definition, and in that of the file. */
const SYMBOL_WEIGHT = 3;
const PATH_WEIGHT = 2;

export interface FoundChunk {
  path: string;
  /** From 1, both inclusive. */
  startLine: number;
  endLine: number;
  content: string;
  score: number;
  /** Where a name of a definition fits the question it was found by that, else by its words. */
  foundBy: 'symbols' | 'words';
}

/** The best places, best first; at most one of each file. */
export function searchFiles(files: readonly IndexedFile[], question: string): FoundChunk[] {
  const weights = weigh(files, termsOf(question));
  if (weights.size === 0) return [];
  const ranked = files
    .map((file) => ({ file, score: scoreOf(file, weights) }))
    .filter(({ score }) => score > 0)
    .sort((a, b) => b.score - a.score || (a.file.path < b.file.path ? -1 : 1));
  return ranked.slice(0, MAX_CHUNKS).map(({ file, score }) => chunkOf(file, weights, score));
}

/** Every file that was found with the names it defines, a line each. */
export const mapOf = (files: readonly IndexedFile[], chunks: readonly FoundChunk[]): string => {
  const found = new Set(chunks.map(({ path }) => path));
  return files
    .filter(({ path }) => found.has(path))
    .map(({ path, symbols }) => {
      const names = symbols.slice(0, MAP_SYMBOLS).map(({ name }) => name);
      const more = symbols.length > MAP_SYMBOLS ? ', …' : '';
      return names.length === 0 ? path : `${path}: ${names.join(', ')}${more}`;
    })
    .join('\n');
};

/** A word that stands in few files says more; one that stands in none says nothing. */
function weigh(files: readonly IndexedFile[], terms: readonly string[]): Map<string, number> {
  const weights = new Map<string, number>();
  for (const term of terms) {
    const count = files.reduce((sum, { words }) => sum + (words.has(term) ? 1 : 0), 0);
    if (count > 0) weights.set(term, Math.log(1 + files.length / count));
  }
  return weights;
}

function scoreOf(file: IndexedFile, weights: ReadonlyMap<string, number>): number {
  let score = 0;
  for (const [term, weight] of weights) {
    const times = file.words.get(term) ?? 0;
    if (times === 0) continue;
    const factor = 1 + Math.log(times) / 4 + (file.symbolWords.has(term) ? SYMBOL_WEIGHT : 0);
    score += weight * (factor + (file.pathWords.has(term) ? PATH_WEIGHT : 0));
  }
  return score;
}

function chunkOf(file: IndexedFile, weights: ReadonlyMap<string, number>, score: number): FoundChunk {
  const valueOf = (text: string): number =>
    [...new Set(wordsOf(text))].reduce((sum, word) => sum + (weights.get(word) ?? 0), 0);
  const symbol = best(file.symbols, ({ name }) => valueOf(name));
  const first = symbol === undefined ? bestWindow(file.lines, valueOf) : symbol.line - 1;
  const start = Math.max(0, first - LEAD_LINES);
  const lines = file.lines.slice(start, start + CHUNK_LINES);
  return {
    path: file.path,
    startLine: start + 1,
    endLine: start + lines.length,
    content: lines.map(shorten).join('\n'),
    score: Math.round(score * 1000) / 1000,
    foundBy: symbol === undefined ? 'words' : 'symbols',
  };
}

/** The first of those with the highest value above 0. */
function best<Item>(items: readonly Item[], valueOf: (item: Item) => number): Item | undefined {
  let found: Item | undefined;
  let most = 0;
  for (const item of items) {
    const value = valueOf(item);
    if (value <= most) continue;
    most = value;
    found = item;
  }
  return found;
}

/** Index of the first line with a hit in the window whose lines are worth most together. */
function bestWindow(lines: readonly string[], valueOf: (text: string) => number): number {
  const values = lines.map(valueOf);
  let sum = 0;
  let most = 0;
  let end = 0;
  for (const [index, value] of values.entries()) {
    sum += value - (values[index - CHUNK_LINES] ?? 0);
    if (sum <= most) continue;
    most = sum;
    end = index;
  }
  const start = Math.max(0, end - CHUNK_LINES + 1);
  const hit = values.findIndex((value, index) => index >= start && value > 0);
  return hit === -1 ? 0 : hit;
}

const shorten = (line: string): string =>
  line.length > MAX_SHOWN_LINE_LENGTH ? `${line.slice(0, MAX_SHOWN_LINE_LENGTH).toWellFormed()}…` : line;
