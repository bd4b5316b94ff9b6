/**
 * The temporary folders of a run are in memory where the machine has enough of it: the database server, and each
 * database that a test file clones, are hundreds of small files.
 */
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';
import { freemem } from 'node:os';

/** Linux keeps what is in this folder in memory; other systems do not have it. */
const MEMORY_FOLDER = '/dev/shm';
/** A run needs less than one; the rest is for the processes that it starts. */
const MIN_FREE_BYTES = 4 * 1024 ** 3;

/** Before the servers of the run start, and before the processes of the tests, which inherit it. */
export default function setUp(): void {
  if (process.env.TMPDIR === undefined && isFit()) process.env.TMPDIR = MEMORY_FOLDER;
}

function isFit(): boolean {
  try {
    accessSync(MEMORY_FOLDER, constants.W_OK);
    const { bavail, bsize } = statfsSync(MEMORY_FOLDER);
    return Math.min(bavail * bsize, freemem()) >= MIN_FREE_BYTES && mayRunPrograms();
  } catch {
    return false;
  }
}

/** Containers often mount it `noexec`; tests run scripts that they have written. */
function mayRunPrograms(): boolean {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, folder]) => folder === MEMORY_FOLDER)
    .every(([, , , options = '']) => !options.split(',').includes('noexec'));
}
