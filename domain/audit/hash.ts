/** What a seal hashes. Changing anything here needs a new version, and a verifier that knows both. */
import { createHash, type Hash } from 'node:crypto';
import type { SealableRow } from '../../db/audit-seals.ts';

const SEAL_VERSION = 'steelthread-audit-seal-1';
/** What the first seal has as its predecessor. */
export const GENESIS_HASH = '0'.repeat(64);

/** Fields in the order they are hashed. */
const hashedFields = [
  'id',
  'xid',
  'at',
  'principalKind',
  'principalId',
  'principalName',
  'sessionId',
  'address',
  'requestId',
  'action',
  'targetKind',
  'targetId',
  'outcome',
  'details',
] as const satisfies readonly (keyof SealableRow)[];

/** sha256 over version, number, previous hash and rows; every part length-prefixed, so no two contents share bytes. */
export function hashSeal(sealNo: number, previousHash: string, rows: readonly SealableRow[]): string {
  const hash = createHash('sha256');
  for (const part of [SEAL_VERSION, String(sealNo), previousHash, String(rows.length)]) addPart(hash, part);
  for (const row of rows) for (const field of hashedFields) addPart(hash, row[field]);
  return hash.digest('hex');
}

/** Null and the empty string differ: null has no length. */
function addPart(hash: Hash, part: string | null): void {
  if (part === null) hash.update('-;');
  else hash.update(`${Buffer.byteLength(part)};`).update(part);
}
