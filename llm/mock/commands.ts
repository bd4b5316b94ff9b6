import type { FileKind } from './goals.ts';

/** Command lines for POSIX shells that only read. */

/** Folders that hold what others wrote or what a build made. */
const skippedFolders = [
  'node_modules',
  '.git',
  'dist',
  'build',
  'out',
  'coverage',
  'vendor',
  'target',
  '.venv',
  '.cache',
];

/** Those of them that people commit all the same; git leaves out the others by itself. */
const committedFolders = ['node_modules', 'vendor', 'dist'];

/** Quotes a text so that a POSIX shell takes it literally. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) && !text.startsWith('-') ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** File names, each ended by NUL, from the index of git (also files not yet added, never ignored ones). */
export function gitFiles({ extensions }: FileKind): string {
  const include = extensions.length > 0 ? extensions.map((extension) => quote(`*.${extension}`)) : ["'*'"];
  const exclude = committedFolders.map((folder) => quote(`:(exclude,glob)**/${folder}/**`));
  return `git ls-files -z --cached --others --exclude-standard -- ${[...include, ...exclude].join(' ')}`;
}

/** The start of a `find` over files of a kind below the current folder. */
export function findFiles({ extensions }: FileKind): string {
  const skip = skippedFolders.map((folder) => `-name ${folder}`).join(' -o ');
  const names = extensions.map((extension) => `-name ${quote(`*.${extension}`)}`).join(' -o ');
  return `find . -type d \\( ${skip} \\) -prune -o -type f${names ? ` \\( ${names} \\)` : ''}`;
}

/** Rows `<number> <path>` as `wc` prints them, without its totals. Paths keep their inner spaces. */
export function readCounts(output: string): { count: number; path: string }[] {
  return output.split('\n').flatMap((line) => {
    const match = /^\s*(\d+) (.+)$/.exec(line);
    return match?.[1] && match[2] && match[2] !== 'total'
      ? [{ count: Number(match[1]), path: match[2] }]
      : [];
  });
}

/** The last number that stands alone or before `total`; `null` when there is none. */
export function readTotal(output: string): number | null {
  const totals = output.split('\n').flatMap((line) => /^\s*(\d+)(?:\s+total)?\s*$/.exec(line)?.[1] ?? []);
  return totals.length > 0 ? totals.reduce((sum, total) => sum + Number(total), 0) : null;
}
