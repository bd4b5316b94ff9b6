/**
 * Secrets a development installation generates for itself, one file each under `<home>/secrets`, mode 0600.
 *
 * A. Two processes that start at once agree: the file appears complete and only once (write aside, then link).
 */
import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PRIVATE_FILE_MODE = 0o600;
const PRIVATE_FOLDER_MODE = 0o700;

/**
 * The kept secret of that name, generated at the first call.
 * @throws the file system's error when the folder cannot be written.
 */
export function keepSecret(home: string, name: string, generate: () => string): string {
  const folder = join(home, 'secrets');
  const file = join(folder, name);
  const kept = readIfThere(file);
  if (kept !== null) return kept;
  mkdirSync(folder, { recursive: true, mode: PRIVATE_FOLDER_MODE });
  const aside = join(folder, `.${name}.${process.pid}.${randomBytes(4).toString('hex')}`);
  writeFileSync(aside, `${generate()}\n`, { mode: PRIVATE_FILE_MODE, flag: 'wx', flush: true });
  try {
    linkSync(aside, file); // A: fails when another process was first
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
  } finally {
    rmSync(aside, { force: true });
  }
  return readFileSync(file, 'utf8').trim();
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** 256 random bits as text for signing keys and passwords. */
export function generateKey(): string {
  return randomBytes(32).toString('base64url');
}

/** A Fernet key: 32 bytes in padded URL-safe base64. */
export function generateFernetKey(): string {
  return `${randomBytes(32).toString('base64url')}=`;
}
